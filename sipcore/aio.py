"""The real world on asyncio, with uvloop where it installs: sockets, DNS, randomness, addresses of this host.

Datagram sockets are our own (`_batch`), read by `loop.add_reader`; streams run
on the loop's Protocol.  Thin: no protocol rule, no policy and no SIP here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import random
import select
import socket as socket_module
import ssl as ssl_module
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sipcore._batch import DatagramSocket, ReceiveArena
from sipcore.env import Driver, Listener, Resolver, StreamLimits, Watch
from sipcore.errors import TransportError
from sipcore.handover import SCHEME, open_socket, take_inherited, unavailable
from sipcore.interfaces import host_urn, interface_addresses
from sipcore.streams import OnLost, StreamConnection, StreamTable

if TYPE_CHECKING:
    from sipcore.workers import Workers

logger = logging.getLogger("sipcore.aio")

T = TypeVar("T")
BACKLOG = 1_024
HIGH_WATER = 16_384  # octets waiting in a stream above which it counts as stalled
# linux/rtnetlink.h
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, or on plain asyncio where uvloop is not installed."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest event loop that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class AsyncioEnv:
    """This host (see `env.Env`).

    `resolver` answers DNS questions; without it `name_servers`, (address, port)
    each, are asked, or those of the host's own configuration.  `workers`: this
    process is one of several, which share the ports that are listened to.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        name_servers: Sequence[tuple[str, int]] = (),
        loop: asyncio.AbstractEventLoop | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.random: random.Random = random.SystemRandom()
        self.now = self.loop.time
        self.connections = StreamTable()
        self.arena = ReceiveArena()
        self._resolver = resolver
        self._name_servers = tuple(name_servers)
        self._workers = workers

    @property
    def resolver(self) -> Resolver:
        """Made when first asked for: importing a DNS library takes its time."""
        if self._resolver is None:
            from sipcore.resolver import DnsResolver  # noqa: PLC0415 - only where DNS is asked

            self._resolver = DnsResolver(self._name_servers, self.now, self.random)
        return self._resolver

    def wall_time(self) -> float:
        return time.time()

    def key(self) -> bytes:
        return os.urandom(16)

    def host_urn(self) -> str:
        return host_urn()

    def source_address(self, remote_host: str) -> str:
        with socket_module.socket(_family(remote_host), socket_module.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote_host, 9))
            except OSError as error:
                raise TransportError(f"no route to {remote_host}: {_reason(error)}") from error
            return str(probe.getsockname()[0])

    def host_addresses(self, interface: str = "") -> tuple[str, ...]:
        return interface_addresses(interface)

    def watch_addresses(self, on_change: Callable[[], None]) -> Watch:
        return _AddressWatch(self.loop, on_change)

    def open_datagrams(
        self,
        driver: Driver,
        host: str,
        port: int,
        *,
        user_agent: int,
        advertise: tuple[str, int] | None = None,
        sock: socket_module.socket | None = None,
    ) -> Listener:
        sockets = self._sockets(socket_module.SOCK_DGRAM, host, port, sock)
        try:
            return _DatagramListener(self, driver, sockets, user_agent, advertise)
        except BaseException:
            for one in sockets:
                one.close()
            raise

    async def listen(
        self,
        driver: Driver,
        transport: str,
        host: str,
        port: int,
        *,
        user_agent: int,
        advertise: tuple[str, int] | None = None,
        ssl: ssl_module.SSLContext | None = None,
        accept: Callable[[str], bool] | None = None,
        limits: StreamLimits | None = None,
        sock: socket_module.socket | None = None,
    ) -> Listener:
        if (transport == "tls") != (ssl is not None):
            raise TransportError(f"{transport} is listened to {'with' if ssl is None else 'without'} a TLS context")
        bounds = limits or StreamLimits()
        sockets = self._sockets(socket_module.SOCK_STREAM, host, port, sock)
        bound_host, bound_port = sockets[0].getsockname()[:2]
        engine = driver.engine
        local = engine.add_local(
            transport,
            bound_host,
            bound_port,
            user_agent=user_agent,
            sender=None,
            advertise=advertise or self._advertised(bound_host, bound_port),
        )

        def accepted() -> _StreamProtocol:
            return _StreamProtocol(self, driver, bounds, None, transport=transport, local=local, accept=_accept)

        def _accept(remote_host: str) -> bool:
            return (accept is None or accept(remote_host)) and self.connections.admits(remote_host, bounds)

        handshake = bounds.connect_timeout if ssl is not None else None

        def serve(on: socket_module.socket) -> Awaitable[asyncio.Server]:
            return self.loop.create_server(accepted, sock=on, ssl=ssl, backlog=BACKLOG, ssl_handshake_timeout=handshake)

        listener = _StreamListener(transport, sockets, local, serve, lambda: engine.remove_local(local))
        try:
            if not self._is_held:
                await listener.begin()
        except OSError as error:
            listener.close()
            raise unavailable(bound_host, bound_port, error) from error
        return listener

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
    ) -> int:
        bounds = limits or StreamLimits()
        protocol = _StreamProtocol(self, driver, bounds, on_lost, transport=transport, local=local, accept=None)
        arguments: dict[str, Any] = {}
        if transport == "tls":
            arguments["ssl"] = ssl if ssl is not None else ssl_module.create_default_context()
            arguments["server_hostname"] = server_name or host
        try:
            async with asyncio.timeout(bounds.connect_timeout):
                if bind is not None:
                    sock = await self._connected(host, port, bind)
                    await self.loop.create_connection(lambda: protocol, sock=sock, **arguments)
                else:
                    await self.loop.create_connection(lambda: protocol, host, port, **arguments)
        except TimeoutError as error:
            raise TransportError(f"connecting to {host}:{port} timed out") from error
        except OSError as error:
            raise TransportError(f"connecting to {host}:{port} failed: {_reason(error)}") from error
        if protocol.reason or not protocol.flow:
            raise TransportError(f"connecting to {host}:{port} failed: {protocol.reason}")
        return protocol.flow

    def disconnect(self, driver: Driver, flow: int, reason: str = "closed here") -> None:
        self.connections.end(driver, flow, reason)

    def disconnect_all(self, driver: Driver, locals: Collection[int] | None = None) -> None:
        self.connections.end_all(driver, locals)

    async def _connected(self, host: str, port: int, bind: tuple[str, int]) -> socket_module.socket:
        """A connected socket with the source address asked for, which a listener may hold as well."""
        sock = open_socket(socket_module.SOCK_STREAM, *bind)
        try:
            await self.loop.sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _sockets(
        self, kind: int, host: str, port: int, sock: socket_module.socket | None
    ) -> list[socket_module.socket]:
        """What a listener reads: the socket given, this worker's of a shared port, one passed to us, or a new one."""
        if sock is not None:
            if sock.type != kind:
                raise TransportError(f"{sock} is of another kind than the transport wants")
            sock.setblocking(False)
            return [sock]
        if self._workers is not None and (port or host.startswith(SCHEME)):
            return self._workers.sockets(kind, host, port)
        if host.startswith(SCHEME):
            return [take_inherited(host.removeprefix(SCHEME), kind)]
        return [open_socket(kind, host, port)]

    @property
    def _is_held(self) -> bool:
        return self._workers is not None and self._workers.is_held

    def _advertised(self, host: str, port: int) -> tuple[str, int] | None:
        """What to say in Via for a wildcard address: the source address of the way out, or the loopback address."""
        probes = {"0.0.0.0": ("192.0.2.1", "127.0.0.1"), "::": ("2001:db8::1", "::1")}
        if host not in probes:
            return None
        outside, loopback = probes[host]
        try:
            return self.source_address(outside), port
        except TransportError:
            return loopback, port


