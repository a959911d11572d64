"""The compiled rooms, one by one, in this process: what a call from Python costs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from time import perf_counter_ns

from sipcore._batch import DatagramSocket
from sipcore._yardstick import split
from sipcore.bench.exchanges import exchanges
from sipcore.bench.figures import Figure, figure
from sipcore.bench.operations import MIX, Operation, Work, messages, operations

SINGLE = tuple(f"parse {name}" for name in MIX)
"""Operations that are counted and not timed: "parse" has them all."""

Prepare = Callable[[int], Work]

ROUND_NS = 20_000_000


def measure(rounds: int) -> Iterator[Figure]:
    """A figure for each operation, the yardstick taken in turn with it."""
    mix = list(messages().values())

    def splitting(count: int) -> Work:
        return lambda: split(mix, count) and count * len(mix)

    for operation in (*operations(), *exchanges()):
        if operation.name not in SINGLE:
            yield _interleaved(operation, "a split in C", splitting, rounds)
    with _Pair() as pair:
        there_and_back = Operation("datagrams", "in and out, of 64", pair.batched)
        one = _interleaved(there_and_back, "the socket module", pair.one_by_one, rounds)
        lost = f"{pair.lost} datagrams were dropped"
        yield figure(one.name, one.what, one.yardstick, invalid=lost) if pair.lost else one


class _Pair:
    """Two sockets on loopback that send to each other; `lost` counts what did not arrive."""

    BATCH = 64
    DATAGRAM = b"x" * 400

    def __enter__(self) -> _Pair:
        self.lost = 0
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

    def batched(self, count: int) -> Work:
        """`recvmmsg` and `sendmmsg`, `count` batches."""
        batch = [(self.DATAGRAM, *self.address)] * self.BATCH

        def work() -> int:
            received = 0
            for _ in range(count):
                self.ours[0].send_batch(batch)
                while got := len(self.ours[1].receive()):
                    received += got
            self.lost += count * self.BATCH - received
            return count * self.BATCH

        return work

    def one_by_one(self, count: int) -> Work:
        """The same by the standard library."""
        sender, receiver = self.sockets

        def work() -> int:
            for _ in range(count):
                for _ in range(self.BATCH):
                    sender.sendto(self.DATAGRAM, self.address)
                self.lost += self.BATCH - self._drain(receiver)
            return count * self.BATCH

        return work

    def _drain(self, receiver: socket.socket) -> int:
        for number in range(self.BATCH):
            try:
                receiver.recvfrom(2048)
            except BlockingIOError:
                return number
        return self.BATCH


def _interleaved(operation: Operation, yardstick: str, other: Prepare, rounds: int) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    work, reference = _calibrated(operation.prepare), _calibrated(other)
    for _ in range(rounds):
        ours.append(_time(work))
        theirs.append(_time(reference))
    return figure(operation.name, operation.what, yardstick, ours=ours, theirs=theirs)


def _calibrated(prepare: Prepare) -> Work:
    """The work as often as a round of about ROUND_NS needs it."""
    count = 1
    while True:
        work = prepare(count)
        began = perf_counter_ns()
        work()
        spent = perf_counter_ns() - began
        if spent > ROUND_NS / 4:
            return prepare(max(1, round(count * ROUND_NS / spent)))
        count *= 2


def _time(work: Work) -> float:
    began = perf_counter_ns()
    pieces = work()
    return (perf_counter_ns() - began) / pieces
