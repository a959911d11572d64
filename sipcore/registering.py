"""The registrations of one service on the wire (SPEC B): the primary, and a secondary if one is wanted (SPEC B13).

Joins `policy.pair` to user agent, names and connections: each registration has a
`Registrant`, a way to its servers, and on streams a connection of its own (SPEC
C5).  What is registered where and when is decided by the machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sipcore._message import Request, Response
from sipcore.errors import LocateError, SipError
from sipcore.finding import CandidateLocator, Finder, Found, Locator, SiteLocator
from sipcore.link import Link
from sipcore.outgoing import ClientTransaction, Hop, NextHop, OutgoingRequest
from sipcore.policy.actions import Note
from sipcore.policy.candidates import Candidates
from sipcore.policy.failover import Place, place_of
from sipcore.policy.locate import Site, Target
from sipcore.policy.pair import MachineMaker, Promoted, RegistrationPair, Wanted
from sipcore.policy.register import SendRegister
from sipcore.policy.registration import Action, Probe, Registered, RegistrationMachine
from sipcore.registrant import Registrant
from sipcore.registration_path import RegistrationPath
from sipcore.status import RegistrationReport, whole_seconds
from sipcore.user_agent import UserAgent


class RegisteringOwner(Protocol):
    """The service whose registrations they are."""

    def make_link(self, locator: Locator, *, secondary: bool) -> Link | None:
        """A stopped connection to the registration's servers, None with datagrams."""
        ...

    def on_primary(self, link: Link | None) -> None:
        """The secondary is the primary now; requests go over its connection, None with datagrams (SPEC B13)."""
        ...

    def on_registered(self, registered: Registered) -> None: ...
    def on_unregistered(self, why: str) -> None: ...
    def on_note(self, note: Note) -> None: ...
    def use_port(self, port: int) -> None:
        """Move the local UDP port (SPEC A3)."""
        ...

    def on_change(self) -> None:
        """Something that is shown has changed."""
        ...


