# distutils: sources = src_pyx/sipcore/c/scan.c
"""Messages out of a stream (RFC 3261 section 18.3): any chunking, CRLF keep-alives (RFC 5626 section 3.5.1), limits.

A stream that cannot be framed any more is over: leftover octets never become a second message.  Knows no socket and
no clock; who feeds it closes the connection when a message takes too long.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcpy, memmove

from sipcore.scan cimport *
from sipcore._message cimport Message, message_from_scan, parse_error

from enum import Enum

from sipcore._message import salvage
from sipcore.errors import UsageError



class KeepAlive(Enum):
    """Octets between messages: `PING` is CRLFCRLF, `PONG` a CRLF alone (RFC 5626 section 3.5.1)."""

    PING = "ping"
    PONG = "pong"


@cython.final
@cython.no_gc
cdef class StreamFramer:
    """Splits one direction of one connection into messages.  Limits as `parse` has them.

    Costs the time of its octets once: what was searched is not searched again, whatever the chunks.
    """

    def __cinit__(self, *, uint32_t max_size=131072, uint32_t max_head_size=65535, uint32_t max_headers=2048,
                  uint32_t max_header_size=16384, uint32_t max_name_size=128, uint32_t max_parameters=128,
                  uint32_t lenience=63):
        self.lines = self.inline_lines
        self.limits.flags = SIP_STREAM
        self.limits.message_size = max_size
        self.limits.head_size = min(max_head_size, <uint32_t>SIP_HEAD_MAX)
        self.limits.line_count = min(max_headers, <uint32_t>0xffff)
        self.limits.line_size = max_header_size
        self.limits.name_size = min(max_name_size, <uint32_t>255)
        self.limits.parameter_count = max_parameters
        self.limits.lenience = lenience

    def __dealloc__(self):
        self.free_lines()
        if not self.is_lent:
            PyMem_Free(self.buffer)

    def feed(self, chunk: bytes | bytearray | memoryview) -> list:
        """Messages and keep-alives that `chunk` completes, in order.

        After a fault `error` is the ParseError and `failed` what could be read of the message, for a response with
        error.status_hint; the connection is to be closed.  UsageError when fed again after that.
        """
        cdef bytes octets = chunk if type(chunk) is bytes else bytes(chunk)
        cdef const char *text = NULL
        cdef list found = []
        cdef Frame frame
        if self.is_over:
            raise UsageError("the stream is over")
        self.append(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))
        while True:
            frame = self.next(&text)
            if frame == FRAME_NONE:
                return found
            if frame == FRAME_MESSAGE:
                found.append(message_from_scan(text, &self.index, self.lines))
            elif frame == FRAME_PING:
                found.append(KeepAlive.PING)
            elif frame == FRAME_PONG:
                found.append(KeepAlive.PONG)
            else:
                self.error = parse_error(self.index.fault, self.index.fault_at)
                self.failed = salvage(text[:min(self.end - self.begin, <size_t>SIP_HEAD_MAX)])

    @property
    def waiting(self) -> int:
        """Octets held of a message that is not whole; the deadline of a connection runs while there are any."""
        return self.end - self.begin

    cdef int append(self, const char *octets, size_t size) except -1:
        if self.is_over or size == 0:
            return 0
        self.make_room(size)
        memcpy(self.buffer + self.end, octets, size)
        self.end += size
        return 0

    cdef int lend(self, char *octets, size_t size) except -1:
        if self.end > self.begin or self.is_over:
            return self.append(octets, size)
        PyMem_Free(self.buffer)
        self.buffer, self.begin, self.end, self.room = octets, 0, size, 0
        self.is_lent = True
        return 0

    cdef int take_back(self) except -1:
        cdef const char *rest = self.buffer + self.begin
        cdef size_t size = self.end - self.begin
        if not self.is_lent:
            return 0
        self.is_lent = False
        self.buffer = NULL
        self.begin = self.end = 0
        return self.append(rest, size)

    cdef bint is_fresh(self) noexcept:
        return not (self.end > self.begin or self.is_after_pong or self.pongs_due or self.is_over)

    cdef int make_room(self, size_t size) except -1:
        """Move what is held to the front and grow if that is not enough."""
        cdef size_t held = self.end - self.begin, room = self.room
        cdef char *buffer
        if self.end + size <= room:
            return 0
        if self.begin:
            memmove(self.buffer, self.buffer + self.begin, held)
            self.begin = 0
            self.end = held
        if held + size > room:
            room = max(held + size, 2 * room)
            buffer = <char *>PyMem_Realloc(self.buffer, room)
            if buffer is NULL:
                raise MemoryError
            self.buffer = buffer
            self.room = room
        return 0

    cdef void free_lines(self) noexcept:
        if self.lines is not self.inline_lines:
            PyMem_Free(self.lines)
            self.lines = self.inline_lines

    cdef Frame next(self, const char **octets) except? FRAME_FAULT:
        cdef Frame frame = FRAME_NONE
        if self.is_over:
            return FRAME_NONE
        if self.wanted == 0:
            frame = self.skip_line_ends()
        if frame != FRAME_NONE:
            return frame
        if self.begin == self.end:
            if not self.is_lent:
                PyMem_Free(self.buffer)  # an idle connection holds no buffer
            self.is_lent = False
            self.buffer = NULL
            self.begin = self.end = self.room = 0
            return FRAME_NONE
        if self.end - self.begin < self.wanted or not self.has_head():
            return FRAME_NONE
        octets[0] = self.buffer + self.begin
        return self.scan()

    cdef int expect_pong(self) except -1:
        """A ping went out on this stream: the next CRLF answers it, and is no half of a ping from the far side."""
        self.pongs_due += 1
        return 0

    cdef Frame skip_line_ends(self) noexcept:
        """Take CRLFs in front of a message (RFC 3261 section 7.5); a pair of them, or many, is one ping."""
        cdef size_t count = 0
        while self.end - self.begin >= 2 and self.buffer[self.begin] == c"\r" and self.buffer[self.begin + 1] == c"\n":
            self.begin += 2
            count += 1
        if count == 0:
            if self.end > self.begin and self.buffer[self.begin] != c"\r":
                self.is_after_pong = False
            return FRAME_NONE
        if count <= self.pongs_due:
            self.pongs_due -= <uint32_t>count
            return FRAME_PONG
        if count > 1 or self.is_after_pong:
            self.is_after_pong = False
            return FRAME_PING
        self.is_after_pong = True
        return FRAME_PONG

    cdef bint has_head(self) noexcept:
        """Whether to scan: on the first look at a message, once its head has an end, or when the head is too large."""
        cdef size_t size = self.end - self.begin, at = self.searched
        cdef const char *text = self.buffer + self.begin
        cdef const char *found
        if at == 0 or self.wanted or size > self.limits.head_size:
            return True
        at -= min(at, <size_t>3)
        while at < size:
            found = <const char *>memchr(text + at, c"\n", size - at)
            if found is NULL:
                break
            at = found - text + 1
            if size - at >= 2 and text[at] == c"\r" and text[at + 1] == c"\n":
                return True
        self.searched = size
        return False

    cdef Frame scan(self) except? FRAME_FAULT:
        """The message at `begin`, whose head may be whole.  Takes it out of the buffer if it is there."""
        cdef const char *text = self.buffer + self.begin
        cdef size_t size = self.end - self.begin, room
        cdef int result
        self.free_lines()
        result = sip_scan(text, size, &self.limits, self.lines, SIP_LINES_INLINE, &self.index)
        if result == SIP_MORE_LINES:
            room = self.index.line_count
            self.lines = <sip_line *>PyMem_Malloc(room * sizeof(sip_line))
            if self.lines is NULL:
                self.lines = self.inline_lines
                raise MemoryError
            result = sip_scan(text, size, &self.limits, self.lines, room, &self.index)
        if result == SIP_INCOMPLETE:
            self.wanted = self.index.size
            self.searched = size
            return FRAME_NONE
        if result != SIP_OK:
            self.is_over = True
            return FRAME_FAULT
        self.begin += self.index.size
        self.wanted = self.searched = 0
        self.is_after_pong = False
        return FRAME_MESSAGE


cdef StreamFramer new_framer(const sip_limits *limits):
    cdef StreamFramer framer = StreamFramer.__new__(StreamFramer)
    framer.limits = limits[0]
    framer.limits.flags = SIP_STREAM
    return framer


cdef int read_limits(object limits, sip_limits *found) except -1:
    cdef StreamFramer framer = StreamFramer(**limits.arguments)
    found[0] = framer.limits
    found.flags = 0
    return 0
