"""A test kit: the real engine on a virtual clock, in a simulated network, with scripted DNS.

    async def main(network: SimNetwork) -> None:
        server = sipcore.Stack(env=network.env("192.0.2.1"))
        await server.listen("udp", "192.0.2.1:5060")
        ...
        await asyncio.sleep(3600)            # costs microseconds

    sim.run(main, seed=7)

Everything that asyncio does with time (`sleep`, `timeout`, `wait_for`) runs on
the virtual clock; equal seeds give equal runs.  Nothing here is cryptographic:
a simulated TLS connection carries plain octets.  This room knows no SIP.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import ssl as ssl_module
import uuid
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from socket import socket as RealSocket
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sipcore.env import WEBSOCKET_TRANSPORTS, Driver, Listener, Resolver, StreamLimits, Watch
from sipcore.errors import TransportError
from sipcore.policy.questions import Answer, LookupFailed, Naptr, Question, RecordType, Srv
from sipcore.simnet import (
    Address,
    DatagramPeer,
    Link,
    Nat,
    Network,
    SimDatagramSocket,
    SimStream,
    SimStreamConnection,
    StreamPeer,
)
from sipcore.streams import OnLost, admits, end_all, end_one

if TYPE_CHECKING:
    from sipcore.websocket import WebSocketOptions

__all__ = [
    "Delayed",
    "Failure",
    "InTurn",
    "Link",
    "Nat",
    "ScriptedDns",
    "SimEnv",
    "SimLoop",
    "SimNetwork",
    "SimulationStuck",
    "run",
]

T = TypeVar("T")
START = 1_000.0  # the virtual clock's first reading, seconds
EPOCH = 1_700_000_000.0  # what wall_time() says at virtual time 0
EPHEMERAL_PORT = 49_152


class SimulationStuck(RuntimeError):
    """Nothing is scheduled any more, or virtual time ran past its limit, and the main coroutine has not ended."""


class _VirtualSelector(selectors.SelectSelector):
    """Waiting for time to pass advances the clock instead; file descriptors beyond asyncio's own are polled."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.limit = float("inf")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0) if len(self.get_map()) > 1 else []
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:
            raise SimulationStuck("nothing is left to happen and the main coroutine still waits")
        self.now += timeout
        if self.now > self.limit:
            raise SimulationStuck(f"the virtual clock passed its limit of {self.limit - START:.0f} s")
        return events


class SimLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock jumps to the next thing that is due."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as when the process was stopped (FAULTS 52)."""
        self._virtual.now += seconds

    def limit(self, seconds: float) -> None:
        """Fail with SimulationStuck when more virtual time than this has passed since the start."""
        self._virtual.limit = START + seconds


@dataclass(frozen=True, slots=True)
class Delayed:
    """A scripted answer that takes `seconds` to come."""

    seconds: float
    answer: Script


@dataclass
class InTurn:
    """Scripted answers to one question after another; the last one stays."""

    scripts: Sequence[Script]
    asked: int = 0

    def next(self) -> Script:
        script = self.scripts[min(self.asked, len(self.scripts) - 1)]
        self.asked += 1
        return script


Failure = Literal["SERVFAIL", "REFUSED", "timeout"]
Records = Sequence[str | Srv | Naptr]
Script = Records | Failure | Delayed | InTurn
FAILURES = ("SERVFAIL", "REFUSED", "timeout")


class ScriptedDns:
    """A resolver that answers from a table: (name, type) to records, a failure, `Delayed`, or `InTurn`.

    What is not in the table is "not found".  `script` may be changed while the
    simulation runs; `asked` lists every question in order.
    """

    def __init__(
        self,
        script: Mapping[tuple[str, RecordType], Script] | None = None,
        *,
        ttl: float = 60.0,
        timeout: float = 8.0,
        server: str = "192.0.2.53:53",
    ) -> None:
        self.script: dict[tuple[str, RecordType], Script] = dict(script or {})
        self.asked: list[Question] = []
        self.ttl = ttl
        self.timeout = timeout
        self.server = server

    async def query(self, question: Question) -> Answer:
        """Answer as scripted; "timeout" takes `timeout` virtual seconds (SPEC D6)."""
        self.asked.append(question)
        script = self.script.get((question.name.lower(), question.type), ())
        while isinstance(script, Delayed | InTurn):
            if isinstance(script, Delayed):
                await asyncio.sleep(script.seconds)
            script = script.answer if isinstance(script, Delayed) else script.next()
        if isinstance(script, str):
            if script == "timeout":
                await asyncio.sleep(self.timeout)
            raise LookupFailed(question, why=script)
        return Answer(question, tuple(script), ttl=self.ttl, server=self.server)


