"""The simulated network under `sim`: links with delay, loss, duplication and reordering, datagrams and streams.

Octets between addresses, nothing else: no SIP, no engine but through `streams`.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sipcore.env import Driver, StreamLimits
from sipcore.errors import TransportError
from sipcore.streams import OnLost, StreamConnection

Address = tuple[str, int]
STREAM_RETRY = 0.2  # seconds that a lost segment costs
STREAM_GIVE_UP = 60.0  # seconds without progress until a connection is reported as timed out
CUT_POLL = 0.5
ICMP_QUOTE = 520  # octets of a datagram that comes back when its port is closed


@dataclass(slots=True)
class Link:
    """One direction between two hosts.  Seconds; probabilities from 0 to 1.

    `jitter` is added to `delay` evenly drawn, so it reorders datagrams; `reorder`
    holds single datagrams back by `reorder_delay`.  On streams, loss only delays.
    """

    delay: float = 0.001
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.05
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Packet:
    """What `Network.trace` keeps of a datagram or a stream chunk, when it was sent."""

    at: float
    transport: str
    source: Address
    destination: Address
    octets: bytes


class Nat:
    """A translator between one host and the rest: what `inside` sends comes from ports of `outside`.

    A mapping lives for `lifetime` seconds after the last thing sent through it; what
    comes in for one that ended is dropped, as is what comes from anywhere before
    the host sent something.
    """

    def __init__(self, network: Network, inside: str, outside: str, lifetime: float) -> None:
        self.inside = inside
        self.outside = outside
        self.lifetime = lifetime
        self._network = network
        self._next_port = 20_000
        self._ports: dict[Address, tuple[int, float]] = {}

    def outward(self, source: Address) -> Address:
        """What the far side sees of `source`, an address of the host inside."""
        now = self._network.loop.time()
        port, used_at = self._ports.get(source, (0, 0.0))
        if not port or now - used_at > self.lifetime:
            self._next_port += 1
            port = self._next_port
        self._ports[source] = port, now
        return self.outside, port

    def inward(self, destination: Address) -> Address | None:
        """Where what was sent to `destination` outside ends up; None: nowhere."""
        now = self._network.loop.time()
        for source, (port, used_at) in self._ports.items():
            if port == destination[1] and now - used_at <= self.lifetime:
                return source
        return None

    def rebind(self) -> None:
        """Forget all mappings, as a router that was restarted: new ports from now on, connections lead nowhere."""
        self._ports.clear()
        self._network.strand_streams(self.inside)


ReceiveDatagram = Callable[[bytes, Address], None]
AcceptStream = Callable[["SimStream"], bool]


@dataclass
class Network:
    """Who is bound where, and what lies between."""

    loop: asyncio.AbstractEventLoop
    seed: int = 0
    default_link: Link = field(default_factory=Link)
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    unplugged: set[str] = field(default_factory=set)
    nats: dict[str, Nat] = field(default_factory=dict)
    trace: deque[Packet] = field(default_factory=lambda: deque(maxlen=10_000))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.counts = {"sent": 0, "lost": 0, "duplicated": 0, "delivered": 0, "undeliverable": 0, "connects": 0}
        self.refusing: set[str] = set()  # hosts that say so when a datagram comes to a closed port of theirs
        self._datagrams: dict[Address, ReceiveDatagram] = {}
        self._on_failure: dict[Address, ReceiveDatagram] = {}
        self._listeners: dict[Address, AcceptStream] = {}
        self._streams: set[SimStream] = set()
        self._under_way: list[tuple[float, int, bytes, Address, Address]] = []
        self._sent = 0
        self._bare_port = 40_000

    # what lies between

    def link(self, source: str, destination: str) -> Link:
        """The link from one host to another, its own from now on: change its fields at will."""
        default = self.default_link
        return self.links.setdefault(
            (source, destination),
            Link(
                default.delay,
                default.jitter,
                default.loss,
                default.duplicate,
                default.reorder,
                default.reorder_delay,
                default.cut,
            ),
        )

    def unplug(self, host: str) -> None:
        """The host's cable is pulled: nothing reaches it, nothing leaves it, nobody is told."""
        self.unplugged.add(host)

    def plug(self, host: str) -> None:
        self.unplugged.discard(host)

    def kill(self, host: str) -> None:
        """The host's processes end: its sockets are gone, its connections are reset."""
        for address in [address for address in self._datagrams if address[0] == host]:
            del self._datagrams[address]
        for address in [address for address in self._listeners if address[0] == host]:
            del self._listeners[address]
        self.cut_streams(host)

    def cut_streams(self, host: str, port: int | None = None) -> int:
        """Reset every live connection to (host, port), any port if None.  Returns how many."""
        cut = [stream for stream in self._streams if stream.remote[0] == host and port in (None, stream.remote[1])]
        for stream in cut:
            if stream.peer is not None:
                stream.peer.abort()
        return len(cut)

    def streams_to(self, host: str, port: int) -> int:
        """How many connections stand whose listening side is (host, port)."""
        return sum(1 for stream in self._streams if stream.local == (host, port) and stream.accepted)

    def streams_from(self, host: str) -> int:
        """How many connections a host opened and holds, whatever the far ends know of them."""
        return sum(1 for stream in self._streams if stream.local[0] == host and not stream.accepted)

    def forget_streams(self, host: str, port: int | None = None) -> int:
        """The host loses its connections without a word, those that came to `port` if that is given: they are half
        open, and the far ends hear of it when they send next.  Returns how many."""
        lost = [stream for stream in self._streams if stream.local[0] == host and port in (None, stream.local[1])]
        for stream in lost:
            stream.vanish()
        return len(lost)

    def strand_streams(self, host: str) -> int:
        """Nothing passes any more on the connections of `host`, in neither direction, and nobody is told."""
        lost = [stream for stream in self._streams if stream.local[0] == host]
        for stream in lost:
            stream.stranded = True
            if stream.peer is not None:
                stream.peer.stranded = True
        return len(lost)

    def nat(self, inside: str, outside: str, *, lifetime: float = 300.0) -> Nat:
        """Put a translator in front of a host; connections and datagrams from it come from `outside` from now on."""
        nat = self.nats[inside] = Nat(self, inside, outside, lifetime)
        return nat

    def _outward(self, source: Address) -> Address:
        nat = self.nats.get(source[0])
        return source if nat is None else nat.outward(source)

    def _inward(self, destination: Address) -> Address | None:
        nat = next((nat for nat in self.nats.values() if nat.outside == destination[0]), None)
        return destination if nat is None else nat.inward(destination)

    def _host_at(self, host: str) -> str:
        """The host behind an address."""
        return next((nat.inside for nat in self.nats.values() if nat.outside == host), host) if self.nats else host

    def _between(self, source: str, destination: str) -> Link:
        return self.links.get((self._host_at(source), self._host_at(destination)), self.default_link)

    def passes(self, source: str, destination: str) -> bool:
        """Whether anything can get from one host to the other now."""
        if self._host_at(source) in self.unplugged or self._host_at(destination) in self.unplugged:
            return False
        return not self._between(source, destination).cut

    # datagrams

    def bind_datagrams(
        self, address: Address, receive: ReceiveDatagram, on_failure: ReceiveDatagram | None = None
    ) -> None:
        """`on_failure(octets, destination)` hears of what a host in `refusing` had no open port for."""
        if address in self._datagrams:
            raise TransportError(f"{address[0]}:{address[1]} is in use")
        self._datagrams[address] = receive
        if on_failure is not None:
            self._on_failure[address] = on_failure

    def unbind_datagrams(self, address: Address) -> None:
        self._datagrams.pop(address, None)
        self._on_failure.pop(address, None)

    def send_datagram(self, octets: bytes, source: Address, destination: Address) -> None:
        """Carry one datagram as the link likes."""
        self.counts["sent"] += 1
        self.trace.append(Packet(self.loop.time(), "udp", source, destination, octets))
        link = self._between(source[0], destination[0])
        draw = self.random.random
        if not self.passes(source[0], destination[0]) or (link.loss and draw() < link.loss):
            self.counts["lost"] += 1
            return
        seen_as, copies = self._outward(source), 1
        if link.duplicate and draw() < link.duplicate:
            self.counts["duplicated"] += 1
            copies = 2
        for _ in range(copies):
            delay = link.delay + (link.jitter * draw() if link.jitter else 0.0)
            if link.reorder and draw() < link.reorder:
                delay += link.reorder_delay
            due = self.loop.time() + delay
            self._sent += 1
            heapq.heappush(self._under_way, (due, self._sent, octets, seen_as, destination))
            self.loop.call_at(due, self._deliver)

    def _deliver(self) -> None:
        """The datagram that is due first arrives; of several at one instant, the one that was sent first."""
        _, _, octets, source, destination = heapq.heappop(self._under_way)
        arrived = self._inward(destination)
        receive = self._datagrams.get(arrived) if arrived is not None else None
        if receive is None or arrived is None or arrived[0] in self.unplugged:
            self.counts["undeliverable"] += 1
            self._report(octets, source, destination)
            return
        self.counts["delivered"] += 1
        receive(octets, source)

    def _report(self, octets: bytes, source: Address, destination: Address) -> None:
        """Port unreachable, where the host of the closed port says so (ICMP, RFC 792)."""
        on_failure = self._on_failure.get(source)
        if on_failure is not None and destination[0] in self.refusing and self.passes(destination[0], source[0]):
            delay = self._between(destination[0], source[0]).delay
            self.loop.call_later(delay, on_failure, octets[:ICMP_QUOTE], destination)

    # streams

    def listen_stream(self, address: Address, accept: AcceptStream) -> None:
        """`accept(stream)` gets the near end of each new connection and says whether it is kept."""
        if address in self._listeners:
            raise TransportError(f"{address[0]}:{address[1]} is in use")
        self._listeners[address] = accept

    def unlisten_stream(self, address: Address) -> None:
        self._listeners.pop(address, None)

    async def connect_stream(self, source: Address, destination: Address, *, timeout: float) -> SimStream:
        """Open a connection; TransportError: refused at once, or timed out after `timeout` seconds."""
        self.counts["connects"] += 1
        there, back = self._between(source[0], destination[0]), self._between(destination[0], source[0])
        if not (self.passes(source[0], destination[0]) and self.passes(destination[0], source[0])):
            await asyncio.sleep(timeout)
            raise TransportError(f"connecting to {destination[0]}:{destination[1]} timed out")
        await asyncio.sleep(there.delay)
        accept = self._listeners.get(destination)
        near = SimStream(self, source, destination)
        far = SimStream(self, destination, self._outward(source), accepted=True)
        if accept is not None:
            near.peer, far.peer = far, near
            self._streams.update((near, far))
        kept = accept is not None and accept(far)
        await asyncio.sleep(back.delay)
        if accept is None:
            raise TransportError(f"{destination[0]}:{destination[1]} refused the connection")
        if not kept:
            far.abort()
        return near

    def forget_stream(self, stream: SimStream) -> None:
        self._streams.discard(stream)

    def bare_port(self) -> int:
        """A port for a peer that does not care which."""
        self._bare_port += 1
        return self._bare_port


