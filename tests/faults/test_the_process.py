"""Faults of handlers and of the process, on real sockets: FAULTS 52, 56 and 57 (tests/verdict.py)."""

from __future__ import annotations

import os
import sys
import time

import pytest
from verdict import SOAK, Attacker, Prober, Subject, often, p99, stand

pytestmark = [pytest.mark.slow, pytest.mark.native, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

HOURS = float(os.environ.get("SIPCORE_SOAK_HOURS", "0.05"))
"""How long a soak is: three minutes, or what is asked for; FAULTS 57 says 72."""

HANDLERS = """
import logging
logging.disable(logging.CRITICAL)

def raises(request):
    raise RuntimeError("a fault of the application")

async def raises_later(request):
    await asyncio.sleep(0.01)
    raise RuntimeError("a fault of the application")

async def never_returns(request):
    await asyncio.get_running_loop().create_future()

async def cancels_itself(request):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)

def application(stack):
    stack.overload.source_share = 1.0
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on("MESSAGE", %s)
"""


@pytest.mark.parametrize(
    ("handler", "status"),
    [("raises", 500), ("raises_later", 500), ("never_returns", 500), ("cancels_itself", 503)],
)
def test_a_handler_that_fails_costs_its_own_request_only(handler: str, status: int) -> None:
    """FAULTS 56: under the common verdict; each request gets its final response, and nobody waits for it."""
    count = often(10_000, 500)
    with Subject(HANDLERS % handler) as subject, Attacker(subject.port) as attacker:
        rounds = iter(range(1_000))

        def attack() -> None:
            turn = next(rounds)
            attacker.flood(attacker.message("MESSAGE", f"h{turn}-{number}") for number in range(count))
            if handler == "never_returns":
                subject.ask("forward 31") if not subject.real_time else time.sleep(31)
                attacker.keep_in_step()
            attacker.take(1.0)

        stand(subject, attack, errors=attacker.sent + 4 * count)
        assert attacker.heard[status] >= 0.99 * attacker.sent
        assert set(attacker.heard) <= {100, status}


BLOCKING = """
def blocks(request):
    time.sleep(5)
    request.reply(200)

def application(stack):
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on("MESSAGE", blocks)
"""


def test_a_handler_that_blocks_is_logged_while_it_does_and_nothing_is_lost() -> None:
    """FAULTS 56: five seconds; who waited is answered then, and from then on as fast as before."""
    with Subject(BLOCKING) as subject, Attacker(subject.port) as attacker:
        live = subject.ask()["live"]
        attacker.datagrams.send_batch([(attacker.message("MESSAGE", "slow"), *attacker.target)])
        time.sleep(0.2)
        started = time.monotonic()
        assert attacker.keep_in_step(seconds=20.0), "asked while the loop stood still"
        assert 3.0 < time.monotonic() - started < 10.0
        attacker.take(0.5)
        assert attacker.heard[200] == 1
        with Prober(subject.port) as prober:
            time.sleep(1.0)
        assert p99(prober.times) <= (0.1 if SOAK else 1.0)
        subject.settle(live)
        said = subject.said()
        assert "the event loop has stood still" in said and "in blocks" in said
        assert "goes on" in said


WORKING = """
import logging
import random

def application(stack):
    stack.overload.source_share = 1.0
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)

    @stack.on("MESSAGE")
    async def work(request):
        await asyncio.sleep(random.uniform(0.0, 3.0))
        request.reply(200)

    @stack.on_invite
    async def inbound(call):
        await call.progress(180)
        await asyncio.sleep(random.uniform(0.0, 3.0))
        await call.answer(b"")
        await call.ended()
"""


def test_a_graceful_stop_under_load_ends_all_that_was_begun() -> None:
    """FAULTS 57: new work 503, what runs ends, within 32 s, no task pending, no ResourceWarning, no traceback."""
    options = ("-X", "dev", "-W", "always::ResourceWarning")
    with Subject(WORKING, real_time=True, options=options) as subject, Attacker(subject.port) as attacker:
        number, begun, closing, told_at = 0, 0, False, 0.0
        while not closing or time.monotonic() < told_at + 1.5:
            batch = []
            for _ in range(16):
                number += 1
                contact = f"Contact: <sip:a@{attacker.host}:{attacker.port}>\r\n"
                # In a soak calls too, whose callers never acknowledge: it takes as long as it may.
                method = "INVITE" if SOAK and number % 4 == 0 else "MESSAGE"
                batch.append(attacker.message(method, f"w{number}", headers=contact))
            attacker.flood(batch)
            attacker.take(0.05)
            if number >= 640 and not closing:
                closing, told_at, begun = True, time.monotonic(), number
                subject.tell("close")
        attacker.take(3.0)
        ended = subject.answer()
        assert ended["took"] <= 32.0
        assert ended["tasks"] == 0
        assert subject.process.wait(10) == 0
        assert attacker.heard[503] >= (number - begun) / 2, "new work is refused"
        assert attacker.heard[200] + attacker.heard[487] + attacker.heard[480] >= begun * 3 / 4, (
            "what was begun is ended"
        )
        said = subject.said()
        for word in ("ResourceWarning", "Traceback", "was destroyed", "never awaited", "never retrieved"):
            assert word not in said, said


def test_a_process_that_was_stopped_repeats_each_response_once() -> None:
    """FAULTS 52: SIGSTOP for 30 s (3 s outside of a soak) is no reason for a burst, and nothing expires early."""
    application = """
def application(stack):
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on("INVITE", lambda request: request.reply(486))
"""
    with Subject(application) as subject, Attacker(subject.port) as attacker:
        count = 100
        attacker.flood(attacker.message("INVITE", f"s{number}") for number in range(count))
        assert attacker.heard[486] == count
        time.sleep(0.6)
        attacker.take(0.1)
        before = attacker.heard[486]
        subject.stand_still(30.0 if SOAK else 3.0)
        attacker.take(0.3)
        assert attacker.heard[486] - before <= count
        assert subject.ask()["live"]["transactions"] == (0 if SOAK else count)


STEADY = """
def application(stack):
    stack.overload.source_share = 1.0
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on("MESSAGE", lambda request: request.reply(200))

    @stack.on("INFO")
    async def later(request):
        await asyncio.sleep(0.05)
        request.reply(200)

    @stack.on_invite
    async def inbound(call):
        await call.progress(180)
        await call.reject(486)
"""


def work(attacker: Attacker, first: int, count: int) -> None:
    """`count` rounds of what a server does all day: a request, one that takes its time, a call that is refused."""
    contact = f"Contact: <sip:a@{attacker.host}:{attacker.port}>\r\n"
    names = [f"d{number}" for number in range(first, first + count)]
    for method, prefix in (("MESSAGE", "m"), ("INFO", "n"), ("INVITE", "i")):
        attacker.flood(attacker.message(method, prefix + name, headers=contact) for name in names)
    tags = [(name, attacker.tags.pop("i" + name, "")) for name in names]
    attacker.flood(attacker.message("ACK", "i" + name, to_tag=tag) for name, tag in tags)


def slope(points: list[tuple[float, int]]) -> float:
    """Of the line through them by least squares: octets a second."""
    seconds, octets = ([point[axis] for point in points] for axis in (0, 1))
    middle, mean = sum(seconds) / len(points), sum(octets) / len(points)
    spread = sum((second - middle) ** 2 for second in seconds)
    return sum((second - middle) * (octet - mean) for second, octet in points) / spread


@pytest.mark.skipif(not SOAK, reason="takes as long as it is told to: make soak")
def test_memory_does_not_grow_at_sixty_percent_load() -> None:
    """FAULTS 57: at most 1 MiB a day after warm-up; a short soak can tell no less than the noise of a few pages."""
    seconds = HOURS * 3_600
    with Subject(STEADY, real_time=True) as subject, Attacker(subject.port) as attacker:
        points, number, rounds, started = [], 0, 10, time.monotonic()
        warm = 60.0
        while (at := time.monotonic() - started) < warm + seconds:
            before = subject.cpu()
            work(attacker, number, rounds)
            number += rounds
            time.sleep(max(0.0, started + at + 0.2 - time.monotonic()))
            load = (subject.cpu() - before) / (time.monotonic() - started - at)
            rounds = max(1, min(2_000, int(rounds * min(1.5, 0.6 / max(load, 0.01)))))
            if at > warm:
                points.append((at, subject.ask()["resident"]))
        told = subject.ask()
        assert told["stats"]["callback_errors"] == told["stats"]["internal_errors"] == 0
        assert slope(points) * seconds <= (1 << 20) * (seconds / 86_400 + 0.5), (slope(points) * seconds, number)
