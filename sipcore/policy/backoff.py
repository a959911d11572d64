"""Exponential back-off with a random share (SPEC C6).

Knows only steps and seconds; who waits, and for what, is its owner's business.
A service has one owner for each thing that is retried (SPEC B11).
"""

from __future__ import annotations

import random

FIRST_STEP = 1.0
LONGEST_STEP = 60.0
LEAST_SHARE = 0.5


class BackOff:
    """Waits drawn from 50-100 % of a step that doubles from 1 s to 60 s, until it is reset."""

    __slots__ = ("_source", "_step", "tries")

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._step = FIRST_STEP
        self.tries = 0

    def next_wait(self) -> float:
        """Seconds until the next try; each call is one more failure."""
        wait = self._source.uniform(LEAST_SHARE * self._step, self._step)
        self._step = min(2 * self._step, LONGEST_STEP)
        self.tries += 1
        return wait

    def reset(self) -> None:
        """Something succeeded: the next wait is a first one again."""
        self._step = FIRST_STEP
        self.tries = 0