class SimDatagramSocket:
    """A bound simulated socket; the engine's `DatagramSender`."""

    def __init__(self, network: Network, address: Address) -> None:
        self._network = network
        self._address = address
        self._open = False

    def bind(self, receive: ReceiveDatagram, on_failure: ReceiveDatagram | None = None) -> None:
        self._network.bind_datagrams(self._address, receive, on_failure)
        self._open = True

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None:
        if self._open:
            for octets, host, port in datagrams:
                self._network.send_datagram(octets, self._address, (host, port))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._network.unbind_datagrams(self._address)


class SimStream:
    """One end of a simulated connection: ordered, delayed, never corrupted.

    `on_data` and `on_lost` are set by who owns the end.  `pause` closes the
    receive window, as a slow reader does.
    """

    def __init__(self, network: Network, local: Address, remote: Address, *, accepted: bool = False) -> None:
        self.local = local
        self.remote = remote
        self.accepted = accepted
        self.peer: SimStream | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.on_lost: Callable[[str], None] | None = None
        self.on_stalled: Callable[[], None] | None = None
        self.on_drained: Callable[[], None] | None = None
        self.paused = False
        self.stranded = False
        self.waiting = 0
        self._network = network
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._pump: asyncio.TimerHandle | None = None
        self._stuck_since: float | None = None
        self.ended = False

    def write(self, octets: bytes) -> None:
        """Queue octets for the far side."""
        if not self.ended:
            network = self._network
            network.trace.append(Packet(network.loop.time(), "stream", self.local, self.remote, octets))
            self.waiting += len(octets)
            self._enqueue(octets)

    def close(self) -> None:
        """Close after what is queued; the far side then hears "closed by the far side"."""
        if not self.ended:
            self.ended = True
            self._enqueue(None)
            self._network.forget_stream(self)

    def abort(self) -> None:
        """Reset the connection: both sides lose it, what is queued is gone."""
        peer = self.peer
        self._finish("connection reset")
        if peer is not None:
            link = self._network._between(self.local[0], self.remote[0])
            if self._network.passes(self.local[0], self.remote[0]):
                self._network.loop.call_later(link.delay, peer._finish, "connection reset by the far side")

    def vanish(self) -> None:
        """This end is gone and says nothing; the far one is reset when it sends."""
        self._finish("forgotten")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def _enqueue(self, octets: bytes | None) -> None:
        network = self._network
        link = network._between(self.local[0], self.remote[0])
        delay = link.delay + (link.jitter * network.random.random() if link.jitter else 0.0)
        while link.loss and network.random.random() < min(link.loss, 0.9):
            delay += STREAM_RETRY
        due = network.loop.time() + delay
        if self._queue:
            due = max(due, self._queue[-1][0])
        self._queue.append((due, octets))
        if self._pump is None:
            self._pump = network.loop.call_at(due, self._run)

    def _run(self) -> None:
        self._pump = None
        network = self._network
        now = network.loop.time()
        peer = self.peer
        if peer is None:
            return
        if peer.paused or self.stranded or not network.passes(self.local[0], self.remote[0]):
            self._wait(now)
            return
        self._stuck_since = None
        if peer.ended:
            self._finish("connection reset by the far side")
            return
        while self._queue and self._queue[0][0] <= now and not peer.paused:
            octets = self._queue.popleft()[1]
            if octets is None:
                peer._finish("closed by the far side")
                return
            self.waiting -= len(octets)
            peer._receive(octets)
        if self.on_drained is not None and not self.waiting:
            self.on_drained()
        if self._queue and self._pump is None:
            self._pump = network.loop.call_at(max(self._queue[0][0], now), self._run)

    def _wait(self, now: float) -> None:
        if self._stuck_since is None:
            self._stuck_since = now
            if self.on_stalled is not None:
                self.on_stalled()
        if now - self._stuck_since > STREAM_GIVE_UP:
            self._finish("timed out")
            return
        self._pump = self._network.loop.call_later(CUT_POLL, self._run)

    def _receive(self, octets: bytes) -> None:
        if not self.ended and self.on_data is not None:
            self.on_data(octets)

    def _finish(self, reason: str) -> None:
        self._queue.clear()
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self._network.forget_stream(self)
        self.ended = True
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(reason)


