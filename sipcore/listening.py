"""Listening stream sockets on an asyncio loop: accepting within limits, also when descriptors run out (FAULTS 12, 53).

Knows no SIP and no policy.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket as socket_module
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from sipcore.env import Driver, StreamLimits
from sipcore.errors import TransportError, UsageError
from sipcore.secure import Handshakes, SecureConnection, check_context
from sipcore.sockets import Address, SocketConnection, reason_of, set_stream_options
from sipcore.streams import StreamConnection, admits

if TYPE_CHECKING:
    from sipcore.websocket import Server

logger = logging.getLogger("sipcore.aio")

BACKLOG = 1_024
ACCEPTS_OF_A_WAKE = 64
PAUSES = (0.05, 1.0)  # seconds without accepting when there are no descriptors: the first, and the longest
NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accept(Protocol):
    """What is done with an accepted socket; it is closed if this raises or returns False."""

    def __call__(self, sock: socket_module.socket, addresses: tuple[Address, Address], /) -> bool: ...


class StreamListener:
    """A listening stream address; accepted connections outlive it.

    Several `sockets` may share the address; each of them is accepted from.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: str,
        sockets: Sequence[socket_module.socket],
        accepted: Accept,
    ) -> None:
        self.transport = transport
        self.host, self.port = sockets[0].getsockname()[:2]
        self.local = 0
        self.at_close: Callable[[], object] | None = None
        self.context: ssl_module.SSLContext | None = None
        self._loop = loop
        self._sockets = tuple(sockets)
        self._accepted = accepted
        self._pause = PAUSES[0]
        self._resting: asyncio.TimerHandle | None = None
        for sock in sockets:
            set_stream_options(sock)

    def renew(self, ssl: ssl_module.SSLContext) -> None:
        """Show another certificate from now on; connections that stand are not touched.  UsageError without TLS."""
        if self.context is None:
            raise UsageError(f"a listener of {self.transport} has no certificate")
        check_context(ssl)
        self.context = ssl

    def pause(self) -> None:
        """Accept nothing; what waits goes on waiting, or another process accepts it."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if not self._loop.is_closed():
            for sock in self._sockets:
                self._loop.remove_reader(sock.fileno())

    def resume(self) -> None:
        """Accept; from now on nobody is refused.  OSError when the address is not to be had."""
        self._resting = None
        for sock in self._sockets:
            sock.listen(BACKLOG)
            self._loop.add_reader(sock.fileno(), self._readable, sock)

    def close(self) -> None:
        at_close, self.at_close = self.at_close, None
        if at_close is not None:
            self.pause()
            for sock in self._sockets:
                sock.close()
            at_close()

    def _readable(self, listening: socket_module.socket) -> None:
        for _ in range(ACCEPTS_OF_A_WAKE):
            try:
                sock, remote = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in NO_RESOURCES:
                    self._rest(error)
                    return
                continue  # it ended before it was accepted
            self._pause = PAUSES[0]
            self._take(sock, remote[:2])

    def _take(self, sock: socket_module.socket, remote: Address) -> None:
        kept = False
        try:
            sock.setblocking(False)
            kept = self._accepted(sock, (sock.getsockname()[:2], remote))
        except (OSError, TransportError) as error:
            logger.debug("a connection from %s is not taken: %s", remote[0], error)
        finally:
            if not kept:
                sock.close()

    def _rest(self, error: OSError) -> None:
        """No descriptors are left: what waits goes on waiting, and the loop does not spin (FAULTS 53)."""
        logger.warning("%s:%d accepts nothing for %.2f s: %s", self.host, self.port, self._pause, reason_of(error))
        self.pause()
        self._resting = self._loop.call_later(self._pause, self.resume)
        self._pause = min(2 * self._pause, PAUSES[1])


class Acceptor:
    """What one listener does with its connections: admission, then the engine."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        driver: Driver,
        limits: StreamLimits,
        handshakes: Handshakes,
        *,
        transport: str,
        accept: Callable[[str], bool] | None,
        aliases: bool,
    ) -> None:
        self.listener: StreamListener | None = None
        self.websocket: Server | None = None
        self._loop = loop
        self._driver = driver
        self._limits = limits
        self._handshakes = handshakes
        self.transport = transport
        self._accept = accept
        self._aliases = aliases

    def __call__(self, sock: socket_module.socket, addresses: tuple[Address, Address]) -> bool:
        listener = self.listener
        remote_host = addresses[1][0]
        if listener is None or (self._accept is not None and not self._accept(remote_host)):
            return False
        if not admits(self._driver, remote_host, self._limits):
            return False
        if listener.context is None:
            plain = SocketConnection(self._loop, self._driver, self._limits, None, sock)
            self._frame(plain)
            plain.start(self.transport, listener.local, addresses, accepted=True)
            if self.websocket is None:
                self._offer(plain)
            else:
                self.websocket.begin(plain)
        else:
            secure = self._secure(sock, listener.context)
            self._frame(secure)
            secure.accept(self.transport, listener.local, addresses)
        return True

    def _frame(self, connection: StreamConnection) -> None:
        if self.websocket is not None:
            self.websocket.attach(connection, lambda: self._offer(connection))

    def _secure(self, sock: socket_module.socket, context: ssl_module.SSLContext) -> SecureConnection:
        return SecureConnection(
            self._loop,
            self._driver,
            self._limits,
            None,
            sock,
            context=context,
            handshakes=self._handshakes,
            server_name=None,
            established=self._offer if self.websocket is None else lambda _: None,
        )

    def _offer(self, connection: StreamConnection) -> None:
        """It stands: requests from here may use it, if that is wanted (RFC 5923); TLS only where names are proved."""
        if isinstance(connection, SecureConnection):
            connection.watch_idle()
        if self._aliases and (connection.proved or not isinstance(connection, SecureConnection)):
            self._driver.engine.share_connection(connection.flow, may_alias=True)
