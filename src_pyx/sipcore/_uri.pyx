# distutils: sources = src_pyx/sipcore/c/scan.c
"""URIs: sip, sips, tel, and others as opaque text (RFC 3261 section 19.1, RFC 3966).

A Uri is a view over octets that were parsed once; its parts are decoded when
asked for.  Does not know messages, addresses or routing.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp

from sipcore.scan cimport (
    SIP_HEAD_MAX,
    SIP_URI_HAS_HEADERS,
    SIP_URI_HAS_PASSWORD,
    SIP_URI_HAS_USER,
    SIP_URI_IS_IPV6,
    SIP_URI_IS_SIP,
    SIP_URI_IS_TEL,
    sip_is_safe,
    sip_next_parameter,
    sip_parameter,
    sip_parse_uri,
    sip_span,
)
from sipcore._text cimport has_line_end, span_text, span_text_or_none, text_of

import re
from collections.abc import Mapping

from sipcore.errors import ParseError, UsageError

# Begins where white space begins and never gives any back: linear however long the white space is (FAULTS 3).
cdef object LINEAR_WHITE_SPACE = re.compile(r"(?<![ \t])[ \t]*+(?:\r\n[ \t]++)++")
cdef str UNRESERVED = "-_.!~*'()"
cdef str USER_SAFE = UNRESERVED + "&=+$,;?/"
cdef str PASSWORD_SAFE = UNRESERVED + "&=+$,"
cdef str PARAMETER_SAFE = UNRESERVED + "[]/:&+$"
cdef str HEADER_SAFE = UNRESERVED + "[]/?:+$"
# RFC 3261 section 19.1.4: a URI without one of these is different from a URI with it.
cdef tuple DEFINING_PARAMETERS = ("user", "ttl", "method", "maddr")


cdef str unfold(const char *octets, size_t size):
    """Text of a header value; folds with the white space round them are one space (RFC 3261 section 7.3.1)."""
    cdef str text = text_of(octets, size)
    if has_line_end(octets, size):
        return LINEAR_WHITE_SPACE.sub(" ", text)
    return text


cdef bytes encoded(str text):
    """The octets of a text to be read; ParseError for surrogates that stand for none."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ParseError("text that stands for no octets", at=error.start) from None


cdef bytes octets_of(object text, str what):
    """The octets of what an application gave; UsageError for anything but str, and for CR, LF and NUL."""
    cdef bytes octets
    if not isinstance(text, str):
        raise UsageError(f"{what} must be str, not {type(text).__name__}")
    try:
        octets = (<str>text).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"{what} with a lone surrogate") from None
    if not sip_is_safe(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)):
        raise UsageError(f"{what} with CR, LF or NUL")
    return octets


cdef str unquote(const char *octets, size_t size):
    """The text inside the quotes of a quoted string, quoted pairs resolved (RFC 3261 section 25.1)."""
    cdef str text
    if size < 2 or octets[0] != c'"':
        return unfold(octets, size)
    text = unfold(octets + 1, size - 2)
    if "\\" in text:
        text = re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
    return text


cdef dict parameters_of(bytes octets, sip_span span):
    """Parameters of a header value: lower-case name -> value without quotes, None without "="; the first one counts."""
    cdef const char *text = PyBytes_AS_STRING(octets)
    cdef size_t at = span.at, end = <size_t>span.at + span.size
    cdef sip_parameter parameter
    cdef dict found = {}
    cdef str name
    while at < end and sip_next_parameter(text, end, &at, &parameter) == 1:
        name = span_text(octets, parameter.name).lower()
        if name not in found:
            found[name] = unquote(text + parameter.value.at, parameter.value.size) if parameter.has_value else None
    return found


def unescape(str text) -> str:
    """One round of %-unescaping (RFC 3261 section 19.1.2)."""
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes   # a large module that most messages do not need

    return unquote_to_bytes(encoded(text)).decode("utf-8", "surrogateescape")


def escape(str text, str safe) -> str:
    """UsageError for surrogates that stand for no octets."""
    from urllib.parse import quote_from_bytes

    try:
        return quote_from_bytes(encoded(text), safe)
    except ParseError as error:
        raise UsageError(error.reason) from None


