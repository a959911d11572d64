"""One REGISTER as values: what is asked, what came back, what was granted (SPEC A9, B2-B4, B8, B9; RFC 3261 10).

Octets are read and written elsewhere; when to send is `registration`'s business.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sipcore.policy.codes import DEFAULT_RETRY_CODES, RetryCodes
from sipcore.policy.failover import Place, place_of
from sipcore.policy.forms import address_of_record_uri, register_uri, same_host, uri_host
from sipcore.policy.keepalive import offers_keep
from sipcore.policy.locate import Target
from sipcore.policy.settings import Service

Header = tuple[str, str]

DAY = 86400.0
LEAST_REFRESH = 5.0
MOST_MINIMUM_EXPIRES = 86400
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class RegistrationPlan:
    """What a registration is made of, for as long as its service runs; one plan may serve many registrations.

    `request_uri` and `address_of_record` are URIs (SPEC A9), the latter and `contact_user` empty
    in a plan whose registrations name them each for itself.  `contact_user`,
    `contact_scheme` and `transport` make the Contact, together with the local
    address that the machine is told.  Times are seconds.  `instance` is a URN or
    empty, `reg_id` is None without outbound support (SPEC B4).  `stream` says that
    the service lives on a supervised connection (SPEC C6).  `ports` are the local
    UDP ports to try in turn, the usual one first (SPEC A3).  `own_hosts` are the
    service's servers; `behind_proxy` says that an OutboundProxy carries everything.
    `keep` says that Via offers keep-alives (RFC 6223).
    """

    request_uri: str
    address_of_record: str = ""
    contact_user: str = ""
    contact_scheme: str = "sip"
    transport: str = "udp"
    period: int = 60
    retry_interval: int = 30
    codes: RetryCodes = DEFAULT_RETRY_CODES
    redundancy: bool = False
    fallback_interval: int = 60
    discover_public_address: bool = False
    instance: str = ""
    reg_id: int | None = None
    ports: tuple[int, ...] = ()
    own_hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    keep: bool = False

    def keeps_credentials(self, redirected_to: str) -> bool:
        """Whether a REGISTER that a 3xx sent to this URI still goes to the service's own servers (SPEC B7)."""
        return self.behind_proxy or any(same_host(uri_host(redirected_to), host) for host in self.own_hosts)

    @property
    def stream(self) -> bool:
        return self.transport != "udp"


def plan_registration(service: Service, *, instance: str = "", secondary: bool = False) -> RegistrationPlan:
    """The plan of a configured service; its transport is that of the next hop, the OutboundProxy's if it has one."""
    profile = service.profile
    hop = profile.outbound or profile.registrar
    interval = profile.check_secondary_fallback_interval if secondary else profile.check_primary_fallback_interval
    return RegistrationPlan(
        request_uri=register_uri(service),
        address_of_record=address_of_record_uri(service),
        contact_user=service.address_of_record.rpartition("@")[0] or service.auth_user_name,
        contact_scheme=service.scheme,
        transport=hop.transport,
        period=profile.registration_period,
        retry_interval=profile.register_retry_interval,
        codes=profile.register_retry_response_codes,
        redundancy=profile.proxy_server_redundancy,
        fallback_interval=interval,
        discover_public_address=profile.discover_public_address,
        instance=instance,
        reg_id=(2 if secondary else 1) if profile.outbound_support and instance else None,
        ports=(service.user_agent_port, *(p for p in service.user_agent_ports if p != service.user_agent_port)),
        own_hosts=(profile.registrar.host, profile.proxy.host),
        behind_proxy=profile.outbound is not None,
        keep=offers_keep(service, hop.transport),
    )


@dataclass(frozen=True, slots=True)
class BoundContact:
    """One Contact of a REGISTER's answer: its URI, `expires` parameter (None without one) and +sip.instance (or "")."""

    uri: str
    expires: int | None = None
    instance: str = ""
    reg_id: int | None = None
    q: float = 1.0


