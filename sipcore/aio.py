"""The real world on asyncio, with uvloop where it installs: sockets, DNS, randomness, addresses of this host.

Sockets are our own (`_batch`, `streaming`), read by `loop.add_reader`.  Thin: no
protocol rule, no policy and no SIP here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import socket as socket_module
import ssl as ssl_module
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sipcore._batch import DatagramSocket, ReceiveArena
from sipcore.env import Driver, Listener, Resolver, StreamLimits, Watch
from sipcore.errors import TransportError
from sipcore.handover import SCHEME, family_of, open_socket, take_inherited
from sipcore.streams import OnLost, end_all, end_one

if TYPE_CHECKING:
    from random import Random

    from sipcore.streaming import Streaming
    from sipcore.websocket import WebSocketOptions
    from sipcore.workers import Workers

logger = logging.getLogger("sipcore.aio")

T = TypeVar("T")
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
        self.now = self.loop.time
        self.arena = ReceiveArena()
        self._resolver = resolver
        self._name_servers = tuple(name_servers)
        self._workers = workers

    @cached_property
    def random(self) -> Random:
        """The system's; a server that draws nothing does without the module."""
        from random import SystemRandom  # noqa: PLC0415 - a third of a megabyte

        return SystemRandom()

    @cached_property
    def streaming(self) -> Streaming:
        """Made when a stream transport is first asked for: who speaks UDP alone does without its rooms."""
        from sipcore.streaming import Streaming  # noqa: PLC0415 - 0.2 MB

        return Streaming(self.loop)

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
        from sipcore.interfaces import host_urn  # noqa: PLC0415 - asked once, by devices

        return host_urn()

    def source_address(self, remote_host: str) -> str:
        with socket_module.socket(family_of(remote_host), socket_module.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote_host, 9))
            except OSError as error:
                raise TransportError(f"no route to {remote_host}: {error.strerror}") from error
            return str(probe.getsockname()[0])

    def host_addresses(self, interface: str = "") -> tuple[str, ...]:
        from sipcore.interfaces import interface_addresses  # noqa: PLC0415 - asked by devices

        return interface_addresses(interface)

    def watch_addresses(self, on_change: Callable[[], None]) -> Watch:
        return _AddressWatch(self.loop, on_change)

    def watch_loop(self, patience: float) -> Watch:
        from sipcore.watchdog import share  # noqa: PLC0415 - only where something listens

        return share(self.loop, patience)

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
        aliases: bool = False,
        websocket: WebSocketOptions | None = None,
    ) -> Listener:
        acceptor = self.streaming.acceptor(
            driver, transport, ssl=ssl, accept=accept, limits=limits, aliases=aliases, websocket=websocket
        )
        sockets = self._sockets(socket_module.SOCK_STREAM, host, port, sock)
        bound: tuple[str, int] = sockets[0].getsockname()[:2]
        told = advertise or self._advertised(*bound)
        local = driver.engine.add_local(transport, *bound, user_agent=user_agent, sender=None, advertise=told)
        return self.streaming.listen(driver, acceptor, sockets, local, is_held=self._is_held, ssl=ssl)

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
        return await self.streaming.connect(
            driver,
            transport,
            host,
            port,
            local=local,
            bind=bind,
            server_name=server_name,
            ssl=ssl,
            on_lost=on_lost,
            limits=limits,
            websocket=websocket,
        )

    def disconnect(self, driver: Driver, flow: int, reason: str = "closed here") -> None:
        end_one(driver, flow, reason)

    def disconnect_all(self, driver: Driver, locals: Collection[int] | None = None) -> None:
        end_all(driver, locals)

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
