"""The servers that a registration with redundancy may use (SPEC B12, B9, D8).

Which REGISTER goes when is `registration`'s business; this room knows the
order, who is passed over for a while, and whose turn it is to be probed.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipcore.policy.failover import DEAD_SECONDS, DeadMarks, Place, place_of
from sipcore.policy.locate import Target


class Candidates:
    """`targets` in the order to try; `held` is the server that holds the registration, None before there is one."""

    __slots__ = ("_dead", "_probes", "held", "targets")

    def __init__(self) -> None:
        self.targets: tuple[Target, ...] = ()
        self.held: Target | None = None
        self._dead = DeadMarks()
        self._probes = 0

    def __contains__(self, target: Target) -> bool:
        return any(place_of(target) == place_of(candidate) for candidate in self.targets)

    def mark_dead(self, target: Target, now: float, seconds: float | None) -> None:
        """Pass `target` over for `seconds`, 30 without an order."""
        self._dead.mark(target, now, seconds or DEAD_SECONDS)

    def take(self, target: Target | None) -> None:
        """`target` accepted the REGISTER (None without redundancy)."""
        self.held = target
        if target is not None:
            self._dead.clear(target)

    def first(self, now: float) -> Target | None:
        """Where the next REGISTER goes: the holder while it is a candidate and alive, else the first in order (D8)."""
        if self.held is not None and self.held in self and not self._dead.is_dead(self.held, now):
            return self.held
        return self.next_untried(now, ())

    def next_untried(self, now: float, tried: Sequence[Place]) -> Target | None:
        """The first candidate not in `tried` and not passed over; those passed over only where nothing was tried."""
        untried = [target for target in self.targets if place_of(target) not in tried]
        alive = [target for target in untried if not self._dead.is_dead(target, now)]
        if alive:
            return alive[0]
        return untried[0] if untried and not tried else None

    def better(self) -> list[Target]:
        """Those of strictly higher priority than the holder; A records are all equal (SPEC B12)."""
        held = self.held
        return [] if held is None else [target for target in self.targets if target.priority < held.priority]

    def next_probe(self) -> Target | None:
        """The better candidate whose turn it is: one at a time, in turn (SPEC C5)."""
        better = self.better()
        if not better:
            return None
        self._probes += 1
        return better[(self._probes - 1) % len(better)]