class SimListener:
    """One bound address of a simulated host (see `env.Listener`)."""

    def __init__(self, transport: str, address: Address, local: int, close: Callable[[], None]) -> None:
        self.transport = transport
        self.host, self.port = address
        self.local = local
        self.paused = False
        self._close: Callable[[], None] | None = close
        self._waiting: list[Callable[[], None]] = []

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for take in waiting:
            take()

    def put_off(self, take: Callable[[], None]) -> None:
        """Do `take` when the listener is read again."""
        self._waiting.append(take)

    def close(self) -> None:
        if self._close is not None:
            close, self._close = self._close, None
            close()


@dataclass
class _Watch:
    watchers: list[Callable[[], None]]
    on_change: Callable[[], None]

    def close(self) -> None:
        if self.on_change in self.watchers:
            self.watchers.remove(self.on_change)


class SimEnv:
    """One simulated host: the world of one or several stacks (see `env.Env`)."""

    def __init__(self, network: SimNetwork, address: str, *, resolver: Resolver | None = None) -> None:
        self.network = network
        self.address = address
        self.name = address
        self.loop: asyncio.AbstractEventLoop = network.loop
        self.random = random.Random(f"{network.seed} {address}")
        self.resolver: Resolver = resolver if resolver is not None else network.dns
        self.now = network.loop.time
        self._watchers: list[Callable[[], None]] = []
        self._next_port = EPHEMERAL_PORT

    def wall_time(self) -> float:
        return EPOCH + self.now()

    def key(self) -> bytes:
        return self.random.randbytes(16)

    def host_urn(self) -> str:
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'simulated host {self.name}')}"

    def source_address(self, remote_host: str) -> str:
        if self.address in self.network.unplugged:
            raise TransportError(f"no route to {remote_host}")
        if (":" in remote_host) != (":" in self.address):
            raise TransportError(f"no route to {remote_host}: the host has only {self.address}")
        return self.address

    def host_addresses(self, interface: str = "") -> tuple[str, ...]:
        return () if self.address in self.network.unplugged else (self.address,)

    def watch_addresses(self, on_change: Callable[[], None]) -> Watch:
        self._watchers.append(on_change)
        return _Watch(self._watchers, on_change)

    def watch_loop(self, patience: float) -> Watch:
        """Nothing: on virtual time no loop stands still."""
        return _Watch([], lambda: None)

    def move(self, address: str) -> None:
        """Give the host another address: its sockets stay on the old one, which falls silent; watchers hear of it."""
        self.network.unplug(self.address)
        self.network.plug(address)
        self.address = address
        for on_change in tuple(self._watchers):
            on_change()

    def open_datagrams(
        self,
        driver: Driver,
        host: str,
        port: int,
        *,
        user_agent: int,
        advertise: tuple[str, int] | None = None,
        sock: RealSocket | None = None,
    ) -> Listener:
        _refuse_real(sock)
        address = self._bindable(host), port or self._ephemeral_port()
        socket = SimDatagramSocket(self.network, address)
        local = driver.engine.add_local("udp", *address, user_agent=user_agent, sender=socket, advertise=advertise)

        def receive(data: bytes, source: Address) -> None:
            if listener.paused:
                listener.put_off(lambda: receive(data, source))
                return
            engine = driver.engine
            try:
                engine.receive(data, engine.datagram_flow(local, *source), driver.now())
            finally:
                driver.after_batch()

        def undelivered(data: bytes, destination: Address) -> None:
            try:
                driver.engine.receive_failure(data, local, *destination, "port unreachable", driver.now())
            finally:
                driver.after_batch()

        def close() -> None:
            socket.close()
            driver.engine.remove_local(local)

        listener = SimListener("udp", address, local, close)
        try:
            socket.bind(receive, undelivered)
        except TransportError:
            driver.engine.remove_local(local)
            raise
        return listener

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
        sock: RealSocket | None = None,
        aliases: bool = False,
        websocket: WebSocketOptions | None = None,
    ) -> Listener:
        _refuse_real(sock)
        _refuse_websocket(transport)
        address = self._bindable(host), port or self._ephemeral_port()
        bounds = limits or StreamLimits()

        def accepted(stream: SimStream) -> bool:
            remote_host = stream.remote[0]
            if (
                listener.paused
                or (accept is not None and not accept(remote_host))
                or not admits(driver, remote_host, bounds)
            ):
                return False
            connection = self._attach(driver, stream, transport, local=local, limits=bounds, on_lost=None)
            connection.watch_idle()
            if aliases:
                driver.engine.share_connection(connection.flow, may_alias=True)
            return True

        self.network.listen_stream(address, accepted)
        local = driver.engine.add_local(transport, *address, user_agent=user_agent, sender=None, advertise=advertise)

        def close() -> None:
            self.network.unlisten_stream(address)

        listener = SimListener(transport, address, local, close)
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
        websocket: WebSocketOptions | None = None,
    ) -> int:
        _refuse_websocket(transport)
        bounds = limits or StreamLimits()
        source = (self._bindable(bind[0]) if bind else self.address, (bind[1] if bind else 0) or self._ephemeral_port())
        stream = await self.network.connect_stream(source, (host, port), timeout=bounds.connect_timeout)
        return self._attach(driver, stream, transport, local=local, limits=bounds, on_lost=on_lost).flow

    def disconnect(self, driver: Driver, flow: int, reason: str = "closed here") -> None:
        end_one(driver, flow, reason)

    def disconnect_all(self, driver: Driver, locals: Collection[int] | None = None) -> None:
        end_all(driver, locals)

    def _attach(
        self,
        driver: Driver,
        stream: SimStream,
        transport: str,
        *,
        local: int,
        limits: StreamLimits,
        on_lost: OnLost | None,
    ) -> SimStreamConnection:
        connection = SimStreamConnection(driver, limits, on_lost, stream)
        connection.flow = driver.engine.add_connection(
            local, transport, stream.local, stream.remote, connection, accepted=stream.accepted
        )
        return connection

    def _bindable(self, host: str) -> str:
        if host in ("0.0.0.0", "::", ""):
            return self.address
        if host != self.address and not host.startswith("127."):
            raise TransportError(f"{host} is no address of this host")
        return host

    def _ephemeral_port(self) -> int:
        self._next_port += 1
        return self._next_port


