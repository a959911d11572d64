"""Finding a server's addresses: the three named orders of SPEC D1-D8 as generators.

A generator yields a `Question` and is sent its `Answer`, or has `LookupFailed`
thrown in; or it yields a tuple of questions, to be asked in parallel, and is sent
a tuple of `Answer` and `Failure` in the same order.  It returns `Located` or
raises `LocateError`.

What asks, what time it is and where randomness comes from is not known here:
`draw` puts SRV records in order (see `draw_order`).
"""

from __future__ import annotations

import ipaddress
import random
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sipcore.errors import LocateError
from sipcore.policy.questions import Answer, Failure, LookupFailed, Naptr, Question, Srv

SIP_PORT = 5060
LARGE = 1_300  # octets that a datagram holds without doubt, RFC 3261 section 18.1.1
SIPS_PORT = 5061
RFC3263_PORTS = {"tls": SIPS_PORT, "ws": 80, "wss": 443}  # RFC 3261 section 19.1.2, RFC 7118 section 5.2
MAXIMUM_TARGETS = 16
MAXIMUM_ADDRESSES = 32

Order = Literal["a-first", "srv-first", "rfc3263"]
AddressType = Literal["A", "AAAA"]

# SPEC D4: the prefixes that X_DnsSrvAutoPrefix asks, best first.
AUTO_PREFIXES = {
    "udp": ("_sip._udp.",),
    "tcp": ("_sip._tcp.",),
    "tls": ("_sip._tls.", "_sips._tcp."),
}
# RFC 3263 section 4.1: NAPTR services and the transports they stand for.
NAPTR_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
# RFC 3263 section 4.2: the SRV prefix of each transport; WebSocket has none.
SRV_PREFIXES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


@dataclass(frozen=True, slots=True)
class Target:
    """One address to send to.  `priority` and `weight` are those of its SRV record, 0 without one."""

    host_name: str
    address: str
    port: int
    transport: str
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """Where a name leads: `targets` in the order to try (never empty), for `ttl` seconds.

    `ttl` is infinite for a literal address.
    """

    targets: tuple[Target, ...]
    why: str
    rule: str
    ttl: float


@dataclass(frozen=True, slots=True)
class Site:
    """What is to be found.

    `host` may be a literal address (brackets allowed).  `transport` is "udp",
    "tcp", "tls", "ws", "wss", or None to let `rfc3263` choose.  `port` is the configured one or
    None; `default_port` stands in for it (SPEC D3; `rfc3263` takes 5061 for TLS by
    itself).  `address_types` holds "A" or "AAAA", both only for `rfc3263`.
    """

    host: str
    port: int | None = None
    transport: str | None = "udp"
    order: Order = "a-first"
    address_types: tuple[AddressType, ...] = ("A",)
    default_port: int = SIP_PORT
    auto_prefix: bool = False
    secure: bool = False


Draw = Callable[[Answer], tuple[Srv, ...]]
Asked = Question | tuple[Question, ...]
Told = Answer | tuple[Answer | Failure, ...]
Locate = Generator[Asked, Told, Located]
_Steps = Generator[Asked, Told, tuple[Answer | Failure, ...]]


def locate(site: Site, draw: Draw) -> Locate:
    """Find `site` by its order (SPEC D1-D6)."""
    address = literal_address(site.host)
    if address is not None:
        return _from_literal(site, address)
    return (yield from _ORDERS[site.order](site, draw))


