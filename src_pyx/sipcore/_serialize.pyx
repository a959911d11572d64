# distutils: sources = src_pyx/sipcore/c/scan.c
"""Octets out: requests and responses written from values, and edited copies of messages (RFC 3261 sections 7 and 8).

Strict in what it writes: CR, LF or NUL in any text is a UsageError.  Does not know Message, which stands above and
parses what was written here before it is handed out.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memcpy, memset

from sipcore.scan cimport *
from sipcore._text cimport text_of
from sipcore._uri cimport octets_of, unfold

from typing import NamedTuple

from sipcore import constants
from sipcore.errors import UsageError


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


# ---- writer

cdef inline void start(Writer *writer) noexcept:
    writer.octets = writer.own
    writer.size = 0
    writer.room = sizeof(writer.own)


cdef inline void discard(Writer *writer) noexcept:
    if writer.octets is not writer.own:
        PyMem_Free(writer.octets)


cdef int grow(Writer *writer, size_t size) except -1:
    """Room for `size` more octets."""
    cdef size_t room = max(2 * writer.room, writer.size + size)
    cdef char *octets
    if writer.octets is writer.own:
        octets = <char *>PyMem_Malloc(room)
    else:
        octets = <char *>PyMem_Realloc(writer.octets, room)
    if octets is NULL:
        raise MemoryError
    if writer.octets is writer.own:
        memcpy(octets, writer.own, writer.size)
    writer.octets = octets
    writer.room = room
    return 0


cdef inline int put(Writer *writer, const char *octets, size_t size) except -1:
    if writer.size + size > writer.room:
        grow(writer, size)
    memcpy(writer.octets + writer.size, octets, size)
    writer.size += size
    return 0


cdef int put_text(Writer *writer, object text, str what) except -1:
    """A str of the application; UsageError for CR, LF and NUL."""
    cdef bytes encoded
    cdef size_t size
    if PyUnicode_CheckExact(text) and PyUnicode_IS_COMPACT_ASCII(text):
        size = PyUnicode_GET_LENGTH(text)
        if writer.size + size > writer.room:
            grow(writer, size)
        if not sip_copy_safe(writer.octets + writer.size, PyUnicode_DATA(text), size):
            raise UsageError(f"{what} with CR, LF or NUL")
        writer.size += size
        return 0
    encoded = octets_of(text, what)
    return put(writer, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))


cdef int put_number(Writer *writer, size_t number) except -1:
    cdef char digits[20]
    cdef size_t at = sizeof(digits)
    while True:
        at -= 1
        digits[at] = <char>(c"0" + number % 10)
        number //= 10
        if number == 0:
            break
    return put(writer, digits + at, sizeof(digits) - at)


cdef int put_header(Writer *writer, object name, object value) except -1:
    """One line; a Content-Length is left out, the right one is added at the end."""
    cdef size_t at = writer.size, size
    put_text(writer, name, "header name")
    size = writer.size - at
    if not sip_is_token(writer.octets + at, size):
        raise UsageError(f"no header name: {name!r}")
    if (size == 14 or size == 1) and sip_header_id(writer.octets + at, size) == SIP_CONTENT_LENGTH:
        writer.size = at
        return 0
    put(writer, ": ", 2)
    put_text(writer, value, "header value")
    return put(writer, "\r\n", 2)


cdef int put_headers(Writer *writer, object headers) except -1:
    for pair in headers:
        if type(pair) is tuple and len(<tuple>pair) == 2:
            put_header(writer, (<tuple>pair)[0], (<tuple>pair)[1])
        else:
            name, value = pair
            put_header(writer, name, value)
    return 0


cdef inline bytes written(Writer *writer):
    return PyBytes_FromStringAndSize(writer.octets, writer.size)


# ---- requests

cdef bytes format_request(object method, object request_uri, object headers, bytes body):
    cdef Writer writer
    start(&writer)
    try:
        put_text(&writer, method, "method")
        if not sip_is_token(writer.octets, writer.size):
            raise UsageError(f"no method: {method!r}")
        put(&writer, " ", 1)
        put_text(&writer, request_uri, "Request-URI")
        put(&writer, " SIP/2.0\r\n", 10)
        put_headers(&writer, headers)
        put(&writer, "Content-Length: ", 16)
        put_number(&writer, PyBytes_GET_SIZE(body))
        put(&writer, "\r\n\r\n", 4)
        put(&writer, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        return written(&writer)
    finally:
        discard(&writer)


def serialize_request(method: str, request_uri: str, headers: object, body: bytes = b"") -> bytes:
    """The octets of a request; only what could end a line early is checked, not whether it makes a SIP message."""
    return format_request(method, request_uri, headers, body)


# ---- responses

cdef bint makes_dialog(int method, int status_code) noexcept:
    """RFC 3261 section 12.1.1, RFC 6665 section 4.1.2: responses that carry Record-Route back."""
    return 100 < status_code < 300 and (
        method == SIP_METHOD_INVITE or method == SIP_METHOD_SUBSCRIBE or method == SIP_METHOD_REFER
        or method == SIP_METHOD_NOTIFY)


cdef bytes answered(const char *octets, const sip_index *index, const sip_line *lines, sip_answer *answer):
    """The octets of the response, through a buffer on the stack when it is small."""
    cdef size_t room = sip_response_room(index, answer), size
    cdef char small[4096]
    cdef char *out = &small[0] if room <= sizeof(small) else <char *>PyMem_Malloc(room)
    if out is NULL:
        raise MemoryError
    try:
        size = sip_write_response(octets, index, lines, answer, out, room)
        if size == 0:
            raise UsageError("a request without Via cannot be answered")
        return PyBytes_FromStringAndSize(out, size)
    finally:
        if out is not &small[0]:
            PyMem_Free(out)


cdef bytes write_response(const char *octets, const sip_index *index, const sip_line *lines, int status_code,
                          object reason_phrase, object headers, bytes body, object to_tag, const sip_source *source):
    cdef Writer writer
    cdef sip_answer answer
    cdef size_t phrase_size
    if not 100 <= status_code <= 699:
        raise UsageError(f"no status code: {status_code}")
    memset(&answer, 0, sizeof(answer))
    start(&writer)
    try:
        if reason_phrase is None and sip_reason_phrase(status_code).size == 0:
            reason_phrase = constants.reason_phrase(status_code)
        if reason_phrase is not None:
            put_text(&writer, reason_phrase, "reason phrase")
        phrase_size = writer.size
        if to_tag is not None:
            put_text(&writer, to_tag, "To tag")
        answer.to_tag_size = writer.size - phrase_size
        put_headers(&writer, headers)
        if reason_phrase is not None:
            answer.reason_phrase = writer.octets
            answer.reason_phrase_size = phrase_size
        answer.status_code = status_code
        answer.to_tag = writer.octets + phrase_size
        answer.header_lines = answer.to_tag + answer.to_tag_size
        answer.header_lines_size = writer.size - phrase_size - answer.to_tag_size
        answer.body = PyBytes_AS_STRING(body)
        answer.body_size = PyBytes_GET_SIZE(body)
        answer.source = source
        answer.keeps_record_route = makes_dialog(index.method, status_code)
        return answered(octets, index, lines, &answer)
    finally:
        discard(&writer)


# ---- editing

@cython.final
cdef class Line:
    """A header line that the application wrote: without line end."""
    cdef int id
    cdef str name
    cdef bytes octets


cdef Line new_line(str name, object value):
    cdef Line line = Line.__new__(Line)
    cdef bytes name_octets = octets_of(name, "header name")
    cdef size_t size = PyBytes_GET_SIZE(name_octets)
    if not sip_is_token(PyBytes_AS_STRING(name_octets), size):
        raise UsageError(f"no header name: {name!r}")
    line.id = sip_header_id(PyBytes_AS_STRING(name_octets), size)
    line.name = name.lower()
    line.octets = name_octets + b": " + octets_of(value, "header value")
    return line


cdef class Draft:
    """A changed copy of a message in the making; every change returns the draft.

    Lines that are not touched are copied as they came; a header is found in every spelling of its name.
    """

    def __cinit__(self, *_):
        self.octets = b""
        self.lines = []

    cdef int begin(self, object owner, bytes octets, const sip_index *index, const sip_line *old_lines) except -1:
        self.owner = owner
        self.octets = octets
        self.index = index
        self.old_lines = old_lines
        self.lines = list(range(index.line_count))
        return 0

    cdef list find(self, str name):
        """Places in `lines` that hold this header, in order."""
        cdef bytes octets = name.lower().encode("utf-8", "surrogateescape")
        cdef int id = sip_header_id(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
        return [at for at, entry in enumerate(self.lines) if self.is_named(entry, id, name.lower())]

    cdef bint is_named(self, object entry, int id, str lower_name):
        cdef const sip_line *line
        cdef Line own
        if isinstance(entry, Line):
            own = <Line>entry
            return own.id == id and (id != SIP_OTHER or own.name == lower_name)
        line = &self.old_lines[<int>entry]
        if <int>(line.id & SIP_ID_MASK) != id:
            return False
        return id != SIP_OTHER or text_of(
            PyBytes_AS_STRING(self.octets) + line.name_at, line.name_size).lower() == lower_name

    def add(self, name: str, value: str) -> Draft:
        """A line after all others."""
        self.lines.append(new_line(name, value))
        return self

    def insert(self, name: str, value: str) -> Draft:
        """A line before all others."""
        self.lines.insert(0, new_line(name, value))
        return self

    def replace(self, name: str, value: str) -> Draft:
        """One line in place of all of this header: where the first one was, else at the end."""
        cdef list places = self.find(name)
        line = new_line(name, value)
        if not places:
            self.lines.append(line)
            return self
        self.lines[places[0]] = line
        self.drop(places[1:])
        return self

    def remove(self, name: str) -> Draft:
        """Every line of this header, in every spelling."""
        self.drop(self.find(name))
        return self

    def remove_first(self, name: str) -> Draft:
        """The first value: its line, or what stands before the first comma of a list."""
        cdef list places = self.find(name)
        if not places:
            return self
        rest = self.rest_of_list(self.lines[places[0]], sip_header_has_list(header_number(name)))
        if rest is None:
            self.drop(places[:1])
        else:
            self.lines[places[0]] = new_line(name, rest)
        return self

    cdef int drop(self, list places) except -1:
        unwanted = set(places)
        self.lines = [entry for at, entry in enumerate(self.lines) if at not in unwanted]
        return 0

    cdef object rest_of_list(self, object entry, bint is_list):
        """What follows the first value of a line; None for nothing."""
        cdef bytes value = self.value_of(entry).encode("utf-8", "surrogateescape")
        cdef size_t end = PyBytes_GET_SIZE(value), stop
        stop = sip_list_value_end(PyBytes_AS_STRING(value), 0, end) if is_list else end
        return text_of(PyBytes_AS_STRING(value) + stop + 1, end - stop - 1).strip(" \t") if stop < end else None

    cdef str value_of(self, object entry):
        if isinstance(entry, Line):
            return (<Line>entry).octets.decode("utf-8", "surrogateescape").partition(": ")[2]
        cdef const sip_line *line = &self.old_lines[<int>entry]
        return unfold(PyBytes_AS_STRING(self.octets) + line.value_at, line.value_size)

    def set_request_uri(self, uri: object) -> Draft:
        """UsageError on a response."""
        if self.index is NULL or self.index.status_code:
            raise UsageError("a response has no Request-URI")
        cdef bytes method = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.octets), self.index.method_token.size)
        self.start_line = method + b" " + octets_of(str(uri), "Request-URI") + b" SIP/2.0"
        return self

    def set_status(self, status_code: int, reason_phrase: str | None = None) -> Draft:
        """UsageError on a request."""
        if self.index is NULL or not self.index.status_code:
            raise UsageError("a request has no status code")
        if not 100 <= status_code <= 699:
            raise UsageError(f"no status code: {status_code}")
        phrase = constants.reason_phrase(status_code) if reason_phrase is None else reason_phrase
        self.start_line = f"SIP/2.0 {status_code} ".encode() + octets_of(phrase, "reason phrase")
        return self

    def set_body(self, body: bytes, content_type: str | None = None) -> Draft:
        """Content-Length follows; without a body and without `content_type`, Content-Type goes."""
        self.new_body = bytes(body)
        self.replace("Content-Length", str(len(body)))
        if content_type is not None:
            self.replace("Content-Type", content_type)
        elif not body:
            self.remove("Content-Type")
        return self

    def __bytes__(self) -> bytes:
        """The octets as they are now, not checked."""
        if self.index is NULL:
            raise UsageError("a draft of no message")
        cdef list pieces = [self.first_line()]
        cdef size_t first, last
        cdef Py_ssize_t at = 0
        while at < len(self.lines):
            if isinstance(self.lines[at], Line):
                pieces.append((<Line>self.lines[at]).octets)
                pieces.append(b"\r\n")
                at += 1
                continue
            first = last = self.lines[at]
            at += 1
            while at < len(self.lines) and not isinstance(self.lines[at], Line) and self.lines[at] == last + 1:
                last += 1
                at += 1
            pieces.append(self.copied(first, last))
        pieces.append(b"\r\n")
        pieces.append(self.octets[self.index.body_at:] if self.new_body is None else self.new_body)
        return b"".join(pieces)

    cdef bytes first_line(self):
        if self.start_line is not None:
            return self.start_line + b"\r\n"
        cdef Py_ssize_t end = self.octets.find(b"\r\n") + 2
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.octets), end)

    cdef bytes copied(self, size_t first, size_t last):
        """Lines first to last of the message with their line ends, as they came."""
        cdef size_t begin = self.old_lines[first].name_at, end
        if last + 1 < self.index.line_count:
            end = self.old_lines[last + 1].name_at
        else:
            end = self.index.body_at - 2
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.octets) + begin, end - begin)


cdef int header_number(str name):
    cdef bytes octets = name.encode("utf-8", "surrogateescape")
    return sip_header_id(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))


# ---- differences

class Change(NamedTuple):
    """One difference: `kind` "+" (only in the new message) or "-" (only in the old one).

    `name` is the header's, "" for the start line and "body" for the body; `value` its text (of a body: its size).
    """

    kind: str
    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}{self.name}{': ' if self.name else ''}{self.value}"


def diff(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[Change]:
    """The changes that make `after` of `before`, both (name, value) pairs."""
    from difflib import SequenceMatcher     # needed for this alone

    changes: list[Change] = []
    for operation, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if operation != "equal":
            changes.extend(Change("-", name, value) for name, value in before[a:b])
            changes.extend(Change("+", name, value) for name, value in after[c:d])
    return changes