class _DatagramListener:
    """A bound datagram socket: what waits on it becomes a batch of the engine."""

    def __init__(
        self,
        env: AsyncioEnv,
        driver: Driver,
        sockets: Sequence[socket_module.socket],
        user_agent: int,
        advertise: tuple[str, int] | None,
    ) -> None:
        self.transport = "udp"
        self.host, self.port = sockets[0].getsockname()[:2]
        self._loop = env.loop
        self._driver = driver
        self._sockets = tuple(sockets)
        self._batches = tuple(DatagramSocket(sock.fileno(), arena=env.arena) for sock in sockets)
        self._batch = self._batches[0]  # what is sent leaves here
        self.local = driver.engine.add_local(
            "udp",
            self.host,
            self.port,
            user_agent=user_agent,
            sender=self._batch,
            advertise=advertise or env._advertised(self.host, self.port),
        )
        self._open = True
        self._writing = False
        self._reading = False
        self._poll: select.epoll | None = None
        driver.after_flush.append(self._flushed)
        if not env._is_held:
            self.resume()

    def pause(self) -> None:
        self._reading = False
        for batch in self._batches:
            self._loop.remove_reader(self._event_source(batch))

    def resume(self) -> None:
        self._reading = True
        for batch in self._batches:
            self._loop.add_reader(self._event_source(batch), self._readable, batch)

    def _event_source(self, batch: DatagramSocket) -> int:
        return self._poll.fileno() if self._poll is not None and batch is self._batch else batch.fileno()

    def _watch_errors(self) -> None:
        """Await reports of what was not delivered, too: on an epoll of our own, which is only ever readable, because
        uvloop takes an error of a descriptor for its end."""
        try:
            poll = select.epoll()
        except (AttributeError, OSError):  # not Linux; or no descriptor is left: later
            return
        if not self._batch.report():
            poll.close()
            return
        reading, writing = self._reading, self._writing
        self._await_room(wanted=False)
        self.pause()
        self._poll = poll
        self._poll.register(self._batch.fileno(), select.EPOLLIN)
        self._await_room(wanted=writing)
        if reading:
            self.resume()

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self.pause()
        self._await_room(wanted=False)
        if self._poll is not None:
            self._poll.close()
        self._driver.after_flush.remove(self._flushed)
        self._driver.engine.remove_local(self.local)
        for batch, sock in zip(self._batches, self._sockets, strict=True):
            batch.detach()
            sock.close()

    def _readable(self, batch: DatagramSocket) -> None:
        driver = self._driver
        if self._writing and self._poll is not None:
            self._writable()
        try:
            driver.engine.receive_batch(batch, self.local, driver.now())
        finally:
            driver.after_batch()

    def _flushed(self) -> None:
        """What the kernel did not take waits in the socket's bounded queue until it is writable."""
        if self._batch.wants_reports and self._open:
            self._watch_errors()
        if self._batch.failures:
            self._loop.call_soon(self._refused)
        if self._batch.blocked:
            self._await_room(wanted=True)

    def _refused(self) -> None:
        """The kernel refused to send some of it, and nothing else may come to wake us."""
        if self._open and self._batch.failures:
            self._readable(self._batch)

    def _writable(self) -> None:
        self._batch.flush()
        if not self._batch.blocked:
            self._await_room(wanted=False)

    def _await_room(self, *, wanted: bool) -> None:
        if wanted == self._writing:
            return
        self._writing = wanted
        if self._poll is not None:
            self._poll.modify(self._batch.fileno(), select.EPOLLIN | (select.EPOLLOUT if wanted else 0))
        elif wanted:
            self._loop.add_writer(self._batch.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._batch.fileno())


