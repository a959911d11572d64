"""The long forms of what `test_transactions` shows in short, for `make soak`: as many as FAULTS says."""

from __future__ import annotations

import time

import pytest
from engine_kit import Bench, cancel_of, request, response_to

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["never acknowledged", "never answered"])
def test_a_hundred_thousand_abandoned_invites_are_all_freed(kind: str) -> None:
    """FAULTS 23: Timer H or B, and five seconds."""
    bench = Bench(lambda received: received.reply(486))
    bench.engine.overload.source_share = 1.0
    for number in range(100_000):
        if kind == "never acknowledged":
            bench.receive(request("INVITE", branch=f"z9hG4bK{number}", call_id=str(number)))
            bench.events.requests.clear()
        else:
            bench.send("INVITE")
        bench.sent.clear()
    assert bench.live() >= 100_000
    bench.now += 32
    while (due := bench.engine.next_timer()) is not None and due <= bench.now + 5:
        bench.now = max(bench.now, due)
        bench.engine.handle_timers(bench.now)
        bench.sent.clear()
    assert bench.live() == 0
    assert bench.engine.stats()["transaction_octets"] < 8 << 20, "rows are given back, the tables of keys stay"


def test_a_million_of_each_that_match_nothing_leave_nothing() -> None:
    """FAULTS 26: no state, no reply to an ACK or a response, at most one reply for a request."""
    bench = Bench()
    ack = request("ACK", branch="z9hG4bKQQQQQQQ").encode()
    answer = response_to(request(branch="z9hG4bKQQQQQQQ").encode(), 200).encode()
    for number in range(1_000_000):
        own = b"%07d" % number
        bench.receive(ack.replace(b"QQQQQQQ", own))
        bench.receive(answer.replace(b"QQQQQQQ", own))
    assert not bench.sent
    assert bench.live() == 0
    octets = cancel_of(request("INVITE", branch="z9hG4bKQQQQQQQ")).encode()
    for number in range(100_000):
        bench.receive(octets.replace(b"QQQQQQQ", b"%07d" % number))
    assert len(bench.sent) == 100_000
    assert bench.live() == 0


def test_chosen_branches_and_call_ids_cost_no_more_than_random_ones() -> None:
    """FAULTS 58: what agrees in its first and last octets and in size, as an unkeyed hash of these would collide."""

    def nanoseconds(branches: list[str]) -> float:
        bench = Bench(lambda received: received.reply(200))
        bench.engine.overload.source_share = 1.0
        messages = [request(branch=f"z9hG4bK{name}", call_id=name).encode() for name in branches]
        started = time.process_time_ns()
        for octets in messages:
            bench.receive(octets)
        bench.events.requests.clear()
        bench.sent.clear()
        return (time.process_time_ns() - started) / len(branches)

    count = 20_000
    chosen = [f"aaaaaaaa{number << 16:016x}aaaaaaaa" for number in range(count)]
    spread = [f"{number * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}{number:016x}" for number in range(count)]
    ratios = sorted(nanoseconds(chosen) / nanoseconds(spread) for _ in range(5))
    assert ratios[0] <= 1.3, ratios
