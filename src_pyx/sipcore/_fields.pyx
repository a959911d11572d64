# distutils: sources = src_pyx/sipcore/c/scan.c
"""The header values that every message has: Address (From, To, Contact, Route ...), Via, CSeq (RFC 3261 section 20).

Each is a view over octets that were parsed once, decoded when asked for.
Does not know messages; other headers are in sipcore.headers.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp

from sipcore.scan cimport (
    SIP_ADDRESS_QUOTED,
    SIP_HEAD_MAX,
    sip_default_limits,
    sip_parse_address,
    sip_parse_cseq,
    sip_parse_via,
    sip_is_token,
    sip_span,
)
from sipcore._text cimport span_text, span_text_or_none
from sipcore._uri cimport Uri, encoded, known_uri, octets_of, parameters_of, unfold

import re
from collections.abc import Mapping

from sipcore import constants
from sipcore.errors import ParseError, UsageError

cdef object TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
cdef object BARE_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+")


def quote(str text) -> str:
    """A quoted string (RFC 3261 section 25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def format_parameters(parameters: Mapping[str, str | None] | None) -> str:
    """`;name=value` for each; a value that is no token or host is quoted.  UsageError for a name that is no token."""
    text = ""
    for name, value in (parameters or {}).items():
        if not TOKEN.fullmatch(name):
            raise UsageError(f"no parameter name: {name!r}")
        if value is None:
            text += f";{name}"
        else:
            text += f";{name}={value if BARE_VALUE.fullmatch(value) else quote(value)}"
    return text


cdef bint same_octets(bytes mine, sip_span my_span, bytes other, sip_span other_span) noexcept:
    return my_span.size == other_span.size and not memcmp(
        PyBytes_AS_STRING(mine) + my_span.at, PyBytes_AS_STRING(other) + other_span.at, my_span.size)


cdef Address address_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop):
    cdef Address address = Address.__new__(Address)
    cdef size_t at = 0
    if sip_parse_address(PyBytes_AS_STRING(octets), begin, end, limit, &address.parts, &address.uri_parts, &at):
        raise ParseError("malformed address", at=at)
    address.octets = octets
    address.is_read = True
    stop[0] = address.parts.end
    return address


cdef Address known_address(bytes octets, size_t begin, size_t end, sip_span tag):
    cdef Address address = Address.__new__(Address)
    address.octets = octets
    address.begin = begin
    address.end = end
    address.parts.tag = tag
    return address


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Address:
    """name-addr or addr-spec with the parameters of its header (RFC 3261 section 20.10).  Immutable."""

    def __cinit__(self):
        self.octets = b""

    def __init__(self, str text not None):
        cdef bytes octets = encoded(text)
        cdef size_t at = 0, size = PyBytes_GET_SIZE(octets)
        if PyBytes_GET_SIZE(self.octets):
            raise UsageError("an Address is immutable")
        if sip_parse_address(PyBytes_AS_STRING(octets), 0, size, sip_default_limits.parameter_count, &self.parts,
                             &self.uri_parts, &at):
            raise ParseError("malformed address", at=at)
        if self.parts.end != size:
            raise ParseError("more than one address", at=self.parts.end)
        self.octets = octets
        self.is_read = True

    cdef int read(self) except -1:
        """Fill `parts` if that was put off."""
        cdef size_t at = 0
        if not self.is_read and PyBytes_GET_SIZE(self.octets):
            if sip_parse_address(PyBytes_AS_STRING(self.octets), self.begin, self.end, SIP_HEAD_MAX, &self.parts,
                                 &self.uri_parts, &at):
                raise ParseError("malformed address", at=at)
            self.is_read = True
        return 0

    @staticmethod
    def parse(text: str) -> Address:
        """ParseError if `text` is not one address."""
        return Address(text)

    @staticmethod
    def build(uri: Uri | str, display_name: str | None = None,
              parameters: Mapping[str, str | None] | None = None) -> Address:
        """`"display name" <uri>;parameters`; UsageError if they make no address."""
        text = f"{quote(display_name)} " if display_name else ""
        text += f"<{uri}>{format_parameters(parameters)}"
        octets_of(text, "address")
        try:
            return Address(text)
        except ParseError as error:
            raise UsageError(f"no address: {text!r}") from error

    @property
    def display_name(self) -> str:
        """Without quotes, quoted pairs resolved; "" for none."""
        cdef sip_span span
        cdef str text
        self.read()
        span = self.parts.display_name
        if not span.size:
            return ""
        text = unfold(PyBytes_AS_STRING(self.octets) + span.at, span.size)
        if not self.parts.flags & SIP_ADDRESS_QUOTED:
            return text
        text = text[1:len(text) - 1]
        return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL) if "\\" in text else text

    @property
    def uri(self) -> Uri:
        if self._uri is None:
            self.read()
            self._uri = known_uri(self.octets, &self.uri_parts)
        return self._uri

    @property
    def tag(self) -> str | None:
        """The tag parameter (RFC 3261 section 19.3)."""
        return span_text_or_none(self.octets, self.parts.tag)

    @property
    def parameters(self) -> dict[str, str | None]:
        """Of the header, not of the URI: lower-case name -> value without quotes, None without "="."""
        self.read()
        return parameters_of(self.octets, self.parts.parameters)

    def with_parameters(self, **changes: str | None) -> Address:
        """The same address with header parameters set; a value of None leaves the parameter out."""
        kept = {name: value for name, value in self.parameters.items() if name not in changes}
        kept.update((name, value) for name, value in changes.items() if value is not None)
        return Address.build(self.uri, self.display_name, kept)

    def __str__(self) -> str:
        cdef sip_span span
        self.read()
        span = self.parts.value
        return unfold(PyBytes_AS_STRING(self.octets) + span.at, span.size)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        self.read()
        (<Address>other).read()
        return same_octets(self.octets, self.parts.value, (<Address>other).octets, (<Address>other).parts.value)

    def __hash__(self) -> int:
        self.read()
        return hash(span_text(self.octets, self.parts.value))

    def __reduce__(self):
        return Address, (str(self),)


