"""What a registration among many is made of: its state, its registrant, and the news of its changes.

Whose it is, and what all of them have in common, is in `registrations`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from sipcore._message import Response
from sipcore.errors import SipError
from sipcore.outgoing import ClientTransaction, NextHop
from sipcore.policy.decisions import Decision
from sipcore.policy.locate import Target
from sipcore.policy.register import SendRegister
from sipcore.policy.registration import RegistrationMachine, State
from sipcore.registrant import Answer, Registrant, RegistrantOwner
from sipcore.user_agent import UserAgent

GRAIN = 0.05  # seconds: refreshes that are due within it leave together

Changed = TypeVar("Changed")


class RegistrationState(StrEnum):
    """What an application needs to know of a registration."""

    REGISTERING = "registering"
    REGISTERED = "registered"
    FAILED = "failed"  # the last attempt failed; there will be another one
    STOPPING = "stopping"
    STOPPED = "stopped"


class Common(Protocol):
    """What the registrations with one registrar have in common."""

    user_agent: UserAgent
    find_hop: NextHop

    def when_ready(self, what: Callable[[], None]) -> None:
        """Do it now, or once the way to the registrar is known and free."""
        ...

    def on_sent(self) -> None:
        """A REGISTER is under way."""
        ...

    def on_ended(self) -> None:
        """A REGISTER is no longer under way."""
        ...


class MemberOwner(RegistrantOwner, Protocol):
    """The registration that a member carries out."""

    def on_member_changed(self) -> None: ...
    def on_member_due(self, name: str) -> None:
        """A timer is due, and the way to the registrar is known."""
        ...

    def on_member_went(self, decision: Decision | None) -> None:
        """A REGISTER went there, or nowhere."""
        ...


class Member(Registrant):
    """The registrant of one of many: it waits for the common way, and its refreshes leave with those of others."""

    __slots__ = ("_common", "_registration")

    def __init__(self, registration: MemberOwner, common: Common, machine: RegistrationMachine) -> None:
        super().__init__(registration, common.user_agent, machine, _nobody)
        self._common = common
        self._registration = registration

    def _next_hop(self, wanted: SendRegister) -> NextHop:
        return self._common.find_hop

    def changed(self) -> None:
        self._registration.on_member_changed()

    def due(self, due: float) -> float:
        return math.ceil(due / GRAIN) * GRAIN

    def fire(self, name: str) -> None:
        if self.machine.state in (State.LEAVING, State.STOPPING):
            self.tell(self.machine.on_timer, name)
        else:
            self._common.when_ready(lambda: self._registration.on_member_due(name))

    def _sent(self, transaction: ClientTransaction, target: Target | None) -> None:
        self._common.on_sent()

    def _ended(self, answer: Answer) -> None:
        super()._ended(answer)
        self._common.on_ended()

    def on_final(self, answer: Answer, transaction: ClientTransaction, response: Response) -> None:
        self._registration.on_member_went(transaction.decision)
        super().on_final(answer, transaction, response)

    def on_failure(self, answer: Answer, transaction: ClientTransaction, error: SipError) -> None:
        self._registration.on_member_went(transaction.decision)
        super().on_failure(answer, transaction, error)


def _nobody() -> None:
    """Whom a member need not tell: it tells its registration itself, without an object for that."""


class Listener(Generic[Changed]):
    """Who iterates over the changes of many: what changed and was not taken yet, each once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed: dict[Changed, None] = {}
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, changed: Changed) -> None:
        self._changed[changed] = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Changed:
        while not self._changed:
            self._waiter = self._loop.create_future()
            await self._waiter
        changed = next(iter(self._changed))
        del self._changed[changed]
        return changed


async def within(timeout: float | None, waiting: Coroutine[Any, Any, None], why: Callable[[], str]) -> None:
    """Await with a limit; TimeoutError then says why."""
    try:
        async with asyncio.timeout(timeout):
            await waiting
    except TimeoutError:
        raise TimeoutError(why()) from None
