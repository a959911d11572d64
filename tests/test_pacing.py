"""Many things spread over a stretch of time, a batch at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from sipcore.pacing import MOST, TICK, Pacer


class Clock:
    """A clock with timers that the test moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def start(self, due: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (due, len(self._due), callback))

    def run(self) -> None:
        while self._due:
            due, _, callback = heapq.heappop(self._due)
            self.now = max(self.now, due)
            callback()


def times(spread: float, count: int) -> list[float]:
    """When each of `count` things is done, from the first one's putting."""
    clock, done = Clock(), []
    pacer = Pacer(lambda: clock.now, clock.start, spread)
    for number in range(count):
        pacer.put(lambda number=number: done.append((number, clock.now - 100.0)))  # type: ignore[misc]
    assert not done and len(pacer) == count
    clock.run()
    assert [number for number, _ in done] == list(range(count)) and not len(pacer)
    return [when for _, when in done]


@pytest.mark.parametrize(("spread", "count"), [(10.0, 5000), (10.0, 100), (1.0, 3)])
def test_they_are_spread_evenly(spread: float, count: int):
    when = times(spread, count)
    for number, at in enumerate(when):
        assert at <= spread * (number + 1) / count + TICK
    assert max(when.count(at) for at in when) <= max(1, -(-count * TICK // spread))


def test_a_batch_is_never_larger_than_one_system_call_carries():
    when = times(0.0, 1000)
    assert max(when.count(at) for at in when) == MOST
    assert when[-1] == pytest.approx((1000 // MOST) * TICK)


def test_what_is_put_in_later_has_its_turn_and_no_timer_is_left():
    clock, done = Clock(), []
    pacer = Pacer(lambda: clock.now, clock.start, 1.0)
    pacer.put(lambda: pacer.put(lambda: done.append(clock.now)))
    clock.run()
    assert len(done) == 1 and not clock._due


def test_what_is_cleared_is_not_done():
    clock, done = Clock(), []
    pacer = Pacer(lambda: clock.now, clock.start, 1.0)
    pacer.put(lambda: done.append(1))
    pacer.clear()
    clock.run()
    assert not done