@dataclass
class SimNetwork(Network):
    """Several hosts and the links between them, on one virtual clock."""

    dns: ScriptedDns = field(default_factory=ScriptedDns)

    def env(self, address: str, *, resolver: Resolver | None = None) -> SimEnv:
        """A host with one address (documentation range, say "192.0.2.1"); its resolver is `dns` unless given."""
        return SimEnv(self, address, resolver=resolver)

    def datagram_peer(self, host: str, port: int) -> DatagramPeer:
        """A bare datagram socket for scripted far sides: `send`, `await receive()`, `received`."""
        return DatagramPeer(self, (host, port))

    async def stream_peer(self, source: str, host: str, port: int) -> StreamPeer:
        """A bare stream connection from `source` to (host, port)."""
        return StreamPeer(await self.connect_stream((source, self.bare_port()), (host, port), timeout=10.0))


def run(
    main: Callable[[SimNetwork], Coroutine[Any, Any, T]],
    *,
    seed: int = 0,
    limit: float = 7 * 86_400.0,
) -> T:
    """Run `main(network)` to its end on virtual time and return its result.

    SimulationStuck when it waits for something that can never happen, or when
    more than `limit` virtual seconds pass.
    """
    loop = SimLoop()
    loop.limit(limit)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(SimNetwork(loop=runner.get_loop(), seed=seed)))


def _refuse_websocket(transport: str) -> None:
    if transport in WEBSOCKET_TRANSPORTS:
        raise TransportError("WebSocket is not simulated: its library draws masks and keys of its own")


def _refuse_real(sock: RealSocket | None) -> None:
    if sock is not None:
        raise TransportError("a simulated host reads no real socket")
