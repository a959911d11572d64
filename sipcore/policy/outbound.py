"""Which next hop a request takes (SPEC C1-C4, C7-C9, B12): a pure function of configuration and request.

Resolving the next hop's name is `locate`'s business, keeping a connection to it
`supervisor`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sipcore.policy.forms import same_host
from sipcore.policy.locate import LARGE, SIP_PORT, AddressType, Site, Target
from sipcore.policy.settings import Profile, Server

STREAMS = ("tcp", "tls")
# SPEC C8: these stay with the INVITE that they belong to, whatever the dialog.
NEVER_BYPASSED = ("CANCEL", "REGISTER")


@dataclass(frozen=True, slots=True)
class UriTarget:
    """Where a URI points: its host, port and transport as written; transport None when it names none."""

    host: str
    port: int | None = None
    transport: str | None = None
    secure: bool = False


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the choice depends on.

    `in_invite_dialog` is true for requests inside an INVITE dialog, whichever side
    called: ACK to 2xx, PRACK, UPDATE, re-INVITE, INFO, REFER, BYE; false for the
    initial INVITE and its repeats, and for SUBSCRIBE dialogs.  `in_dialog` is true
    inside any dialog.  `destination` is the first Route, or the Request-URI (the
    remote target) without one; None when the service's own server is meant.
    `redirected` is true when a 3xx set the destination (SPEC B6).  `size` is about
    how many octets it will have.
    """

    method: str
    in_invite_dialog: bool = False
    in_dialog: bool = False
    destination: UriTarget | None = None
    redirected: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class NextHop:
    """The next hop and why; `site` is what `locate` is asked for.

    `owner` says whose connection it is on a stream: "outbound", "proxy",
    "registrar", or "" for a place that is none of the service's servers.
    `bypassed` says that the OutboundProxy is passed over and why, `not_bypassed` why
    it is not although that is configured (SPEC C8, C9).  `by_tcp` says why this one
    request tries TCP first and UDP where that fails (SPEC C3); empty: it does not.
    """

    site: Site
    why: str
    rule: str
    owner: str
    bypassed: str = ""
    not_bypassed: str = ""
    by_tcp: str = ""

    @property
    def host(self) -> str:
        return self.site.host

    @property
    def port(self) -> int | None:
        return self.site.port

    @property
    def transport(self) -> str:
        return self.site.transport or "udp"

    @property
    def order(self) -> str:
        return self.site.order

    @property
    def is_own_server(self) -> bool:
        """Whether credentials may answer its challenges (SPEC B7)."""
        return bool(self.owner)


def choose_next_hop(
    profile: Profile,
    request: RequestFacts,
    *,
    address_types: tuple[AddressType, ...] = ("A",),
    registered_with: Target | None = None,
) -> NextHop:
    """Choose where `request` goes.

    `registered_with` is the server that holds the registration; it matters only
    with redundancy (SPEC B12).
    """
    hop = _choose(profile, request, address_types, registered_with)
    by_tcp = _why_by_tcp(profile, request, hop)
    return replace(hop, by_tcp=by_tcp) if by_tcp else hop


def _choose(
    profile: Profile, request: RequestFacts, address_types: tuple[AddressType, ...], registered_with: Target | None
) -> NextHop:
    outbound = profile.outbound
    if outbound is None:
        return _without_outbound(profile, request, address_types, registered_with)
    bypass = _why_bypassed(profile, request)
    if bypass:
        passed_over = f"OutboundProxy {outbound.host}, because {bypass}"
        return _to_uri(profile, request, address_types, rule="SPEC C8", bypassed=passed_over)
    meant = _Server("outbound", "SPEC C1", request.method)
    hop = _to_server(profile, outbound, address_types, registered_with, meant)
    return replace(hop, not_bypassed=_why_not_bypassed(profile, request))


def _why_by_tcp(profile: Profile, request: RequestFacts, hop: NextHop) -> str:
    """Why this one goes by TCP although UDP is meant, or an empty string (SPEC C3, RFC 3261 section 18.1.1)."""
    if not profile.udp_switch_to_tcp or hop.transport != "udp" or request.size <= LARGE:
        return ""
    return f"X_UDPSwitchToTCP is on and {request.size} octets are more than {LARGE} (SPEC C3)"


@dataclass(frozen=True, slots=True)
class _Server:
    """Which of the service's servers is meant, by which rule, for which method."""

    owner: str
    rule: str
    method: str