class _StreamListener:
    """A listening stream address; accepted connections outlive it."""

    def __init__(
        self,
        transport: str,
        sockets: Sequence[socket_module.socket],
        local: int,
        serve: Callable[[socket_module.socket], Awaitable[asyncio.Server]],
        at_close: Callable[[], object],
    ) -> None:
        self.transport = transport
        self.host, self.port = sockets[0].getsockname()[:2]
        self.local = local
        self._sockets = tuple(sockets)
        self._serve = serve
        self._at_close: Callable[[], object] | None = at_close
        self._servers: list[asyncio.Server] = []
        self._beginning: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Accept connections; OSError when the address is not to be had."""
        for sock in self._sockets:
            self._servers.append(await self._serve(sock.dup()))

    def pause(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()

    def resume(self) -> None:
        if not self._servers:
            for sock in self._sockets:
                sock.listen(BACKLOG)  # from now on nobody is refused
            self._beginning = asyncio.ensure_future(self.begin())

    def close(self) -> None:
        if self._at_close is not None:
            at_close, self._at_close = self._at_close, None
            self.pause()
            for sock in self._sockets:
                sock.close()
            at_close()


class _StreamProtocol(StreamConnection, asyncio.Protocol):
    """A connection of the loop under the engine."""

    def __init__(
        self,
        env: AsyncioEnv,
        driver: Driver,
        limits: StreamLimits,
        on_lost: OnLost | None,
        *,
        transport: str,
        local: int,
        accept: Callable[[str], bool] | None,
    ) -> None:
        super().__init__(driver, limits, on_lost)
        self._env = env
        self._kind = transport
        self._local = local
        self._accept = accept
        self._transport: asyncio.Transport | None = None

    # the loop's Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        sockname, peername = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if not sockname or not peername or (self._accept is not None and not self._accept(peername[0])):
            self.reason = "not accepted"
            self._shut(abort=True)
            return
        _set_no_delay(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(high=HIGH_WATER, low=0)  # type: ignore[attr-defined]
        self.opened(self._kind, self._local, sockname[:2], peername[:2], accepted=self._accept is not None)
        self._env.connections.add(self._driver, self)
        if self._accept is not None:
            self.watch_idle()

    def data_received(self, data: bytes) -> None:
        self.received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost(_reason(error) if error is not None else "closed by the far side")

    def pause_writing(self) -> None:
        self.stalled()

    def resume_writing(self) -> None:
        self.drained()

    # StreamConnection

    def lost(self, reason: str) -> None:
        self._env.connections.discard(self._driver, self)
        super().lost(reason)

    def _carry(self, octets: bytes) -> None:
        assert self._transport is not None
        self._transport.write(octets)

    def _waiting(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _shut(self, *, abort: bool) -> None:
        if self._transport is None:
            return
        if abort:
            self._transport.abort()
        else:
            self._transport.close()


class _AddressWatch:
    """Hears of addresses that come and go, from the kernel's routing socket; nothing where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._on_change = on_change
        self._socket: socket_module.socket | None = None
        family = getattr(socket_module, "AF_NETLINK", None)
        if family is None:
            return
        sock = socket_module.socket(family, socket_module.SOCK_RAW, socket_module.NETLINK_ROUTE)
        try:
            sock.setblocking(False)
            sock.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
            loop.add_reader(sock.fileno(), self._readable)
        except BaseException:
            sock.close()
            raise
        self._socket = sock

    def close(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        """Several messages are one change; a full queue (ENOBUFS) is a change too."""
        sock = self._socket
        if sock is None:
            return
        with contextlib.suppress(BlockingIOError):
            while sock.recv(65_536):
                pass
        self._on_change()


def _family(host: str) -> int:
    return socket_module.AF_INET6 if ":" in host else socket_module.AF_INET


def _reason(error: BaseException) -> str:
    """An error in the words of the operating system; asyncio puts its own in their place."""
    code = error.errno if isinstance(error, OSError) and not isinstance(error, ssl_module.SSLError) else None
    if code is not None and code in errno.errorcode:
        return os.strerror(code)
    return str(error) or type(error).__name__


def _set_no_delay(sock: Any) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
