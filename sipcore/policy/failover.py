"""Which of the located targets a request may use (SPEC D8).

Without failover one address is used and kept; with failover at most three are
tried for a request, and those that failed lately are passed over.  What a
request is, and how it failed, is told by the caller as a status code or None.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipcore.policy.locate import Target

MAXIMUM_TRIES = 3
DEAD_SECONDS = 30.0
MAXIMUM_MARKS = 1024

Place = tuple[str, int, str]


def place_of(target: Target) -> Place:
    """What makes two targets the same place: address, port, transport."""
    return (target.address, target.port, target.transport)


def choose_one(targets: Sequence[Target], in_use: Target | None) -> Target:
    """The target without failover: the one in use while the answer still contains it, else the first (SPEC D8)."""
    if in_use is not None:
        for target in targets:
            if place_of(target) == place_of(in_use):
                return target
    return targets[0]


def fails_over(status_code: int | None) -> bool:
    """True for a time-out or transport error (None) and for 503; never for the user's answer: 486, 603 (SPEC D8)."""
    return status_code is None or status_code == 503


class DeadMarks:
    """Places that failed lately, passed over for a while (SPEC D8); bounded, the oldest mark is forgotten first."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[Place, float] = {}

    def mark(self, target: Target, now: float, seconds: float = DEAD_SECONDS) -> None:
        """Pass `target` over until `now + seconds`."""
        place = place_of(target)
        self._until.pop(place, None)
        self._until[place] = now + seconds
        if len(self._until) > MAXIMUM_MARKS:
            del self._until[next(iter(self._until))]

    def clear(self, target: Target) -> None:
        """`target` answered: nothing is held against it any more."""
        self._until.pop(place_of(target), None)

    def is_dead(self, target: Target, now: float) -> bool:
        return self.until(target) > now

    def until(self, target: Target) -> float:
        """When `target` is no longer passed over; minus infinity when nothing is held against it."""
        return self._until.get(place_of(target), float("-inf"))

    def passable(self, targets: Sequence[Target], now: float) -> tuple[Target, ...]:
        """The targets of one request, in order, at most three: those not marked, or all if all are marked."""
        alive = [target for target in targets if not self.is_dead(target, now)]
        return tuple((alive or list(targets))[:MAXIMUM_TRIES])