class SimStreamConnection(StreamConnection):
    """A simulated connection under the engine."""

    __slots__ = ("_stream",)

    def __init__(self, driver: Driver, limits: StreamLimits, on_lost: OnLost | None, stream: SimStream) -> None:
        super().__init__(driver, limits, on_lost)
        self._stream = stream
        stream.on_data = self.received
        stream.on_lost = self.lost
        stream.on_stalled = self.stalled
        stream.on_drained = self.drained

    def _carry(self, octets: bytes) -> None:
        self._stream.write(octets)

    def _waiting(self) -> int:
        return self._stream.waiting

    def _shut(self, *, abort: bool) -> None:
        if abort:
            self._stream.abort()
        else:
            self._stream.close()


class DatagramPeer:
    """A scripted far side on datagrams: sends octets, keeps what it gets."""

    def __init__(self, network: Network, address: Address) -> None:
        self.address = address
        self.received: list[tuple[bytes, Address]] = []
        self._network = network
        self._queue: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        network.bind_datagrams(address, self._receive)

    def send(self, octets: bytes, destination: Address) -> None:
        self._network.send_datagram(octets, self.address, destination)

    async def receive(self, timeout: float = 60.0) -> tuple[bytes, Address]:
        """The next datagram, in order, and who sent it; TimeoutError after `timeout` virtual seconds."""
        return await asyncio.wait_for(self._queue.get(), timeout)

    def close(self) -> None:
        self._network.unbind_datagrams(self.address)

    def _receive(self, octets: bytes, source: Address) -> None:
        self.received.append((octets, source))
        self._queue.put_nowait((octets, source))


class StreamPeer:
    """A scripted far side on a stream: writes octets, keeps what it gets, knows when the connection ended."""

    def __init__(self, stream: SimStream) -> None:
        self.stream = stream
        self.received = bytearray()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()
        stream.on_data = self._receive
        stream.on_lost = self._lost

    def send(self, octets: bytes) -> None:
        self.stream.write(octets)

    async def receive_until(self, part: bytes, timeout: float = 60.0) -> bytes:
        """All octets so far, once `part` is among them; TimeoutError after `timeout` virtual seconds."""
        async with asyncio.timeout(timeout):
            while part not in self.received:
                self._news.clear()
                await self._news.wait()
        return bytes(self.received)

    def close(self) -> None:
        self.stream.close()

    def _receive(self, octets: bytes) -> None:
        self.received += octets
        self._news.set()

    def _lost(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
