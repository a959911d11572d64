"""Keeping one connection to one server: the machine of SPEC C5, C6 and C7.

It connects, backs off when that fails, lets requests wait a bounded time, and
moves over to another connection in one step.  Connections are numbered by
generation; what is reported of an old one is ignored.  What a connection is, and
how a name is located, is not known here: see the actions.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum

from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.backoff import BackOff
from sipcore.policy.locate import Target

MAXIMUM_WAITING = 64
TIMER_SLACK = 0.01


class State(StrEnum):
    IDLE = "idle"
    LOCATING = "locating"
    CONNECTING = "connecting"
    UP = "up"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


class Event(StrEnum):
    START = "start"
    LOCATED = "located"
    FAILED = "failed"
    CONNECTED = "connected"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    TIMER = "timer"
    RESTART = "restart"
    ADOPT = "adopt"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Locate:
    """Resolve the server's name anew (SPEC C6) and report `on_located` or `on_failed`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to `target` and report `on_connected` or `on_failed`."""

    generation: int
    target: Target


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection (or give up the attempt) of this generation, if there is one."""

    generation: int


@dataclass(frozen=True, slots=True)
class ConnectionUp:
    """The connection of this generation carries everything from now on; the service registers (SPEC C6)."""

    generation: int
    target: Target


@dataclass(frozen=True, slots=True)
class ConnectionMoved:
    """The connection of this generation carries everything from now on, in place of `left` (SPEC C5).

    `left` is to be closed as soon as the binding over it is taken back (SPEC B12).
    """

    generation: int
    target: Target
    left: int


@dataclass(frozen=True, slots=True)
class ConnectionDown:
    """There is no connection now; client transactions get a local 503, but an INVITE in Proceeding runs on."""

    why: str


@dataclass(frozen=True, slots=True)
class SendWaiting:
    """The request that waited may be sent now."""

    request: Hashable


@dataclass(frozen=True, slots=True)
class FailWaiting:
    """The request that waited, or was not let wait, fails with this status code."""

    request: Hashable
    status_code: int
    why: str


Action = (
    Locate
    | Connect
    | Close
    | ConnectionUp
    | ConnectionMoved
    | ConnectionDown
    | SendWaiting
    | FailWaiting
    | StartTimer
    | CancelTimer
    | Note
)

# SPEC C6 as a table.  An absent row means "ignore": a burst of triggers yields one attempt.
#   state               event               next state          what is done, in order
TABLE: dict[tuple[State, Event], tuple[State, tuple[str, ...]]] = {
    (State.IDLE, Event.START): (State.LOCATING, ("locate",)),
    (State.LOCATING, Event.LOCATED): (State.CONNECTING, ("connect",)),
    (State.LOCATING, Event.FAILED): (State.BACKING_OFF, ("back_off",)),
    (State.LOCATING, Event.RESTART): (State.LOCATING, ("locate",)),
    (State.LOCATING, Event.STOP): (State.STOPPED, ("fail_waiting", "cancel_timers")),
    (State.CONNECTING, Event.CONNECTED): (State.UP, ("tell_up", "send_waiting")),
    (State.CONNECTING, Event.FAILED): (State.BACKING_OFF, ("back_off",)),
    (State.CONNECTING, Event.RESTART): (State.LOCATING, ("close", "locate")),
    (State.CONNECTING, Event.STOP): (State.STOPPED, ("close", "fail_waiting", "cancel_timers")),
    (State.UP, Event.SUCCEEDED): (State.UP, ("reset_back_off",)),
    (State.UP, Event.LOST): (State.BACKING_OFF, ("tell_down", "back_off")),
    (State.UP, Event.RESTART): (State.LOCATING, ("close", "tell_down", "locate")),
    (State.UP, Event.ADOPT): (State.UP, ("adopt", "tell_moved")),
    (State.UP, Event.STOP): (State.STOPPED, ("close", "fail_waiting", "cancel_timers")),
    (State.BACKING_OFF, Event.TIMER): (State.LOCATING, ("locate",)),
    (State.BACKING_OFF, Event.RESTART): (State.LOCATING, ("cancel_back_off", "locate")),
    (State.BACKING_OFF, Event.ADOPT): (State.UP, ("cancel_back_off", "adopt", "tell_up", "send_waiting")),
    (State.BACKING_OFF, Event.STOP): (State.STOPPED, ("fail_waiting", "cancel_timers")),
    (State.IDLE, Event.STOP): (State.STOPPED, ("fail_waiting",)),
}

BACK_OFF_TIMER = "connect"
WAITING_TIMER = "waiting"


class ConnectionSupervisor:
    """One service's connection to one server.  `server` names it in notes; `random` draws the waits."""

    def __init__(self, server: str, *, random: random.Random) -> None:
        self.server = server
        self.state = State.IDLE
        self.generation = 0
        self.target: Target | None = None
        self.why = ""
        self.next_attempt: float | None = None
        self._back_off = BackOff(random)
        self._waiting: OrderedDict[Hashable, float] = OrderedDict()
        self._adopted: tuple[int, Target] | None = None
        self._left = 0
        self._generations = 0

    # What happened

    def on_start(self, now: float) -> list[Action]:
        """The service starts: connect at once, registered or not (SPEC A2)."""
        return self._fire(Event.START, now)

    def on_located(self, now: float, generation: int, target: Target) -> list[Action]:
        """The name of attempt `generation` leads to `target`."""
        if not self._is_current(generation, State.LOCATING):
            return []
        self.target = target
        return self._fire(Event.LOCATED, now)

    def on_failed(self, now: float, generation: int, why: str) -> list[Action]:
        """Attempt `generation` failed: no address, refused, timed out, wrong certificate."""
        if generation != self.generation:
            return []
        return self._fire(Event.FAILED, now, why)

    def on_connected(self, now: float, generation: int) -> list[Action]:
        """Attempt `generation` is up.  A connection that nobody waits for any more is closed again (SPEC C5)."""
        if not self._is_current(generation, State.CONNECTING):
            return [Close(generation)] if generation != self.generation else []
        return self._fire(Event.CONNECTED, now)

    def on_lost(self, now: float, generation: int, why: str) -> list[Action]:
        """The connection of `generation` closed, for any reason (SPEC C6)."""
        if generation != self.generation:
            return []
        return self._fire(Event.LOST, now, why)

    def on_request_succeeded(self, now: float) -> list[Action]:
        """A request got an answer on the connection: the next loss starts from the first step (SPEC C6)."""
        return self._fire(Event.SUCCEEDED, now)

    def on_restart(self, now: float, why: str) -> list[Action]:
        """Connect anew at once: the local address changed (SPEC A1)."""
        return self._fire(Event.RESTART, now, why)

    def on_stop(self, now: float) -> list[Action]:
        """The service ends."""
        return self._fire(Event.STOP, now, "the service is stopping")

    def on_timer(self, now: float, name: str) -> list[Action]:
        """A timer of this machine fired; early, late and cancelled ones do no harm."""
        if name == WAITING_TIMER:
            return self._expire_waiting(now)
        if self.next_attempt is None:
            return []
        if now < self.next_attempt - TIMER_SLACK:
            return [StartTimer(name, self.next_attempt)]
        return self._fire(Event.TIMER, now)

    def new_generation(self) -> int:
        """A number for a probe's own connection, that `on_adopted` may take over later (SPEC C5)."""
        self._generations += 1
        return self._generations

    def on_adopted(self, now: float, generation: int, target: Target) -> list[Action]:
        """A probe won: everything moves over to its connection in one step (SPEC C5)."""
        self._adopted = (generation, target)
        return self._fire(Event.ADOPT, now)

    def on_request(self, now: float, request: Hashable, deadline: float) -> list[Action]:
        """A request wants to be sent: at once when up, else it waits until `deadline`, its Timer B or F (SPEC C6)."""
        if self.state is State.UP:
            return [SendWaiting(request)]
        if self.state is State.STOPPED or len(self._waiting) >= MAXIMUM_WAITING:
            why = "the service has stopped" if self.state is State.STOPPED else f"{MAXIMUM_WAITING} requests wait"
            return [FailWaiting(request, 503, why)]
        self._waiting[request] = deadline
        return [StartTimer(WAITING_TIMER, min(self._waiting.values()))]

    def on_request_gone(self, request: Hashable) -> None:
        """A waiting request is not wanted any more (cancelled)."""
        self._waiting.pop(request, None)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def status(self, now: float) -> str:
        """The connection's state in the device's words (SPEC F1)."""
        if self.state is State.BACKING_OFF and self.next_attempt is not None:
            return f"Backing Off ({max(0, math.ceil(self.next_attempt - now))}): {self.why}"
        return self.state.value

    # What is done

    def _is_current(self, generation: int, state: State) -> bool:
        return generation == self.generation and self.state is state

    def _fire(self, event: Event, now: float, why: str = "") -> list[Action]:
        row = TABLE.get((self.state, event))
        if row is None:
            return []
        self.state, steps = row
        self.why = why or self.why
        actions: list[Action] = []
        for step in steps:
            actions.extend(_STEPS[step](self, now))
        return actions

    def _locate(self, _now: float) -> list[Action]:
        self.generation = self.new_generation()
        self.target = None
        self.next_attempt = None
        return [Locate(self.generation)]

    def _connect(self, _now: float) -> list[Action]:
        assert self.target is not None  # LOCATED set it
        return [Connect(self.generation, self.target)]

    def _close(self, _now: float) -> list[Action]:
        return [Close(self.generation)]

    def _adopt(self, _now: float) -> list[Action]:
        assert self._adopted is not None  # ADOPT set it
        self._left = self.generation
        self.generation, self.target = self._adopted
        return []

    def _tell_moved(self, _now: float) -> list[Action]:
        assert self.target is not None  # ADOPT set it
        return [ConnectionMoved(self.generation, self.target, self._left)]

    def _tell_up(self, _now: float) -> list[Action]:
        assert self.target is not None  # there is no UP without a target
        self.why = ""
        return [ConnectionUp(self.generation, self.target)]

    def _tell_down(self, _now: float) -> list[Action]:
        return [ConnectionDown(self.why)]

    def _back_off_once(self, now: float) -> list[Action]:
        wait = self._back_off.next_wait()
        self.next_attempt = now + wait
        what = f"connection to {self.server}: {self.why}; try {self._back_off.tries} follows"
        return [StartTimer(BACK_OFF_TIMER, self.next_attempt), Note(what, "SPEC C6", self.next_attempt)]

    def _reset_back_off(self, _now: float) -> list[Action]:
        self._back_off.reset()
        return []

    def _cancel_back_off(self, _now: float) -> list[Action]:
        self.next_attempt = None
        return [CancelTimer(BACK_OFF_TIMER)]

    def _cancel_timers(self, _now: float) -> list[Action]:
        self.next_attempt = None
        return [CancelTimer(BACK_OFF_TIMER), CancelTimer(WAITING_TIMER)]

    def _send_waiting(self, now: float) -> list[Action]:
        """Everything that waited goes out in the order it came; what is past its deadline fails."""
        late = self._expire_waiting(now)
        sent: list[Action] = [SendWaiting(request) for request in self._waiting]
        self._waiting.clear()
        return [*late, *sent, CancelTimer(WAITING_TIMER)]

    def _fail_waiting(self, _now: float) -> list[Action]:
        failed: list[Action] = [FailWaiting(request, 503, self.why) for request in self._waiting]
        self._waiting.clear()
        return failed

    def _expire_waiting(self, now: float) -> list[Action]:
        late = [request for request, deadline in self._waiting.items() if deadline <= now + TIMER_SLACK]
        for request in late:
            del self._waiting[request]
        why = f"no connection to {self.server} in time: {self.why or self.state.value}"
        actions: list[Action] = [FailWaiting(request, 503, why) for request in late]
        if self._waiting:
            actions.append(StartTimer(WAITING_TIMER, min(self._waiting.values())))
        return actions


_STEPS: dict[str, Callable[[ConnectionSupervisor, float], list[Action]]] = {
    "locate": ConnectionSupervisor._locate,
    "connect": ConnectionSupervisor._connect,
    "close": ConnectionSupervisor._close,
    "adopt": ConnectionSupervisor._adopt,
    "tell_up": ConnectionSupervisor._tell_up,
    "tell_moved": ConnectionSupervisor._tell_moved,
    "tell_down": ConnectionSupervisor._tell_down,
    "back_off": ConnectionSupervisor._back_off_once,
    "reset_back_off": ConnectionSupervisor._reset_back_off,
    "cancel_back_off": ConnectionSupervisor._cancel_back_off,
    "cancel_timers": ConnectionSupervisor._cancel_timers,
    "send_waiting": ConnectionSupervisor._send_waiting,
    "fail_waiting": ConnectionSupervisor._fail_waiting,
}
