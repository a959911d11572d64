"""What Python code needs of the world: one `Env` (clock, random, DNS, network), given in and never imported.

`aio.AsyncioEnv` is the real world on asyncio or uvloop, `sim.SimEnv` one host of
a simulated network on a virtual clock; the engine above is the same in both.
This room holds faces only: it knows no socket, no engine room, no SIP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

    from sipcore._engine import Engine
    from sipcore.policy.questions import Answer, Question
    from sipcore.websocket import WebSocketOptions

STREAM_TRANSPORTS = frozenset({"tcp", "tls", "ws", "wss"})
SECURE_TRANSPORTS = frozenset({"tls", "wss"})
WEBSOCKET_TRANSPORTS = frozenset({"ws", "wss"})


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds of stream transports; seconds and octets.

    `connect_timeout` covers connecting and the handshakes of TLS and WebSocket,
    `message_timeout` a message that has begun and does not end (FAULTS 11),
    `idle_timeout` an accepted connection on which nothing comes (FAULTS 12; 0: never closed for that),
    `write_queue` what may wait in one connection for a slow reader, `stall_timeout` for how long (FAULTS 14),
    `connections` and `connections_per_address` (an IPv6 /64 is one) what may be connected at a time; where all
    places are taken, an accepted connection that carried nothing for `spare_idle` gives up its own.
    """

    connections: int = 16_384
    connections_per_address: int = 1_024
    connect_timeout: float = 10.0
    message_timeout: float = 5.0
    idle_timeout: float = 0.0
    write_queue: int = 65_536
    stall_timeout: float = 10.0
    spare_idle: float = 180.0


class Resolver(Protocol):
    """Asks DNS one question."""

    async def query(self, question: Question) -> Answer:
        """Return the answer (empty records: not found), or raise `LookupFailed` (SPEC D6)."""
        ...


class Driver(Protocol):
    """What joins one engine to the world: a world hands octets to `engine`, then calls `after_batch`."""

    after_flush: list[Callable[[], None]]
    """Called after each flush: who has to look whether everything was taken."""

    @property
    def engine(self) -> Engine: ...

    def now(self) -> float:
        """Monotonic seconds, the time of this batch."""
        ...

    def after_batch(self) -> None:
        """Send what the batch queued and arm the loop's timer for the engine's next one."""
        ...


class Listener(Protocol):
    """One open local address: a datagram socket, or a listening stream socket."""

    @property
    def transport(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int:
        """The port really bound (an asked-for 0 is replaced)."""
        ...

    @property
    def local(self) -> int:
        """The engine's handle of this local address."""
        ...

    def pause(self) -> None:
        """Take nothing in for now; what was taken in goes on, and answers still leave from here."""
        ...

    def resume(self) -> None:
        """Take in again what comes, and what came meanwhile."""
        ...

    def close(self) -> None:
        """Stop receiving and free the address.  Closing twice is harmless; accepted connections stay."""
        ...


class Watch(Protocol):
    """Something that goes on until it is closed."""

    def close(self) -> None: ...


class Env(Protocol):
    """One host: its clock, its randomness, its resolver, its network."""

    @property
    def random(self) -> Random: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; in simulation its clock is virtual, so `asyncio.sleep` and `timeout` cost nothing."""
        ...

    @property
    def resolver(self) -> Resolver: ...

    def now(self) -> float:
        """Monotonic seconds (`loop.time()`)."""
        ...

    def wall_time(self) -> float:
        """Seconds since 1970; for Date headers, logs and nonces with a life, never for timers (FAULTS 52)."""
        ...

    def key(self) -> bytes:
        """16 octets that nobody else knows, new with each call."""
        ...

    def host_urn(self) -> str:
        """A URN that names this host and outlives restarts (RFC 5626 section 4.1)."""
        ...

    def source_address(self, remote_host: str) -> str:
        """The local address of the route to `remote_host` (an address literal).  TransportError without a route."""
        ...

    def host_addresses(self, interface: str = "") -> tuple[str, ...]:
        """The addresses of this host, or of one of its interfaces, best first; empty when there is none (SPEC A1)."""
        ...

    def watch_addresses(self, on_change: Callable[[], None]) -> Watch:
        """Call `on_change` when an address of this host comes or goes (SPEC A1)."""
        ...

    def watch_loop(self, patience: float) -> Watch:
        """Log when the event loop stands still for longer than `patience` seconds, and where (FAULTS 56)."""
        ...

    def open_datagrams(
        self,
        driver: Driver,
        host: str,
        port: int,
        *,
        user_agent: int,
        advertise: tuple[str, int] | None = None,
        sock: socket.socket | None = None,
    ) -> Listener:
        """Bind a datagram socket, or take `sock`, and register it with the engine.

        TransportError when the address is not to be had.
        """
        ...

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
        sock: socket.socket | None = None,
        aliases: bool = False,
        websocket: WebSocketOptions | None = None,
    ) -> Listener:
        """Listen on a stream transport.  `accept(remote_host)` false: the connection is closed at once (SPEC A2).
        `aliases`: requests from here may use accepted connections (RFC 5923)."""
        ...

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
        on_lost: Callable[[int, str], None] | None = None,
        limits: StreamLimits | None = None,
        websocket: WebSocketOptions | None = None,
    ) -> int:
        """Open a connection to an address literal and return its flow; TransportError when it cannot be had.

        `local` is the engine's local address whose Via and user agent the
        connection speaks for, `bind` the source (host, port) if it matters,
        `server_name` the name that TLS verifies and sends as SNI (SPEC C10).
        `on_lost(flow, reason)` is called once when the connection ends, also
        when this side closed it.
        """
        ...

    def disconnect_all(self, driver: Driver, locals: Collection[int] | None = None) -> None:
        """Close every connection of `driver` that speaks for one of `locals`, or for any."""
        ...

    def disconnect(self, driver: Driver, flow: int, reason: str = "closed here") -> None:
        """Close a connection that `connect` or a listener made; unknown and ended flows are ignored."""
        ...
