# distutils: sources = src_pyx/sipcore/c/scan.c
"""SIP messages as their octets (RFC 3261 section 7): an index over what was received, values decoded when asked for.

Knows the grammar.  Does not know time, sockets, transactions or what a header means; headers that are read less often
are typed by sipcore.headers.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

from sipcore.scan cimport *
from sipcore._head cimport Head
from sipcore._fields cimport CSeq, address_view, known_address, known_via, new_cseq, via_view
from sipcore._serialize cimport Draft, format_request, write_response
from sipcore._text cimport span_text, text_of
from sipcore._uri cimport Uri, octets_of, uri_view

from sipcore import constants
from sipcore._serialize import diff
from sipcore.errors import ParseError, UsageError


cdef extern from "strings.h":
    int strncasecmp(const char *one, const char *other, size_t size) noexcept nogil


cdef tuple METHODS = ("", *constants.METHODS)
cdef int REQUIRE = sip_header_id("Require", 7)


cdef object parse_error(int fault, size_t at):
    return ParseError(sip_fault_reason(fault).decode(), at=at, status_hint=sip_fault_status(fault))


@cython.no_gc
cdef class Responder:
    """Who sends the responses to a request; the engine is one.  A parsed message that nobody received has none."""

    cdef int respond(self, Request request, int status_code, object reason_phrase, object headers,
                     bytes body) except -1:
        raise UsageError("this responder sends nothing")


@cython.no_gc
cdef class Message(Head):
    """A SIP request or response as it was on the wire; immutable.

    Nothing is decoded until asked for.  The octets are never modified; every
    offset in the index points into them.  Two messages are equal when their octets are.
    """

    # ---- typed values

    cdef object address(self, int id):
        """The only value of From or To, None when absent."""
        cdef Py_ssize_t at = self.next_line(id, NULL, 0, 0)
        cdef size_t end, stop = 0
        if at < 0:
            return None
        end = <size_t>self.lines[at].value_at + self.lines[at].value_size
        if not self.index.fault:
            return known_address(self.octets, self.lines[at].value_at, end,
                                 self.index.from_tag if id == SIP_FROM else self.index.to_tag)
        address = address_view(self.octets, self.lines[at].value_at, end, sip_default_limits.parameter_count, &stop)
        if stop != end:
            raise ParseError("more than one value", at=stop)
        return address

    cdef tuple addresses(self, int id):
        """Every value of a header of addresses, decoded once."""
        cdef tuple known = None
        cdef Py_ssize_t at = self.next_line(id, NULL, 0, 0)
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        cdef size_t begin, end, stop = 0
        cdef list values = []
        if id == SIP_CONTACT:
            known = self._contacts
        elif self._values is not None:
            known = self._values.get(id)
        if known is not None:
            return known
        while at >= 0:
            begin = self.lines[at].value_at
            end = begin + self.lines[at].value_size
            if not (id == SIP_CONTACT and end - begin == 1 and octets[begin] == c"*"):
                while True:
                    values.append(address_view(self.octets, begin, end, sip_default_limits.parameter_count, &stop))
                    begin = stop + 1
                    if stop == end:
                        break
            at = self.next_line(id, NULL, 0, at + 1)
        known = tuple(values)
        if id == SIP_CONTACT:
            self._contacts = known
        elif self._values is None:
            self._values = {id: known}
        else:
            self._values[id] = known
        return known

    cdef object number(self, int id, int64_t maximum):
        """The value of a header that is one number; None when absent, ParseError when malformed or too large."""
        cdef Py_ssize_t at = self.next_line(id, NULL, 0, 0)
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        cdef int64_t number
        if at < 0:
            return None
        number = sip_parse_number(octets + self.lines[at].value_at, self.lines[at].value_size, maximum)
        if number < 0:
            raise ParseError(f"malformed {sip_header_name(id).text.decode()}", at=self.lines[at].value_at)
        return number

    @property
    def version(self) -> str:
        """The SIP version of the start line."""
        cdef sip_span span = self.index.method_token
        cdef str start_line
        if self.index.status_code:
            return span_text(self.octets, span)
        start_line = self.octets.split(b"\r\n", 1)[0].decode("utf-8", "surrogateescape")
        return start_line.rstrip(" ").rpartition(" ")[2]

    @property
    def via(self) -> list:
        """Every Via value, top first."""
        cdef Py_ssize_t at = self.next_line(SIP_VIA, NULL, 0, 0)
        cdef size_t begin, end, stop = 0
        cdef list values = []
        if self._values is None:
            self._values = {}
        known = self._values.get(SIP_VIA)
        if known is not None:
            return list(known)
        while at >= 0:
            begin = self.lines[at].value_at
            end = begin + self.lines[at].value_size
            while True:
                values.append(via_view(self.octets, begin, end, sip_default_limits.parameter_count, &stop))
                begin = stop + 1
                if stop == end:
                    break
            at = self.next_line(SIP_VIA, NULL, 0, at + 1)
        self._values[SIP_VIA] = tuple(values)
        return values

    @property
    def top_via(self):
        """The first Via value, None when there is no Via."""
        cdef Py_ssize_t at
        cdef size_t begin, stop = 0
        if self._top_via is None:
            at = self.next_line(SIP_VIA, NULL, 0, 0)
            if at >= 0 and not self.index.fault:
                self._top_via = known_via(self.octets, self.index.top_via, self.index.branch)
                return self._top_via
            if at >= 0:
                begin = self.lines[at].value_at
                self._top_via = via_view(self.octets, begin, begin + self.lines[at].value_size,
                                         sip_default_limits.parameter_count, &stop)
        return self._top_via

    @property
    def from_(self):
        if self._from is None:
            self._from = self.address(SIP_FROM)
        return self._from

    @property
    def to(self):
        if self._to is None:
            self._to = self.address(SIP_TO)
        return self._to

    @property
    def call_id(self) -> str | None:
        if self._call_id is None and self.index.call_id.size:
            self._call_id = span_text(self.octets, self.index.call_id)
        return self._call_id

    @property
    def cseq(self):
        cdef sip_span method = self.index.cseq_method_token
        if self._cseq is None and method.size:
            self._cseq = new_cseq(self.index.cseq_number, method_text(self.octets, self.index.cseq_method, method))
        return self._cseq

    @property
    def contacts(self) -> list:
        """Every Contact value; `Contact: *` is none (message["Contact"] tells)."""
        return list(self.addresses(SIP_CONTACT))

    @property
    def routes(self) -> list:
        return list(self.addresses(SIP_ROUTE))

    @property
    def record_routes(self) -> list:
        return list(self.addresses(SIP_RECORD_ROUTE))

    @property
    def max_forwards(self) -> int | None:
        """0 to 255 (RFC 3261 section 20.22)."""
        return self.number(SIP_MAX_FORWARDS, 255)

    @property
    def expires(self) -> int | None:
        """Seconds, below 2**32 (RFC 3261 section 20.19)."""
        return self.number(SIP_EXPIRES, 0xFFFFFFFF)

    @property
    def content_length(self) -> int | None:
        """As sent; None when absent."""
        return self.number(SIP_CONTENT_LENGTH, 0x7FFFFFFF)

    @property
    def content_type(self) -> str | None:
        """As sent, unfolded."""
        return self.get("Content-Type")

    @property
    def body(self) -> bytes:
        cdef size_t size = PyBytes_GET_SIZE(self.octets), at = self.index.body_at
        if at == 0 or at >= size:
            return b""
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.octets) + at, min(size - at, self.index.body_size))

    # ---- the whole

    def edit(self):
        """An Editor that starts from this message."""
        cdef Editor editor = Editor.__new__(Editor)
        editor.begin(self, self.octets, &self.index, self.lines)
        return editor

    def with_via(self, via: str) -> bytes:
        """The octets with a Via line on top, for the next hop (RFC 3261 section 16.6 item 8)."""
        cdef bytes value = octets_of(via, "Via"), octets
        cdef size_t size = PyBytes_GET_SIZE(self.octets), via_size = PyBytes_GET_SIZE(value), at
        cdef char *out
        if self.index.body_at == 0:
            raise UsageError("a message without an end of its headers cannot be forwarded")
        at = self.lines[0].name_at if self.index.line_count else self.index.body_at - 2
        octets = PyBytes_FromStringAndSize(NULL, size + via_size + 7)
        out = PyBytes_AS_STRING(octets)
        memcpy(out, PyBytes_AS_STRING(self.octets), at)
        memcpy(out + at, "Via: ", 5)
        memcpy(out + at + 5, PyBytes_AS_STRING(value), via_size)
        memcpy(out + at + 5 + via_size, "\r\n", 2)
        memcpy(out + at + 7 + via_size, PyBytes_AS_STRING(self.octets) + at, size - at)
        return octets

    def without_via(self) -> bytes:
        """The octets without the top Via value, for the hop before (RFC 3261 section 16.7 item 3)."""
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        cdef size_t begin = 0, end = 0, size = PyBytes_GET_SIZE(self.octets)
        cdef bytes shorter
        if not sip_top_via_span(octets, &self.index, self.lines, &begin, &end):
            raise UsageError("a message without Via is not sent back")
        shorter = PyBytes_FromStringAndSize(NULL, size - (end - begin))
        memcpy(PyBytes_AS_STRING(shorter), octets, begin)
        memcpy(PyBytes_AS_STRING(shorter) + begin, octets + end, size - end)
        return shorter

    def diff(self, other: Message) -> list:
        """What is different in `other`: Change values in the order of the lines, [] for equal messages."""
        return diff(described(self), described(other))

    def __bytes__(self) -> bytes:
        return self.octets

    def __eq__(self, other) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.octets == (<Message>other).octets

    def __hash__(self) -> int:
        return hash(self.octets)


@cython.final
@cython.no_gc
cdef class Request(Message):
    """A request (RFC 3261 section 7.1)."""

    @property
    def method(self) -> str:
        return method_text(self.octets, self.index.method, self.index.method_token)

    @property
    def request_uri(self):
        cdef sip_span span = self.index.request_uri
        if self._request_uri is None:
            self._request_uri = uri_view(self.octets, span.at, <size_t>span.at + span.size)
        return self._request_uri

    @property
    def to_tag(self) -> str | None:
        """The tag in To; None without one: a request outside of dialogs (RFC 3261 section 12.2.2)."""
        return span_text(self.octets, self.index.to_tag) if self.index.to_tag.size else None

    @property
    def is_plain(self) -> bool:
        """A sip or sips Request-URI and no Require: nothing for RFC 3261 section 8.2.2 to look at."""
        cdef const char *scheme = PyBytes_AS_STRING(self.octets) + self.index.request_uri.at
        if self.index.request_uri.size < 5 or self.next_line(REQUIRE, NULL, 0, 0) >= 0:
            return False
        return strncasecmp(scheme, "sip:", 4) == 0 or strncasecmp(scheme, "sips:", 5) == 0

    def reply(self, status_code: int, reason_phrase: str | None = None, *, headers=(), body: bytes = b"") -> None:
        """Send a response; `headers` are (name, value) pairs.  UsageError for a request that nobody received."""
        if self.responder is None:
            raise UsageError("a request that was not received cannot be answered")
        (<Responder>self.responder).respond(self, status_code, reason_phrase, headers, body)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.call_id} {span_text(self.octets, self.index.from_tag)}>"


@cython.final
@cython.no_gc
cdef class Response(Message):
    """A response (RFC 3261 section 7.2)."""

    @property
    def status_code(self) -> int:
        return self.index.status_code

    @property
    def reason_phrase(self) -> str:
        return span_text(self.octets, self.index.request_uri)

    def __repr__(self) -> str:
        return f"<Response {self.index.status_code} {self.cseq} {self.call_id}>"


cdef list described(Message message):
    """Start line, headers and body as (name, value) pairs: what a difference is told in."""
    line = message.octets.split(b"\r\n", 1)[0].decode("utf-8", "surrogateescape")
    return [("", line), *message.headers, ("body", message.body.decode("utf-8", "backslashreplace"))]


cdef str method_text(bytes octets, int method, sip_span token):
    return <str>METHODS[method] if method else span_text(octets, token)


cdef Message allocate(bint is_response):
    if is_response:
        return Response.__new__(Response)
    return Request.__new__(Request)


cdef int spill(Message message, size_t count) except -1:
    """Room for more lines than fit inline."""
    message.spilled = PyBytes_FromStringAndSize(NULL, count * sizeof(sip_line))
    message.lines = <sip_line *>PyBytes_AS_STRING(message.spilled)
    return 0


cdef Message message_from_scan(const char *octets, const sip_index *index, const sip_line *lines):
    cdef Message message = allocate(index.status_code != 0)
    message.octets = PyBytes_FromStringAndSize(octets, index.size)
    if index.line_count > SIP_LINES_INLINE:
        spill(message, index.line_count)
    memcpy(message.lines, lines, index.line_count * sizeof(sip_line))
    message.index = index[0]
    return message


cdef int scan_into(Message message, bytes octets, const sip_limits *limits) except? -1:
    """Scan straight into the message; the result of sip_scan, more lines than fit inline being allocated."""
    cdef const char *text = PyBytes_AS_STRING(octets)
    cdef size_t size = PyBytes_GET_SIZE(octets), room
    cdef int result = sip_scan(text, size, limits, message.inline_lines, SIP_LINES_INLINE, &message.index)
    if result == SIP_MORE_LINES:
        room = message.index.line_count
        memset(&message.index, 0, sizeof(message.index))
        spill(message, room)
        result = sip_scan(text, size, limits, message.lines, room, &message.index)
    return result


cdef Message message_from_bytes(bytes octets, const sip_limits *limits):
    cdef const char *text = PyBytes_AS_STRING(octets)
    cdef Message message = allocate(is_response(text, PyBytes_GET_SIZE(octets)))
    if scan_into(message, octets, limits):
        raise parse_error(message.index.fault, message.index.fault_at)
    if message.index.size < PyBytes_GET_SIZE(octets):
        octets = PyBytes_FromStringAndSize(text, message.index.size)
    message.octets = octets
    return message


cdef inline bint is_response(const char *text, size_t size) noexcept:
    return size >= 4 and text[3] == c"/" and (text[0] | 0x20) == c"s" and (text[1] | 0x20) == c"i" and (
        text[2] | 0x20) == c"p"


cdef bytes octets_copied(object data):
    """The octets of what is no bytes, or is a subclass of it."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"a message is parsed from bytes, not {type(data).__name__}")
    return bytes(data)


