"""The outbox: one queue for each datagram sender and each connection.

A message goes to `_batch.DatagramSocket` at once, which sends its own queue
with one system call at the end of the batch; senders and writers written in
Python get a list at the end of the batch.

Knows flows and who carries them; does not know what a message says.
"""

import logging
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from sipcore._batch cimport DatagramSocket, STREAM_BROKEN, STREAM_SENT, StreamSocket, StreamState
from sipcore._connections cimport (
    ADDRESS_TEXT_SIZE, ConnectionTable, Local, address_format, address_port, host_address,
)

logger = logging.getLogger("sipcore.engine")


@cython.final
@cython.freelist(64)
cdef class StreamEnd:
    def __cinit__(self, writer, StreamSocket socket):
        self.writer = writer
        self.socket = socket

    cdef bint has_part(self) noexcept:
        return self.framer is not None and self.framer.end > self.framer.begin


@cython.final
cdef class Outbox:
    def __cinit__(self, ConnectionTable connections not None):
        self.connections = connections
        self.sockets = []
        self.datagrams = {}
        self.ends = []

    cdef bint send(self, int64_t flow, bytes octets) except -1:
        cdef Local local = self.connections.flow_local(flow)
        cdef bint taken
        if local is None:
            taken = False
        elif self.connections.is_datagram_flow(flow):
            taken = self.send_datagram(local, flow, octets)
        else:
            taken = self.send_chunk(flow, octets)
        if taken:
            self.sent += 1
        else:
            self.dropped += 1
        return taken

    cdef bint send_octets(self, int64_t flow, const char *octets, size_t size) except -1:
        """`send` for octets that nobody keeps: a socket of our own copies them as they are."""
        cdef Local local = self.connections.flow_local(flow)
        cdef host_address remote
        cdef DatagramSocket socket
        if (local is None or type(local.sender) is not DatagramSocket or not self.connections.is_datagram_flow(flow)
                or not self.connections.flow_remote(flow, &remote)):
            return self.send(flow, PyBytes_FromStringAndSize(octets, size))
        socket = <DatagramSocket>local.sender
        if socket.socket.count == 0:
            self.sockets.append(socket)
        if not socket.queue(octets, size, &remote, &local.source):
            self.dropped += 1
            return False
        self.sent += 1
        return True

    cdef bint send_datagram(self, Local local, int64_t flow, bytes octets) except -1:
        cdef host_address remote
        cdef char text[ADDRESS_TEXT_SIZE]
        cdef DatagramSocket socket
        if not self.connections.flow_remote(flow, &remote):
            return False
        if type(local.sender) is DatagramSocket:
            socket = <DatagramSocket>local.sender
            if socket.socket.count == 0:
                self.sockets.append(socket)
            return socket.queue(PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets), &remote, &local.source)
        if local.sender is None:
            return False
        address_format(&remote, text)
        self.datagrams.setdefault(local.sender, []).append((octets, text.decode("ascii"), address_port(&remote)))
        return True

    cdef StreamEnd end_of(self, int64_t flow):
        end = self.connections.flow_writer(flow)
        return <StreamEnd>end if type(end) is StreamEnd else None

    cdef bint send_chunk(self, int64_t flow, bytes octets) except -1:
        cdef StreamEnd end = self.end_of(flow)
        if end is None:
            return False
        if end.waiting is None:
            end.waiting = [octets]
            self.ends.append(end)
        else:
            end.waiting.append(octets)
        return True

    cdef list flush(self):
        self.flush_datagrams()
        return self.flush_ends() if self.ends else None

    cdef int flush_datagrams(self) except -1:
        cdef list sockets
        cdef dict datagrams
        if self.sockets:
            sockets, self.sockets = self.sockets, []
            for socket in sockets:
                (<DatagramSocket>socket).flush_queue()
        if self.datagrams:
            datagrams, self.datagrams = self.datagrams, {}
            for sender, batch in datagrams.items():
                try:
                    sender.send_batch(batch)
                except Exception:
                    self.dropped += len(batch)
                    logger.exception("a datagram sender failed; %d messages are lost", len(batch))
        return 0

    cdef list flush_ends(self):
        cdef list ends, refused = [], waiting
        cdef StreamEnd end
        ends, self.ends = self.ends, []
        for end in ends:
            waiting, end.waiting = end.waiting, None
            reason = self.write(end, waiting)
            if reason is not None:
                self.dropped += len(waiting)
                refused.append((end.flow, reason))
        return refused

    cdef str write(self, StreamEnd end, list waiting):
        """One write for all that waits; why the connection takes no more, None when it does."""
        if self.connections.flow_local(end.flow) is None:
            return "closed"
        try:
            if end.socket is not None:
                return self.write_socket(end, waiting)
            if end.is_message_based:
                taken = end.writer.write_messages(waiting)
            else:
                taken = end.writer.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))
        except Exception:
            logger.exception("a stream writer failed")
            taken = False
        return None if taken else "its queue is full"

    cdef str write_socket(self, StreamEnd end, list waiting):
        cdef StreamState state = end.socket.put(waiting)
        if state == STREAM_SENT:
            return None
        if state == STREAM_BROKEN:
            return os.strerror(end.socket.error)
        return None if end.writer.blocked(end.socket.waiting) else "its queue is full"
