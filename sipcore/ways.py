"""The way to a registrar that many registrations share: datagrams by RFC 3263, or one supervised connection.

One lookup serves all who wait for it, and one connection carries all (SPEC C5 to
C7, D5, D7, D8).  Knows no registration and no REGISTER.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Protocol

from sipcore.env import STREAM_TRANSPORTS
from sipcore.errors import LocateError, SipError, TransportError, UsageError
from sipcore.finding import CandidateLocator, Finder
from sipcore.handover import split_address
from sipcore.link import Link
from sipcore.nexthop import Rfc3263
from sipcore.outgoing import HOP_TIMEOUT, Hop, OutgoingRequest
from sipcore.policy.actions import Note
from sipcore.policy.candidates import Candidates
from sipcore.policy.decisions import Decision
from sipcore.user_agent import UserAgent

Address = tuple[str, int]
HOP_LIFE = 0.05  # seconds that one choice of an address serves all who ask
FAILURE_LIFE = 1.0  # seconds that a failed lookup answers for those who waited for it
SIP_PORT = 5060
STREAMS = tuple(sorted(STREAM_TRANSPORTS))


class WayOwner(Protocol):
    """Whose way it is."""

    def on_way_settled(self) -> None:
        """A lookup that somebody waited for is over, well or not."""
        ...

    def on_way_up(self) -> None:
        """The connection is up."""
        ...

    def on_way_down(self, why: str) -> None:
        """The connection is gone."""
        ...

    def on_note(self, note: Note) -> None: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """A URI as a place to send to; `transport` is what it names, UDP where it names none."""

    uri: str
    transport: str

    @staticmethod
    def of(uri: str, rfc3263: Rfc3263) -> Destination:
        """UsageError for what cannot be sent to."""
        try:
            site, may_switch = rfc3263.site(OutgoingRequest("REGISTER", uri))
        except SipError as error:
            raise UsageError(f"{uri!r} is no place to send to: {error}") from None
        if may_switch:
            return Destination(f"{uri};transport=udp", "udp")
        if site.transport not in ("udp", *STREAMS):
            raise UsageError(f"{uri!r}: registrations go over UDP, TCP, TLS or WebSocket")
        return Destination(uri, site.transport)


class DatagramWay:
    """Over UDP: the servers of a URI in turn, those that failed lately passed over."""

    stream = False
    transport = "udp"

    def __init__(self, owner: WayOwner, user_agent: UserAgent, destination: Destination, next_hop: Rfc3263) -> None:
        self._owner = owner
        self._user_agent = user_agent
        self._uri = destination.uri
        self._next_hop = next_hop
        self._hop: Hop | None = None
        self._hop_at = float("-inf")
        self._failure: SipError | None = None
        self._failed_at = float("-inf")
        self._finding: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Nothing is kept open."""

    def stop(self) -> None:
        if self._finding is not None:
            self._finding.cancel()

    @property
    def flow(self) -> int:
        """Where the last request went; 0 before there was one."""
        return self._hop.flow if self._hop is not None else 0

    def is_ready(self) -> bool:
        """Whether `hop` needs no waiting now; else the owner hears when to ask again."""
        if self._finding is not None:
            return False
        now = self._user_agent.env.now()
        if now - self._hop_at < HOP_LIFE or now - self._failed_at < FAILURE_LIFE:
            return True
        try:
            hop = self._next_hop(OutgoingRequest("REGISTER", self._uri))
        except SipError as error:
            self._failed(error)
            return True
        if isinstance(hop, Hop):
            self._hop, self._hop_at, self._failure = hop, now, None
            return True
        finding = self._user_agent.start_task(self._find(hop))
        if finding.done():
            return True
        self._finding = finding
        return False

    async def _find(self, hop: Awaitable[Hop]) -> None:
        try:
            self._hop, self._hop_at, self._failure = await hop, self._user_agent.env.now(), None
        except SipError as error:
            self._failed(error)
        finally:
            self._finding = None
        self._owner.on_way_settled()

    def _failed(self, error: SipError) -> None:
        self._failure, self._failed_at = error, self._user_agent.env.now()

    def hop(self, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """The hop of one REGISTER; LocateError or TransportError: there is none."""
        if self.is_ready():
            if self._failure is not None:
                raise LocateError(self._uri, why=str(self._failure), rule="SPEC B5")
            assert self._hop is not None
            return self._hop
        return self._next_hop(replace(outgoing, request_uri=self._uri))

    def local_address(self) -> Address:
        """What Contact says: where datagrams on this way come from."""
        return _host_and_port(self._user_agent.engine.flow_sent_by(self.flow))

    def restart(self, why: str) -> None:
        """The local address may be another one: the next request finds its source anew."""
        self._hop_at = float("-inf")


class StreamWay:
    """Over TCP, TLS or WebSocket: one supervised connection."""

    stream = True

    def __init__(self, owner: WayOwner, user_agent: UserAgent, destination: Destination, next_hop: Rfc3263) -> None:
        self._owner = owner
        self._user_agent = user_agent
        self.transport = destination.transport
        site, _ = next_hop.site(OutgoingRequest("REGISTER", destination.uri))
        locator = CandidateLocator(Finder(user_agent.env), site, Candidates())
        self._link = Link(self, user_agent, locator, site.host, server_name=site.host, bind=self._source)

    def start(self) -> None:
        self._link.start()

    def stop(self) -> None:
        self._link.stop()

    @property
    def flow(self) -> int:
        return self._link.flow

    @property
    def next_attempt(self) -> float | None:
        """When it connects again, while it backs off."""
        return self._link.next_attempt

    def status(self) -> str:
        return self._link.status()

    def is_ready(self) -> bool:
        """A registration knows by itself whether there is a connection."""
        return True

    def hop(self, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        return self._on_link(outgoing) if self._link.is_up else self._wait(outgoing)

    async def _wait(self, outgoing: OutgoingRequest) -> Hop:
        await self._link.wait(self._user_agent.env.now() + HOP_TIMEOUT)
        return self._on_link(outgoing)

    def _on_link(self, outgoing: OutgoingRequest) -> Hop:
        found = self._link.found
        if found is None or not self._link.flow:
            raise TransportError("the connection went while it was waited for")
        decision = Decision(
            at=self._user_agent.env.now(),
            subject=f"{outgoing.method} {outgoing.request_uri}",
            why=found.located.why,
            rule=f"SPEC C5; {found.located.rule}",
            questions=found.asked,
            address=found.target.address,
            port=found.target.port,
            transport=found.target.transport,
            connection=self._link.status(),
        )
        return Hop(self._link.flow, found.target.transport, decision)

    def succeeded(self) -> None:
        """A request was answered on it: the next loss starts from the first step (SPEC C6)."""
        self._link.request_succeeded()

    def local_address(self) -> Address:
        """What Contact says: the listener of this transport, else where the connection comes from."""
        engine = self._user_agent.engine
        transport, host, port, remote_host, _ = engine.flow_info(self._link.flow)
        listener = self._user_agent.listener_for(transport, remote_host)
        return (host, port) if listener is None else _host_and_port(engine.flow_sent_by(self._link.flow))

    def restart(self, why: str) -> None:
        """Connect anew where the address that the connection comes from is gone (SPEC A1)."""
        if self._link.flow:
            source = self._user_agent.engine.flow_info(self._link.flow)[1]
            if source not in self._user_agent.env.host_addresses():
                self._link.restart(why)

    def _source(self) -> Address:
        found = self._link.found
        if found is None:
            raise TransportError("nothing was located")
        return self._user_agent.env.source_address(found.target.address), 0

    # what the connection tells

    def on_link_up(self, link: Link) -> None:
        self._owner.on_way_up()

    def on_link_down(self, link: Link, why: str) -> None:
        self._owner.on_way_down(why)

    def on_link_moved(self, link: Link) -> None:
        """Nobody moves it to another server while it stands."""

    def on_note(self, note: Note) -> None:
        self._owner.on_note(note)


Way = DatagramWay | StreamWay


def make_way(owner: WayOwner, user_agent: UserAgent, uri: str) -> Way:
    """The way that a URI names."""
    next_hop = Rfc3263(user_agent)
    destination = Destination.of(uri, next_hop)
    kind = StreamWay if destination.transport in STREAMS else DatagramWay
    return kind(owner, user_agent, destination, next_hop)


def _host_and_port(sent_by: str) -> Address:
    host, port = split_address(sent_by)
    return host, port or SIP_PORT