def parse(data: bytes | bytearray | memoryview, *, uint32_t max_size=131072, uint32_t max_head_size=65535,
          uint32_t max_headers=2048, uint32_t max_header_size=16384, uint32_t max_name_size=128,
          uint32_t max_parameters=128, uint32_t lenience=63) -> Request | Response:
    """The message in one datagram, or one framed message of a stream (RFC 3261 section 7).

    The limits and the lenience are those of sipcore.Limits.

    Top Via, From, To, Call-ID, CSeq and Content-Length are checked here; other typed attributes are when read.  Octets
    after the body that Content-Length announces are noise and not part of the message (RFC 4475 section 3.1.1.8).
    ParseError otherwise; beyond a limit its `status_hint` is 513.
    """
    cdef sip_limits limits
    limits.message_size = max_size
    limits.head_size = min(max_head_size, <uint32_t>SIP_HEAD_MAX)
    limits.line_count = min(max_headers, <uint32_t>0xffff)
    limits.line_size = max_header_size
    limits.name_size = min(max_name_size, <uint32_t>255)
    limits.parameter_count = max_parameters
    limits.flags = 0
    limits.lenience = lenience
    return message_from_bytes(data if type(data) is bytes else octets_copied(data), &limits)


def salvage(data: bytes | bytearray | memoryview) -> Request | Response | None:
    """What can be read of octets that `parse` refuses, for a log or an answer; None without a start line.

    The parts that are malformed are absent, or raise ParseError when read; the body is all that follows the head.
    """
    cdef bytes octets = octets_copied(data)
    cdef Message message = allocate(is_response(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets)))
    scan_into(message, octets, &sip_default_limits)
    if not message.index.method_token.size:
        return None
    message.octets = octets
    message.index.body_size = PyBytes_GET_SIZE(octets) - message.index.body_at if message.index.body_at else 0
    return message


