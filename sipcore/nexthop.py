"""The default next hop of a user agent: RFC 3263 on the first Route or the Request-URI, with failover (SPEC D5, D8).

Answers are cached for the time that DNS gave them; a hit is synchronous, inside
the batch, a miss is a coroutine.  Locating itself is `policy.locate`, asking DNS
the resolver's; this room joins them to connections.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sipcore._uri import Uri
from sipcore.connecting import ConnectionKey
from sipcore.dialog import is_loose, route_uri
from sipcore.env import SECURE_TRANSPORTS, STREAM_TRANSPORTS
from sipcore.errors import LocateError, TransportError
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.policy.decisions import Decision
from sipcore.policy.locate import LARGE, AddressType, Located, Site, Target, fresh_draw, literal_address, locate
from sipcore.policy.questions import Answer, Failure
from sipcore.resolver import drive

if TYPE_CHECKING:
    from sipcore.stack import UserAgent

MAX_CACHED = 1_024
DEAD_SECONDS = 30.0  # SPEC D8: how long an address that failed is passed over
SUPPORTED = (None, "udp", *STREAM_TRANSPORTS)
SECURED = {"tcp": "tls", "ws": "wss"}  # what a sips: URI makes of a transport (RFC 3261 section 26.2.2, RFC 7118)


@dataclass(frozen=True, slots=True)
class _Found:
    host: str
    located: Located
    asked: tuple[Answer | Failure, ...]
    valid_until: float


class Rfc3263:
    """A next hop for every request of one user agent; its `NextHop` function."""

    def __init__(self, user_agent: UserAgent) -> None:
        self._user_agent = user_agent
        self._cache: OrderedDict[Site, _Found] = OrderedDict()
        self._dead: dict[tuple[str, int, str], float] = {}

    def __call__(self, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        site, may_switch = self.site(outgoing)
        if outgoing.size > LARGE and may_switch:
            return self._over_tcp(site, outgoing)
        return self._known(site, outgoing) or self._find(site, outgoing)

    def _over_tcp(self, site: Site, outgoing: OutgoingRequest) -> Hop | Awaitable[Hop]:
        """A request that is large for a datagram goes by TCP, and by UDP where TCP fails (RFC 3261 section 18.1.1)."""
        mark = (site.host, site.port or 0, "no TCP")
        if self._dead.get(mark, 0.0) > self._user_agent.env.now():
            return self._known(site, outgoing) or self._find(site, outgoing)
        by_tcp = replace(site, transport="tcp")

        async def either() -> Hop:
            try:
                return await self._find(by_tcp, outgoing)
            except (TransportError, LocateError):
                self._dead[mark] = self._user_agent.env.now() + DEAD_SECONDS
                return await self._find(site, outgoing)

        return self._known(by_tcp, outgoing) or either()

    def site(self, outgoing: OutgoingRequest) -> tuple[Site, bool]:
        """What is to be found: the first loose Route, else the Request-URI (RFC 3261 section 8.1.2); and whether
        it would be UDP only because the URI names no transport."""
        text = outgoing.request_uri
        if outgoing.routes:
            first = route_uri(outgoing.routes[0])
            text = first if is_loose(first) else text
        uri = Uri(text)
        if uri.scheme not in ("sip", "sips"):
            raise LocateError(text, why=f"a {uri.scheme}: URI names no server", rule="RFC 3263 section 4")
        host = uri.parameters.get("maddr") or uri.host
        secure = uri.scheme == "sips"
        literal = literal_address(host)
        transport = self._transport(uri, secure=secure, settled=literal is not None or uri.port is not None)
        if transport not in SUPPORTED:
            raise LocateError(text, why=f"no way to send over {transport}", rule="RFC 3263 section 4.1")
        v6 = literal is not None and ":" in literal
        types: tuple[AddressType, ...] = ("AAAA",) if v6 else self._address_types()
        site = Site(host, uri.port, transport=transport, order="rfc3263", address_types=types, secure=secure)
        return site, transport in (None, "udp") and not uri.parameters.get("transport")

    def _transport(self, uri: Uri, *, secure: bool, settled: bool) -> str | None:
        """The transport that the URI fixes, or None when NAPTR may choose (RFC 3263 section 4.1)."""
        named = (uri.parameters.get("transport") or "").lower()
        if named:
            return SECURED.get(named, named) if secure else named
        if secure:
            return "tls"
        return "udp" if settled else None

    def _address_types(self) -> tuple[AddressType, ...]:
        families = {":" in listener.host for listener in self._user_agent.listeners}
        if families == {True}:
            return ("AAAA",)
        return ("A", "AAAA") if True in families else ("A",)

    # cache and dead addresses

    def _cached(self, site: Site) -> _Found | None:
        found = self._cache.get(site)
        if found is None or found.valid_until > self._user_agent.env.now():
            return found
        del self._cache[site]
        return None

    def _remember(self, site: Site, found: _Found) -> None:
        self._cache[site] = found
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)

    def _in_order(self, targets: Sequence[Target]) -> list[Target]:
        """The targets without those that failed lately, unless all did (SPEC D8)."""
        now = self._user_agent.env.now()
        for key in [key for key, until in self._dead.items() if until <= now]:
            del self._dead[key]
        alive = [target for target in targets if _key(target) not in self._dead]
        return alive or list(targets)

    # from a target to a flow

    def _known(self, site: Site, outgoing: OutgoingRequest) -> Hop | None:
        """The hop, if neither DNS nor a connection has to be waited for."""
        found = self._cached(site)
        return self._now(self._in_order(found.located.targets), found, outgoing) if found is not None else None

    async def _find(self, site: Site, outgoing: OutgoingRequest) -> Hop:
        """The hop, whatever it takes."""
        found = self._cached(site)
        if found is None:
            env = self._user_agent.env
            located, asked = await drive(locate(site, fresh_draw(env.random)), env.resolver)
            found = _Found(site.host, located, tuple(asked), env.now() + located.ttl)
            self._remember(site, found)
        return await self._connect(self._in_order(found.located.targets), found, outgoing)

    def _now(self, targets: list[Target], found: _Found, outgoing: OutgoingRequest) -> Hop | None:
        """The hop to the first target, if that needs no connecting."""
        target = targets[0]
        if target.transport == "udp":
            flow = self._user_agent.datagram_flow(target.address, target.port)
        else:
            flow = self._user_agent.connector.find(_connection(target, found.host))
        return self._hop(flow, targets, found, outgoing) if flow else None

    async def _connect(self, targets: list[Target], found: _Found, outgoing: OutgoingRequest) -> Hop:
        """The hop to the first target that can be had."""
        left = targets
        while True:
            try:
                hop = self._now(left, found, outgoing)
                if hop is not None:
                    return hop
                flow = await self._user_agent.connector.share(_connection(left[0], found.host))
                return self._hop(flow, left, found, outgoing)
            except TransportError:
                self._dead[_key(left[0])] = self._user_agent.env.now() + DEAD_SECONDS
                if len(left) == 1:
                    raise
                left = left[1:]

    def _hop(self, flow: int, targets: list[Target], found: _Found, outgoing: OutgoingRequest) -> Hop:
        target = targets[0]
        decision = Decision(
            at=self._user_agent.env.now(),
            subject=f"{outgoing.method} {outgoing.request_uri}",
            why=found.located.why,
            rule=found.located.rule,
            questions=found.asked,
            address=target.address,
            port=target.port,
            transport=target.transport,
        )

        def failover(_: str) -> Hop | Awaitable[Hop | None] | None:
            self._dead[_key(target)] = self._user_agent.env.now() + DEAD_SECONDS
            left = targets[1:]
            if not left:
                return None
            return self._now(left, found, outgoing) or self._connect(left, found, outgoing)

        return Hop(flow, target.transport, decision, failover if len(targets) > 1 else None)


def _key(target: Target) -> tuple[str, int, str]:
    return target.address, target.port, target.transport


def _connection(target: Target, host: str) -> ConnectionKey:
    """What a connection is shared by; TLS is verified for the name that was looked for (RFC 5922 section 4)."""
    name = host.strip("[]") if target.transport in SECURE_TRANSPORTS else ""
    return target.transport, target.address, target.port, name
