"""Connections in: read, framed where the octets lie, handed to the server and client side."""

from libc.stdint cimport int64_t

from sipcore._client cimport Client
from sipcore._core cimport Agent, Core
from sipcore._framing cimport StreamFramer
from sipcore._group cimport Group
from sipcore._intake cimport Intake
from sipcore._outbox cimport StreamEnd
from sipcore._server cimport Server
from sipcore.scan cimport sip_index, sip_line


# How a read ended; Python has them by the same names, in the same order.
cdef enum:
    READ_WHOLE                           # no message has begun that did not end
    READ_PART
    READ_NEXT                            # one ended, and another has begun that did not
    READ_NOTHING
    READ_NO_SIP
    READ_ENDED
    READ_BROKEN
    READ_KINDS


cdef class Streams:
    cdef Core core
    cdef Server server
    cdef Client client
    cdef Group group
    cdef Intake intake
    cdef char *chunk                     # where sockets are read into
    cdef StreamFramer spare              # framer of the connection that was between messages last

    cdef int share(self, int64_t flow, str identity, bint may_alias) except -1
    cdef StreamFramer framer_of(self, StreamEnd end)
    cdef int read(self, StreamEnd end) except -1
    cdef int part_of(self, StreamEnd end) noexcept    # READ_WHOLE, READ_PART or READ_NEXT, as the last chunk left it
    # What came on a connection; False when it can no longer be framed.
    cdef bint take_chunk(self, StreamEnd end, char *octets, size_t size) except -1
    # One message of a connection that keeps their bounds (RFC 7118 section 5): a SIP message, whole and alone, or a
    # keep-alive.  A request that is neither is answered if it can be; False: it is no SIP at all.
    cdef bint take_message(self, StreamEnd end, const char *octets, size_t size) except -1

    cdef bint take_frames(self, StreamFramer framer, Agent agent, StreamEnd end) except -1
    cdef int take_framed(self, const char *octets, const sip_index *index, const sip_line *lines, Agent agent,
                         StreamEnd end) noexcept
    cdef int take_keep_alive(self, size_t size, Agent agent, int64_t flow) except -1
    cdef int take_alias(self, const char *octets, const sip_index *index, StreamEnd end) except -1