class Registering:
    """Keeps the registrations of one service; created stopped.

    `site` is where REGISTER goes; `make` makes the machine of the primary (False) or
    of a secondary (True); `secondary` says whether there is to be one.  `follow` is
    the next hop of a REGISTER that was redirected (SPEC B6).
    """

    def __init__(
        self,
        owner: RegisteringOwner,
        user_agent: UserAgent,
        finder: Finder,
        site: Site,
        make: MachineMaker,
        *,
        secondary: bool,
        follow: NextHop,
    ) -> None:
        self.stopped = False
        self.follow = follow
        self._owner = owner
        self._user_agent = user_agent
        self._env = user_agent.env
        self._finder = finder
        self._site = site
        self._pair = RegistrationPair(make, wanted=secondary)
        self._members: dict[int, _Member] = {}
        self._wanted: deque[Wanted] = deque()
        self._busy = False
        self._last = self._pair.first
        self.redundant = self._last.plan.redundancy
        self._keep_up_with_pair()

    # for the service

    @property
    def machine(self) -> RegistrationMachine:
        """The primary's machine; after the end the last one."""
        self._last = self._pair.machines.get(self._pair.primary, self._last)
        return self._last

    @property
    def link(self) -> Link | None:
        """The primary's connection."""
        member = self._members.get(self._pair.primary)
        return member.path.link if member is not None else None

    @property
    def links(self) -> list[Link]:
        """All connections, the primary's first."""
        numbers = sorted(self._members, key=lambda number: number != self._pair.primary)
        return [link for number in numbers if (link := self._members[number].path.link) is not None]

    @property
    def candidates(self) -> Candidates | None:
        """The servers that requests may go to, None without redundancy (SPEC B12)."""
        return self.machine.candidates if self.redundant else None

    def start(self) -> None:
        """Register, on a stream once its connection is up."""
        if self.link is not None:
            self.link.start()
        self._carry_out(self._pair.on_start(self._env.now()))

    def stop(self) -> None:
        """Take the bindings back; `stopped` is true once that is done, in a bounded time (SPEC B16)."""
        self._carry_out(self._pair.on_stop(self._env.now()))
        for link in self.links:
            if link.next_attempt is not None:
                link.restart("the service stops: its binding is to be taken back (SPEC B16)")

    def close(self) -> None:
        """Let go of everything."""
        for member in self._members.values():
            member.close()

    def move(self, host: str, port: int) -> None:
        """The local address is another one (SPEC A1).  The secondary's connection goes first: nobody is promoted."""
        for link in reversed(self.links):
            link.restart(f"the local address is now {host}")
        for number in tuple(self._pair.machines):
            self.tell(number, lambda machine: machine.on_address_changed(self._env.now(), host, port))

    def look_for(self, site: Site) -> None:
        """REGISTER goes there from now on: the same servers by other addresses (SPEC A1)."""
        self._site = site
        self._pair.forget_candidates()
        for link in self.links:
            link.look_for(site)

    def refresh(self) -> None:
        """Register anew at once, as far as the machines let it (SPEC B11)."""
        for number in tuple(self._pair.machines):
            self.tell(number, lambda machine: machine.on_refresh(self._env.now()))

    def is_bound(self) -> bool:
        """A binding that was granted still lives."""
        return any(machine.is_bound(self._env.now()) for machine in (self.machine, *self._pair.machines.values()))

    def flow(self) -> int:
        """Where the primary's REGISTER goes now: for keep-alives (SPEC B15); 0 while it goes nowhere."""
        member = self._members.get(self._pair.primary)
        flow = member.path.flow() if member is not None else 0
        found = self._finder.last(self._site)
        if flow or found is None or self.link is not None:
            return flow
        return self._user_agent.datagram_flow(found.target.address, found.target.port)

    @property
    def keep(self) -> int | None:
        """What was agreed on keep-alives where the primary is registered (SPEC B15)."""
        member = self._members.get(self._pair.primary)
        return member.path.keep if member is not None else None

    # what is seen

    def report(self) -> RegistrationReport:
        """The primary; its status is that of the connection while there is none to be had."""
        return self._report(self.machine, self._members.get(self._pair.primary))

    def report_secondary(self) -> RegistrationReport | None:
        """The secondary, while there is one."""
        number, machine = self._pair.secondary, self._pair.second
        return self._report(machine, self._members.get(number)) if number is not None and machine is not None else None

    def retry_in(self) -> int | None:
        """Seconds until the primary tries again, None while nothing has failed."""
        now, link, machine = self._env.now(), self.link, self.machine
        if link is not None and link.next_attempt is not None:
            return whole_seconds(link.next_attempt - now)
        if machine.next_attempt is None or machine.is_registered:
            return None
        return whole_seconds(machine.next_attempt - now)

    def _report(self, machine: RegistrationMachine, member: _Member | None) -> RegistrationReport:
        now = self._env.now()
        link = member.path.link if member is not None else None
        waits = link is not None and link.next_attempt is not None and not self.stopped
        return RegistrationReport(
            link.status() if link is not None and waits else machine.status(now),
            machine.server,
            link.status() if link is not None else "",
            machine.candidates.describe(now) if self.redundant else (),
        )

    # what connections tell

    def has(self, link: Link) -> bool:
        """Whether the connection is one of a registration's."""
        return self._member_of(link) is not None

    def on_link_up(self, link: Link) -> None:
        """Register over it (SPEC C6)."""
        member = self._member_of(link)
        if member is not None:
            member.path.keep = None
        target = link.target if self.redundant else None
        self._tell_of(link, lambda machine: machine.on_connected(self._env.now(), target))

    def on_link_down(self, link: Link) -> None:
        self._tell_of(link, lambda machine: machine.on_lost(self._env.now()))

    def _tell_of(self, link: Link, report: Callable[[RegistrationMachine], list[Action]]) -> None:
        member = self._member_of(link)
        if member is not None:
            self.tell(member.number, report)

    def _member_of(self, link: Link) -> _Member | None:
        return next((member for member in self._members.values() if member.path.link is link), None)

    # candidates (SPEC B12)

    def find_candidates(self) -> None:
        """Ask DNS for all servers of the registration."""
        self._user_agent.start_task(self._find_candidates())

    async def _find_candidates(self) -> None:
        try:
            found = await self._finder.find(self._site)
        except LocateError as error:
            why = str(error)
            self.tell(self._pair.primary, lambda machine: machine.on_unreachable(self._env.now(), 0, why))
        else:
            self.on_candidates(found)

    def on_candidates(self, found: Found) -> None:
        """DNS was asked, by whomever."""
        if not self._pair.machines:
            return
        self._carry_out(self._pair.on_candidates(self._env.now(), found.located.targets, found.located.ttl))

    # between machines and the world

    def tell(self, number: int, report: Callable[[RegistrationMachine], list[Action]]) -> None:
        """Report an event to the machine `number` and carry out what follows."""
        machine = self._pair.machines.get(number)
        if machine is not None:
            machine.active_calls = len(self._user_agent.calls)
        self._carry_out(self._pair.tell(self._env.now(), number, report))

    def _carry_out(self, wanted: list[Wanted]) -> None:
        """Do it in order: what follows from one thing at once is done after the rest."""
        self._wanted.extend(wanted)
        if self._busy:
            return
        self._busy = True
        try:
            while self._wanted:
                self._keep_up_with_pair()
                self._carry_out_one(*self._wanted.popleft())
        finally:
            self._busy = False
        self._settle()
        self._owner.on_change()

    def _carry_out_one(self, number: int, action: Action | Promoted) -> None:
        if isinstance(action, Promoted):
            self._promoted(action)
        elif number in self._members:
            self._members[number].carry_out(action)

    def _settle(self) -> None:
        """Let go of what has ended."""
        self._keep_up_with_pair()
        for number, member in tuple(self._members.items()):
            if member.stopped and number not in self._pair.machines:
                self._members.pop(number).close()
            else:
                member.settle()
        self.stopped = not self._members

    def _keep_up_with_pair(self) -> None:
        """A member for each machine, its connection on its way."""
        for number, machine in self._pair.machines.items():
            if number not in self._members:
                self._members[number] = self._make_member(number, machine)
                if number != 1 and (link := self._members[number].path.link) is not None:
                    link.start()

    def _make_member(self, number: int, machine: RegistrationMachine) -> _Member:
        locator: Locator = SiteLocator(self._finder, self._site)
        if self.redundant:
            locator = _Locator(self, self._finder, self._site, machine)
        link = self._owner.make_link(locator, secondary=number != 1)
        path = RegistrationPath(self._user_agent, machine.candidates, lambda: self._finder.last(self._site), link)
        return _Member(self, self._owner, self._user_agent, number=number, machine=machine, path=path)

    def _promoted(self, promoted: Promoted) -> None:
        where = "" if promoted.target is None else f" at {promoted.target.address}:{promoted.target.port}"
        self._owner.on_note(Note(f"the secondary registration{where} is the primary now", "SPEC B13"))
        self._owner.on_primary(self.link)