def literal_address(host: str) -> str | None:
    """The address if `host` is a literal one ("192.0.2.1", "[2001:db8::1]", "2001:db8::1"), else None (SPEC D1)."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def _from_literal(site: Site, address: str) -> Located:
    transport = site.transport or ("tls" if site.secure else "udp")
    port = site.port or _default_port(site, transport)
    target = Target(address, address, port, transport)
    return Located((target,), why="a literal address is used as it is", rule="SPEC D1", ttl=float("inf"))


def locate_a_first(site: Site, draw: Draw) -> Locate:
    """A, then SRV, then `_sip._udp.` SRV: the default of a profile (SPEC D2, D3, D6)."""
    kind = site.address_types[0]
    addresses = yield from _ask(site, Question(query_name(site.host), kind), rule="SPEC D2.1")
    if addresses.records:
        return _from_addresses(site, [addresses], why=f"{kind} record of {site.host}", rule="SPEC D2.1")
    for rule, name in (("SPEC D2.2", query_name(site.host)), ("SPEC D2.3", f"_sip._udp.{query_name(site.host)}")):
        services = yield from _ask(site, Question(name, "SRV"), rule=rule)
        if services.records:
            return (yield from _from_services(site, services, draw, rule=rule))
    why = f"not found: no {kind}, no SRV, and no SRV of _sip._udp.{site.host}"
    raise LocateError(site.host, why=why, rule="SPEC D2.3")


def locate_srv_first(site: Site, draw: Draw) -> Locate:
    """SRV beats A; with `auto_prefix` the prefixed SRV beats both; asked in parallel (SPEC D4)."""
    kind = site.address_types[0]
    name = query_name(site.host)
    prefixes = AUTO_PREFIXES[site.transport or "udp"] if site.auto_prefix else ()
    questions = (*(Question(prefix + name, "SRV") for prefix in prefixes), Question(name, "SRV"), Question(name, kind))
    for told in (yield from _ask_all(questions)):
        if isinstance(told, Failure):
            raise _failed(site, told, rule="SPEC D4")
        if told.records and told.question.type == "SRV":
            located = yield from _from_services(site, told, draw, rule="SPEC D4")
            return replace(located, why=f"{located.why}; in this order SRV beats A")
        if told.records:
            return _from_addresses(site, [told], why=f"no SRV; {kind} record of {site.host}", rule="SPEC D4")
    raise LocateError(site.host, why=f"not found: no SRV and no {kind}", rule="SPEC D4")


def locate_rfc3263(site: Site, draw: Draw) -> Locate:
    """NAPTR, then SRV, then addresses (RFC 3263 section 4; SPEC D5)."""
    transports = _rfc3263_transports(site)
    if site.port is not None:
        return (yield from _locate_addresses(site, transports[0], why=f"port {site.port} given, so no SRV"))
    name = query_name(site.host)
    if site.transport is None:
        naptr = yield from _ask(site, Question(name, "NAPTR"), rule="SPEC D5")
        chosen = _naptr_services(naptr, transports)
        if chosen:
            found = yield from _locate_services(site, chosen, draw, why=f"NAPTR of {site.host}")
            if found is not None:
                return found
    prefixed = tuple((SRV_PREFIXES[one] + name, one) for one in transports if one in SRV_PREFIXES)
    if not prefixed:
        return (yield from _locate_addresses(site, transports[0], why=f"{transports[0]} has no SRV"))
    found = yield from _locate_services(site, prefixed, draw, why=f"no NAPTR used; SRV of {site.host}")
    if found is not None:
        return found
    return (yield from _locate_addresses(site, transports[0], why=f"no NAPTR and no SRV of {site.host}"))


_ORDERS: dict[str, Callable[[Site, Draw], Locate]] = {
    "a-first": locate_a_first,
    "srv-first": locate_srv_first,
    "rfc3263": locate_rfc3263,
}


def query_name(host: str) -> str:
    """`host` as DNS is asked for it: lower case, without a trailing dot."""
    return host.lower().removesuffix(".")


# RFC 3263 pieces


def _rfc3263_transports(site: Site) -> tuple[str, ...]:
    """The transports that may be used, best first (RFC 3263 section 4.1)."""
    if site.transport is not None:
        return (site.transport,)
    if site.secure:
        return ("tls",)
    return ("udp",) if site.port is not None else ("udp", "tcp", "tls")


def _naptr_services(answer: Answer, transports: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(SRV name, transport) of each usable NAPTR record, best first."""
    records = [record for record in answer.records if isinstance(record, Naptr)]
    usable = [
        record
        for record in sorted(records, key=lambda record: (record.order, record.preference))
        if record.flags.lower() == "s" and NAPTR_SERVICES.get(record.service.upper()) in transports
    ]
    return tuple((query_name(r.replacement), NAPTR_SERVICES[r.service.upper()]) for r in usable[:MAXIMUM_TARGETS])


