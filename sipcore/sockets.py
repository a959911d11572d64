"""Plain stream sockets on an asyncio loop: the engine itself reads and writes them, here they are watched.

Knows no SIP and no policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket as socket_module
import ssl as ssl_module

from sipcore._batch import StreamSocket
from sipcore._engine import READ_BROKEN, READ_ENDED, READ_NEXT, READ_NO_SIP, READ_PART, READ_WHOLE
from sipcore.env import Driver, StreamLimits
from sipcore.streams import CLOSED_THERE, NO_SIP, OnLost, StreamConnection

Address = tuple[str, int]

CHUNK = 16_384
LINGER = 2.0  # seconds that a connection which is being closed may take for what it has not taken yet
DISCARDS = 64  # reads of what came too late: unread octets would turn the close into a reset
KEEP_ALIVE = (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))


def reason_of(error: BaseException) -> str:
    """An error in the words of the operating system; asyncio puts its own in their place."""
    code = error.errno if isinstance(error, OSError) and not isinstance(error, ssl_module.SSLError) else None
    if code is not None and code in errno.errorcode:
        return os.strerror(code)
    return str(error) or type(error).__name__


def set_stream_options(sock: socket_module.socket) -> None:
    """No delay, and probes that find a far side which is gone; accepted sockets have them from their listener."""
    sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
    sock.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE:
        if hasattr(socket_module, name):
            sock.setsockopt(socket_module.IPPROTO_TCP, getattr(socket_module, name), value)


class SocketConnection(StreamConnection):
    """A plain TCP connection."""

    __slots__ = ("_is_closing", "_is_writing", "_loop", "_socket")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        driver: Driver,
        limits: StreamLimits,
        on_lost: OnLost | None,
        sock: socket_module.socket,
    ) -> None:
        super().__init__(driver, limits, on_lost)
        self._loop = loop
        self._socket = StreamSocket(sock.detach())
        self._is_writing = False
        self._is_closing = False

    def start(self, transport: str, local: int, addresses: tuple[Address, Address], *, accepted: bool) -> None:
        """Tell the engine and begin to read; `addresses` are those of this side and the far one."""
        is_framed = self.framing is not None
        self.flow = self._driver.engine.add_connection(
            local,
            transport,
            *addresses,
            self,
            accepted=accepted,
            socket=None if is_framed else self._socket,
            message_based=is_framed,
        )
        self._watch()
        if accepted:
            self.watch_idle()

    def _watch(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._readable if self.framing is None else self._read)

    def _read(self) -> None:
        """Read once for the framing."""
        try:
            data = self._socket.receive(CHUNK)
        except OSError as error:
            self.end(reason_of(error))
            return
        if data:
            self.received(data)
        elif data is not None:
            self.end(CLOSED_THERE, abort=False)

    def _carry(self, octets: bytes) -> None:
        try:
            if not self._socket.send(octets):
                self.blocked(self._socket.waiting)
        except OSError as error:
            if not self.reason:
                self._set("close", 0.0, reason_of(error))

    def _waiting(self) -> int:
        return self._socket.waiting

    def _readable(self) -> None:
        driver = self._driver
        outcome = READ_WHOLE
        try:
            outcome = driver.engine.receive_socket(self.flow, driver.now())
        finally:
            driver.after_batch()
        if outcome or self._deadlines is not None:
            self._after_read(outcome)

    def _after_read(self, outcome: int) -> None:
        if outcome == READ_WHOLE:
            self._clear("message")
        elif outcome in (READ_PART, READ_NEXT):
            self.note_part(is_part=True, is_next=outcome == READ_NEXT)
        elif outcome == READ_NO_SIP:
            self.end(NO_SIP, abort=False)
        elif outcome == READ_ENDED:
            self.end(CLOSED_THERE, abort=False)
        elif outcome == READ_BROKEN:
            self.end(os.strerror(self._socket.error))

    def blocked(self, waiting: int) -> bool:
        """The kernel takes no more: nothing is read until it does.  False: too much waits (FAULTS 14)."""
        if waiting > self._limits.write_queue:
            return False
        if not self._is_writing:
            self._is_writing = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.add_writer(self._socket.fileno(), self._writable)
            self.stalled()
        return True

    def _writable(self) -> None:
        try:
            if not self._socket.flush():
                return
        except OSError as error:
            self.end(reason_of(error))
            self._close_socket()
            return
        if self._is_closing:
            self._close_socket()
            return
        self._is_writing = False
        self._loop.remove_writer(self._socket.fileno())
        self._watch()
        self.drained()

    def close(self) -> None:
        self._unwatch()
        super().close()

    def _shut(self, *, abort: bool) -> None:
        if self._socket.fileno() < 0:
            return
        if not abort and self._socket.waiting and not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(LINGER, self._close_socket)
            return
        if not abort:
            self._discard()
        self._close_socket()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(DISCARDS):
                if not self._socket.receive(CHUNK):
                    return

    def _unwatch(self) -> None:
        descriptor = self._socket.fileno()
        if descriptor >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
            if self._is_writing:
                self._loop.remove_writer(descriptor)
                self._is_writing = False

    def _close_socket(self) -> None:
        self._unwatch()
        self._socket.close()