cdef Uri uri_view(bytes octets, size_t begin, size_t end):
    """The URI in octets[begin:end]; ParseError with `at` in `octets`."""
    cdef Uri uri = Uri.__new__(Uri)
    cdef size_t at = 0
    if sip_parse_uri(PyBytes_AS_STRING(octets), begin, end, &uri.parts, &at):
        raise ParseError("malformed URI", at=at)
    uri.octets = octets
    return uri


cdef Uri known_uri(bytes octets, const sip_uri *parts):
    """A URI that was read already."""
    cdef Uri uri = Uri.__new__(Uri)
    uri.octets = octets
    uri.parts = parts[0]
    return uri


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Uri:
    """A URI as it was written.  Immutable; equality is equality of the text, `matches` is RFC 3261 section 19.1.4."""

    def __cinit__(self):
        self.octets = b""

    def __init__(self, str text not None):
        cdef bytes octets = encoded(text)
        cdef size_t at = 0
        if PyBytes_GET_SIZE(self.octets):
            raise UsageError("a Uri is immutable")
        if sip_parse_uri(PyBytes_AS_STRING(octets), 0, PyBytes_GET_SIZE(octets), &self.parts, &at):
            raise ParseError("malformed URI", at=at)
        self.octets = octets

    @staticmethod
    def build(host: str, user: str | None = None, *, scheme: str = "sip", password: str | None = None,
              port: int | None = None, parameters: Mapping[str, str | None] | None = None,
              headers: Mapping[str, str] | None = None) -> Uri:
        """A sip or sips URI from unescaped parts; `host` without brackets.  UsageError if they make none."""
        cdef Uri uri
        cdef str text = f"{scheme}:"
        if user is not None:
            text += escape(user, USER_SAFE)
            text += f":{escape(password, PASSWORD_SAFE)}@" if password is not None else "@"
        text += f"[{host}]" if ":" in host else host
        text += f":{port}" if port is not None else ""
        for name, value in (parameters or {}).items():
            text += f";{escape(name, PARAMETER_SAFE)}"
            text += f"={escape(value, PARAMETER_SAFE)}" if value is not None else ""
        pairs = [f"{escape(name, HEADER_SAFE)}={escape(value, HEADER_SAFE)}" for name, value in (headers or {}).items()]
        text += f"?{'&'.join(pairs)}" if pairs else ""
        try:
            uri = Uri(text)
        except ParseError as error:
            raise UsageError(f"no URI: {text!r}") from error
        if span_text(uri.octets, uri.parts.host) != host:
            raise UsageError(f"no host: {host!r}")
        return uri

    @staticmethod
    def parse(text: str) -> Uri:
        """ParseError if `text` is not a URI."""
        return Uri(text)

    cdef sip_span whole(self) noexcept:
        cdef sip_span span
        span.at = self.parts.scheme.at
        span.size = self.parts.opaque.at + self.parts.opaque.size - self.parts.scheme.at
        return span

    @property
    def scheme(self) -> str:
        """In lower case."""
        return span_text(self.octets, self.parts.scheme).lower()

    @property
    def user(self) -> str | None:
        """As sent, escapes included; of a tel URI: the number."""
        cdef sip_span span
        if self.parts.flags & SIP_URI_HAS_USER:
            return span_text(self.octets, self.parts.user)
        if self.parts.flags & SIP_URI_IS_TEL:
            span.at = self.parts.opaque.at
            span.size = self.parts.opaque.size - self.parts.parameters.size
            return span_text(self.octets, span)
        return None

    @property
    def unescaped_user(self) -> str | None:
        """The user after one round of %-unescaping; it may hold any character, NUL included."""
        user = self.user
        return None if user is None else unescape(user)

    @property
    def password(self) -> str | None:
        """As sent."""
        if self.parts.flags & SIP_URI_HAS_PASSWORD:
            return span_text(self.octets, self.parts.password)
        return None

    @property
    def host(self) -> str:
        """Without the brackets of an IPv6 reference; "" for a URI that is neither sip nor sips.

        Three colons in an IPv6 address, written by the grammar of RFC 3261, are two (RFC 5118 section 4.10).
        """
        host = span_text(self.octets, self.parts.host)
        return host.replace(":::", "::") if self.parts.flags & SIP_URI_IS_IPV6 else host

    @property
    def port(self) -> int | None:
        return None if self.parts.port < 0 else self.parts.port

    @property
    def host_port(self) -> str:
        """host[:port] as it stands in a Via or a Request-URI, an IPv6 address in brackets."""
        host = f"[{self.host}]" if self.parts.flags & SIP_URI_IS_IPV6 else self.host
        return host if self.parts.port < 0 else f"{host}:{self.parts.port}"

    @property
    def opaque(self) -> str:
        """Everything after the colon of the scheme."""
        return span_text(self.octets, self.parts.opaque)

    @property
    def parameters(self) -> dict[str, str | None]:
        """Unescaped, names in lower case; None for a parameter without "="; the first of a repeated name counts."""
        found: dict[str, str | None] = {}
        for pair in span_text(self.octets, self.parts.parameters).split(";")[1:]:
            name, sign, value = pair.partition("=")
            found.setdefault(unescape(name).lower(), unescape(value) if sign else None)
        return found

    @property
    def headers(self) -> dict[str, str]:
        """The headers after the "?", as sent (RFC 3261 section 19.1.1)."""
        if not self.parts.flags & SIP_URI_HAS_HEADERS:
            return {}
        pairs = (pair.partition("=") for pair in span_text(self.octets, self.parts.headers).split("&"))
        return {name: value for name, _, value in pairs if name}

    @property
    def transport(self) -> str | None:
        """The transport parameter in upper case, None without one."""
        transport = self.parameters.get("transport")
        return transport.upper() if transport else None

    @property
    def is_sip(self) -> bool:
        """Whether it is a sip or sips URI."""
        return self.parts.flags & SIP_URI_IS_SIP != 0

    @property
    def is_loose_route(self) -> bool:
        """Whether it carries the lr parameter (RFC 3261 section 19.1.1)."""
        return "lr" in self.parameters

    def matches(self, Uri other not None) -> bool:
        """Comparison of RFC 3261 section 19.1.4; not transitive, so not what == and hash are made of."""
        if not self.parts.flags & SIP_URI_IS_SIP or not other.parts.flags & SIP_URI_IS_SIP:
            return str(self) == str(other)
        mine = (self.scheme, self.unescaped_user, self.password, self.host.lower(), self.port)
        theirs = (other.scheme, other.unescaped_user, other.password, other.host.lower(), other.port)
        return mine == theirs and match_parameters(self.parameters, other.parameters) and (
            comparable_headers(self.headers) == comparable_headers(other.headers))

    def __str__(self) -> str:
        return span_text(self.octets, self.whole())

    def __bytes__(self) -> bytes:
        cdef sip_span span = self.whole()
        return PyBytes_AS_STRING(self.octets)[span.at:span.at + span.size]

    def __repr__(self) -> str:
        text = str(self)
        if self.parts.flags & SIP_URI_HAS_PASSWORD:
            text = text.replace(f":{self.password}@", ":***@", 1)
        return f"Uri({text!r})"

    def __eq__(self, other) -> bool:
        cdef sip_span mine, theirs
        if not isinstance(other, Uri):
            return NotImplemented
        mine, theirs = self.whole(), (<Uri>other).whole()
        return mine.size == theirs.size and not memcmp(
            PyBytes_AS_STRING(self.octets) + mine.at, PyBytes_AS_STRING((<Uri>other).octets) + theirs.at, mine.size)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self):
        return Uri, (str(self),)


cdef bint match_parameters(dict mine, dict theirs) except -1:
    """RFC 3261 section 19.1.4: those in both are equal; user, ttl, method and maddr are in both or in neither."""
    for name in DEFINING_PARAMETERS:
        if (name in mine) != (name in theirs):
            return False
    for name, value in mine.items():
        if name in theirs and (value or "").lower() != (theirs[name] or "").lower():
            return False
    return True


cdef dict comparable_headers(dict headers):
    return {name.lower(): unescape(value) for name, value in headers.items()}
