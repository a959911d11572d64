# distutils: sources = src_pyx/sipcore/c/datagrams.c
"""Many datagrams a system call (recvmmsg, sendmmsg, UDP_SEGMENT, UDP_GRO, IP_PKTINFO), many messages of a stream.

The only room that makes system calls and the only one that releases the GIL.  The
caller opens and binds descriptors, closes those of datagrams, and registers them with a loop.  Nothing
raises for what the network does: errors are counted.  While the kernel takes no more,
at most 256 datagrams (4 MiB) are kept; further ones are dropped and counted (FAULTS 53).

Does not know: SIP, flows, the loop.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memset

from sipcore.addresses cimport (
    ADDRESS_TEXT_SIZE, address_format, address_map, address_parse, address_port, address_size, host_address,
)

from sipcore.errors import TransportError, UsageError


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_NOSIGNAL, MSG_DONTWAIT
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    Py_ssize_t recv(int fd, void *octets, size_t size, int flags)
    Py_ssize_t sendmsg(int fd, const msghdr *message, int flags)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    PIECES = 256                 # of one send


cdef extern from "datagrams.h" nogil:
    int datagram_arena_init(datagram_arena *arena)
    void datagram_arena_free(datagram_arena *arena)
    int datagram_socket_init(datagram_socket *socket, int fd, int one_at_a_time, int segment, int coalesce)
    void datagram_socket_free(datagram_socket *socket)
    int datagram_report(datagram_socket *socket)
    int datagram_read_failures(datagram_socket *socket)
    int datagram_receive(datagram_socket *socket, datagram_arena *arena)
    bint datagram_is_full(const datagram_socket *socket, size_t size)
    int datagram_queue(datagram_socket *socket, const char *octets, size_t size, const host_address *remote,
                       const host_address *source)
    int datagram_flush(datagram_socket *socket)


@cython.final
@cython.no_gc
cdef class ReceiveArena:
    """Memory to receive into: 64 slots of the largest datagram, resident as far as datagrams touch them.

    Sockets that are read by one engine share one; what was received lives until the next receive.
    """

    def __cinit__(self):
        memset(&self.arena, 0, sizeof(self.arena))
        if datagram_arena_init(&self.arena) < 0:
            raise MemoryError

    def __dealloc__(self):
        datagram_arena_free(&self.arena)


@cython.final
@cython.no_gc
cdef class DatagramSocket:
    """Datagrams of one bound UDP descriptor, IPv4, IPv6 or both (`fd` stays the caller's).

    `one_at_a_time`: recvmsg and sendmsg instead of their batch forms, as on systems without
    these.  `segment`: equal-sized datagrams to one peer leave as one UDP_SEGMENT send.
    `coalesce`: UDP_GRO.  The last two do nothing where the kernel has no such option.
    """

    def __cinit__(self, int fd, *, ReceiveArena arena=None, bint one_at_a_time=False, bint segment=False,
                  bint coalesce=False):
        memset(&self.socket, 0, sizeof(self.socket))
        self.socket.fd = -1
        self.arena = arena if arena is not None else ReceiveArena()
        cdef int error = datagram_socket_init(&self.socket, fd, one_at_a_time, segment, coalesce)
        if error:
            raise TransportError(error, os.strerror(error))

    def __dealloc__(self):
        datagram_socket_free(&self.socket)

    def __repr__(self):
        return f"<DatagramSocket fd={self.socket.fd} queued={self.socket.count}{' blocked' * self.socket.is_blocked}>"

    def fileno(self):
        """The descriptor; -1 once detached."""
        return self.socket.fd

    @property
    def blocked(self):
        """The kernel takes no more: call flush when the descriptor is writable."""
        return self.socket.is_blocked != 0

    @property
    def segments(self):
        """Whether UDP_SEGMENT is in use."""
        return self.socket.segments != 0

    @property
    def coalesces(self):
        """Whether UDP_GRO is in use."""
        return self.socket.coalesces != 0

    @property
    def reports(self):
        """Whether undelivered datagrams are reported: errors are then events of the descriptor."""
        return self.socket.reports != 0

    def report(self):
        """Have what is not delivered reported from now on; False where the system cannot tell."""
        self.wants_reports = False
        return datagram_report(&self.socket) == 0

    @property
    def failures(self):
        """Undelivered datagrams that wait to be taken by a receive."""
        return self.socket.failure_count

    def detach(self):
        """Forget the descriptor, before its owner closes it; what still waits is sent now, or dropped and counted."""
        self.flush_queue()
        self.socket.fd = -1
        self.flush_queue()

    cdef int take(self) noexcept:
        cdef int count
        with nogil:
            count = datagram_receive(&self.socket, &self.arena.arena)
        return count

    cdef int take_failures(self) noexcept:
        cdef int count = datagram_read_failures(&self.socket) if self.socket.reports else 0
        self.socket.failure_count = 0
        return count

    cdef bint queue(self, const char *octets, Py_ssize_t size, const host_address *remote,
                    const host_address *source) except -1:
        cdef int result
        if datagram_is_full(&self.socket, size):
            self.flush_queue()
        result = datagram_queue(&self.socket, octets, size, remote, source)
        if result < 0:
            raise MemoryError("no room for a datagram")
        return result == 0

    cdef int flush_queue(self) noexcept:
        cdef int count
        if self.socket.count == 0:
            return 0
        with nogil:
            count = datagram_flush(&self.socket)
        return count

    def receive(self):
        """Up to 64 datagrams that wait, more with UDP_GRO: a list of (octets, host, port)."""
        cdef list received = []
        cdef datagram_item *item
        cdef host_address *remote
        cdef char text[ADDRESS_TEXT_SIZE]
        cdef int count = self.take(), i
        for i in range(count):
            item = &self.arena.arena.items[i]
            remote = &self.arena.arena.slots[item.slot].remote
            address_format(remote, text)
            received.append((item.octets[:item.size], text.decode("ascii"), address_port(remote)))
        return received

    def arrivals(self, int count):
        """The addresses that the first `count` datagrams of the last receive were sent to, "" where not known."""
        cdef list hosts = []
        cdef char text[ADDRESS_TEXT_SIZE]
        cdef int i
        for i in range(min(count, DATAGRAM_ITEMS_MAX)):
            address_format(&self.arena.arena.slots[self.arena.arena.items[i].slot].arrived, text)
            hosts.append(text.decode("ascii"))
        return hosts

    def send_batch(self, list datagrams not None, str source=None):
        """Send (octets, numeric host, port) each, from the address `source` of the host if it is given."""
        cdef host_address remote, own
        cdef bytes octets
        if source is not None and address_parse(&own, source.encode(), 0) < 0:
            raise UsageError(f"not a numeric address: {source!r}")
        for octets, host, port in datagrams:
            if address_parse(&remote, (<str>host).encode(), port) < 0:
                raise UsageError(f"not a numeric address and port: {host!r}, {port}")
            if self.socket.is_v6:
                address_map(&remote)
            self.queue(octets, len(octets), &remote, &own if source is not None else NULL)
        self.flush_queue()

    def flush(self):
        """Send what waits; how many datagrams still do."""
        return self.flush_queue()

    def stats(self):
        """Totals by name, and `queued`, which wait now."""
        return {**self.socket.counters, "queued": self.socket.count}


@cython.final
@cython.no_gc
cdef class StreamSocket:
    """One connected, non-blocking stream descriptor, which it owns and closes.

    What the kernel does not take at once is kept and counts as `waiting`; how much may wait is for the caller to say.
    """

    def __cinit__(self, int fd):
        self.fd = fd

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    def __repr__(self):
        return f"<StreamSocket fd={self.fd} waiting={self.waiting}>"

    def fileno(self):
        """The descriptor; -1 once closed."""
        return self.fd

    def close(self):
        """Close the descriptor; what waits is lost.  Closing twice is harmless."""
        cdef int fd = self.fd
        self.fd = -1
        self.queued = None
        self.waiting = 0
        if fd >= 0:
            close(fd)

    def receive(self, int room):
        """Up to `room` octets; b"" when the far side closed, None when nothing waits.  OSError: broken."""
        cdef bytearray octets = bytearray(room)
        cdef Py_ssize_t size = self.take(octets, room)
        if size < -1:
            raise OSError(self.error, os.strerror(self.error))
        return None if size < 0 else bytes(memoryview(octets)[:size])

    def send(self, bytes octets not None):
        """Send, or keep what the kernel does not take; True when nothing waits.  OSError: broken."""
        return self.settle(self.put([octets]))

    def flush(self):
        """Send what waits; True when nothing does any more.  OSError: broken."""
        return self.settle(self.send_queued())

    cdef bint settle(self, StreamState state) except -1:
        if state == STREAM_BROKEN:
            raise OSError(self.error, os.strerror(self.error))
        return state == STREAM_SENT

    cdef Py_ssize_t take(self, char *octets, size_t room) noexcept:
        cdef Py_ssize_t size
        with nogil:
            while True:
                size = recv(self.fd, octets, room, MSG_DONTWAIT)
                if size >= 0 or errno != EINTR:
                    break
        if size >= 0:
            return size
        if errno == EAGAIN:
            return -1
        self.error = errno
        return -2

    cdef StreamState put(self, list messages) except *:
        if self.waiting:
            self.keep(messages, 0)
            return STREAM_BLOCKED
        return self.send_some(messages)

    cdef StreamState send_queued(self) except *:
        cdef list queued
        if not self.waiting:
            return STREAM_SENT
        queued, self.queued = self.queued, None
        self.waiting = 0
        return self.send_some(queued)

    cdef StreamState send_some(self, list messages) except *:
        """Send from octet `sent` of the first on; keep what is not taken."""
        cdef iovec pieces[PIECES]
        cdef msghdr header
        cdef Py_ssize_t at = 0, taken, size, count = len(messages)
        cdef int used
        while at < count:
            used = 0
            while used < PIECES and at + used < count:
                octets = <bytes>messages[at + used]
                pieces[used].iov_base = PyBytes_AS_STRING(octets)
                pieces[used].iov_len = PyBytes_GET_SIZE(octets)
                used += 1
            pieces[0].iov_base = <char *>pieces[0].iov_base + self.sent
            pieces[0].iov_len -= self.sent
            memset(&header, 0, sizeof(header))
            header.msg_iov, header.msg_iovlen = pieces, used
            with nogil:
                taken = sendmsg(self.fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT)
            if taken < 0 and errno == EINTR:
                continue
            if taken < 0 and errno != EAGAIN:
                self.error = errno
                self.sent = 0
                return STREAM_BROKEN
            if taken < 0:
                self.keep(messages, at)
                return STREAM_BLOCKED
            taken += self.sent
            while at < count and taken >= (size := PyBytes_GET_SIZE(<bytes>messages[at])):
                taken -= size
                at += 1
            self.sent = taken
        return STREAM_SENT

    cdef int keep(self, list messages, Py_ssize_t at) except -1:
        """Let what begins at the octets object `at` wait, behind what waits already."""
        cdef list rest = messages[at:]
        cdef object octets
        for octets in rest:
            self.waiting += PyBytes_GET_SIZE(<bytes>octets)
        if self.queued is None:
            self.waiting -= self.sent
            self.queued = rest
        else:
            self.queued += rest
        return 0
