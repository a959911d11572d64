"""Many things to do, spread over a stretch of time, a batch at a time.

One timer of the engine while something waits, none otherwise.  What is done, and
whether it may be done now, is the caller's business.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

TICK = 0.02  # seconds between two batches
MOST = 64  # a batch: what one sendmmsg carries


class Pacer:
    """`put` what is to be done; it is done in order, evenly over the `spread` seconds after the first of them.

    `now` reads a clock, `start_timer(due, callback)` starts a timer on it.  No more
    than 64 are done at once: a great many take longer than a short spread.
    """

    __slots__ = ("_ends", "_now", "_queue", "_running", "_start_timer", "spread")

    def __init__(
        self, now: Callable[[], float], start_timer: Callable[[float, Callable[[], None]], object], spread: float
    ) -> None:
        self.spread = spread
        self._now = now
        self._start_timer = start_timer
        self._queue: deque[Callable[[], None]] = deque()
        self._running = False
        self._ends = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, what: Callable[[], None]) -> None:
        """Do `what` in its turn; never before this call returns."""
        self._queue.append(what)
        if not self._running:
            self._running = True
            self._ends = self._now() + self.spread
            self._start_timer(self._now(), self._tick)

    def clear(self) -> None:
        """Do none of what waits."""
        self._queue.clear()

    def _tick(self) -> None:
        now = self._now()
        ticks_left = max(1, math.ceil((self._ends - now) / TICK))
        for _ in range(min(MOST, math.ceil(len(self._queue) / ticks_left))):
            self._queue.popleft()()
        self._running = bool(self._queue)
        if self._running:
            self._start_timer(now + TICK, self._tick)
