"""Where the requests of one service go: `policy.outbound` joined to names, connections and flows (SPEC C, D).

The choice itself is a pure function; this room finds its site, takes the flow of
the supervised connection or of a datagram, and says why in a Decision.  Knows no
registration and no call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from sipcore._uri import Uri
from sipcore.config import Profile, Server, Service
from sipcore.dialog import route_uri
from sipcore.errors import LocateError, TransportError
from sipcore.finding import Finder, Found
from sipcore.link import Link
from sipcore.outgoing import HOP_TIMEOUT, Failover, Hop, OutgoingRequest
from sipcore.policy.candidates import Candidates
from sipcore.policy.decisions import Decision, format_host_port
from sipcore.policy.failover import MAXIMUM_TRIES
from sipcore.policy.locate import AddressType, Site, Target
from sipcore.policy.outbound import NextHop, RequestFacts, UriTarget, choose_next_hop, site_of
from sipcore.user_agent import UserAgent

NO_TCP_SECONDS = 30.0  # for how long a server that took no connection is not asked for one again
MAXIMUM_DIALOG_PEERS = 256
SERVER_NAMES = {"outbound": "OutboundProxy", "proxy": "ProxyServer", "registrar": "RegistrarServer"}


def server_sites(profile: Profile, address_types: tuple[AddressType, ...]) -> dict[str, Site]:
    """The sites of the service's own servers by owner's name: "outbound", or "proxy" and "registrar" (SPEC C7)."""
    methods = ("INVITE", "REGISTER")
    chosen = [choose_next_hop(profile, RequestFacts(method), address_types=address_types) for method in methods]
    return {hop.owner: hop.site for hop in chosen}


def read_facts(outgoing: OutgoingRequest) -> RequestFacts:
    """What the choice depends on, read from a request on its way out."""
    in_dialog = outgoing.dialog is not None
    return RequestFacts(
        outgoing.method,
        in_invite_dialog=in_dialog,
        in_dialog=in_dialog,
        destination=_uri_target(route_uri(outgoing.routes[0]) if outgoing.routes else outgoing.request_uri),
        size=outgoing.size,
    )


def _uri_target(text: str) -> UriTarget:
    uri = Uri(text)
    if not uri.is_sip:
        return UriTarget("")
    transport = (uri.parameters.get("transport") or "").lower() or None
    return UriTarget(uri.parameters.get("maddr") or uri.host, uri.port, transport, uri.scheme.lower() == "sips")


class Router:
    """The next hop of every request of one service; give it to its user agent as `next_hop`.

    `links` are the supervised connections by owner's name, shared with the service;
    `candidates()` are the servers of redundancy, None without (SPEC B12);
    `address_types` what names are asked for (SPEC D2).
    """

    def __init__(
        self,
        service: Service,
        user_agent: UserAgent,
        finder: Finder,
        links: Mapping[str, Link],
        types: tuple[AddressType, ...],
    ) -> None:
        self.address_types = types
        self.candidates: Callable[[], Candidates | None] = lambda: None
        self._dialog_peers: set[str] = set()
        self._no_tcp: dict[tuple[str, int], float] = {}
        self._service = service
        self._user_agent = user_agent
        self._finder = finder
        self._links = links

    def __call__(self, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """The hop at once where nothing has to be asked or awaited.  LocateError, TransportError: there is none."""
        return self._choose(read_facts(outgoing), outgoing)

    def follow(self, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """The hop of a request whose Request-URI a 3xx gave (SPEC B6)."""
        return self._choose(replace(read_facts(outgoing), redirected=True), outgoing)

    def _choose(self, facts: RequestFacts, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        servers = self.candidates()
        chosen = choose_next_hop(
            self._service.profile,
            facts,
            address_types=self.address_types,
            registered_with=servers.held if servers is not None else None,
        )
        link = self._links.get(chosen.owner)
        if link is not None:
            return self._on_link(link, chosen, outgoing) if link.is_up else self._wait(link, chosen, outgoing)
        if servers is not None and chosen.owner:
            return self._among(servers, chosen, outgoing)
        found = self._finder.known(chosen.site)
        if found is not None and found.target.transport == "udp":
            return self._reach(found, chosen, outgoing)
        return self._find(chosen, outgoing)

    def site_of(self, server: Server) -> Site:
        """How a configured server is found (SPEC D2 to D4)."""
        return site_of(self._service.profile, server, self.address_types)

    def datagrams_to(self, site: Site) -> int:
        """The flow to where `site` was last found, 0 before that."""
        found = self._finder.last(site)
        return 0 if found is None else self._user_agent.datagram_flow(found.target.address, found.target.port)

    def is_own_server(self, host: str) -> bool:
        """Whether `host` is an address of one of the service's own servers, to whom credentials may go (SPEC B7)."""
        sites = server_sites(self._service.profile, self.address_types).values()
        return any(host in self._finder.addresses(site) for site in sites)

    def is_dialog_peer(self, host: str) -> bool:
        """Whether a request inside a call that is up went to `host` (SPEC E3)."""
        if not self._user_agent.calls:
            self._dialog_peers.clear()
        return host in self._dialog_peers

    # supervised connections

    async def _wait(self, link: Link, chosen: NextHop, outgoing: OutgoingRequest) -> Hop:
        await link.wait(self._user_agent.env.now() + HOP_TIMEOUT)
        return self._on_link(link, chosen, outgoing)

    def _on_link(self, link: Link, chosen: NextHop, outgoing: OutgoingRequest) -> Hop:
        found = link.found
        if found is None or not link.flow:
            raise TransportError("the connection went while it was waited for")
        decision = self._decision(found, chosen, outgoing)
        return Hop(link.flow, found.target.transport, replace(decision, connection=link.status()))

    # redundancy, with datagrams (SPEC B12, D8)

    def _among(self, servers: Candidates, chosen: NextHop, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """The server that holds the registration; when it fails the next ones, three in all."""
        site = self._site_of(chosen)
        found = self._finder.known(site) or (self._finder.last(site) if servers.targets else None)
        if found is None:
            return self._find_among(servers, chosen, outgoing)
        if not servers.targets:
            servers.renew(found.located.targets)
        in_order = servers.in_order(self._user_agent.env.now())[:MAXIMUM_TRIES]
        return self._try_first(in_order, servers, found, chosen, outgoing)

    async def _find_among(self, servers: Candidates, chosen: NextHop, outgoing: OutgoingRequest) -> Hop:
        found = await self._finder.find(self._site_of(chosen))
        servers.renew(found.located.targets)
        in_order = servers.in_order(self._user_agent.env.now())[:MAXIMUM_TRIES]
        return await _settled(self._try_first(in_order, servers, found, chosen, outgoing))

    def _site_of(self, chosen: NextHop) -> Site:
        """The site whose answer the candidates came from: the name, where `chosen` has one server's address."""
        return server_sites(self._service.profile, self.address_types).get(chosen.owner, chosen.site)

    def _try_first(
        self, left: list[Target], servers: Candidates, found: Found, chosen: NextHop, outgoing: OutgoingRequest
    ) -> Hop | Awaitable[Hop]:
        here = replace(found, target=left[0])

        def next_one(why: str) -> Hop | Awaitable[Hop] | None:
            servers.mark_dead(left[0], self._user_agent.env.now(), None)
            later = replace(chosen, why=f"{format_place(left[0])} failed: {why}", rule="SPEC D8")
            return self._try_first(left[1:], servers, found, later, outgoing) if len(left) > 1 else None

        return self._reach(here, chosen, outgoing, next_one if len(left) > 1 else None)

    # everything else

    async def _find(self, chosen: NextHop, outgoing: OutgoingRequest) -> Hop:
        if not chosen.site.host:
            raise LocateError(outgoing.request_uri, why="the URI names no server", rule="RFC 3261 section 8.1.2")
        found = await self._finder.find(chosen.site)
        if found.target.transport == "udp":
            return await _settled(self._reach(found, chosen, outgoing))
        target = found.target
        name = chosen.host.strip("[]") if target.transport == "tls" else ""  # before DNS (SPEC C10)
        flow = await self._user_agent.connector.share((target.transport, target.address, target.port, name))
        return Hop(flow, target.transport, self._decision(found, chosen, outgoing))

    def _reach(
        self, found: Found, chosen: NextHop, outgoing: OutgoingRequest, failover: Failover | None = None
    ) -> Hop | Awaitable[Hop]:
        """To a server of datagrams: by TCP first what is large for them, if the profile wants it (SPEC C3)."""
        place = (found.target.address, found.target.port)
        if chosen.by_tcp and self._no_tcp.get(place, 0.0) <= self._user_agent.env.now():
            return self._by_tcp(place, found, chosen, outgoing, failover)
        return replace(self._datagram(found, chosen, outgoing), failover=failover)

    async def _by_tcp(
        self,
        place: tuple[str, int],
        found: Found,
        chosen: NextHop,
        outgoing: OutgoingRequest,
        failover: Failover | None,
    ) -> Hop:
        """By TCP, and by UDP where there is no connection to be had (RFC 3261 section 18.1.1)."""
        try:
            flow = await self._user_agent.connector.share(("tcp", *place, ""))
        except TransportError as error:
            now = self._user_agent.env.now()
            self._no_tcp = {other: until for other, until in self._no_tcp.items() if until > now}
            self._no_tcp[place] = now + NO_TCP_SECONDS
            later = replace(chosen, why=f"{chosen.why}; no TCP there: {error}")
            return replace(self._datagram(found, later, outgoing), failover=failover)
        by_tcp = replace(found, target=replace(found.target, transport="tcp"))
        decision = self._decision(by_tcp, replace(chosen, why=f"{chosen.why}; {chosen.by_tcp}"), outgoing)
        return Hop(flow, "tcp", decision, failover)

    def _datagram(self, found: Found, chosen: NextHop, outgoing: OutgoingRequest) -> Hop:
        flow = self._user_agent.datagram_flow(found.target.address, found.target.port)
        return Hop(flow, "udp", self._decision(found, chosen, outgoing))

    def _decision(self, found: Found, chosen: NextHop, outgoing: OutgoingRequest) -> Decision:
        if outgoing.dialog is not None and len(self._dialog_peers) < MAXIMUM_DIALOG_PEERS:
            self._dialog_peers.add(found.target.address)
        return decide(self._user_agent.env.now(), found, chosen, outgoing)


async def _settled(hop: Hop | Awaitable[Hop]) -> Hop:
    return hop if isinstance(hop, Hop) else await hop


def format_place(target: Target) -> str:
    """ "192.0.2.10:5060 udp" """
    return f"{format_host_port(target.address, target.port)} {target.transport}"


def decide(now: float, found: Found, chosen: NextHop, outgoing: OutgoingRequest) -> Decision:
    """Why a request goes where it goes (SPEC D9)."""
    return Decision(
        at=now,
        subject=f"{outgoing.method} {outgoing.request_uri}",
        why=chosen.why,
        rule=chosen.rule,
        located=found.located.why,
        located_rule=found.located.rule,
        questions=found.asked,
        address=found.target.address,
        port=found.target.port,
        transport=found.target.transport,
        bypassed=chosen.bypassed,
        not_bypassed=chosen.not_bypassed,
        host_name="" if found.target.host_name in (chosen.host, found.target.address) else found.target.host_name,
    )
