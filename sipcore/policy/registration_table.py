"""The registration machine's states, events, actions and table (SPEC B).

What the steps named in the table do is in `sipcore.policy.registration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.locate import Target
from sipcore.policy.register import SendRegister

REFRESH, RETRY, PROBE, STOP, CANDIDATES = "refresh", "retry", "probe", "stop", "candidates"


class State(StrEnum):
    IDLE = "idle"
    OFFLINE = "offline"  # on a stream: waits for its connection
    REGISTERING = "registering"
    REGISTERED = "registered"
    WAITING = "waiting"  # after 900 or 901: our own back-off
    ORDERED = "ordered"  # after a SIP answer: a wait that a new connection does not cut short (SPEC C6)
    LEAVING = "leaving"  # to be stopped, bound, and without a connection: waits a while for one
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(StrEnum):
    START = "start"
    CONNECTED = "connected"
    LOST = "lost"
    GRANTED = "granted"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    TIMER = "timer"
    TIMER_OFFLINE = "timer without a connection"
    MOVED = "moved"
    STOP_BOUND = "stop with a binding"
    STOP_UNBOUND = "stop without a binding"
    STOP_OFFLINE = "stop with a binding and without a connection"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FindCandidates:
    """Locate the candidates of redundancy and report `on_candidates` or `on_unreachable` (SPEC B12)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Send OPTIONS to this better server, on a stream over its own connection; report `on_probe` (SPEC B12)."""

    target: Target


@dataclass(frozen=True, slots=True)
class Registered:
    """The binding stands.  INVITE and SUBSCRIBE go to `target` if it is not None; `service_route` is honoured (B16).

    `keep` is what was agreed on keep-alives, as in `RegisterResponse` (SPEC B15).
    """

    target: Target | None
    expires: int
    service_route: tuple[str, ...]
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Unregistered:
    """There is no binding now that we know of."""

    why: str


@dataclass(frozen=True, slots=True)
class UsePort:
    """Move the service's UDP socket to this local port; the old one stays open for 32 s (SPEC A3)."""

    port: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The machine has ended: de-registered, or the bounded wait for that is over."""

    deregistered: bool


Action = (
    SendRegister
    | FindCandidates
    | Probe
    | Registered
    | Unregistered
    | UsePort
    | Stopped
    | StartTimer
    | CancelTimer
    | Note
)

_S, _E = State, Event
# SPEC B as a table.  An absent row means "ignore": a burst of triggers yields one attempt (SPEC B11).
#   state          event             next state      what is done, in order
TABLE: dict[tuple[State, Event], tuple[State, tuple[str, ...]]] = {
    (_S.IDLE, _E.START): (_S.OFFLINE, ("begin",)),
    (_S.OFFLINE, _E.CONNECTED): (_S.REGISTERING, ("send",)),
    (_S.OFFLINE, _E.STOP_BOUND): (_S.STOPPED, ("end",)),
    (_S.OFFLINE, _E.STOP_UNBOUND): (_S.STOPPED, ("end",)),
    (_S.OFFLINE, _E.STOP_OFFLINE): (_S.LEAVING, ("await",)),
    (_S.REGISTERING, _E.GRANTED): (_S.REGISTERED, ("bind",)),
    (_S.REGISTERING, _E.REFUSED): (_S.ORDERED, ("wait",)),
    (_S.REGISTERING, _E.UNANSWERED): (_S.WAITING, ("wait",)),
    (_S.REGISTERING, _E.MOVED): (_S.REGISTERING, ("forget", "send")),
    (_S.REGISTERING, _E.LOST): (_S.OFFLINE, ("forget",)),
    (_S.REGISTERING, _E.STOP_BOUND): (_S.STOPPING, ("forget", "remove")),
    (_S.REGISTERING, _E.STOP_UNBOUND): (_S.STOPPED, ("forget", "end")),
    (_S.REGISTERED, _E.TIMER): (_S.REGISTERING, ("send",)),
    (_S.REGISTERED, _E.GRANTED): (_S.REGISTERED, ("cancel", "bind")),
    (_S.REGISTERED, _E.MOVED): (_S.REGISTERING, ("cancel", "send")),
    (_S.REGISTERED, _E.CONNECTED): (_S.REGISTERING, ("cancel", "send")),
    (_S.REGISTERED, _E.TIMER_OFFLINE): (_S.OFFLINE, ("cancel",)),
    (_S.REGISTERED, _E.LOST): (_S.OFFLINE, ("cancel",)),
    (_S.REGISTERED, _E.STOP_BOUND): (_S.STOPPING, ("cancel", "remove")),
    (_S.REGISTERED, _E.STOP_UNBOUND): (_S.STOPPED, ("cancel", "end")),
    (_S.WAITING, _E.TIMER): (_S.REGISTERING, ("send",)),
    (_S.WAITING, _E.TIMER_OFFLINE): (_S.OFFLINE, ("cancel",)),
    (_S.WAITING, _E.CONNECTED): (_S.REGISTERING, ("cancel", "send")),
    (_S.WAITING, _E.MOVED): (_S.REGISTERING, ("cancel", "send")),
    (_S.WAITING, _E.LOST): (_S.OFFLINE, ("cancel",)),
    (_S.WAITING, _E.STOP_BOUND): (_S.STOPPING, ("cancel", "remove")),
    (_S.WAITING, _E.STOP_UNBOUND): (_S.STOPPED, ("cancel", "end")),
    (_S.WAITING, _E.GRANTED): (_S.REGISTERED, ("cancel", "bind")),
    (_S.ORDERED, _E.GRANTED): (_S.REGISTERED, ("cancel", "bind")),
    (_S.ORDERED, _E.TIMER): (_S.REGISTERING, ("send",)),
    (_S.ORDERED, _E.TIMER_OFFLINE): (_S.OFFLINE, ("cancel",)),
    (_S.ORDERED, _E.MOVED): (_S.REGISTERING, ("cancel", "send")),
    (_S.ORDERED, _E.STOP_BOUND): (_S.STOPPING, ("cancel", "remove")),
    (_S.ORDERED, _E.STOP_UNBOUND): (_S.STOPPED, ("cancel", "end")),
    (_S.ORDERED, _E.STOP_OFFLINE): (_S.LEAVING, ("cancel", "await")),
    (_S.LEAVING, _E.CONNECTED): (_S.STOPPING, ("remove",)),
    (_S.LEAVING, _E.TIMER): (_S.STOPPED, ("end",)),
    (_S.LEAVING, _E.TIMER_OFFLINE): (_S.STOPPED, ("end",)),
    (_S.STOPPING, _E.REMOVED): (_S.STOPPED, ("end",)),
    (_S.STOPPING, _E.TIMER): (_S.STOPPED, ("end",)),
    (_S.STOPPING, _E.TIMER_OFFLINE): (_S.STOPPED, ("end",)),
    (_S.STOPPING, _E.LOST): (_S.STOPPED, ("end",)),
    (_S.IDLE, _E.STOP_UNBOUND): (_S.STOPPED, ("end",)),
}

TIMER_OF = {State.REGISTERED: REFRESH, State.LEAVING: STOP, State.STOPPING: STOP}
