"""What a datagram costs, sent and received on loopback by this process alone (nearly all of it is the kernel's)."""

import socket
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore._batch import DatagramSocket

ROUND = 64
OCTETS = bytes(400)


def bound() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind(("127.0.0.1", 0))
    return opened


def run(benchmark: BenchmarkFixture, there: socket.socket, send: Callable[[], None], take: Callable[[], int]) -> None:
    def there_and_back() -> None:
        send()
        waiting = ROUND
        while waiting:
            waiting -= take()

    with there:
        benchmark(there_and_back)
    benchmark.extra_info.update(operations=ROUND)


@pytest.mark.parametrize("how", ["batched", "one_at_a_time", "segments"])
def bench_datagrams(benchmark: BenchmarkFixture, how: str) -> None:
    here, there = bound(), bound()
    sender = DatagramSocket(here.fileno(), one_at_a_time=how == "one_at_a_time", segment=how == "segments")
    receiver = DatagramSocket(there.fileno(), one_at_a_time=how == "one_at_a_time", coalesce=how == "segments")
    datagrams = [(OCTETS, "127.0.0.1", there.getsockname()[1])] * ROUND
    with here:
        run(benchmark, there, lambda: sender.send_batch(datagrams), lambda: len(receiver.receive()))


def bench_datagrams_by_the_socket_module(benchmark: BenchmarkFixture) -> None:
    """The yardstick: sendto and recvfrom of the standard library."""
    here, there = bound(), bound()
    address = there.getsockname()

    def send() -> None:
        for _ in range(ROUND):
            here.sendto(OCTETS, address)

    def take() -> int:
        there.recvfrom(65535)
        return 1

    with here:
        run(benchmark, there, send, take)
