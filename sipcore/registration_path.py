"""How the REGISTERs of one registration reach the servers that they name (SPEC B12, C5).

With datagrams from the service's own socket; on streams over the registration's
own connection, and to any other server over a second one, for that alone.  If
such a server accepts, everything moves over.  Decides nothing: which server is
asked, and when, is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from sipcore.errors import TransportError
from sipcore.finding import Found
from sipcore.link import Link
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.policy.candidates import Candidates
from sipcore.policy.decisions import Decision
from sipcore.policy.failover import Place, place_of
from sipcore.policy.locate import Target
from sipcore.user_agent import UserAgent


class RegistrationPath:
    """The way of one registration; `link` is its connection, None with datagrams.

    `last_found` says what DNS was asked for the candidates; `keep` is what was agreed
    on keep-alives, None before that (SPEC B15).
    """

    def __init__(
        self,
        user_agent: UserAgent,
        candidates: Candidates,
        last_found: Callable[[], Found | None],
        link: Link | None,
    ) -> None:
        self.link = link
        self.keep: int | None = None
        self._user_agent = user_agent
        self._candidates = candidates
        self._last_found = last_found
        self._beside: dict[Place, int] = {}

    def hop(self, target: Target, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """The hop to `target`.  TransportError: it cannot be had."""
        link = self.link
        if link is None:
            flow = self._user_agent.datagram_flow(target.address, target.port)
            return Hop(flow, target.transport, self._decide(target, outgoing, ""))
        if link.leads_to(target):
            return Hop(link.flow, target.transport, self._decide(target, outgoing, link.status()))
        return self._hop_beside(link, target, outgoing)

    def flow(self) -> int:
        """Where REGISTER goes now, 0 while it goes nowhere."""
        if self.link is not None:
            return self.link.flow
        held = self._candidates.held
        return self._user_agent.datagram_flow(held.address, held.port) if held is not None else 0

    def take(self, target: Target | None) -> None:
        """`target` accepted: the connection to it, if it is another one, takes the place of the old (SPEC C5)."""
        link = self.link
        if link is None or target is None or link.leads_to(target):
            return
        before = link.target
        generation = self._beside.pop(place_of(target), 0)
        if not link.flow_of(generation):
            link.restart("the connection to the new server went")
            return
        left = link.generation
        link.move_to(generation, target)
        if before is not None:
            self._beside[place_of(before)] = left

    def keep_only(self, places: Collection[Place]) -> None:
        """Close every second connection but those to `places`."""
        if self.link is None:
            return
        for place in [place for place in self._beside if place not in places]:
            self.link.close_beside(self._beside.pop(place))

    async def _hop_beside(self, link: Link, target: Target, outgoing: OutgoingRequest) -> Hop:
        """Over a second connection, opened if need be; none while the first is down, C6 alone paces connecting then."""
        if not link.is_up:
            raise TransportError(f"no connection: {link.status()}")
        generation = self._beside.get(place_of(target), 0)
        if not link.flow_of(generation):
            generation = self._beside[place_of(target)] = await link.open_beside(target)
        decision = self._decide(target, outgoing, "a second one, for this alone (SPEC C5)")
        return Hop(link.flow_of(generation), target.transport, decision)

    def _decide(self, target: Target, outgoing: OutgoingRequest, connection: str) -> Decision:
        found = self._last_found()
        servers = self._candidates.targets
        number = next((n for n, each in enumerate(servers, 1) if place_of(each) == place_of(target)), 0)
        which = f"candidate {number} of {len(servers)}" if number else "a server that is left"
        located = found.located if found is not None else None
        return Decision(
            at=self._user_agent.env.now(),
            subject=f"{outgoing.method} {outgoing.request_uri}",
            why=which,
            rule="SPEC B12",
            located=located.why if located is not None else "",
            located_rule=located.rule if located is not None else "",
            questions=found.asked if found is not None else (),
            address=target.address,
            port=target.port,
            transport=target.transport,
            connection=connection,
        )