cdef Via via_view(bytes octets, size_t begin, size_t end, uint32_t limit, size_t *stop):
    cdef Via via = Via.__new__(Via)
    cdef size_t at = 0
    if sip_parse_via(PyBytes_AS_STRING(octets), begin, end, limit, &via.parts, &at):
        raise ParseError("malformed Via", at=at)
    via.octets = octets
    via.is_read = True
    stop[0] = via.parts.end
    return via


cdef Via known_via(bytes octets, sip_span value, sip_span branch):
    cdef Via via = Via.__new__(Via)
    via.octets = octets
    via.begin = value.at
    via.end = value.at + value.size
    via.parts.branch = branch
    return via


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Via:
    """One Via value (RFC 3261 section 20.42).  Immutable."""

    def __cinit__(self):
        self.octets = b""

    def __init__(self, str text not None):
        cdef bytes octets = encoded(text)
        cdef size_t at = 0, size = PyBytes_GET_SIZE(octets)
        if PyBytes_GET_SIZE(self.octets):
            raise UsageError("a Via is immutable")
        if sip_parse_via(PyBytes_AS_STRING(octets), 0, size, sip_default_limits.parameter_count, &self.parts, &at):
            raise ParseError("malformed Via", at=at)
        if self.parts.end != size:
            raise ParseError("more than one Via", at=self.parts.end)
        self.octets = octets
        self.is_read = True

    cdef int read(self) except -1:
        """Fill `parts` if that was put off."""
        cdef size_t at = 0
        if not self.is_read and PyBytes_GET_SIZE(self.octets):
            if sip_parse_via(PyBytes_AS_STRING(self.octets), self.begin, self.end, SIP_HEAD_MAX, &self.parts, &at):
                raise ParseError("malformed Via", at=at)
            self.is_read = True
        return 0

    @staticmethod
    def parse(text: str) -> Via:
        """ParseError if `text` is not one Via value."""
        return Via(text)

    @staticmethod
    def build(transport: str, sent_by: str, parameters: Mapping[str, str | None] | None = None) -> Via:
        """`SIP/2.0/transport sent_by;parameters`; UsageError if they make no Via."""
        text = f"SIP/2.0/{transport} {sent_by}{format_parameters(parameters)}"
        octets_of(text, "Via")
        try:
            return Via(text)
        except ParseError as error:
            raise UsageError(f"no Via: {text!r}") from error

    @property
    def transport(self) -> str:
        """In upper case."""
        self.read()
        return span_text(self.octets, self.parts.transport).upper()

    @property
    def sent_by(self) -> str:
        """host[:port] as written, white space round the colon included."""
        self.read()
        return span_text(self.octets, self.parts.sent_by)

    @property
    def host(self) -> str:
        """Of sent-by, without the brackets of an IPv6 reference."""
        self.read()
        return span_text(self.octets, self.parts.host)

    @property
    def port(self) -> int | None:
        self.read()
        return None if self.parts.port < 0 else self.parts.port

    @property
    def effective_port(self) -> int:
        """The port of sent-by, or the default one of the transport (RFC 3261 section 18.2.1)."""
        self.read()
        return constants.DEFAULT_PORTS.get(self.transport, 5060) if self.parts.port < 0 else self.parts.port

    @property
    def branch(self) -> str | None:
        return span_text_or_none(self.octets, self.parts.branch)

    @property
    def received(self) -> str | None:
        """As sent; an IPv6 address may stand in brackets (RFC 5118 section 4.5)."""
        self.read()
        return span_text_or_none(self.octets, self.parts.received)

    @property
    def received_address(self) -> str | None:
        """`received` without brackets."""
        received = self.received
        return None if received is None else received.strip("[]")

    @property
    def rport(self) -> int | None:
        """RFC 3581: the port, 0 when it is asked for, None without the parameter or with a malformed one."""
        self.read()
        return None if self.parts.rport < 0 else self.parts.rport

    @property
    def alias(self) -> bool:
        """Whether the connection may be reused (RFC 5923)."""
        return "alias" in self.parameters

    @property
    def parameters(self) -> dict[str, str | None]:
        self.read()
        """Lower-case name -> value without quotes, None without "="."""
        return parameters_of(self.octets, self.parts.parameters)

    def __str__(self) -> str:
        cdef sip_span span
        self.read()
        span = self.parts.value
        return unfold(PyBytes_AS_STRING(self.octets) + span.at, span.size)

    def __repr__(self) -> str:
        return f"Via({str(self)!r})"

    def __eq__(self, other) -> bool:
        if not isinstance(other, Via):
            return NotImplemented
        self.read()
        (<Via>other).read()
        return same_octets(self.octets, self.parts.value, (<Via>other).octets, (<Via>other).parts.value)

    def __hash__(self) -> int:
        self.read()
        return hash(span_text(self.octets, self.parts.value))

    def __reduce__(self):
        return Via, (str(self),)


