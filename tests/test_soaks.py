"""The long forms of what `test_transactions` shows in short, for `make soak`: as many as FAULTS says."""

from __future__ import annotations

import random
import time
from functools import reduce

import pytest
from engine_kit import Bench, cancel_of, request, response_to
from verdict import often

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
    bench = Bench(lambda received: bench.engine.refuse(received, 481) if received.method == "NOTIFY" else None)
    ack = request("ACK", branch="z9hG4bKQQQQQQQ").encode()
    answer = response_to(request(branch="z9hG4bKQQQQQQQ").encode(), 200).encode()
    notify = request("NOTIFY", branch="z9hG4bKQQQQQQQ", to_tag="none").encode()
    cancel = cancel_of(request("INVITE", branch="z9hG4bKQQQQQQQ")).encode()
    for number in range(often(1_000_000, 100_000)):
        own = b"%07d" % number
        bench.receive(ack.replace(b"QQQQQQQ", own))
        bench.receive(answer.replace(b"QQQQQQQ", own))
        assert not bench.sent
        bench.receive(notify.replace(b"QQQQQQQ", own))
        bench.receive(cancel.replace(b"QQQQQQQ", own))
        assert len(bench.sent) == 2
        bench.sent.clear()
        bench.events.requests.clear()
        assert number % 1_000 or bench.live() == 0
    assert bench.live() == 0


PAIRS = {"31": ("Aa", "BB"), "33": ("Ab", "BA")}  # of one sum under hash = hash * 31 + octet, or * 33


def colliding(pair: tuple[str, str], count: int) -> list[str]:
    """Names of one size that all collide under such a hash, whatever the size of its table."""
    return ["".join(pair[number >> at & 1] for at in range(17)) for number in range(count)]


def random_names(count: int) -> list[str]:
    draw = random.Random(58)
    return ["".join(draw.choices("ABab", k=34)) for _ in range(count)]


def nanoseconds(names: list[str], where: str) -> float:
    """The time of the processor for a request and its repetition, whose branch or Call-ID is one of `names`."""
    bench = Bench(lambda received: received.reply(200))
    bench.engine.overload.source_share = 1.0
    bench.engine.overload.max_transactions = bench.engine.overload.admission_limit = 2 * len(names)
    template = request("MESSAGE", branch="z9hG4bKBRANCH", call_id="CALL").encode()
    messages = []
    for number, name in enumerate(names):
        branch, call_id = (name, str(number)) if where == "branch" else (str(number), name)
        messages.append(template.replace(b"BRANCH", branch.encode()).replace(b"CALL", call_id.encode()))
    started = time.process_time_ns()
    for octets in messages:
        bench.receive(octets)
        bench.receive(octets)
        bench.events.requests.clear()
        bench.sent.clear()
    assert bench.engine.stats()["request_retransmissions"] == len(names), "each has its own transaction"
    return (time.process_time_ns() - started) / len(names)


@pytest.mark.parametrize("where", ["branch", "Call-ID"])
@pytest.mark.parametrize("kind", PAIRS)
def test_chosen_branches_and_call_ids_cost_no_more_than_random_ones(kind: str, where: str) -> None:
    """FAULTS 58: 100,000 in a soak that collide under an unkeyed hash."""
    count = often(100_000, 20_000)
    chosen, spread = colliding(PAIRS[kind], count), random_names(count)
    hashes = {reduce(lambda value, octet: value * int(kind) + octet, name.encode(), 0) for name in chosen[:100]}
    assert len(set(chosen)) == count and len(hashes) == 1
    ratios = sorted(nanoseconds(chosen, where) / nanoseconds(spread, where) for _ in range(3))
    assert ratios[0] <= 1.3, ratios