class _Locator(CandidateLocator):
    """Connects one registration; what DNS said is told to both of the pair."""

    def __init__(self, registering: Registering, finder: Finder, site: Site, machine: RegistrationMachine) -> None:
        super().__init__(finder, site, machine.candidates)
        self._registering = registering

    def renew(self, found: Found) -> None:
        self._registering.on_candidates(found)


class _Member(Registrant):
    """One registration of the pair: what its machine wants is done here, what it is told goes by the pair."""

    __slots__ = ("_flights", "_registering", "number", "path")

    def __init__(
        self,
        registering: Registering,
        owner: RegisteringOwner,
        user_agent: UserAgent,
        *,
        number: int,
        machine: RegistrationMachine,
        path: RegistrationPath,
    ) -> None:
        super().__init__(_Reports(registering, owner, path), user_agent, machine, owner.on_change)
        self.number = number
        self.path = path
        self._registering = registering
        self._flights: list[tuple[ClientTransaction, Place]] = []

    def tell(self, what: Callable[..., list[Action]], *arguments: Any, **named: Any) -> None:
        now = self._user_agent.env.now()
        self._registering.tell(self.number, lambda _: what(now, *arguments, **named))

    def carry_out(self, action: Action) -> None:
        """Do one thing that the machine wants done."""
        self._carry_out_one(action)

    def settle(self) -> None:
        """Close the second connections that nothing is under way on."""
        self._flights = [(transaction, place) for transaction, place in self._flights if not transaction.done]
        self.path.keep_only({place for _, place in self._flights})

    def close(self) -> None:
        super().close()
        if self.path.link is not None:
            self.path.link.stop()

    def _next_hop(self, wanted: SendRegister) -> NextHop:
        if wanted.redirected and not self.machine.plan.behind_proxy:
            return self._registering.follow
        return self._user_agent.next_hop if wanted.target is None else self._hop_to(wanted.target)

    def _hop_to(self, target: Target) -> NextHop:
        def hop(outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
            return self.path.hop(target, outgoing)

        return hop

    def _sent(self, transaction: ClientTransaction, target: Target | None) -> None:
        if target is not None:
            self._flights.append((transaction, place_of(target)))

    def _probe(self, wanted: Probe) -> None:
        draft = self._user_agent.draft("OPTIONS", self.machine.plan.request_uri)
        draft.routes = ()  # those of the server that is held lead elsewhere
        answer = _ProbeAnswer(lambda code: self.tell(self.machine.on_probe, wanted.target, code))
        probe = ClientTransaction(
            self._user_agent, draft, observer=answer, next_hop=self._hop_to(wanted.target), leave_challenges=True
        )
        self._sent(probe, wanted.target)
        probe.start()


class _Reports:
    """What a registrant tells its owner."""

    def __init__(self, registering: Registering, owner: RegisteringOwner, path: RegistrationPath) -> None:
        self._registering = registering
        self._owner = owner
        self._path = path
        self.on_note = owner.on_note
        self.on_unregistered = owner.on_unregistered
        self.use_port = owner.use_port
        self.find_candidates = registering.find_candidates

    def on_registered(self, registered: Registered) -> None:
        self._path.keep = registered.keep
        self._path.take(registered.target)
        self._owner.on_registered(registered)

    def on_answer(self) -> None:
        """A connection that carried an answer counts as good (SPEC C6)."""
        if self._path.link is not None:
            self._path.link.request_succeeded()


class _ProbeAnswer:
    """Hears of one OPTIONS to a better server; None stands for silence (SPEC B12)."""

    def __init__(self, tell: Callable[[int | None], None]) -> None:
        self._tell = tell

    def on_provisional(self, response: Response) -> None:
        """The final one counts."""

    def on_final(self, response: Response) -> None:
        self._tell(response.status_code)

    def on_late_success(self, response: Response, request: Request) -> None:
        """Only INVITE has these."""

    def on_failure(self, error: SipError) -> None:
        self._tell(None)
