"""Registrations of a stack: one, or as many thousands as a gateway has (SPEC B, C1, C4 to C7, D5).

    registration = sipcore.Registration(stack, "sip:alice@example.com", password="wonderland")
    await registration.registered(timeout=10)

The policy is the device's own: each has a `RegistrationMachine`.  What is common
to many is in one `Registrations`: the way to the registrar, the pace, the plan.
Between two REGISTERs a registration is some hundred octets and one timer; no task
is alive.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sipcore._uri import Uri
from sipcore.digest import DigestClient, HasSecret
from sipcore.errors import SipError, UsageError
from sipcore.finding import Finder
from sipcore.keeper import Keeper
from sipcore.membership import Listener, Member, RegistrationState, within
from sipcore.outgoing import NextHop, OutgoingRequest
from sipcore.pacing import Pacer
from sipcore.policy.actions import Note
from sipcore.policy.codes import DEFAULT_RETRY_CODES, parse_retry_codes
from sipcore.policy.decisions import Decision
from sipcore.policy.forms import uri_host
from sipcore.policy.keepalive import KeepAlive, KeepAlivePlan
from sipcore.policy.register import RegistrationPlan
from sipcore.policy.registration import Registered, RegistrationMachine, State
from sipcore.sharing import share
from sipcore.stack import Stack
from sipcore.user_agent import UserAgent
from sipcore.ways import StreamWay, make_way

logger = logging.getLogger("sipcore.registrations")

MAXIMUM_NOTES = 8
MOST_UNDER_WAY = 512  # REGISTERs without a final answer
MAXIMUM_SHARED_DECISIONS = 32
STOP_TIMEOUT = 32.0

ENDING = (State.LEAVING, State.STOPPING, State.STOPPED)

OnChange = Callable[["Registration"], Any]


class Registrations:
    """Any number of registrations with one registrar, from one user agent.

    `registrar` is the URI that is asked ("sip:example.com"), `outbound_proxy` that
    of the next hop where it is another one: its name is in no request (SPEC C4).
    The transport is what the next hop's URI names, UDP where it names none; on TCP
    and TLS one supervised connection carries all (SPEC C5, C6).  `spread` is the
    number of seconds over which starts, and what follows a reconnection, are
    spread.  `retry_codes` is the language of `X_RegisterRetryResponseCodes`,
    `realms` limits the realms that are answered, `instance` is a URN for
    `+sip.instance`, `outbound` asks for RFC 5626 with it, `keep_alive` sends a
    STUN request or, on streams, a double CRLF every so many seconds (RFC 5626 section 3.5).
    Iterating gives the registrations.
    """

    def __init__(
        self,
        on: Stack | UserAgent,
        registrar: str,
        *,
        outbound_proxy: str = "",
        period: int = 3600,
        spread: float = 0.0,
        retry_interval: int = 30,
        retry_codes: str = "",
        discover_public_address: bool = False,
        instance: str = "",
        outbound: bool = False,
        realms: Sequence[str] = (),
        keep_alive: float = 0.0,
    ) -> None:
        self.user_agent = on.ua if isinstance(on, Stack) else on
        env = self.user_agent.env
        self.domain = uri_host(_sip_uri(registrar))
        self.at_end: Callable[[], None] | None = None
        self.way = make_way(self, self.user_agent, _sip_uri(outbound_proxy or registrar))
        self.plan = RegistrationPlan(
            share(_sip_uri(registrar)),
            contact_scheme="sips" if registrar.lower().startswith("sips:") else "sip",
            transport=self.way.transport,
            period=period,
            retry_interval=retry_interval,
            codes=parse_retry_codes(retry_codes) if retry_codes else DEFAULT_RETRY_CODES,
            discover_public_address=discover_public_address,
            instance=instance,
            reg_id=1 if outbound and instance else None,
            own_hosts=(self.domain,),
            behind_proxy=bool(outbound_proxy),
        )
        self.realms = frozenset(realms)
        self.start_timer = self.user_agent.engine.start_timer
        self.find_hop: NextHop = self._find_hop
        self._pacer = Pacer(env.now, self.start_timer, spread)
        self._members: dict[str, Registration] = {}
        self._held: deque[Callable[[], None]] = deque()
        self._under_way = 0
        self._counts = dict.fromkeys(RegistrationState, 0)
        self._listeners: list[Listener[Registration]] = []
        self._decisions: list[Decision] = []
        self._notes: list[Note] = []
        self._keeper = self._make_keeper(keep_alive) if keep_alive else None
        self._watch = env.watch_addresses(lambda: self.way.restart("an address of the host came or went"))
        self._is_up = not self.way.stream
        self.way.start()

    # for the application

    def add(self, address_of_record: str, **arguments: Any) -> Registration:
        """A further registration (see `Registration`), started in its turn."""
        return Registration(self, address_of_record, **arguments)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Registration]:
        return iter(tuple(self._members.values()))

    def __getitem__(self, address_of_record: str) -> Registration:
        """The registration of an address of record; KeyError where there is none."""
        return self._members[address_of_record]

    def counts(self) -> dict[RegistrationState, int]:
        """How many are in which state."""
        return dict(self._counts)

    async def registered(self, timeout: float | None = None) -> None:
        """Wait until all are registered; TimeoutError says how many are not."""
        everybody = self._until(lambda: self._counts[RegistrationState.REGISTERED] == len(self))
        await within(timeout, everybody, lambda: f"{self._missing()} of {len(self)} are not registered")

    async def changes(self) -> AsyncGenerator[Registration, None]:
        """Registrations whose state changed from now on; one that changed twice before it was taken comes once."""
        listener: Listener[Registration] = Listener(self.user_agent.env.loop)
        self._listeners.append(listener)
        try:
            while True:
                yield await listener.next()
        finally:
            self._listeners.remove(listener)

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Take all bindings back, as fast as `spread` lets it be, and end; at most `timeout` seconds (SPEC B16)."""
        self._pacer.spread = min(self._pacer.spread, timeout / 2)
        self._pacer.clear()
        self._release()
        for registration in self._members.values():
            self._pacer.put(registration._begin_stop)
        everybody = self._until(lambda: self._counts[RegistrationState.STOPPED] == len(self))
        try:
            await within(timeout, everybody, lambda: "")
        except TimeoutError:
            logger.info("%d registrations were not taken back in time", self._missing(RegistrationState.STOPPED))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of everything at once; bindings are left to expire."""
        self._pacer.clear()
        self._held.clear()
        if self._keeper is not None:
            self._keeper.stop()
        for registration in self:
            registration._close()
        self._members.clear()
        self._counts = dict.fromkeys(RegistrationState, 0)
        self._watch.close()
        self.way.stop()
        if self.at_end is not None:
            self.at_end()

    async def __aenter__(self) -> Registrations:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # for its members

    def _admit(self, registration: Registration) -> None:
        """Start `registration` in its turn."""
        if registration.address_of_record in self._members:
            raise UsageError(f"{registration.address_of_record} is registered already")
        self._members[registration.address_of_record] = registration
        self._counts[registration._told] += 1
        self._pacer.put(lambda: self.when_ready(registration._start))

    def _dismiss(self, registration: Registration) -> None:
        if self._members.get(registration.address_of_record) is registration:
            del self._members[registration.address_of_record]
            self._counts[registration._told] -= 1
            if not self._members and self.at_end is not None:
                self.close()

    def when_ready(self, what: Callable[[], None]) -> None:
        """Do it now, or in its turn once the lookup under way is over, or once fewer REGISTERs are under way.

        So one lookup serves all, nothing waits in a task, and a registrar that is slow is not sent more and more.
        """
        if self._under_way < MOST_UNDER_WAY and self.way.is_ready():
            what()
        else:
            self._held.append(what)

    def on_sent(self) -> None:
        """One more REGISTER is under way."""
        self._under_way += 1

    def on_ended(self) -> None:
        """One fewer: somebody else's turn."""
        self._under_way -= 1
        if self._held and self._under_way < MOST_UNDER_WAY and self.way.is_ready():
            self._held.popleft()()

    def _changed(self, registration: Registration, before: RegistrationState, state: RegistrationState) -> None:
        self._counts[before] -= 1
        self._counts[state] += 1
        for listener in self._listeners:
            listener.tell(registration)

    def _answered(self) -> None:
        if isinstance(self.way, StreamWay):
            self.way.succeeded()

    def _shared(self, decision: Decision) -> Decision:
        """The one record of a way that many took."""
        for known in self._decisions:
            if _same_way(known, decision):
                return known
        shown = replace(decision, subject=f"REGISTER {self.plan.request_uri}")
        self._decisions = [*self._decisions[-MAXIMUM_SHARED_DECISIONS + 1 :], shown]
        return shown

    def _find_hop(self, outgoing: OutgoingRequest) -> Any:
        """The way that all take; a redirection leads elsewhere where there is no outbound proxy (SPEC B6)."""
        redirected = outgoing.request_uri != self.plan.request_uri
        if redirected and not self.plan.behind_proxy and not self.way.stream:
            return self.user_agent.next_hop(outgoing)
        return self.way.hop(outgoing)

    def _local_address(self) -> tuple[str, int]:
        """What Contact shows; nothing that leads anywhere before there is a way."""
        try:
            host, port = self.way.local_address()
        except SipError:
            return "invalid.invalid", 0
        return share(host), port

    # what the way tells

    def on_way_settled(self) -> None:
        self._release()

    def on_way_up(self) -> None:
        self._is_up = True
        if self._keeper is not None:
            self._keeper.start()
        for registration in self._members.values():
            self._pacer.put(registration._connected)

    def on_way_down(self, why: str) -> None:
        self._is_up = False
        if self._keeper is not None:
            self._keeper.stop()
        for registration in self:
            registration._lost()

    def on_note(self, note: Note) -> None:
        self._notes = [*self._notes[-MAXIMUM_NOTES + 1 :], note]

    def keep_alive_flow(self) -> int:
        """Where keep-alives go: where REGISTER went."""
        return self.way.flow

    def close_path(self, why: str) -> None:
        if self.way.stream and self.way.flow:
            self.user_agent.disconnect(self.way.flow, why)

    def _release(self) -> None:
        held, self._held = self._held, deque()
        for what in held:
            self._pacer.put(lambda what=what: self.when_ready(what))  # type: ignore[misc]

    def _make_keeper(self, seconds: float) -> Keeper:
        plan = KeepAlivePlan("stun", seconds)
        machine = KeepAlive(plan, stream=self.way.stream, random=self.user_agent.env.random)
        keeper = Keeper(self, self.user_agent, Finder(self.user_agent.env), machine, self.plan.request_uri)
        self.user_agent.pong = keeper.pong
        if not self.way.stream:
            keeper.start()
        return keeper

    async def _until(self, condition: Callable[[], bool]) -> None:
        changes = self.changes()
        while not condition():
            await anext(changes)
        await changes.aclose()

    def _missing(self, state: RegistrationState = RegistrationState.REGISTERED) -> int:
        return len(self) - self._counts[state]


