"""System calls: many datagrams each, many messages of a stream each.  Knows descriptors and addresses; no SIP."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from sipcore.addresses cimport host_address


cdef extern from "datagrams.h" nogil:
    enum:
        DATAGRAM_BATCH
        DATAGRAM_ITEMS_MAX
        DATAGRAM_KEEP_MAX
    ctypedef struct datagram_item:
        char *octets
        uint32_t size
        uint16_t slot
        uint16_t is_truncated
    ctypedef struct datagram_slot:
        host_address remote
        host_address arrived
    ctypedef struct datagram_arena:
        datagram_item items[2048]
        datagram_slot slots[64]
    ctypedef struct datagram_failure:
        host_address remote
        int error
        uint32_t size
        char octets[576]
    ctypedef struct datagram_counters:
        uint64_t received, received_octets, truncated, receive_calls
        uint64_t sent, sent_octets, send_calls, segmented
        uint64_t dropped, send_errors, receive_errors, icmp_errors, kept
    ctypedef struct datagram_socket:
        int fd
        bint is_v6
        bint is_wildcard
        bint one_at_a_time
        bint segments
        bint coalesces
        bint is_blocked
        bint reports
        int failure_count
        datagram_failure *failures
        int count
        datagram_counters counters


# Memory to receive into; sockets that are read by one engine share one.
cdef class ReceiveArena:
    cdef datagram_arena arena


cdef class DatagramSocket:
    cdef datagram_socket socket
    cdef readonly bint wants_reports     # somebody sends requests from here
    cdef readonly ReceiveArena arena

    # Datagrams now in arena.items, 0: none waits.  Item i: octets, size; arena.slots[item.slot]: remote, and
    # arrived, the address that it was sent to (sockets bound to a wildcard).  All of it lives until the
    # next take into the same arena.
    cdef int take(self) noexcept
    # What was not delivered, now in socket.failures until the next call; how many.
    cdef int take_failures(self) noexcept
    # Queue a copy, sending what waits when a batch is full; `source` may be NULL.  False: dropped and counted.
    cdef bint queue(self, const char *octets, Py_ssize_t size, const host_address *remote,
                    const host_address *source) except -1
    # Datagrams that still wait; then is_blocked() is true and flush is due when the descriptor is writable.
    cdef int flush_queue(self) noexcept


# How a connected stream took what it was given.
cdef enum StreamState:
    STREAM_SENT                  # nothing waits
    STREAM_BLOCKED               # the kernel takes no more: send_queued is due when the descriptor is writable
    STREAM_BROKEN                # the connection is over, see `error`


cdef class StreamSocket:
    cdef int fd                  # owned; -1 once closed
    cdef readonly int error      # the errno that broke it, 0
    cdef list queued             # octets that wait, None: nothing was ever kept
    cdef Py_ssize_t sent         # octets of the first that have gone
    cdef readonly Py_ssize_t waiting

    # Octets read, 0: the far side closed, -1: nothing waits, -2: broken.
    cdef Py_ssize_t take(self, char *octets, size_t room) noexcept
    # Send these octets objects in order, after what waits.
    cdef bint settle(self, StreamState state) except -1
    cdef StreamState put(self, list messages) except *
    cdef StreamState send_queued(self) except *
    cdef StreamState send_some(self, list messages) except *
    cdef int keep(self, list messages, Py_ssize_t at) except -1
