"""What policy machines want done: values that any world can carry out.

A machine's `on_...` method returns a list of these, in the order to carry them
out.  Timers are named; starting one replaces the one of that name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call `on_timer(now, name)` at `due` (monotonic seconds)."""

    name: str
    due: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer `name` is not wanted any more; it may not be running at all."""

    name: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log and the decision ring: what happened, the rule, and when it is tried again."""

    what: str
    rule: str
    next_attempt: float | None = None
