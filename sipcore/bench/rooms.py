"""The compiled rooms, one by one, in this process: what a call from Python costs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from importlib.resources import files
from time import perf_counter_ns

from sipcore._batch import DatagramSocket
from sipcore._connections import ConnectionTable
from sipcore._framing import StreamFramer
from sipcore._message import Request, Response, build_response, parse
from sipcore._timers import TimerWheel
from sipcore._yardstick import split
from sipcore.bench.figures import Figure, figure

MIX = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")
"""The everyday messages of one registration and one call."""

Timed = Callable[[int], int]
"""Does its work that many times over; returns how many pieces that were."""

ROUND_NS = 20_000_000


def messages() -> list[bytes]:
    """The octets of the message mix."""
    folder = files("sipcore.bench") / "messages"
    return [(folder / f"{name}.sip").read_bytes() for name in MIX]


def measure(rounds: int) -> Iterator[Figure]:
    """A figure for each room, the yardstick taken in turn with it."""
    mix = messages()

    def split_all(count: int) -> int:
        split(mix, count)
        return count * len(mix)

    for name, what, work in _message_works(mix):
        yield _interleaved(name, what, "a split in C", work=work, other=split_all, rounds=rounds)
    for name, what, work in (("table", "find a connection", _finds()), ("timers", "start and cancel", _timers())):
        yield _interleaved(name, what, "", work=work, rounds=rounds)
    with _Pair() as pair:
        work, other = pair.batched, pair.one_by_one
        yield _interleaved("datagrams", "in and out, of 64", "the socket module", work=work, other=other, rounds=rounds)


def _message_works(mix: list[bytes]) -> list[tuple[str, str, Timed]]:
    parsed = [parse(octets) for octets in mix]
    requests = [message for message in parsed if isinstance(message, Request)]
    stream = b"".join(mix)

    def parse_all(count: int) -> int:
        for _ in range(count):
            for octets in mix:
                parse(octets)
        return count * len(mix)

    def touch_all(count: int) -> int:
        for _ in range(count):
            for octets in mix:
                touch(parse(octets))
        return count * len(mix)

    def respond_all(count: int) -> int:
        for _ in range(count):
            for request in requests:
                build_response(request, 200, to_tag="bench")
        return count * len(requests)

    def frame_all(count: int) -> int:
        framer = StreamFramer()
        for _ in range(count):
            framer.feed(stream)
        return count * len(mix)

    return [
        ("parse", "a message", parse_all),
        ("parse and touch", "a message, 6 values", touch_all),
        ("frame", "a message of a stream", frame_all),
        ("serialise", "a response", respond_all),
    ]


def touch(message: Request | Response) -> None:
    """Read what an element reads of every message."""
    via, from_, to = message.top_via, message.from_, message.to
    _ = via and via.branch, from_ and from_.tag, to and to.tag, message.call_id, message.cseq
    _ = [contact.uri for contact in message.contacts]


def _finds() -> Timed:
    table = ConnectionTable(b"bench-bench-bench"[:16])
    local = table.add_local("tcp", "127.0.0.1", 5060, user_agent=0)
    for number in range(10_000):
        table.add(local, ("127.0.0.1", 5060), (f"10.0.{number >> 8}.{number & 255}", 5060), None)

    def work(count: int) -> int:
        for _ in range(count):
            table.find("tcp", 0, "10.0.7.7", 5060)
        return count

    return work


def _timers() -> Timed:
    wheel = TimerWheel()
    for number in range(100_000):
        wheel.start(32_000_000 + number, number)

    def work(count: int) -> int:
        for number in range(count):
            wheel.cancel(wheel.start(500_000, number))
        return count

    return work


class _Pair:
    """Two sockets on loopback that send to each other."""

    BATCH = 64
    DATAGRAM = b"x" * 400

    def __enter__(self) -> _Pair:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in self.sockets:
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.ours = [DatagramSocket(one.fileno()) for one in self.sockets]
        self.address: tuple[str, int] = self.sockets[1].getsockname()
        return self

    def __exit__(self, *_: object) -> None:
        for ours, one in zip(self.ours, self.sockets, strict=True):
            ours.detach()
            one.close()

    def batched(self, count: int) -> int:
        batch = [(self.DATAGRAM, *self.address)] * self.BATCH
        received = 0
        for _ in range(count):
            self.ours[0].send_batch(batch)
            while got := len(self.ours[1].receive()):
                received += got
        return received

    def one_by_one(self, count: int) -> int:
        sender, receiver = self.sockets
        for _ in range(count):
            for _ in range(self.BATCH):
                sender.sendto(self.DATAGRAM, self.address)
            for _ in range(self.BATCH):
                receiver.recvfrom(2048)
        return count * self.BATCH


def _interleaved(
    name: str, what: str, yardstick: str, *, work: Timed, other: Timed | None = None, rounds: int
) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    count, other_count = _calibrate(work), _calibrate(other) if other else 0
    for _ in range(rounds):
        ours.append(_time(work, count))
        if other is not None:
            theirs.append(_time(other, other_count))
    return figure(name, what, yardstick, ours=ours, theirs=theirs)


def _calibrate(work: Timed) -> int:
    """How often to do the work for a round of about ROUND_NS."""
    count = 1
    while True:
        began = perf_counter_ns()
        work(count)
        spent = perf_counter_ns() - began
        if spent > ROUND_NS / 4:
            return max(1, round(count * ROUND_NS / spent))
        count *= 2


def _time(work: Timed, count: int) -> float:
    began = perf_counter_ns()
    pieces = work(count)
    return (perf_counter_ns() - began) / pieces