cdef CSeq new_cseq(uint32_t number, str method):
    cdef CSeq cseq = CSeq.__new__(CSeq)
    cseq.number = number
    cseq.method = method
    return cseq


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class CSeq:
    """Sequence number, below 2**31, and method (RFC 3261 section 20.16).  Immutable."""

    def __init__(self, number: int, str method not None):
        cdef bytes octets = octets_of(method, "method")
        if self.method is not None:
            raise UsageError("a CSeq is immutable")
        if not 0 <= number < 2**31:
            raise UsageError(f"CSeq number {number} is not below 2**31")
        if not sip_is_token(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)):
            raise UsageError(f"no method: {method!r}")
        self.number = number
        self.method = method

    @staticmethod
    def parse(text: str) -> CSeq:
        """ParseError if `text` is not number and method."""
        cdef bytes octets = encoded(text)
        cdef uint32_t number = 0
        cdef sip_span method
        cdef size_t at = 0
        if sip_parse_cseq(PyBytes_AS_STRING(octets), 0, PyBytes_GET_SIZE(octets), &number, &method, &at):
            raise ParseError("malformed CSeq", at=at)
        return new_cseq(number, span_text(octets, method))

    def __str__(self) -> str:
        return f"{self.number} {self.method}"

    def __repr__(self) -> str:
        return f"CSeq({self.number}, {self.method!r})"

    def __eq__(self, other) -> bool:
        if not isinstance(other, CSeq):
            return NotImplemented
        return self.number == (<CSeq>other).number and self.method == (<CSeq>other).method

    def __hash__(self) -> int:
        return hash((self.number, self.method))

    def __reduce__(self):
        return CSeq, (self.number, self.method)
