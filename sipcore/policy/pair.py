"""A primary and a secondary registration of one service (SPEC B13).

Two registration machines and nothing else: the secondary lives at an equal or
lower candidate than the primary, takes its place at once when the primary fails,
and then a new secondary is sought.  What the machines want done is passed on with
the number of the machine that wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sipcore.policy.failover import place_of
from sipcore.policy.locate import Target
from sipcore.policy.registration import Action, FindCandidates, RegistrationMachine, State


@dataclass(frozen=True, slots=True)
class Promoted:
    """This machine's registration is the primary now: INVITE and SUBSCRIBE go to its server."""

    target: Target | None


Wanted = tuple[int, Action | Promoted]
MachineMaker = Callable[[bool], RegistrationMachine]


class RegistrationPair:
    """Drives both machines; `make(secondary)` makes a new one.

    Report what happened by `tell(now, number, report)`, `report` being a call of the
    machine's own method.  Candidates are told once, by `on_candidates`, whichever
    machine asked for them.
    """

    def __init__(self, make: MachineMaker) -> None:
        self._make = make
        self._number = 1
        self._ttl = float("inf")
        self._stopping = False
        self.machines: dict[int, RegistrationMachine] = {1: make(False)}
        self.primary = 1
        self.secondary: int | None = None
        self.candidates: tuple[Target, ...] = ()

    def on_start(self, now: float) -> list[Wanted]:
        """The service starts."""
        return self.tell(now, self.primary, lambda machine: machine.on_start(now))

    def on_candidates(self, now: float, targets: tuple[Target, ...], ttl: float) -> list[Wanted]:
        """The candidates of the service, in order (SPEC B12)."""
        self.candidates, self._ttl = targets, ttl
        wanted = self.tell(now, self.primary, lambda machine: machine.on_candidates(now, targets, ttl))
        if self.secondary is not None:
            rest = self._candidates_of_secondary()
            wanted += self.tell(now, self.secondary, lambda machine: machine.on_candidates(now, rest, float("inf")))
        return wanted

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
        """Promote and seek, as the machines' states ask for it."""
        primary = self.machines[self.primary]
        second = self.machines.get(self.secondary) if self.secondary is not None else None
        failed = primary.state in (State.WAITING, State.ORDERED)
        if failed and second is not None and second.is_registered:
            return self._promote(now)
        if primary.is_registered and second is None and self._candidates_of_secondary():
            return self._seek_secondary(now)
        return []

    def _promote(self, now: float) -> list[Wanted]:
        """The secondary becomes primary; the failed one takes its binding back and ends."""
        failed, self.primary = self.primary, self.secondary or self.primary
        self.secondary = None
        promoted = self.machines[self.primary]
        wanted: list[Wanted] = [(self.primary, Promoted(promoted.registered_with))]
        wanted += self._numbered(failed, self.machines[failed].on_stop(now))
        wanted += self._numbered(self.primary, promoted.on_candidates(now, self.candidates, self._ttl))
        self._forget_ended()
        return wanted + self._settle(now)

    def _seek_secondary(self, now: float) -> list[Wanted]:
        self._number += 1
        self.secondary = self._number
        self.machines[self._number] = self._make(True)
        return self.tell(now, self._number, lambda machine: machine.on_start(now))

    def _candidates_of_secondary(self) -> tuple[Target, ...]:
        """Equal or lower candidates than the primary's server, without that one (SPEC B13)."""
        held = self.machines[self.primary].registered_with
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