def instruction_sets() -> list[str]:
    """What this machine can index header lines with, best first; the best is used."""
    cdef list names = []
    cdef size_t number = 0
    while number < 8:
        if sip_instruction_set(number) is not NULL:
            names.append(sip_instruction_set(number).decode())
        number += 1
    return names


def use_instruction_set(name: str) -> None:
    """Choose one of `instruction_sets` for `parse`; the result is the same with each.  UsageError for another."""
    if sip_use_instruction_set(name.encode()):
        raise UsageError(f"this machine has no {name}")


# ---- writing

cdef bytes format_response(Request request, int status_code, object reason_phrase, object headers, bytes body,
                           object to_tag, const sip_source *source=NULL):
    return write_response(PyBytes_AS_STRING(request.octets), &request.index, request.lines, status_code,
                          reason_phrase, headers, body, to_tag, source)


cdef Message built(bytes octets):
    """The message in octets that were written here; what cannot be parsed was asked for wrongly."""
    cdef sip_limits limits = sip_default_limits
    limits.message_size = 0x7FFFFFFF
    limits.line_count = limits.line_size = SIP_HEAD_MAX
    limits.name_size = 255
    try:
        return message_from_bytes(octets, &limits)
    except ParseError as error:
        raise UsageError(f"no SIP message: {error}") from error