def _locate_services(
    site: Site, services: Sequence[tuple[str, str]], draw: Draw, *, why: str
) -> Generator[Asked, Told, Located | None]:
    """The targets of every service that has SRV records, in the order of `services`; None when none has."""
    told = yield from _ask_all(tuple(Question(name, "SRV") for name, _ in services))
    parts: list[Located] = []
    trouble: list[LocateError] = []
    for (_, transport), answer in zip(services, told, strict=True):
        try:
            if isinstance(answer, Failure):
                raise _failed(site, answer, rule="SPEC D5")
            if answer.records:
                parts.append(
                    (yield from _from_services(_with_transport(site, transport), answer, draw, rule="SPEC D5"))
                )
        except LocateError as error:
            trouble.append(error)
    if not parts:
        if trouble:
            raise trouble[0]
        return None
    targets = tuple(target for part in parts for target in part.targets)[:MAXIMUM_ADDRESSES]
    return Located(targets, why=f"{why}: {parts[0].why}", rule="SPEC D5", ttl=min(part.ttl for part in parts))


def _locate_addresses(site: Site, transport: str, *, why: str) -> Locate:
    name = query_name(site.host)
    told = yield from _ask_all(tuple(Question(name, kind) for kind in site.address_types))
    answers = [answer for answer in told if isinstance(answer, Answer) and answer.records]
    if answers:
        return _from_addresses(_with_transport(site, transport), answers, why=f"{why}; its address", rule="SPEC D5")
    for answer in told:
        if isinstance(answer, Failure):
            raise _failed(site, answer, rule="SPEC D5")
    raise LocateError(site.host, why=f"not found: {why}, and no {' or '.join(site.address_types)}", rule="SPEC D5")


def _with_transport(site: Site, transport: str) -> Site:
    return replace(site, transport=transport)


# Questions and what is made of the answers


def _ask(site: Site, question: Question, *, rule: str) -> Generator[Asked, Told, Answer]:
    """Ask one question; a failure ends the whole search, it is never "not found" (SPEC D6)."""
    try:
        told = yield question
    except LookupFailed as failed:
        raise _failed(site, Failure(question, failed.why), rule=rule) from None
    assert isinstance(told, Answer)  # the driver's promise, not remote input
    return _of_its_type(told)


def _ask_all(questions: tuple[Question, ...]) -> _Steps:
    told = yield questions
    assert isinstance(told, tuple)  # the driver's promise, not remote input
    return tuple(_of_its_type(answer) if isinstance(answer, Answer) else answer for answer in told)


def _of_its_type(answer: Answer) -> Answer:
    """`answer` without records of another type than was asked for: whoever answers is not trusted."""
    fits = _FITS[answer.question.type]
    if all(fits(record) for record in answer.records):
        return answer
    return replace(answer, records=tuple(record for record in answer.records if fits(record)))


_FITS: dict[str, Callable[[str | Srv | Naptr], bool]] = {
    "A": lambda record: isinstance(record, str) and ":" not in record,
    "AAAA": lambda record: isinstance(record, str) and ":" in record,
    "SRV": lambda record: isinstance(record, Srv),
    "NAPTR": lambda record: isinstance(record, Naptr),
}


def _failed(site: Site, failure: Failure, *, rule: str) -> LocateError:
    return LocateError(site.host, why=f"{failure}; a failure is not 'not found'", rule=f"{rule}, D6")


def _default_port(site: Site, transport: str) -> int:
    if site.order == "rfc3263":
        return RFC3263_PORTS.get(transport, SIP_PORT)
    return site.default_port


def _from_addresses(site: Site, answers: Sequence[Answer], *, why: str, rule: str) -> Located:
    """Targets of address records: the configured port, or the default (SPEC D3)."""
    transport = site.transport or "udp"
    port = site.port or _default_port(site, transport)
    addresses = [record for answer in answers for record in answer.records if isinstance(record, str)]
    targets = tuple(Target(site.host, address, port, transport) for address in addresses[:MAXIMUM_ADDRESSES])
    said = f"port {port} {'as configured' if site.port else 'by default'}"
    return Located(targets, why=f"{why}, {said}", rule=f"{rule}, D3", ttl=min(answer.ttl for answer in answers))


