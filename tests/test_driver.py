"""One engine on one loop: timers ring when they are due, and the loop is asked for little."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit import CLIENT, SERVER, request_octets, stack_at

from sipcore import sim
from sipcore.driver import LoopDriver
from sipcore.sim import SimNetwork


def test_policy_timers_ring_when_they_are_due_and_never_early() -> None:
    async def main(network: SimNetwork) -> list[tuple[float, float]]:
        driver = LoopDriver(network.env(SERVER))
        rung: list[tuple[float, float]] = []
        for number in range(200):
            due = driver.now() + number * 0.3337 + 1e-7
            driver.engine.start_timer(due, lambda due=due: rung.append((due, driver.now())))
        await asyncio.sleep(100)
        driver.close()
        return rung

    rung = sim.run(main)
    assert len(rung) == 200
    for due, at in rung:
        assert due - 1e-6 <= at <= due + 0.01


def test_a_closed_driver_rings_no_more() -> None:
    async def main(network: SimNetwork) -> list[int]:
        driver = LoopDriver(network.env(SERVER))
        rung: list[int] = []
        driver.engine.start_timer(driver.now() + 1, lambda: rung.append(1))
        driver.after_batch()
        driver.close()
        await asyncio.sleep(5)
        return rung

    assert sim.run(main) == []


def test_a_timer_callback_that_raises_stops_no_other_timer() -> None:
    async def main(network: SimNetwork) -> list[int]:
        driver = LoopDriver(network.env(SERVER))
        rung: list[int] = []

        def fails() -> None:
            raise RuntimeError("a fault of the application")

        for number in range(5):
            driver.engine.start_timer(driver.now() + number, fails)
            driver.engine.start_timer(driver.now() + number, lambda number=number: rung.append(number))
        await asyncio.sleep(10)
        driver.close()
        return sorted(rung)

    assert sim.run(main) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [10, 1_000])
def test_requests_do_not_touch_the_loops_timers(count: int) -> None:
    async def main(network: SimNetwork) -> int:
        await stack_at(network, SERVER)
        peer = network.datagram_peer(CLIENT, 5060)
        await asyncio.sleep(1)
        armed: list[float] = []
        call_at = network.loop.call_at

        def counting(when: float, callback: Any, *arguments: Any, context: Any = None) -> asyncio.TimerHandle:
            if getattr(callback, "__name__", "") == "_ring":
                armed.append(when)
            return call_at(when, callback, *arguments, context=context)

        network.loop.call_at = counting  # type: ignore[method-assign, assignment]
        for number in range(count):
            peer.send(request_octets(branch=f"z9hG4bK{number}", call_id=f"{number}"), (SERVER, 5060))
        await asyncio.sleep(0.5)
        assert len(peer.received) == count
        return len(armed)

    assert sim.run(main) <= 5
