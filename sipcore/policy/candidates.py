"""The servers that a registration with redundancy may use (SPEC B12, B9, D8).

Which REGISTER goes when is `registration`'s business; this room knows the
order, who is passed over for a while, and whose turn it is to be probed.
"""

from __future__ import annotations

from collections.abc import Sequence

from sipcore.policy.decisions import format_host_port, format_seconds
from sipcore.policy.failover import DEAD_SECONDS, DeadMarks, Place, place_of
from sipcore.policy.locate import Target

NO_MARKS = DeadMarks()  # shared by those that never had a reason to mark one


class Candidates:
    """`targets` in the order to try; `held` is the server that holds the registration, None before there is one.

    `fails_over` false: a server that fails is not left for the next one, because a
    registration elsewhere takes over (SPEC B13).
    """

    __slots__ = ("_dead", "_probes", "fails_over", "held", "targets")

    def __init__(self) -> None:
        self.targets: tuple[Target, ...] = ()
        self.held: Target | None = None
        self.fails_over = True
        self._dead = NO_MARKS
        self._probes = 0

    def __contains__(self, target: Target) -> bool:
        return any(place_of(target) == place_of(candidate) for candidate in self.targets)

    def renew(self, targets: tuple[Target, ...]) -> None:
        """DNS was asked again: another order, other priorities, other servers (SPEC B12)."""
        self.targets = targets
        self.rank_held(targets)

    def forget(self) -> None:
        """The servers are to be found anew: the kind of addresses that is wanted has changed (SPEC A1)."""
        self.targets, self.held, self._dead = (), None, NO_MARKS

    def rank_held(self, targets: tuple[Target, ...]) -> None:
        """Take the holder's priority from these, if it is among them."""
        held = self.held
        if held is not None:
            self.held = next((target for target in targets if place_of(target) == place_of(held)), held)

    def mark_dead(self, target: Target, now: float, seconds: float | None) -> None:
        """Pass `target` over for `seconds`, 30 without an order."""
        if self._dead is NO_MARKS:
            self._dead = DeadMarks()
        self._dead.mark(target, now, seconds or DEAD_SECONDS)

    def take(self, target: Target | None) -> None:
        """`target` accepted the REGISTER (None without redundancy)."""
        self.held = target
        if target is not None:
            self._dead.clear(target)

    def left_for(self, target: Target | None, *, fell_back: bool) -> Target | None:
        """The server whose binding is to be taken back once `target` has accepted (SPEC B12).

        It is left for a better one, or because DNS no longer names it; one that failed is not there to be asked.
        """
        held = self.held
        if held is None or target is None or place_of(held) == place_of(target):
            return None
        return held if fell_back or held not in self else None

    def first(self, now: float) -> Target | None:
        """Where the next REGISTER goes: the holder while it is a candidate and alive, else the first in order (D8)."""
        if self.held is not None and self.held in self and not self._dead.is_dead(self.held, now):
            return self.held
        return self.next_untried(now, ())

    def next_untried(self, now: float, tried: Sequence[Place]) -> Target | None:
        """The first candidate not in `tried` and not passed over.

        Where nothing was tried and all are passed over, the one whose time is up first.
        """
        if tried and not self.fails_over:
            return None
        untried = [target for target in self.targets if place_of(target) not in tried]
        alive = [target for target in untried if not self._dead.is_dead(target, now)]
        if alive:
            return alive[0]
        return min(untried, key=self._dead.until) if untried and not tried else None

    def alive(self, now: float) -> list[Target]:
        """Those not passed over: the holder, then the others in order."""
        return [target for target in self.in_order(now) if not self._dead.is_dead(target, now)]

    def in_order(self, now: float) -> list[Target]:
        """All in the order that a request tries them: the holder, then the others; those passed over last (SPEC D8)."""
        first = self.first(now)
        others = [target for target in self.targets if target is not first]
        others.sort(key=lambda target: self._dead.is_dead(target, now))
        return others if first is None else [first, *others]

    def describe(self, now: float) -> tuple[str, ...]:
        """Each candidate in order, and what is to be said of it (SPEC F1)."""
        return tuple(self._describe(target, now) for target in self.targets)

    def _describe(self, target: Target, now: float) -> str:
        remarks = []
        if self.held is not None and place_of(self.held) == place_of(target):
            remarks.append("holds the registration")
        if self._dead.is_dead(target, now):
            remarks.append(f"passed over for {format_seconds(self._dead.until(target) - now)}")
        shown = f"{format_host_port(target.address, target.port)} {target.transport}"
        return f"{shown} ({', '.join(remarks)})" if remarks else shown

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


class NoCandidates(Candidates):
    """Without redundancy there are none, and nothing is remembered: one serves all."""

    __slots__ = ()

    def renew(self, targets: tuple[Target, ...]) -> None:
        """DNS is asked where the request goes."""

    def rank_held(self, targets: tuple[Target, ...]) -> None:
        """Nobody holds the registration by name."""

    def mark_dead(self, target: Target, now: float, seconds: float | None) -> None:
        """There is no other one to take."""

    def take(self, target: Target | None) -> None:
        """Whoever accepted, the next REGISTER goes the same way."""


NO_CANDIDATES = NoCandidates()