_WHOSE = {
    "outbound": "every request goes to it",
    "proxy": "without an OutboundProxy it is asked directly, whatever the URI says",
    "registrar": "without an OutboundProxy REGISTER goes to it directly",
}
_NAMES = {"outbound": "OutboundProxy", "proxy": "ProxyServer", "registrar": "RegistrarServer"}


def _why_bypassed(profile: Profile, request: RequestFacts) -> str:
    """Why C8 sends this request past the OutboundProxy, or an empty string (SPEC C8, C9)."""
    if not profile.bypass_outbound_proxy_in_call or request.destination is None:
        return ""
    if profile.outbound_proxy_transport in STREAMS:
        return ""
    if not request.in_invite_dialog or request.method in NEVER_BYPASSED:
        return ""
    return "X_BypassOutboundProxyInCall is on and this request is inside a call (SPEC C8)"


def _why_not_bypassed(profile: Profile, request: RequestFacts) -> str:
    """Why a bypass that is configured does not count for this request, or an empty string."""
    if not profile.bypass_outbound_proxy_in_call:
        return ""
    if profile.outbound_proxy_transport in STREAMS:
        return f"X_BypassOutboundProxyInCall has no effect over {profile.outbound_proxy_transport.upper()} (SPEC C9)"
    if request.method == "CANCEL":
        return "CANCEL goes where its INVITE went (SPEC C8, RFC 3261 section 9.1)"
    return "X_BypassOutboundProxyInCall is on, but this request is not inside a call (SPEC C8)"


def _without_outbound(
    profile: Profile, request: RequestFacts, address_types: tuple[AddressType, ...], registered_with: Target | None
) -> NextHop:
    """The registrar for REGISTER, the proxy for the rest; on UDP a route or remote target leads on (SPEC C7)."""
    owner = "registrar" if request.method == "REGISTER" and _differ(profile.registrar, profile.proxy) else "proxy"
    server = profile.registrar if owner == "registrar" else profile.proxy
    leads_on = request.destination is not None and (request.in_dialog or request.redirected)
    if leads_on and server.transport not in STREAMS:
        rule = "SPEC B6" if request.redirected else "SPEC C7, RFC 3261 section 12.2.1.1"
        return _to_uri(profile, request, address_types, rule=rule)
    return _to_server(profile, server, address_types, registered_with, _Server(owner, "SPEC C7", request.method))


def _differ(one: Server, other: Server) -> bool:
    """Whether host, port or transport differ (SPEC C7); hosts compare as in C4."""
    return not same_host(one.host, other.host) or (one.port, one.transport) != (other.port, other.transport)


def _to_server(
    profile: Profile,
    server: Server,
    address_types: tuple[AddressType, ...],
    registered_with: Target | None,
    meant: _Server,
) -> NextHop:
    name = _NAMES[meant.owner]
    if registered_with is not None and profile.proxy_server_redundancy and meant.method != "REGISTER":
        site = Site(registered_with.address, registered_with.port, registered_with.transport, profile.dns_order)
        return NextHop(site, f"the server of {name} that holds the registration", "SPEC B12", meant.owner)
    port = f"port {server.port} configured" if server.port else "no port configured"
    why = f"{name} {server.host} over {server.transport.upper()}, {port}: {_WHOSE[meant.owner]}"
    return NextHop(site_of(profile, server, address_types), why, meant.rule, meant.owner)


def _to_uri(
    profile: Profile,
    request: RequestFacts,
    address_types: tuple[AddressType, ...],
    *,
    rule: str,
    bypassed: str = "",
) -> NextHop:
    """The first Route or remote target, by the profile's order with that URI's host, port and transport (SPEC C8)."""
    target = request.destination
    assert target is not None  # the callers have looked
    transport = target.transport or ("tls" if target.secure else "udp")
    why = f"{request.method} follows its first Route or remote target, {target.host}"
    site = site_of(profile, Server(target.host, target.port, transport), address_types)
    return NextHop(site, why, rule, "", bypassed)


def site_of(profile: Profile, server: Server, address_types: tuple[AddressType, ...]) -> Site:
    """What `locate` is asked for to find `server`, by the profile's order (SPEC D2 to D4)."""
    return Site(
        server.host,
        server.port,
        server.transport,
        profile.dns_order,
        address_types,
        default_port=profile.tls_default_port if server.transport == "tls" else SIP_PORT,
        auto_prefix=profile.dns_srv_auto_prefix,
    )
