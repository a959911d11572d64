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
import socket as socket_module
import ssl as ssl_module
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

from sipcore._batch import DatagramSocket, ReceiveArena
from sipcore.env import Driver, Listener, Resolver, StreamLimits, Watch
from sipcore.errors import TransportError
from sipcore.interfaces import host_urn, interface_addresses
from sipcore.streams import OnLost, StreamConnection, StreamTable

logger = logging.getLogger("sipcore.aio")

T = TypeVar("T")
SOCKET_BUFFER = 4 * 1024 * 1024  # octets asked for; the kernel gives what it allows
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
    each, are asked, or those of the host's own configuration.
    """

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        name_servers: Sequence[tuple[str, int]] = (),
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = loop or asyncio.get_running_loop()
        self.random: random.Random = random.SystemRandom()
        self.now = self.loop.time
        self.connections = StreamTable()
        self.arena = ReceiveArena()
        self._resolver = resolver
        self._name_servers = tuple(name_servers)

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
    ) -> Listener:
        sock = _bound(host, port, socket_module.SOCK_DGRAM)
        try:
            return _DatagramListener(self, driver, sock, user_agent, advertise)
        except BaseException:
            sock.close()
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
    ) -> Listener:
        if (transport == "tls") != (ssl is not None):
            raise TransportError(f"{transport} is listened to {'with' if ssl is None else 'without'} a TLS context")
        bounds = limits or StreamLimits()
        sock = _bound(host, port, socket_module.SOCK_STREAM)
        bound_host, bound_port = sock.getsockname()[:2]
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
        try:
            server = await self.loop.create_server(
                accepted, sock=sock, ssl=ssl, backlog=BACKLOG, ssl_handshake_timeout=handshake
            )
        except OSError as error:
            sock.close()
            engine.remove_local(local)
            raise _unavailable(bound_host, bound_port, error) from error
        return _StreamListener(transport, (bound_host, bound_port), local, server, lambda: engine.remove_local(local))

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
        sock = _bound(*bind, socket_module.SOCK_STREAM)
        try:
            await self.loop.sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return sock

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
        sock: socket_module.socket,
        user_agent: int,
        advertise: tuple[str, int] | None,
    ) -> None:
        self.transport = "udp"
        self.host, self.port = sock.getsockname()[:2]
        self._loop = env.loop
        self._driver = driver
        self._socket = sock
        self._batch = DatagramSocket(sock.fileno(), arena=env.arena)
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
        driver.after_flush.append(self._flushed)
        self._loop.add_reader(sock.fileno(), self._readable)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        if self._writing:
            self._loop.remove_writer(self._socket.fileno())
        self._driver.after_flush.remove(self._flushed)
        self._driver.engine.remove_local(self.local)
        self._batch.detach()
        self._socket.close()

    def _readable(self) -> None:
        driver = self._driver
        try:
            driver.engine.receive_batch(self._batch, self.local, driver.now())
        finally:
            driver.after_batch()

    def _flushed(self) -> None:
        """What the kernel did not take waits in the socket's bounded queue until it is writable."""
        if self._batch.blocked and not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._batch.flush()
        if not self._batch.blocked:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())


class _StreamListener:
    """A listening stream socket; accepted connections outlive it."""

    def __init__(
        self,
        transport: str,
        address: tuple[str, int],
        local: int,
        server: asyncio.Server,
        at_close: Callable[[], object],
    ) -> None:
        self.transport = transport
        self.host, self.port = address
        self.local = local
        self._server = server
        self._at_close: Callable[[], object] | None = at_close

    def close(self) -> None:
        if self._at_close is not None:
            at_close, self._at_close = self._at_close, None
            self._server.close()
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


def _bound(host: str, port: int, kind: int) -> socket_module.socket:
    """A non-blocking socket bound to a local address; TransportError when it is not to be had."""
    sock = socket_module.socket(_family(host), kind | socket_module.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        if sock.family == socket_module.AF_INET6:
            sock.setsockopt(socket_module.IPPROTO_IPV6, socket_module.IPV6_V6ONLY, 1)
        if kind == socket_module.SOCK_STREAM:
            sock.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_REUSEADDR, 1)
        else:
            for option in (socket_module.SO_RCVBUF, socket_module.SO_SNDBUF):
                sock.setsockopt(socket_module.SOL_SOCKET, option, SOCKET_BUFFER)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise _unavailable(host, port, error) from error
    return sock


def _unavailable(host: str, port: int, error: OSError) -> TransportError:
    return TransportError(f"{host}:{port} is not to be had: {_reason(error)}")


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
