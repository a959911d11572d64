"""What a message costs in the engine, from Python: no sockets, no kernel; octets in by `receive`, octets out to a list.

Each is measured with few and with very many finished transactions beside it.
"""

from collections.abc import Callable
from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore._engine import Engine
from sipcore._message import Request, Response, parse

ROUND = 1_000
LIVE = pytest.mark.parametrize("live", [1_000, 1_000_000])


class Nowhere:
    """Takes what is sent."""

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None: ...


class Answers:
    """A user agent that answers at once; also the receiver of what is sent."""

    def __init__(self, status_code: int = 200) -> None:
        self.status_code = status_code

    def on_request(self, request: Request) -> None:
        if request.method != "ACK":
            request.reply(self.status_code)

    def on_cancel(self, request: Request) -> None: ...
    def on_ack_timeout(self, request: Request) -> None: ...
    def on_stray_response(self, response: Response) -> None: ...
    def on_response(self, response: Response) -> None: ...
    def on_timeout(self) -> None: ...
    def on_transport_error(self, reason: str) -> None: ...


def request(method: str, number: int) -> bytes:
    return (
        b"%s sip:service@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bK%016d;rport\r\n"
        b"Max-Forwards: 70\r\nFrom: <sip:caller@192.0.2.9>;tag=%016d\r\nTo: <sip:service@192.0.2.1>\r\n"
        b"Call-ID: %016d@192.0.2.9\r\nCSeq: 1 %s\r\nContact: <sip:caller@192.0.2.9:5070>\r\n"
        b"User-Agent: bench\r\nContent-Length: 0\r\n\r\n"
    ) % (method.encode(), number, number, number, method.encode())


class Bench:
    """An engine with `live` finished transactions."""

    def __init__(self, live: int = 0) -> None:
        self.engine = Engine(key=bytes(16), now=1.0)
        self.engine.overload.max_transactions = 1 << 24
        self.answers = Answers()
        self.agent = self.engine.add_user_agent(self.answers)
        local = self.engine.add_local("udp", "192.0.2.1", 5060, user_agent=self.agent, sender=Nowhere())
        self.flow = self.engine.datagram_flow(local, "192.0.2.9", 5070)
        self.numbers = count()
        self.receive([request("OPTIONS", number) for number in range(live)])
        self.numbers = count(live)

    def requests(self, method: str) -> list[bytes]:
        return [request(method, next(self.numbers)) for _ in range(ROUND)]

    def receive(self, messages: list[bytes]) -> None:
        receive, flow = self.engine.receive, self.flow
        for octets in messages:
            receive(octets, flow, 1.0)


def measure(benchmark: BenchmarkFixture, bench: Bench, prepare: Callable[[], list[bytes]]) -> None:
    benchmark.pedantic(bench.receive, setup=lambda: ((prepare(),), {}), rounds=50, warmup_rounds=3)
    benchmark.extra_info.update(operations=ROUND)


@LIVE
def bench_a_request_answered_statefully(benchmark: BenchmarkFixture, live: int) -> None:
    bench = Bench(live)
    measure(benchmark, bench, lambda: bench.requests("OPTIONS"))
    stats = bench.engine.stats()
    benchmark.extra_info.update(octets_a_transaction=stats["transaction_octets"] / stats["server_transactions"])


def bench_a_request_answered_statelessly(benchmark: BenchmarkFixture) -> None:
    bench = Bench()
    bench.engine.set_stateless_methods(bench.agent, ["OPTIONS"])
    measure(benchmark, bench, lambda: bench.requests("OPTIONS"))


@LIVE
def bench_a_retransmission_absorbed(benchmark: BenchmarkFixture, live: int) -> None:
    bench = Bench(live)
    known = bench.requests("OPTIONS")
    bench.receive(known)
    measure(benchmark, bench, lambda: known)


def bench_a_request_refused_with_503(benchmark: BenchmarkFixture) -> None:
    """FAULTS 47: at most a fifth of one that is answered."""
    bench = Bench()
    bench.engine.overload.admission_limit = 0
    measure(benchmark, bench, lambda: bench.requests("OPTIONS"))
    assert bench.engine.stats()["server_transactions"] == 0


def bench_an_ack_that_matches_nothing(benchmark: BenchmarkFixture) -> None:
    bench = Bench()
    measure(benchmark, bench, lambda: bench.requests("ACK"))


@LIVE
def bench_an_invite_refused_and_acknowledged(benchmark: BenchmarkFixture, live: int) -> None:
    bench = Bench(live)
    bench.answers.status_code = 486

    def prepare() -> list[bytes]:
        invites = bench.requests("INVITE")
        acks = [octets.replace(b"INVITE", b"ACK") for octets in invites]
        return [octets for pair in zip(invites, acks, strict=True) for octets in pair]

    measure(benchmark, bench, prepare)


def bench_a_request_sent_and_answered(benchmark: BenchmarkFixture) -> None:
    bench = Bench()

    def prepare() -> list[bytes]:
        responses = []
        for octets in bench.requests("OPTIONS"):
            message = parse(octets)
            assert isinstance(message, Request)
            bench.engine.send_request(message, bench.flow, bench.answers, 1.0)
            head, _, rest = octets.partition(b"\r\n")
            assert head.startswith(b"OPTIONS")
            responses.append(b"SIP/2.0 200 OK\r\n" + rest)
        return responses

    measure(benchmark, bench, prepare)