@dataclass(frozen=True, slots=True)
class RegisterResponse:
    """A response to a REGISTER as the machine needs it.

    `headers` are all its headers as (name, value), for the digest.  `received` and
    `rport` come from its top Via (RFC 3581).  Fields that were absent or could not
    be read are None or empty.  `keep` is None unless keep-alives were agreed on:
    then the seconds that the far end wants at most between two, 0 where it does not
    say (RFC 6223 section 8, RFC 5626 section 4.4.1).
    """

    status_code: int
    reason_phrase: str = ""
    contacts: tuple[BoundContact, ...] = ()
    expires: int | None = None
    min_expires: int | None = None
    retry_after: int | None = None
    headers: tuple[Header, ...] = ()
    received: str = ""
    rport: int | None = None
    service_route: tuple[str, ...] = ()
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class SendRegister:
    """Send this REGISTER, and report `on_response`, `on_no_answer` or `on_unreachable` with its `token`.

    `contacts` are whole Contact values.  `headers` are further ones, credentials
    among them: never log them.  `target` is the server to use, None for the next
    hop of the service.  `redirected` says that a 3xx gave the Request-URI (SPEC
    B6).  `purpose` is "register", "fallback" (trying a better server), "remove"
    (taking back the binding at a server that was left) or "stop".
    """

    token: int
    request_uri: str
    to: str
    from_: str
    from_tag: str
    call_id: str
    cseq: int
    contacts: tuple[str, ...]
    expires: int
    headers: tuple[Header, ...] = ()
    target: Target | None = None
    redirected: bool = False
    purpose: str = "register"

    def __repr__(self) -> str:
        shown = tuple((name, "***" if "authorization" in name.lower() else value) for name, value in self.headers)
        return (
            f"SendRegister(token={self.token}, request_uri={self.request_uri!r}, cseq={self.cseq}, "
            f"contacts={self.contacts!r}, headers={shown!r}, target={self.target!r}, purpose={self.purpose!r})"
        )


class Attempt(Protocol):
    """The authentication of one request (`sipcore.digest.DigestAttempt`)."""

    def first_headers(self) -> list[Header]: ...
    def answer(self, status_code: int, headers: Iterable[Header], uri: str | None = None) -> list[Header]: ...
    def accepted(self, headers: Iterable[Header]) -> None: ...


class Authenticator(Protocol):
    """Who answers challenges (`sipcore.digest.DigestClient`); refuses with a SipError."""

    def attempt(self, *, method: str, uri: str) -> Attempt: ...


@dataclass(slots=True)
class Outstanding:
    """One REGISTER under way, through challenges, redirections and other intervals, until its final answer."""

    purpose: str
    target: Target | None
    contact: str
    expires: int
    request_uri: str
    attempt: Attempt | None
    contacts: tuple[str, ...]
    redirections: int = 0
    too_brief: int = 0
    credentials: tuple[Header, ...] = ()
    tried: tuple[Place, ...] = ()
    refusal: str = ""
    token: int = 0


@dataclass(slots=True)
class RegisterFailure:
    """What went wrong last, for the status line."""

    text: str
    server: str
    retry_at: float = 0.0


class RegisterCall:
    """Call-ID, From tag and the CSeq last used, of one (service, registration, server) (SPEC B4)."""

    __slots__ = ("_drawn", "cseq", "place")

    def __init__(self, source: random.Random, place: Place | None) -> None:
        self._drawn = source.getrandbits(192)
        self.place = place
        self.cseq = 0

    @property
    def call_id(self) -> str:
        return f"{self._drawn >> 64:032x}"

    @property
    def tag(self) -> str:
        return f"{self._drawn & (1 << 64) - 1:016x}"


def next_call(
    calls: tuple[RegisterCall, ...], target: Target | None, live: Iterable[Target | None], source: random.Random
) -> tuple[RegisterCall, ...]:
    """`calls` with that of `target` last, its CSeq risen by one; what is of no `live` server is forgotten."""
    place = None if target is None else place_of(target)
    call = next((call for call in calls if call.place == place), None)
    if call is None:
        wanted = {None, *(place_of(server) for server in live if server is not None)}
        call = RegisterCall(source, place)
        calls = tuple(kept for kept in calls if kept.place in wanted)
    call.cseq += 1
    return (*(other for other in calls if other is not call), call)


