from libc.stdint cimport uint32_t

from sipcore.scan cimport SIP_LINES_INLINE, sip_index, sip_limits, sip_line

# What `next` found.
cdef enum Frame:
    FRAME_NONE                   # nothing whole: append more
    FRAME_MESSAGE                # `octets`, `index` and `lines` tell it, until the next call
    FRAME_PING                   # CRLFCRLF between messages, once for all of them in a row
    FRAME_PONG                   # CRLF between messages
    FRAME_FAULT                  # the stream is over; `index` holds what could be read, for an answer; told once


cdef class StreamFramer:
    cdef sip_limits limits
    cdef char *buffer            # begin..end: received and not yet framed
    cdef size_t begin
    cdef size_t end
    cdef size_t room
    cdef size_t searched         # octets from begin on that hold no end of a head
    cdef size_t wanted           # size of the message in progress once its head was seen, else 0
    cdef bint is_after_pong      # a lone CRLF was told; a second one makes it a ping
    cdef uint32_t pongs_due      # pings that were sent on this stream and not answered yet
    cdef bint is_over            # a fault was found
    cdef bint is_lent            # `buffer` is the caller's
    cdef sip_line inline_lines[SIP_LINES_INLINE]
    cdef sip_line *lines
    cdef sip_index index
    cdef readonly object error   # the ParseError that ended it, None until then
    cdef readonly object failed  # what could be read of the message that ended it: Request, Response or None

    # Without Python objects: append what came, then `next` until FRAME_NONE.  Nothing is appended after a fault.
    cdef int append(self, const char *octets, size_t size) except -1
    cdef Frame next(self, const char **octets) except? FRAME_FAULT
    # The same without a copy: `octets` stay where they are until `take_back`, which copies what is left of them.
    cdef int lend(self, char *octets, size_t size) except -1
    cdef int take_back(self) except -1
    # As if it had just been made: another stream may use it.
    cdef bint is_fresh(self) noexcept

    cdef int expect_pong(self) except -1

    cdef Frame skip_line_ends(self) noexcept
    cdef bint has_head(self) noexcept
    cdef Frame scan(self) except? FRAME_FAULT
    cdef int make_room(self, size_t size) except -1
    cdef void free_lines(self) noexcept


# A framer of one connection, with the limits of an engine.
cdef StreamFramer new_framer(const sip_limits *limits)

# A sipcore.Limits as the scan has it, for datagrams.
cdef int read_limits(object limits, sip_limits *found) except -1
