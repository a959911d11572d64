"""What leaves: octets wait here in the order they were sent until the batch ends."""

from libc.stdint cimport int64_t

from sipcore._connections cimport ConnectionTable, Local


cdef class Outbox:
    cdef ConnectionTable connections
    cdef list sockets                    # DatagramSockets with something queued
    cdef dict datagrams                  # Python sender -> [(octets, host, port), ...]
    cdef dict chunks                     # flow -> [octets, ...]
    cdef readonly int64_t sent           # messages handed on
    cdef readonly int64_t dropped        # messages whose flow has ended or may not be sent to

    # False: the message was dropped.
    cdef bint send(self, int64_t flow, bytes octets) except -1
    cdef bint send_octets(self, int64_t flow, const char *octets, size_t size) except -1
    # Hand everything on.  The flows of connections that took no more, and whose rest was dropped.
    cdef list flush(self)

    cdef bint send_datagram(self, Local local, int64_t flow, bytes octets) except -1
    cdef bint send_chunk(self, int64_t flow, bytes octets) except -1
    cdef int flush_datagrams(self) except -1
    cdef list flush_chunks(self)
    cdef bint write(self, int64_t flow, list waiting) except -1