def write_register(
    plan: RegistrationPlan, address_of_record: str, outstanding: Outstanding, call: RegisterCall
) -> SendRegister:
    """The REGISTER that is outstanding now (SPEC A9, B4)."""
    supported = "path, outbound" if plan.reg_id is not None else "path"
    return SendRegister(
        token=outstanding.token,
        request_uri=outstanding.request_uri,
        to=address_of_record,
        from_=address_of_record,
        from_tag=call.tag,
        call_id=call.call_id,
        cseq=call.cseq,
        contacts=outstanding.contacts,
        expires=outstanding.expires,
        headers=(("Supported", supported), *outstanding.credentials),
        target=outstanding.target,
        redirected=outstanding.redirections > 0,
        purpose=outstanding.purpose,
    )


def contact_values(plan: RegistrationPlan, contact: str, expires: int, bound: str) -> tuple[str, ...]:
    """Our Contact, and the `bound` one that it replaces with expires=0 (not where reg-id does that; SPEC B4, B14)."""
    features = f';+sip.instance="<{plan.instance}>"' if plan.instance else ""
    features += f";reg-id={plan.reg_id}" if plan.reg_id is not None else ""
    values: tuple[str, ...] = (f"<{contact}>{features};expires={expires}",)
    if bound and bound != contact and plan.reg_id is None:
        values = (*values, f"<{bound}>;expires=0")
    return values


@dataclass(frozen=True, slots=True)
class Granted:
    """Seconds granted, and where the number was found; `keep` as in `RegisterResponse`."""

    expires: int
    why: str
    keep: int | None = None


def read_granted(response: RegisterResponse, *, contact: str, instance: str, asked: int) -> Granted:
    """The granted value: of our Contact by URI, then by instance; else Expires; else what was asked (SPEC B2)."""
    mine = _find_contact(response.contacts, contact, instance)
    if mine is not None and mine.expires is not None:
        return Granted(mine.expires, "expires of our Contact")
    if response.expires is not None:
        missing = "our Contact has no expires" if mine else "our Contact is not in the answer"
        return Granted(response.expires, f"{missing}, so its Expires header")
    return Granted(asked, "the answer says nothing of our Contact, so what was asked for")


def _find_contact(contacts: Sequence[BoundContact], uri: str, instance: str) -> BoundContact | None:
    wanted = comparable_uri(uri)
    for contact in contacts:
        if comparable_uri(contact.uri) == wanted:
            return contact
    return next((contact for contact in contacts if instance and contact.instance == instance), None)


def comparable_uri(uri: str) -> tuple[str, str, str, frozenset[str]]:
    """(scheme, user, host:port, parameters) for comparing two contact URIs (RFC 3261 section 19.1.4).

    Host, parameter names and values are compared without case; parameters that a
    registrar may add (`ob`, `line`, ...) do make a difference, then instance decides.
    """
    scheme, _, rest = uri.partition(":")
    user, _, location = rest.rpartition("@")
    place, *parameters = location.split("?")[0].lower().split(";")
    return scheme.lower(), user, place, frozenset(parameters)


def draw_refresh(granted: float, source: random.Random) -> float:
    """Seconds until the refresh of a binding granted for `granted` seconds (SPEC B3)."""
    half = granted / 2
    latest = max(granted - max(5.0, granted / 10), half)
    drawn = source.uniform(max(half, latest - granted / 10), latest)
    return min(max(drawn, LEAST_REFRESH), DAY)


def retry_after_wait(response: RegisterResponse) -> float | None:
    """Seconds that a Retry-After orders, clamped to 1-3,600; None without one (SPEC B9)."""
    if response.retry_after is None:
        return None
    return min(max(float(response.retry_after), 1.0), LONGEST_RETRY_AFTER)
