# distutils: sources = src_pyx/sipcore/c/scan.c
"""Octets out: requests and responses written from values, and edited copies of messages (RFC 3261 sections 7 and 8).

Strict in what it writes: CR, LF or NUL in any text is a UsageError.  Does not know Message, which stands above and
parses what was written here before it is handed out.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

from sipcore.scan cimport *
from sipcore._text cimport same_name
from sipcore._uri cimport octets_of

from typing import NamedTuple

from sipcore import constants
from sipcore.errors import UsageError


cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const char *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef enum:
    WRITER_ROOM = 4096


# ---- writer

cdef inline void start(Writer *writer, char *own, size_t room) noexcept:
    writer.octets = writer.own = own
    writer.size = 0
    writer.room = room


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
    cdef char own[WRITER_ROOM]
    start(&writer, own, sizeof(own))
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
    cdef char own[WRITER_ROOM]
    cdef sip_answer answer
    cdef size_t phrase_size
    if not 100 <= status_code <= 699:
        raise UsageError(f"no status code: {status_code}")
    memset(&answer, 0, sizeof(answer))
    start(&writer, own, sizeof(own))
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

cdef enum:
    PLACE_NOWHERE                # taken out again
    PLACE_TOP
    PLACE_INSTEAD                # where a line of the message was
    PLACE_END

cdef enum:
    FATE_KEPT
    FATE_GONE
    FATE_REPLACED                # by new line number fate - FATE_REPLACED


cdef inline size_t copied(char *out, size_t at, const char *octets, size_t size) noexcept:
    """Behind what was written; without `out` only counted."""
    if out is not NULL:
        memcpy(out + at, octets, size)
    return at + size


@cython.no_gc
@cython.freelist(16)
cdef class Draft:
    """A changed copy of a message in the making; every change returns the draft.

    Lines that are not touched are copied as they came; a header is found in every spelling of its name.
    """

    def __cinit__(self, *_):
        self.octets = b""
        self.lines = self.own_lines
        self.room = DRAFT_LINES
        self.fates = self.own_fates
        start(&self.text, self.own_text, sizeof(self.own_text))

    def __dealloc__(self):
        discard(&self.text)
        if self.lines is not self.own_lines:
            PyMem_Free(self.lines)
        if self.fates is not self.own_fates:
            PyMem_Free(self.fates)

    cdef int begin(self, object owner, bytes octets, const sip_index *index, const sip_line *old_lines) except -1:
        if self.index is not NULL:
            raise UsageError("a draft is begun once")
        if index.body_at == 0:
            raise UsageError("a message without an end of its headers cannot be edited")
        if index.line_count > SIP_LINES_INLINE:
            self.fates = <uint16_t *>PyMem_Calloc(index.line_count, sizeof(uint16_t))
            if self.fates is NULL:
                self.fates = self.own_fates
                raise MemoryError
        self.owner = owner
        self.octets = octets
        self.index = index
        self.old_lines = old_lines
        self.old_count = index.line_count
        return 0

    # ---- slots: the new lines on top, last one first, those of the message, the new lines at the end

    cdef drafted_line *new_line_of(self, size_t slot) noexcept:
        """The new line in a slot; NULL for a line of the message, and for nothing."""
        cdef drafted_line *line
        if slot < self.count:
            line = &self.lines[self.count - 1 - slot]
            return line if line.place == PLACE_TOP else NULL
        slot -= self.count
        if slot < self.old_count:
            return &self.lines[self.fates[slot] - FATE_REPLACED] if self.fates[slot] >= FATE_REPLACED else NULL
        line = &self.lines[slot - self.old_count]
        return line if line.place == PLACE_END else NULL

    cdef const sip_line *old_line_of(self, size_t slot) noexcept:
        """The line of the message in a slot, when it is there as it came."""
        if slot < self.count or slot >= self.count + self.old_count or self.fates[slot - self.count] != FATE_KEPT:
            return NULL
        return &self.old_lines[slot - self.count]

    cdef Py_ssize_t next_slot(self, size_t start, const header_name *name) noexcept:
        """The first slot from `start` on that holds this header; -1 for none."""
        cdef size_t slot
        cdef const drafted_line *line
        cdef const sip_line *old
        for slot in range(start, 2 * self.count + self.old_count):
            line = self.new_line_of(slot)
            if line is not NULL:
                if line.id == name.id and (name.id != SIP_OTHER or same_name(
                        self.text.octets + line.at, line.name_size, name.text, name.size)):
                    return slot
                continue
            old = self.old_line_of(slot)
            if old is not NULL and <int>(old.id & SIP_ID_MASK) == name.id and (name.id != SIP_OTHER or same_name(
                    PyBytes_AS_STRING(self.octets) + old.name_at, old.name_size, name.text, name.size)):
                return slot
        return -1

    cdef int drop(self, size_t slot) except -1:
        cdef drafted_line *line = self.new_line_of(slot)
        if self.count <= slot < self.count + self.old_count:
            self.fates[slot - self.count] = FATE_GONE
        if line is not NULL:
            line.place = PLACE_NOWHERE
        return 0

    cdef int put_in_slot(self, size_t slot, drafted_line line) except -1:
        cdef drafted_line *old = self.new_line_of(slot)
        if old is not NULL:
            line.place = old.place
            old[0] = line
            return 0
        line.place = PLACE_INSTEAD
        self.append(line)
        self.fates[slot - self.count + 1] = <uint16_t>(FATE_REPLACED + self.count - 1)
        return 0

    cdef int append(self, drafted_line line) except -1:
        """A new line after all others that were made.  It moves slots."""
        cdef drafted_line *lines
        if self.count == 0xFFFF - FATE_REPLACED:
            raise UsageError("too many changes for one draft")
        if self.count == self.room:
            lines = <drafted_line *>PyMem_Malloc(2 * self.room * sizeof(drafted_line))
            if lines is NULL:
                raise MemoryError
            memcpy(lines, self.lines, self.count * sizeof(drafted_line))
            if self.lines is not self.own_lines:
                PyMem_Free(self.lines)
            self.lines = lines
            self.room *= 2
        self.lines[self.count] = line
        self.count += 1
        return 0

    # ---- changes

    cdef int write_line(self, str name, object value, int place, drafted_line *line) except -1:
        cdef size_t at = self.text.size, size
        put_text(&self.text, name, "header name")
        size = self.text.size - at
        if not sip_is_token(self.text.octets + at, size):
            raise UsageError(f"no header name: {name!r}")
        put(&self.text, ": ", 2)
        put_text(&self.text, value, "header value")
        put(&self.text, "\r\n", 2)
        line.at = <uint32_t>at
        line.size = <uint32_t>(self.text.size - at)
        line.name_size = <uint32_t>size
        line.id = <uint8_t>sip_header_id(self.text.octets + at, size)
        line.place = <uint8_t>place
        return 0

    def add(self, name: str, value: str) -> Draft:
        """A line after all others."""
        cdef drafted_line line
        self.write_line(name, value, PLACE_END, &line)
        self.append(line)
        return self

    def insert(self, name: str, value: str) -> Draft:
        """A line before all others."""
        cdef drafted_line line
        self.write_line(name, value, PLACE_TOP, &line)
        self.append(line)
        return self

    def replace(self, name: str, value: str) -> Draft:
        """One line in place of all of this header: where the first one was, else at the end."""
        cdef drafted_line line
        cdef header_name wanted
        cdef Py_ssize_t first, slot
        self.write_line(name, value, PLACE_END, &line)
        wanted.text, wanted.size, wanted.id = self.text.octets + line.at, line.name_size, line.id
        first = slot = self.next_slot(0, &wanted)
        if first < 0:
            self.append(line)
            return self
        while True:
            slot = self.next_slot(slot + 1, &wanted)
            if slot < 0:
                break
            self.drop(slot)
        self.put_in_slot(first, line)
        return self

    def remove(self, name: str) -> Draft:
        """Every line of this header, in every spelling."""
        cdef bytes encoded = name.encode("utf-8", "surrogateescape")
        cdef header_name wanted = name_of(encoded)
        cdef Py_ssize_t slot = self.next_slot(0, &wanted)
        while slot >= 0:
            self.drop(slot)
            slot = self.next_slot(slot + 1, &wanted)
        return self

    def remove_first(self, name: str) -> Draft:
        """The first value: its line, or what stands before the first comma of a list."""
        cdef bytes encoded = name.encode("utf-8", "surrogateescape")
        cdef header_name wanted = name_of(encoded)
        cdef Py_ssize_t slot = self.next_slot(0, &wanted)
        if slot >= 0 and not (sip_header_has_list(wanted.id) and self.shorten(slot)):
            self.drop(slot)
        return self

    cdef bint shorten(self, size_t slot) except -1:
        """Take the first value from a line; False for the only one."""
        cdef const drafted_line *line = self.new_line_of(slot)
        cdef const sip_line *old = self.old_line_of(slot)
        cdef bytes copy
        cdef const char *octets
        cdef size_t at, end, name_size
        cdef drafted_line shorter
        if line is not NULL:
            copy = self.text.octets[line.at:line.at + line.size - 2]
            octets, name_size, at, end = copy, line.name_size, line.name_size + 2, line.size - 2
        else:
            octets = PyBytes_AS_STRING(self.octets) + old.name_at
            name_size, at, end = old.name_size, old.value_at - old.name_at, old.value_at - old.name_at + old.value_size
        at = sip_list_value_end(octets, at, end) + 1
        while at < end and octets[at] in b" \t\r\n":
            at += 1
        if at >= end:
            return False
        shorter.at = <uint32_t>self.text.size
        shorter.size = <uint32_t>(name_size + end - at + 4)
        shorter.name_size = <uint32_t>name_size
        shorter.id = <uint8_t>sip_header_id(octets, name_size)
        put(&self.text, octets, name_size)
        put(&self.text, ": ", 2)
        put(&self.text, octets + at, end - at)
        put(&self.text, "\r\n", 2)
        self.put_in_slot(slot, shorter)
        return True

    def set_request_uri(self, uri: object) -> Draft:
        """UsageError on a response."""
        if self.index is NULL or self.index.status_code:
            raise UsageError("a response has no Request-URI")
        cdef size_t at = self.text.size
        put(&self.text, PyBytes_AS_STRING(self.octets), self.index.method_token.size)
        put(&self.text, " ", 1)
        put_text(&self.text, str(uri), "Request-URI")
        put(&self.text, " SIP/2.0\r\n", 10)
        self.start_at, self.start_size = at, self.text.size - at
        return self

    def set_status(self, status_code: int, reason_phrase: str | None = None) -> Draft:
        """UsageError on a request."""
        if self.index is NULL or not self.index.status_code:
            raise UsageError("a request has no status code")
        if not 100 <= status_code <= 699:
            raise UsageError(f"no status code: {status_code}")
        cdef size_t at = self.text.size
        put(&self.text, "SIP/2.0 ", 8)
        put_number(&self.text, <size_t>status_code)
        put(&self.text, " ", 1)
        put_text(&self.text, constants.reason_phrase(status_code) if reason_phrase is None else reason_phrase,
                 "reason phrase")
        put(&self.text, "\r\n", 2)
        self.start_at, self.start_size = at, self.text.size - at
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

    # ---- the whole

    def __bytes__(self) -> bytes:
        """The octets as they are now, not checked."""
        if self.index is NULL:
            raise UsageError("a draft of no message")
        cdef bytes octets = PyBytes_FromStringAndSize(NULL, self.splice(NULL))
        self.splice(PyBytes_AS_STRING(octets))
        return octets

    cdef size_t splice(self, char *out) noexcept:
        """Write the octets to `out`, which has room for them, or only count them."""
        cdef const char *octets = PyBytes_AS_STRING(self.octets)
        cdef size_t size, number, head_end = self.index.body_at - 2
        cdef size_t lines_at = self.old_lines[0].name_at if self.old_count else head_end
        if self.start_size:
            size = copied(out, 0, self.text.octets + self.start_at, self.start_size)
        else:
            size = copied(out, 0, octets, lines_at)
        for number in range(self.count, 0, -1):
            size = self.splice_line(out, size, number - 1, PLACE_TOP)
        size = self.splice_old_lines(out, size)
        for number in range(self.count):
            size = self.splice_line(out, size, number, PLACE_END)
        if self.new_body is None:
            return copied(out, size, octets + head_end, PyBytes_GET_SIZE(self.octets) - head_end)
        size = copied(out, size, "\r\n", 2)
        return copied(out, size, PyBytes_AS_STRING(self.new_body), PyBytes_GET_SIZE(self.new_body))

    cdef size_t splice_line(self, char *out, size_t size, size_t number, int place) noexcept:
        if self.lines[number].place != place:
            return size
        return copied(out, size, self.text.octets + self.lines[number].at, self.lines[number].size)

    cdef size_t splice_old_lines(self, char *out, size_t size) noexcept:
        """Lines of the message, a run of those that are kept at once."""
        cdef size_t at = 0, first, begin, end
        while at < self.old_count:
            if self.fates[at] != FATE_KEPT:
                if self.fates[at] >= FATE_REPLACED:
                    size = self.splice_line(out, size, self.fates[at] - FATE_REPLACED, PLACE_INSTEAD)
                at += 1
                continue
            first = at
            while at < self.old_count and self.fates[at] == FATE_KEPT:
                at += 1
            begin = self.old_lines[first].name_at
            end = self.old_lines[at].name_at if at < self.old_count else self.index.body_at - 2
            size = copied(out, size, PyBytes_AS_STRING(self.octets) + begin, end - begin)
        return size


cdef header_name name_of(bytes name):
    cdef header_name wanted
    wanted.text, wanted.size = PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)
    wanted.id = sip_header_id(wanted.text, wanted.size)
    return wanted


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
