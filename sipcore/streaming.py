"""Stream connections of one asyncio loop, accepted and opened: TCP, TLS (SPEC C10), WebSocket (RFC 7118).

Joins sockets, TLS and framings to engines; each of them has a room of its own.
Knows no SIP and no policy.
"""

from __future__ import annotations

import asyncio
import socket as socket_module
import ssl as ssl_module
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sipcore.env import SECURE_TRANSPORTS, WEBSOCKET_TRANSPORTS, Driver, StreamLimits
from sipcore.errors import TransportError, UsageError
from sipcore.handover import family_of, open_socket, unavailable
from sipcore.listening import Acceptor, StreamListener
from sipcore.secure import Handshakes, SecureConnection, Sessions, check_context
from sipcore.sockets import Address, SocketConnection, reason_of, set_stream_options
from sipcore.streams import OnLost, StreamConnection

if TYPE_CHECKING:
    from types import ModuleType

    from sipcore.websocket import Client, Codecs, WebSocketOptions


class Streaming:
    """What the stream connections of one loop share: turns of handshakes, TLS sessions, what is trusted by default."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.handshakes = Handshakes(loop)
        self.sessions = Sessions()
        self._default_context: ssl_module.SSLContext | None = None
        self._codecs: dict[int, Codecs] = {}

    # accepted

    def acceptor(
        self,
        driver: Driver,
        transport: str,
        *,
        ssl: ssl_module.SSLContext | None,
        accept: Callable[[str], bool] | None,
        limits: StreamLimits | None,
        aliases: bool,
        websocket: WebSocketOptions | None,
    ) -> Acceptor:
        """What a listener will do with its connections (see `env.Env.listen`)."""
        if (transport in SECURE_TRANSPORTS) != (ssl is not None):
            raise TransportError(f"{transport} is listened to {'with' if ssl is None else 'without'} a TLS context")
        if ssl is not None:
            check_context(ssl)
        acceptor = Acceptor(
            self.loop,
            driver,
            limits or StreamLimits(),
            self.handshakes,
            transport=transport,
            accept=accept,
            aliases=aliases,
        )
        if transport in WEBSOCKET_TRANSPORTS:
            server = _websocket().Server
            acceptor.websocket = server(websocket, self.handshakes, driver.engine.max_message_size)
        return acceptor

    def listen(
        self,
        driver: Driver,
        acceptor: Acceptor,
        sockets: Sequence[socket_module.socket],
        local: int,
        *,
        is_held: bool,
        ssl: ssl_module.SSLContext | None,
    ) -> StreamListener:
        """Listen on bound sockets, whose address is `local`; held ones wait for `resume`."""
        engine = driver.engine
        listener = StreamListener(self.loop, acceptor.transport, sockets, acceptor)
        listener.local = local
        listener.context = ssl
        listener.at_close = lambda: engine.remove_local(local)
        acceptor.listener = listener
        try:
            if not is_held:
                listener.resume()
        except OSError as error:
            listener.close()
            raise unavailable(listener.host, listener.port, error) from error
        return listener

    # opened

    async def connect(
        self,
        driver: Driver,
        transport: str,
        host: str,
        port: int,
        *,
        local: int,
        bind: tuple[str, int] | None = None,
        server_name: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        on_lost: OnLost | None = None,
        limits: StreamLimits | None = None,
        websocket: WebSocketOptions | None = None,
    ) -> int:
        """See `env.Env.connect`."""
        bounds = limits or StreamLimits()
        name = server_name or host
        client = self._websocket_client(driver, transport, name, port, websocket)
        connection: SocketConnection | SecureConnection
        try:
            async with asyncio.timeout(bounds.connect_timeout):
                sock = await self._connected(host, port, bind)
                addresses = sock.getsockname()[:2], sock.getpeername()[:2]
                if transport not in SECURE_TRANSPORTS:
                    connection = SocketConnection(self.loop, driver, bounds, on_lost, sock)
                    if client is not None:
                        client.attach(connection)
                    connection.start(transport, local, addresses, accepted=False)
                else:
                    context = ssl or self._client_context()
                    connection = await self._secured(driver, bounds, on_lost, sock, name=name, context=context)
                    if client is not None:
                        client.attach(connection)
                    connection.stand(transport, local, addresses)
                if client is not None:
                    await self._upgraded(connection, client)
                    connection.hear(on_lost)
                return connection.flow
        except TimeoutError as error:
            raise TransportError(f"connecting to {host}:{port} timed out") from error
        except OSError as error:
            raise TransportError(f"connecting to {host}:{port} failed: {reason_of(error)}") from error

    def _websocket_client(
        self, driver: Driver, transport: str, host: str, port: int, options: WebSocketOptions | None
    ) -> Client | None:
        """What makes a connection from here one of WebSocket; None where it is none."""
        if transport not in WEBSOCKET_TRANSPORTS:
            return None
        room = _websocket()
        size = driver.engine.max_message_size
        codecs = self._codecs.get(size)
        if codecs is None:
            codecs = self._codecs[size] = room.Codecs(is_client=True, max_size=size)
        is_secure = transport in SECURE_TRANSPORTS
        client: Client = room.Client(host, port, is_secure=is_secure, options=options, codecs=codecs)
        return client

    async def _upgraded(self, connection: StreamConnection, client: Client) -> None:
        """The opening handshake of WebSocket; OSError when it is refused."""
        done: asyncio.Future[str] = self.loop.create_future()
        connection.hear(None)

        def settle(reason: str) -> None:
            if not done.done():
                done.set_result(reason)

        client.begin(connection, settle)
        try:
            reason = await done
        except BaseException:
            done.cancel()
            connection.end("given up")
            raise
        if reason:
            raise OSError(reason)

    def _client_context(self) -> ssl_module.SSLContext:
        """What TLS connections from here trust when nobody says: the authorities of this host."""
        if self._default_context is None:
            self._default_context = ssl_module.create_default_context()
        return self._default_context

    async def _secured(
        self,
        driver: Driver,
        limits: StreamLimits,
        on_lost: OnLost | None,
        sock: socket_module.socket,
        *,
        name: str,
        context: ssl_module.SSLContext,
    ) -> SecureConnection:
        """A TLS connection whose handshake is done; the session of an earlier one to the same address is resumed."""
        check_context(context)
        key = context, name, sock.getpeername()[:2]
        done: asyncio.Future[str] = self.loop.create_future()

        def ended(flow: int, reason: str) -> None:
            if not done.done():
                done.set_result(reason)
            elif on_lost is not None:
                on_lost(flow, reason)

        connection = SecureConnection(
            self.loop,
            driver,
            limits,
            ended,
            sock,
            context=context,
            handshakes=self.handshakes,
            server_name=name,
            established=lambda _: done.set_result(""),
            keep_session=lambda session: self.sessions.keep(key, session),
        )
        try:
            connection.connect(self.sessions.get(key))
            reason = await done
        except BaseException:
            done.cancel()
            connection.end("given up")
            raise
        if reason:
            raise OSError(reason)
        return connection

    async def _connected(self, host: str, port: int, bind: Address | None) -> socket_module.socket:
        """A connected socket; with the source address asked for, which a listener may hold as well."""
        if bind is not None:
            sock = open_socket(socket_module.SOCK_STREAM, *bind)
        else:
            sock = socket_module.socket(family_of(host), socket_module.SOCK_STREAM | socket_module.SOCK_CLOEXEC)
        try:
            sock.setblocking(False)
            set_stream_options(sock)
            await self.loop.sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return sock


def _websocket() -> ModuleType:
    """The room of WebSocket; UsageError where its library is not installed."""
    try:
        from sipcore import websocket  # noqa: PLC0415 - its library takes ten megabytes, and is optional
    except ImportError as error:
        if not (error.name or "").startswith("websockets"):
            raise
        raise UsageError("WebSocket needs the websockets library: pip install 'sipcore[websocket]'") from error
    return websocket
