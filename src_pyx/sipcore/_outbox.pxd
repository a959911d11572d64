"""What leaves: octets wait here in the order they were sent until the batch ends."""

from libc.stdint cimport int64_t

from sipcore._batch cimport StreamSocket
from sipcore._connections cimport ConnectionTable, Local
from sipcore._framing cimport StreamFramer


# What the engine keeps of one connection, beside its row in the table.
cdef class StreamEnd:
    cdef int64_t flow
    cdef object writer                   # the StreamWriter
    cdef StreamSocket socket             # None: octets leave through the writer
    cdef StreamFramer framer             # None between messages
    cdef list waiting                    # octets objects, None outside of a batch
    cdef bint is_message_based           # it keeps the bounds of messages (RFC 7118 section 5)
    cdef bint has_next                   # the last chunk ended a message
    cdef bint may_alias                  # a request may ask for its reuse (RFC 5923)

    cdef bint has_part(self) noexcept    # a message has begun and not ended


cdef class Outbox:
    cdef ConnectionTable connections
    cdef list sockets                    # DatagramSockets with something queued
    cdef dict datagrams                  # Python sender -> [(octets, host, port), ...]
    cdef list ends                       # StreamEnds with something waiting
    cdef readonly int64_t sent           # messages handed on
    cdef readonly int64_t dropped        # messages whose flow has ended or may not be sent to

    # False: the message was dropped.
    cdef bint send(self, int64_t flow, bytes octets) except -1
    cdef bint send_octets(self, int64_t flow, const char *octets, size_t size) except -1
    # Hand everything on.  (flow, reason) of the connections that took no more, and whose rest was dropped.
    cdef list flush(self)
    cdef StreamEnd end_of(self, int64_t flow)    # None: no connection

    cdef bint send_datagram(self, Local local, int64_t flow, bytes octets) except -1
    cdef bint send_chunk(self, int64_t flow, bytes octets) except -1
    cdef int flush_datagrams(self) except -1
    cdef list flush_ends(self)
    cdef str write(self, StreamEnd end, list waiting)
    cdef str write_socket(self, StreamEnd end, list waiting)
