"""A primary and a secondary registration of one service (SPEC B13).

Two registration machines and nothing else: the secondary lives at an equal or
lower candidate than the primary, takes its place at once when the primary fails,
and then a new secondary is sought.  What the machines want done is passed on with
the number of the machine that wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sipcore.policy.failover import place_of
from sipcore.policy.locate import Target
from sipcore.policy.registration import Action, FindCandidates, RegistrationMachine, State

SECONDARY_REG_ID = 2
FAILED = (State.WAITING, State.ORDERED, State.OFFLINE)  # a primary in one of these has no server that serves it


@dataclass(frozen=True, slots=True)
class Promoted:
    """This machine's registration is the primary now: INVITE and SUBSCRIBE go to its server."""

    target: Target | None


Wanted = tuple[int, Action | Promoted]
MachineMaker = Callable[[bool], RegistrationMachine]


class RegistrationPair:
    """Drives both machines; `make(secondary)` makes a new one.  `wanted` false: there is no secondary.

    Report what happened by `tell(now, number, report)`, `report` being a call of the
    machine's own method.  Candidates are told once, by `on_candidates`, whichever
    machine asked for them.
    """

    def __init__(self, make: MachineMaker, *, wanted: bool = True) -> None:
        self._make = make
        self._wanted = wanted
        self._number = 1
        self._ttl = float("inf")
        self._stopping = False
        self.machines: dict[int, RegistrationMachine] = {1: make(False)}
        self.primary = 1
        self.secondary: int | None = None
        self.candidates: tuple[Target, ...] = ()

    @property
    def first(self) -> RegistrationMachine:
        """The primary's machine."""
        return self.machines[self.primary]

    @property
    def second(self) -> RegistrationMachine | None:
        """The secondary's machine, while there is one."""
        return self.machines.get(self.secondary) if self.secondary is not None else None

    def on_start(self, now: float) -> list[Wanted]:
        """The service starts."""
        return self.tell(now, self.primary, lambda machine: machine.on_start(now))

    def on_candidates(self, now: float, targets: tuple[Target, ...], ttl: float) -> list[Wanted]:
        """The candidates of the service, in order (SPEC B12)."""
        self.candidates, self._ttl = targets, ttl
        if self.second is not None:
            self.second.candidates.rank_held(targets)
        wanted = self.tell(now, self.primary, lambda machine: machine.on_candidates(now, targets, ttl))
        return wanted + self._limit_secondary(now)

    def forget_candidates(self) -> None:
        """Both find their servers anew the next time that they register."""
        self.candidates = ()
        for machine in self.machines.values():
            machine.candidates.forget()

    def on_stop(self, now: float) -> list[Wanted]:
        """Take both bindings back (SPEC B16)."""
        self._stopping = True
        return [
            wanted
            for number in tuple(self.machines)
            for wanted in self.tell(now, number, lambda machine: machine.on_stop(now))
        ]

    def tell(self, now: float, number: int, report: Callable[[RegistrationMachine], list[Action]]) -> list[Wanted]:
        """Report something to the machine `number`; late reports to one that has ended are ignored."""
        machine = self.machines.get(number)
        if machine is None:
            return []
        if not self._stopping:
            second = self.second
            self.first.candidates.fails_over = second is None or not second.is_registered
        wanted: list[Wanted] = []
        for action in report(machine):
            if isinstance(action, FindCandidates) and number != self.primary:
                rest = self._candidates_of_secondary()
                wanted += self._numbered(number, machine.on_candidates(now, rest, float("inf"))) if rest else []
            else:
                wanted.append((number, action))
        self._forget_ended()
        return wanted if self._stopping else wanted + self._settle(now)

    def _settle(self, now: float) -> list[Wanted]:
        """Promote, swap and seek, as the machines' states ask for it."""
        primary, second = self.first, self.second
        if second is not None and second.is_registered and primary.state in FAILED:
            return self._promote(now)
        if second is not None and _is_better(second, primary):
            return self._swap(now)
        if second is not None or not self._wanted:
            return self._limit_secondary(now)
        # The server that is being left may be the new secondary's: first the old binding goes, then the new one comes.
        may_seek = primary.is_registered and not primary.is_leaving and self._candidates_of_secondary()
        return self._seek_secondary(now) if may_seek else []

    def _promote(self, now: float) -> list[Wanted]:
        """The secondary becomes primary; the failed one takes its binding back, if it can at once, and ends."""
        failed, self.primary = self.primary, self.secondary or self.primary
        self.secondary = None
        gone = self.machines[failed]
        wanted = self._take_over(now, gone.plan.fallback_interval)
        wanted += self._numbered(failed, gone.on_stop(now, wait=False))
        self._forget_ended()
        return wanted + self._settle(now)

    def _swap(self, now: float) -> list[Wanted]:
        """DNS now ranks the secondary's server above the primary's: the two change places."""
        before, interval = self.first, self.first.plan.fallback_interval
        self.primary, self.secondary = self.secondary or self.primary, self.primary
        before.plan = replace(before.plan, fallback_interval=self.first.plan.fallback_interval)
        return self._take_over(now, interval)

    def _take_over(self, now: float, fallback_interval: int) -> list[Wanted]:
        """The primary of now has all candidates and the primary's interval."""
        primary = self.first
        primary.plan = replace(primary.plan, fallback_interval=fallback_interval)
        wanted: list[Wanted] = [(self.primary, Promoted(primary.registered_with))]
        return wanted + self._numbered(self.primary, primary.on_candidates(now, self.candidates, self._ttl))

    def _seek_secondary(self, now: float) -> list[Wanted]:
        """A new registration beside the primary, with the reg-id that the primary does not use (SPEC B4)."""
        self._number += 1
        self.secondary = self._number
        machine = self.machines[self._number] = self._make(True)
        used = self.first.plan.reg_id
        if used is not None:
            machine.plan = replace(machine.plan, reg_id=SECONDARY_REG_ID if used != SECONDARY_REG_ID else 1)
        machine.on_candidates(now, self._candidates_of_secondary(), float("inf"))
        return self.tell(now, self._number, lambda machine: machine.on_start(now))

    def _limit_secondary(self, now: float) -> list[Wanted]:
        """Where the primary's server or the candidates changed, so did the secondary's candidates."""
        number, machine = self.secondary, self.second
        if number is None or machine is None or not self.first.is_registered:
            return []
        rest = self._candidates_of_secondary()
        if rest == machine.candidates.targets:
            return []
        if rest:
            return self._numbered(number, machine.on_candidates(now, rest, float("inf")))
        self.secondary = None
        wanted = self._numbered(number, machine.on_stop(now, wait=False))
        self._forget_ended()
        return wanted

    def _candidates_of_secondary(self) -> tuple[Target, ...]:
        """Equal or lower candidates than the primary's server, without that one (SPEC B13)."""
        held = self.first.registered_with
        if held is None:
            return ()
        return tuple(
            target
            for target in self.candidates
            if target.priority >= held.priority and place_of(target) != place_of(held)
        )

    def _forget_ended(self) -> None:
        for number in [number for number, machine in self.machines.items() if machine.state is State.STOPPED]:
            if number not in (self.primary, self.secondary) or self._stopping:
                del self.machines[number]

    @staticmethod
    def _numbered(number: int, actions: list[Action]) -> list[Wanted]:
        return [(number, action) for action in actions]


def _is_better(second: RegistrationMachine, primary: RegistrationMachine) -> bool:
    """Whether the secondary holds a server of higher priority than the primary."""
    held, other = primary.registered_with, second.registered_with
    if held is None or other is None or not (second.is_registered and primary.is_registered):
        return False
    return other.priority < held.priority
