"""The main operations of the compiled rooms, as functions that can be timed or have their instructions counted.

What an operation needs is made by its `prepare`; the function that comes back
does the work and nothing else.  No sockets, no clock, no random numbers: the
same work each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from sipcore._connections import ConnectionTable
from sipcore._framing import StreamFramer
from sipcore._message import Request, Response, build_response, parse
from sipcore._serialize import serialize_request
from sipcore._timers import TimerWheel

MIX = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")
"""The everyday messages of one registration and one call."""

Work = Callable[[], int]
"""Does its work; returns how many pieces that were."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`prepare(count)` makes what `count` turns of the work need and gives the function that does them."""

    name: str
    what: str
    prepare: Callable[[int], Work]


def messages() -> dict[str, bytes]:
    """The octets of the message mix."""
    folder = files("sipcore.bench") / "messages"
    return {name: (folder / f"{name}.sip").read_bytes() for name in MIX}


def operations() -> list[Operation]:
    """Every operation on messages, connections and timers; `exchanges` has those of the engine."""
    mix = messages()
    octets = list(mix.values())
    requests = [message for message in map(parse, octets) if isinstance(message, Request)]
    return [
        *(Operation(f"parse {name}", "a message", parsing([one])) for name, one in mix.items()),
        Operation("parse", "a message of the mix", parsing(octets)),
        Operation("parse and touch", "a message, 6 values", touching(octets)),
        Operation("frame", "a message of a stream", framing(octets)),
        Operation("serialise", "a request from its values", serialising(requests)),
        Operation("respond", "a response", responding(requests)),
        Operation("forward", "a request, Via added", forwarding(requests)),
        Operation("connection found", "a look-up among 10,000", finding),
        Operation("connection touched", "a flow among 10,000", touching_flows),
        Operation("connection added", "and removed", adding),
        Operation("timer cancelled", "start and cancel", cancelling),
        Operation("timer due", "start and take", expiring),
    ]


def parsing(octets: list[bytes]) -> Callable[[int], Work]:
    """Each message of `octets` indexed."""

    def prepare(count: int) -> Work:
        datagrams = octets * count

        def work() -> int:
            for one in datagrams:
                parse(one)
            return len(datagrams)

        return work

    return prepare


def touching(octets: list[bytes]) -> Callable[[int], Work]:
    """Each message indexed, and read as every element reads it."""

    def prepare(count: int) -> Work:
        datagrams = octets * count

        def work() -> int:
            for one in datagrams:
                touch(parse(one))
            return len(datagrams)

        return work

    return prepare


def touch(message: Request | Response) -> None:
    """Top Via branch, both tags, Call-ID, CSeq and Contact URI."""
    via, from_, to = message.top_via, message.from_, message.to
    _ = via and via.branch, from_ and from_.tag, to and to.tag, message.call_id, message.cseq
    _ = [contact.uri for contact in message.contacts]


def framing(octets: list[bytes]) -> Callable[[int], Work]:
    """All messages in one chunk of a stream."""
    stream = b"".join(octets)

    def prepare(count: int) -> Work:
        framer = StreamFramer()

        def work() -> int:
            return sum(len(framer.feed(stream)) for _ in range(count))

        return work

    return prepare


def serialising(requests: list[Request]) -> Callable[[int], Work]:
    """A request written from method, URI, headers and body."""

    def prepare(count: int) -> Work:
        parts = [(one.method, str(one.request_uri), one.headers, one.body) for one in requests] * count

        def work() -> int:
            for method, uri, headers, body in parts:
                serialize_request(method, uri, headers, body)
            return len(parts)

        return work

    return prepare


def responding(requests: list[Request]) -> Callable[[int], Work]:
    """The 200 to a request, as a message."""

    def prepare(count: int) -> Work:
        received = requests * count

        def work() -> int:
            for request in received:
                build_response(request, 200, to_tag="bench")
            return len(received)

        return work

    return prepare


def forwarding(requests: list[Request]) -> Callable[[int], Work]:
    """What a proxy changes: a Via on top and one hop less."""
    via = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbench"

    def prepare(count: int) -> Work:
        received = requests * count

        def work() -> int:
            for request in received:
                request.edit().insert("Via", via).replace("Max-Forwards", "69").build()
            return len(received)

        return work

    return prepare


def finding(count: int) -> Work:
    """The connection to an address."""
    table, _ = _connections(10_000)
    find, hosts = table.find, [_host(number * 7919 % 10_000) for number in range(count)]

    def work() -> int:
        for host in hosts:
            find("tcp", 0, host, 5060)
        return count

    return work


def touching_flows(count: int) -> Work:
    """A connection used, known by its flow."""
    table, flows = _connections(10_000)
    touched, some = table.touch, [flows[number * 7919 % 10_000] for number in range(count)]

    def work() -> int:
        for flow in some:
            touched(flow, 5)
        return count

    return work


def adding(count: int) -> Work:
    """A connection that comes and goes."""
    table, flows = _connections(10_000)
    local, writer = table.local_of(flows[0]).handle, object()

    def work() -> int:
        for port in range(1024, 1024 + count):
            table.remove(table.add(local, ("127.0.0.1", 5060), ("192.0.2.1", port), writer))
        return count

    return work


def _connections(count: int) -> tuple[ConnectionTable, list[int]]:
    table = ConnectionTable(bytes(range(16)))
    local = table.add_local("tcp", "127.0.0.1", 5060, user_agent=0)
    writer = object()
    return table, [table.add(local, ("127.0.0.1", 5060), (_host(n), 5060), writer) for n in range(count)]


def _host(number: int) -> str:
    return f"10.0.{number >> 8}.{number & 255}"


def cancelling(count: int) -> Work:
    """A timer that is never due, as most are, among 10,000."""
    wheel = _wheel(10_000)

    def work() -> int:
        start, cancel = wheel.start, wheel.cancel
        for number in range(count):
            cancel(start(500_000, number))
        return count

    return work


def expiring(count: int) -> Work:
    """A timer of 64*T1 that is taken when due, through all levels of the wheel; the wheel is looked at every 10 ms."""
    wheel = TimerWheel()
    began = 0

    def work() -> int:
        nonlocal began
        for number in range(count):
            wheel.start(began + 32_000_000 + 100 * number, number)
        end, taken = began + 32_100_000 + 100 * count, 0
        for now in range(began + 32_000_000, end, 10_000):
            taken += len(wheel.take(now))
        began = end
        return taken

    return work


def _wheel(live: int) -> TimerWheel:
    wheel = TimerWheel()
    for number in range(live):
        wheel.start(32_000_000 + number, number)
    return wheel