def build_request(method: str, request_uri: object, headers: object, body: bytes = b"") -> Request:
    """A request from (name, value) pairs.  Content-Length is added; what makes no SIP message is a UsageError."""
    return built(format_request(method, str(request_uri), headers, body))


def build_response(request: Request, status_code: int, reason_phrase: str | None = None, *, to_tag: str | None = None,
                   headers: object = (), body: bytes = b"") -> Response:
    """The response to a request (RFC 3261 section 8.2.6).

    Via, From, To, Call-ID and CSeq are the request's; `to_tag` is put on a To without tag, except for a 100.
    Record-Route is copied where the response makes a dialog (12.1.1), Timestamp for a 100.
    """
    return built(format_response(request, status_code, reason_phrase, headers, body, to_tag))


def serialize_response(request: Request, status_code: int, reason_phrase: str | None = None, *,
                       to_tag: str | None = None, headers: object = (), body: bytes = b"") -> bytes:
    """The octets of `build_response`, not parsed again: also for a request that `parse` refused."""
    return format_response(request, status_code, reason_phrase, headers, body, to_tag)


@cython.final
cdef class Editor(Draft):
    """A draft that becomes a message: every change returns the editor, `build` gives the message."""

    def __init__(self, message: Message):
        self.begin(message, message.octets, &message.index, message.lines)

    def build(self) -> Request | Response:
        """The new message; UsageError if it is none."""
        return built(bytes(self))