def _from_services(site: Site, services: Answer, draw: Draw, *, rule: str) -> Locate:
    """Targets of an SRV answer, with its ports; once found, no further step is taken (SPEC D3, D6, D7)."""
    name = services.question.name
    records = [r for r in draw(services) if r.target not in ("", ".") and 0 < r.port < 65536][:MAXIMUM_TARGETS]
    if not records:
        why = f'SRV {name} says the service is decidedly not available (target "." or port 0)'
        raise LocateError(site.host, why=why, rule="SPEC D6")
    known = {query_name(host): addresses for host, addresses in services.additional}
    hosts = list(dict.fromkeys(query_name(record.target) for record in records))
    told = yield from _addresses_of([host for host in hosts if not _of_types(known.get(host, ()), site)], site)
    found = {host: _of_types(known.get(host, ()), site) for host in hosts}
    for answer in told:
        if isinstance(answer, Answer):
            found[answer.question.name] = (*found[answer.question.name], *_of_types(answer.records, site))
    targets = _expand(records, found, site.transport or "udp")
    if not targets:
        raise _no_target(site, name, told)
    ttl = min((services.ttl, *(answer.ttl for answer in told if isinstance(answer, Answer) and answer.records)))
    return Located(targets, why=f"SRV record of {name}, its port", rule=f"{rule}, D3", ttl=ttl)


def _addresses_of(hosts: Sequence[str], site: Site) -> _Steps:
    """Ask for the addresses of those hosts that the additional section left open; literals answer themselves."""
    literals = tuple(
        Answer(Question(host, "A"), (address,), float("inf"))
        for host in hosts
        if (address := literal_address(host)) is not None
    )
    names = [host for host in hosts if literal_address(host) is None]
    if not names:
        return literals
    questions = tuple(Question(host, kind) for host in names for kind in site.address_types)
    return literals + (yield from _ask_all(questions))


def _of_types(records: Iterable[str | Srv | Naptr], site: Site) -> tuple[str, ...]:
    """Those addresses among `records` whose family is asked for."""
    wanted = {4 if kind == "A" else 6 for kind in site.address_types}
    return tuple(r for r in records if isinstance(r, str) and (6 if ":" in r else 4) in wanted)


def _expand(records: Sequence[Srv], found: dict[str, tuple[str, ...]], transport: str) -> tuple[Target, ...]:
    targets = [
        Target(query_name(r.target), address, r.port, transport, r.priority, r.weight)
        for r in records
        for address in found[query_name(r.target)]
    ]
    return tuple(targets[:MAXIMUM_ADDRESSES])


def _no_target(site: Site, name: str, told: tuple[Answer | Failure, ...]) -> LocateError:
    failures = [answer for answer in told if isinstance(answer, Failure)]
    if failures:
        return _failed(site, failures[0], rule="SPEC D6")
    return LocateError(site.host, why=f"SRV {name} was found, but none of its targets has an address", rule="SPEC D6")


# RFC 2782: the order of SRV records


def draw_order(records: Iterable[Srv], source: random.Random) -> tuple[Srv, ...]:
    """Put SRV records in the order to try: by priority, and within one by a draw over weights (RFC 2782)."""
    ordered: list[Srv] = []
    by_priority: dict[int, list[Srv]] = {}
    for record in records:
        by_priority.setdefault(record.priority, []).append(record)
    for priority in sorted(by_priority):
        waiting = sorted(by_priority[priority], key=lambda record: record.weight)
        while waiting:
            ordered.append(waiting.pop(_draw_index(waiting, source)))
    return tuple(ordered)


def _draw_index(waiting: Sequence[Srv], source: random.Random) -> int:
    """RFC 2782: the first record whose running sum of weights reaches a number drawn from 0..sum."""
    drawn = source.randint(0, sum(record.weight for record in waiting))
    running = 0
    for index, record in enumerate(waiting):
        running += record.weight
        if running >= drawn:
            return index
    raise AssertionError("the running sum ends at the sum that was drawn from")


def fresh_draw(source: random.Random) -> Draw:
    """A `Draw` that draws anew each time: load is spread over every request (SPEC D5)."""
    return lambda answer: draw_order((r for r in answer.records if isinstance(r, Srv)), source)


class DrawOncePerAnswer:
    """A `Draw` that remembers: one answer is drawn from once, however often it is used (SPEC D8)."""

    __slots__ = ("_drawn", "_source")

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self._drawn: OrderedDict[Question, tuple[int, tuple[object, ...], tuple[Srv, ...]]] = OrderedDict()

    def __call__(self, answer: Answer) -> tuple[Srv, ...]:
        kept = self._drawn.get(answer.question)
        if kept is not None and kept[:2] == (answer.serial, answer.records):
            return kept[2]
        order = draw_order((r for r in answer.records if isinstance(r, Srv)), self._source)
        self._drawn[answer.question] = (answer.serial, answer.records, order)
        if len(self._drawn) > MAXIMUM_TARGETS:
            self._drawn.popitem(last=False)
        return order
