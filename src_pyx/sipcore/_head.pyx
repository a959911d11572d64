# distutils: sources = src_pyx/sipcore/c/scan.c
"""The header lines of a message: found by name, as text or as what sipcore.headers makes of them (RFC 3261 section 7.3).

Knows an index over octets.  Does not know start lines, requests and responses, nor how a message comes to be.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from sipcore.scan cimport *
from sipcore._text cimport same_name, text_of
from sipcore._uri cimport unfold


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef object parse_header = None          # sipcore.headers.parse_header, imported when first needed


def typed_header(name: str) -> object:
    """An attribute that is the typed value of a header."""
    return property(lambda head: head.typed(name), doc=f"{name}, as `typed` gives it.")


@cython.no_gc
@cython.freelist(512)
cdef class Head:
    """The lines of a message: found by the name of their header in any spelling, as text or typed."""

    def __cinit__(self):
        self.octets = b""
        self.lines = self.inline_lines

    # ---- lines

    cdef Py_ssize_t next_line(self, int id, const char *name, size_t size, size_t start) noexcept:
        """Number of the first line from `start` on with this header; -1 for none.  `name` counts if `id` is SIP_OTHER."""
        cdef size_t i = start
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        if not self.index.present[id >> 6] >> (id & 63) & 1:
            return -1
        if start == 0 and 0 < id < SIP_FIRST_COUNT:
            return self.index.first[id] - 1
        while i < self.index.line_count:
            if <int>(self.lines[i].id & SIP_ID_MASK) == id and (id != SIP_OTHER or same_name(
                    octets + self.lines[i].name_at, self.lines[i].name_size, name, size)):
                return i
            i += 1
        return -1

    cdef str value_text(self, const sip_line *line):
        cdef const char *value = PyBytes_AS_STRING(self.octets) + line.value_at
        if line.id & SIP_FOLDED:
            return unfold(value, line.value_size)
        return text_of(value, line.value_size)

    def get(self, name: str, default: object = None) -> object:
        """The first line's value of a header, unfolded, in any spelling of its name; `default` without one."""
        cdef Py_ssize_t size = 0
        cdef const char *text = name_octets(name, &size)
        cdef Py_ssize_t at = self.next_line(sip_header_id(text, size), text, size, 0)
        return default if at < 0 else self.value_text(&self.lines[at])

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: str) -> bool:
        cdef Py_ssize_t size = 0
        cdef const char *text = name_octets(name, &size)
        return self.next_line(sip_header_id(text, size), text, size, 0) >= 0

    def get_lines(self, name: str) -> list[str]:
        """The value of every line of a header, unfolded, comma lists whole."""
        cdef Py_ssize_t size = 0
        cdef const char *text = name_octets(name, &size)
        cdef int id = sip_header_id(text, size)
        cdef Py_ssize_t at = self.next_line(id, text, size, 0)
        cdef list values = []
        while at >= 0:
            values.append(self.value_text(&self.lines[at]))
            at = self.next_line(id, text, size, at + 1)
        return values

    def get_all(self, name: str) -> list[str]:
        """Every value of a header, unfolded; comma lists are split where the header allows lists."""
        cdef Py_ssize_t size = 0
        cdef const char *text = name_octets(name, &size)
        cdef list values = []
        if not sip_header_has_list(sip_header_id(text, size)):
            return self.get_lines(name)
        for line in self.get_lines(name):
            split_list(line.encode("utf-8", "surrogateescape"), values)
        return values

    @property
    def headers(self) -> list[tuple[str, str]]:
        """(name as written, value unfolded) of each line."""
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        cdef sip_line *line
        cdef list pairs = []
        cdef size_t i
        for i in range(self.index.line_count):
            line = &self.lines[i]
            pairs.append((text_of(octets + line.name_at, line.name_size), self.value_text(line)))
        return pairs

    def typed(self, name: str) -> object:
        """The value of a header as sipcore.headers types it, decoded once.

        None (or an empty tuple for a header of many values) when absent, ParseError when malformed, KeyError for a
        header that has no type.
        """
        global parse_header
        if self._values is None:
            self._values = {}
        if name in self._values:
            return self._values[name]
        if parse_header is None:
            from sipcore.headers import parse_header
        self._values[name] = value = parse_header(name, self.get_lines(name))
        return value

    # ---- headers by attribute; those that every element asks for are on Message

    accept = typed_header("Accept")
    accept_contact = typed_header("Accept-Contact")
    accept_encoding = typed_header("Accept-Encoding")
    accept_language = typed_header("Accept-Language")
    alert_info = typed_header("Alert-Info")
    allow = typed_header("Allow")
    allow_events = typed_header("Allow-Events")
    answer_mode = typed_header("Answer-Mode")
    authentication_info = typed_header("Authentication-Info")
    authorization = typed_header("Authorization")
    call_info = typed_header("Call-Info")
    contact_values = typed_header("Contact")
    content_disposition = typed_header("Content-Disposition")
    content_encoding = typed_header("Content-Encoding")
    content_language = typed_header("Content-Language")
    media_type = typed_header("Content-Type")
    date = typed_header("Date")
    diversion = typed_header("Diversion")
    error_info = typed_header("Error-Info")
    event = typed_header("Event")
    feature_caps = typed_header("Feature-Caps")
    flow_timer = typed_header("Flow-Timer")
    geolocation = typed_header("Geolocation")
    geolocation_error = typed_header("Geolocation-Error")
    geolocation_routing = typed_header("Geolocation-Routing")
    history_info = typed_header("History-Info")
    identity = typed_header("Identity")
    in_reply_to = typed_header("In-Reply-To")
    info_package = typed_header("Info-Package")
    join = typed_header("Join")
    max_breadth = typed_header("Max-Breadth")
    min_expires = typed_header("Min-Expires")
    min_se = typed_header("Min-SE")
    mime_version = typed_header("MIME-Version")
    organization = typed_header("Organization")
    p_access_network_info = typed_header("P-Access-Network-Info")
    p_asserted_identity = typed_header("P-Asserted-Identity")
    p_associated_uri = typed_header("P-Associated-URI")
    p_called_party_id = typed_header("P-Called-Party-ID")
    p_early_media = typed_header("P-Early-Media")
    p_preferred_identity = typed_header("P-Preferred-Identity")
    path = typed_header("Path")
    priority = typed_header("Priority")
    privacy = typed_header("Privacy")
    proxy_authenticate = typed_header("Proxy-Authenticate")
    proxy_authentication_info = typed_header("Proxy-Authentication-Info")
    proxy_authorization = typed_header("Proxy-Authorization")
    proxy_require = typed_header("Proxy-Require")
    rack = typed_header("RAck")
    reason = typed_header("Reason")
    record_route = typed_header("Record-Route")
    recv_info = typed_header("Recv-Info")
    refer_sub = typed_header("Refer-Sub")
    refer_to = typed_header("Refer-To")
    referred_by = typed_header("Referred-By")
    reject_contact = typed_header("Reject-Contact")
    remote_party_id = typed_header("Remote-Party-ID")
    replaces = typed_header("Replaces")
    reply_to = typed_header("Reply-To")
    request_disposition = typed_header("Request-Disposition")
    require = typed_header("Require")
    resource_priority = typed_header("Resource-Priority")
    retry_after = typed_header("Retry-After")
    route = typed_header("Route")
    rseq = typed_header("RSeq")
    security_client = typed_header("Security-Client")
    security_server = typed_header("Security-Server")
    security_verify = typed_header("Security-Verify")
    server = typed_header("Server")
    service_route = typed_header("Service-Route")
    session_expires = typed_header("Session-Expires")
    session_id = typed_header("Session-ID")
    sip_etag = typed_header("SIP-ETag")
    sip_if_match = typed_header("SIP-If-Match")
    subject = typed_header("Subject")
    subscription_state = typed_header("Subscription-State")
    supported = typed_header("Supported")
    suppress_if_match = typed_header("Suppress-If-Match")
    target_dialog = typed_header("Target-Dialog")
    timestamp = typed_header("Timestamp")
    unsupported = typed_header("Unsupported")
    user_agent = typed_header("User-Agent")
    user_to_user = typed_header("User-to-User")
    warning = typed_header("Warning")
    www_authenticate = typed_header("WWW-Authenticate")


cdef const char *name_octets(object name, Py_ssize_t *size) except NULL:
    """The octets of a header name; a name that is no ASCII text is that of no header."""
    if not isinstance(name, str):
        raise TypeError(f"a header name is str, not {type(name).__name__}")
    if not (<str>name).isascii():
        size[0] = 0
        return ""
    return PyUnicode_AsUTF8AndSize(name, size)


cdef int split_list(bytes line, list values) except -1:
    cdef const char *text = PyBytes_AS_STRING(line)
    cdef size_t begin = 0, end = PyBytes_GET_SIZE(line), stop
    while begin <= end:
        stop = sip_list_value_end(text, begin, end)
        value = text_of(text + begin, stop - begin).strip(" \t")
        if value:
            values.append(value)
        begin = stop + 1
    return 0
