"""Sending less to next hops that say they are overloaded (RFC 7339, the client's side).

A next hop says in the top Via of its responses how much of what is new it wants
to be spared, in percent, and for how long.  That part of the requests to it is
answered with 503 right here.  Requests inside dialogs and emergencies come last:
they are touched when sparing all others is not enough (section 5.10.1).

Knows no socket; a clock and randomness come from the user agent's Env.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sipcore._message import Request, Response, build_response

if TYPE_CHECKING:
    from sipcore._engine import ResponseReceiver
    from sipcore.user_agent import UserAgent

OFFER = ';oc;oc-algo="loss"'
VALIDITY = 0.5  # seconds, where the next hop doesn't say (section 4.3)
LONGEST_VALIDITY = 3_600.0  # seconds
MEMORY = 32.0  # seconds for which the order of what a next hop said is remembered beyond its validity
MAX_NEXT_HOPS = 1_024
RECENT = 1_000  # requests by which the kinds are weighed

NextHopKey = tuple[str, str, int]  # transport, host, port


@dataclass(frozen=True, slots=True)
class Ask:
    """What a next hop asks for: to be spared `percent` of new requests for `validity` seconds."""

    percent: int
    validity: float
    sequence: tuple[int, int]


def parse_ask(response: Response) -> Ask | None:
    """The parameters of RFC 7339 section 4 in the top Via; None when they are absent, malformed or not by loss."""
    parameters = response.via[0].parameters
    percent = _number(parameters.get("oc"), 100)
    validity = _number(parameters.get("oc-validity", "500"), 10**9)
    whole, _, part = (parameters.get("oc-seq") or "").partition(".")
    sequence = _number(whole, 10**12), _number((part or "0").ljust(5, "0"), 10**5)
    algorithm = (parameters.get("oc-algo") or "loss").strip('"')
    if percent is None or validity is None or algorithm != "loss":
        return None
    if sequence[0] is None or sequence[1] is None:
        return None
    return Ask(percent, min(validity / 1_000, LONGEST_VALIDITY), (sequence[0], sequence[1]))


def is_urgent(request: Request) -> bool:
    """Whether a request is of a dialog, an emergency call, or marked as more important (RFC 7339 section 5.10.1)."""
    if request.to_tag is not None or request.get("Resource-Priority") is not None:
        return True
    uri = str(request.request_uri).lower()
    return uri.startswith("urn:service:sos") or (request.get("Priority") or "").lower() == "emergency"


class NextHop:
    """One next hop: what it asks for, and how its requests divide into ordinary and urgent ones."""

    __slots__ = ("ask", "ordinary", "until", "urgent")

    def __init__(self, ask: Ask, now: float) -> None:
        self.ask = ask
        self.until = now + ask.validity
        self.ordinary = 1.0
        self.urgent = 0.0

    def renew(self, ask: Ask, now: float) -> None:
        """Take what was said later; what was overtaken on the way changes nothing (section 4.4)."""
        if ask.sequence >= self.ask.sequence:
            self.ask = ask
            self.until = now + ask.validity

    def chance(self, urgent: bool) -> float:
        """How likely a request is to be spared, 0 to 1; it is counted."""
        if self.ordinary + self.urgent >= RECENT:
            self.ordinary, self.urgent = self.ordinary / 2, self.urgent / 2
        self.urgent += urgent
        self.ordinary += not urgent
        asked = self.ask.percent / 100
        ordinary = self.ordinary / (self.ordinary + self.urgent)
        if not urgent:
            return min(1.0, asked / ordinary)
        return max(0.0, (asked - ordinary) / (1 - ordinary))


class _Listener:
    """Hears the responses to one request first, and passes all on."""

    __slots__ = ("key", "on_timeout", "on_transport_error", "receiver", "restraint")

    def __init__(self, restraint: Restraint, key: NextHopKey, receiver: ResponseReceiver) -> None:
        self.restraint = restraint
        self.key = key
        self.receiver = receiver
        self.on_timeout = receiver.on_timeout
        self.on_transport_error = receiver.on_transport_error

    def on_response(self, response: Response) -> None:
        self.restraint.hear(self.key, response)
        self.receiver.on_response(response)


class Restraint:
    """The next hops of one user agent that ask for less, and the sending of its requests."""

    def __init__(self, user_agent: UserAgent) -> None:
        self.spared = 0  # requests answered here
        self._user_agent = user_agent
        self._random = user_agent.env.random
        self._next_hops: dict[NextHopKey, NextHop] = {}

    def __repr__(self) -> str:
        return f"<Restraint towards {len(self._next_hops)} next hops, {self.spared} requests spared>"

    def send(self, request: Request, flow: int, receiver: ResponseReceiver) -> int:
        """Start a transaction, or have `receiver` hear a 503 soon (0 is returned then: there is no transaction)."""
        engine, now = self._user_agent.engine, self._user_agent.driver.now()
        transport, _, _, host, port = engine.flow_info(flow)
        key = (transport, host, port)
        if self._spares(key, request, now):
            self.spared += 1
            refusal = build_response(request, 503, to_tag=engine.new_tag())
            engine.start_timer(now, lambda: receiver.on_response(refusal))
            return 0
        return engine.send_request(request, flow, _Listener(self, key, receiver), now)

    def hear(self, key: NextHopKey, response: Response) -> None:
        """Note what the top Via of a response asks for; `oc-validity=0` ends it (section 4.3)."""
        ask = parse_ask(response)
        if ask is None:
            return
        now = self._user_agent.driver.now()
        next_hop = self._next_hops.get(key)
        if next_hop is not None and now < next_hop.until + MEMORY:
            next_hop.renew(ask, now)
            return
        if len(self._next_hops) >= MAX_NEXT_HOPS:
            self._forget(now)
        if len(self._next_hops) < MAX_NEXT_HOPS:
            self._next_hops[key] = NextHop(ask, now)

    def _spares(self, key: NextHopKey, request: Request, now: float) -> bool:
        next_hop = self._next_hops.get(key)
        if next_hop is None or now >= next_hop.until:
            return False
        return self._random.random() < next_hop.chance(is_urgent(request))

    def _forget(self, now: float) -> None:
        self._next_hops = {key: hop for key, hop in self._next_hops.items() if now < hop.until}


def _number(text: str | None, most: int) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 13):
        return None
    number = int(text)
    return number if number <= most else None