class Registration:
    """One address of record, kept bound to this user agent until it is stopped.

    `on` is a stack, a user agent, or the `Registrations` that it is one of.
    `address_of_record` is "sip:alice@example.com", or a user of the registrar's
    domain.  `user_name` for the digest is its user part unless given, `password` a
    text or anything with `reveal()`.  `contact` is a whole URI for Contact, in place
    of the local address.  `on_change(registration)` is called when `state` changes.
    Without `Registrations`, `registrar` is the domain of the address of record
    unless given, and further arguments are those of `Registrations`; single ones
    with equal arguments share what they can.
    """

    __slots__ = ("_common", "_decision", "_member", "_notes", "_on_state", "_told", "_waiters")

    def __init__(
        self,
        on: Stack | UserAgent | Registrations,
        address_of_record: str,
        *,
        password: str | HasSecret = "",
        user_name: str = "",
        contact: str = "",
        on_change: OnChange | None = None,
        registrar: str = "",
        **arguments: Any,
    ) -> None:
        if isinstance(on, Registrations):
            if registrar or arguments:
                raise UsageError("registrar and what goes with it are those of the Registrations")
            common = on
        else:
            common = _common_of(on, registrar or f"sip:{uri_host(_sip_uri(address_of_record))}", arguments)
        self._common = common
        self._decision: Decision | None = None
        self._notes: tuple[str, ...] = ()
        self._on_state = on_change
        self._told = RegistrationState.REGISTERING
        self._waiters: tuple[asyncio.Future[None], ...] = ()
        machine = _make_machine(common, address_of_record, password, user_name, contact)
        self._member = Member(self, common, machine)
        common._admit(self)

    def __repr__(self) -> str:
        return f"<Registration {self.address_of_record} {self.state}>"

    # for the application

    @property
    def address_of_record(self) -> str:
        return self._machine.address_of_record

    @property
    def state(self) -> RegistrationState:
        machine = self._machine
        if machine.state is State.STOPPED:
            return RegistrationState.STOPPED
        if machine.state in ENDING:
            return RegistrationState.STOPPING
        if machine.failure:
            return RegistrationState.FAILED
        reachable = self._is_bound and machine.state is not State.OFFLINE
        return RegistrationState.REGISTERED if reachable else RegistrationState.REGISTERING

    @property
    def is_registered(self) -> bool:
        """A binding that was granted still lives, whatever was tried since."""
        return self._is_bound and self._machine.state not in ENDING

    @property
    def status(self) -> str:
        """One line in a device's words (SPEC F1)."""
        way = self._common.way
        if isinstance(way, StreamWay) and way.next_attempt is not None and self._machine.state is State.OFFLINE:
            return way.status()
        return self._machine.status(self._now)

    @property
    def expires_in(self) -> int | None:
        """Whole seconds until the binding ends, None without one."""
        bound_until = self._machine.bound_until
        return math.ceil(bound_until - self._now) if bound_until is not None and self._is_bound else None

    @property
    def retry_in(self) -> int | None:
        """Whole seconds until the next attempt after a failure, None where none is waited for."""
        next_attempt = self._machine.next_attempt
        if next_attempt is None or not self._machine.failure:
            return None
        return max(0, math.ceil(next_attempt - self._now))

    @property
    def server(self) -> str:
        """Who answered last, "192.0.2.10:5060"; empty before anybody did."""
        return self._machine.server

    @property
    def contact(self) -> str:
        """The Contact URI."""
        return self._machine.contact

    @property
    def service_route(self) -> tuple[str, ...]:
        """The registrar's Service-Route: give it to requests as `routes` (SPEC B16, RFC 3608)."""
        return self._machine.service_route

    @property
    def decisions(self) -> list[Decision | str]:
        """Where the last REGISTER went and why, then what came of it since the last success, newest last (SPEC D9)."""
        where: list[Decision | str] = [] if self._decision is None else [self._decision]
        return [*where, *self._notes]

    async def registered(self, timeout: float | None = None) -> None:
        """Wait until it is registered; TimeoutError with its status when that takes longer than `timeout`."""
        await within(timeout, self._until_registered(), lambda: f"{self.address_of_record}: {self.status}")

    async def changes(self) -> AsyncIterator[RegistrationState]:
        """Its state now, and each one that it changes to, until it is stopped."""
        state = self.state
        while True:
            yield state
            if state is RegistrationState.STOPPED:
                return
            while self.state is state:
                await self._news()
            state = self.state

    def refresh(self) -> None:
        """Register again now rather than when it is due; nothing while a REGISTER is under way (SPEC B11)."""
        self._common.when_ready(lambda: self._member.tell(self._machine.on_refresh))

    async def stop(self) -> None:
        """Take the binding back within a bounded time (SPEC B16), and end."""
        self._begin_stop()
        while self.state is not RegistrationState.STOPPED:
            await self._news()
        self._close()
        self._common._dismiss(self)

    remove = stop

    # the life of its machine

    @property
    def _machine(self) -> RegistrationMachine:
        return self._member.machine

    @property
    def _now(self) -> float:
        return self._common.user_agent.env.now()

    @property
    def _is_bound(self) -> bool:
        return self._machine.is_bound(self._now)

    def _start(self) -> None:
        if self._machine.state is not State.IDLE:
            return
        self._find_address()
        self._member.tell(self._machine.on_start)
        if self._common.way.stream and self._common._is_up:
            self._member.tell(self._machine.on_connected)

    def _connected(self) -> None:
        if self._common._is_up and not self._machine.connected:
            self._find_address()
            self._member.tell(self._machine.on_connected)

    def _find_address(self) -> None:
        """Show the address that requests leave from now."""
        self._member.tell(self._machine.on_address_changed, *self._common._local_address())

    def _lost(self) -> None:
        self._member.tell(self._machine.on_lost)

    def _begin_stop(self) -> None:
        self._member.tell(self._machine.on_stop)

    def _close(self) -> None:
        self._member.close()

    def on_member_went(self, decision: Decision | None) -> None:
        """A REGISTER went there, or nowhere."""
        self._decision = None if decision is None else self._common._shared(decision)

    def on_member_changed(self) -> None:
        state = self.state
        if state is self._told:
            return
        before, self._told = self._told, state
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._common._changed(self, before, state)
        if self._on_state is not None:
            self._on_state(self)

    async def _until_registered(self) -> None:
        while self.state is not RegistrationState.REGISTERED:
            await self._news()

    def _news(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._common.user_agent.env.loop.create_future()
        self._waiters = (*self._waiters, waiter)
        return waiter

    # what its registrant tells

    def on_member_due(self, name: str) -> None:
        self._find_address()
        self._member.tell(self._machine.on_timer, name)

    def on_registered(self, registered: Registered) -> None:
        self._notes = ()

    def on_unregistered(self, why: str) -> None:
        """The state says it."""

    def on_note(self, note: Note) -> None:
        self._notes = _shared_notes((*self._notes[-MAXIMUM_NOTES + 1 :], f"{note.what} ({note.rule})"))

    def on_answer(self) -> None:
        self._common._answered()

    def find_candidates(self) -> None:
        """There are none: redundancy is the device's (SPEC B12); here a lookup has several addresses (SPEC D8)."""

    def use_port(self, port: int) -> None:
        """The addresses are the application's."""


def _common_of(on: Stack | UserAgent, registrar: str, arguments: dict[str, Any]) -> Registrations:
    """What single registrations with equal arguments share, until the last of them is stopped."""
    user_agent = on.ua if isinstance(on, Stack) else on
    key = ("registrations", registrar, *sorted((name, str(value)) for name, value in arguments.items()))
    common = user_agent.shared.get(key)
    if not isinstance(common, Registrations):
        common = user_agent.shared[key] = Registrations(user_agent, registrar, **arguments)
        common.at_end = lambda: user_agent.shared.pop(key, None)
    return common


def _make_machine(
    common: Registrations, address_of_record: str, password: str | HasSecret, user_name: str, contact: str
) -> RegistrationMachine:
    text = address_of_record if "@" in address_of_record else f"{address_of_record}@{common.domain}"
    address = _sip_uri(text)
    user = Uri(address).user or ""
    random = common.user_agent.env.random
    digest = DigestClient(user_name or user, password, random=random, allowed_realms=common.realms)
    return RegistrationMachine(
        common.plan,
        host="",
        port=0,
        random=random,
        authenticator=digest if password else None,
        address_of_record=address,
        contact_user=user,
        contact=contact,
    )


@lru_cache(maxsize=256)
def _shared_notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for the many that fare alike."""
    return notes


def _sip_uri(text: str) -> str:
    """A URI as given, "sip:" put before what names no scheme."""
    return text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}"


def _same_way(one: Decision, other: Decision) -> bool:
    """Whether two decisions say the same but for their time and the age of what DNS said."""
    return (one.destination(), one.rule, one.why, one.connection) == (
        other.destination(),
        other.rule,
        other.why,
        other.connection,
    )
