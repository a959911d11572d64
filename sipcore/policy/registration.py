"""One registration of one service: the machine of SPEC B1-B14.

It is told what happened and returns actions as values.  It never gives up: every
failure starts a timer or waits for a connection.  How messages look, where a
name leads and what time it is are told to it; connections are `supervisor`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from sipcore.errors import SipError
from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.candidates import NO_CANDIDATES, Candidates
from sipcore.policy.codes import NO_ANSWER, NOT_REACHABLE
from sipcore.policy.contact import contact_address
from sipcore.policy.decisions import format_host_port
from sipcore.policy.failover import Place, place_of
from sipcore.policy.locate import Target
from sipcore.policy.register import (
    DAY,
    LEAST_REFRESH,
    MOST_MINIMUM_EXPIRES,
    Authenticator,
    Granted,
    Header,
    Outstanding,
    RegisterCall,
    RegisterFailure,
    RegisterResponse,
    RegistrationPlan,
    SendRegister,
    contact_values,
    draw_refresh,
    next_call,
    read_granted,
    retry_after_wait,
    write_register,
)
from sipcore.policy.registration_table import (
    CANDIDATES,
    PROBE,
    REFRESH,
    RETRY,
    STOP,
    TABLE,
    TIMER_OF,
    Action,
    Event,
    FindCandidates,
    Probe,
    Registered,
    State,
    Stopped,
    Unregistered,
    UsePort,
)
from sipcore.policy.registration_words import describe

__all__ = [
    "Action",
    "FindCandidates",
    "Probe",
    "Registered",
    "RegistrationMachine",
    "State",
    "Stopped",
    "Unregistered",
    "UsePort",
]

MOST_REDIRECTIONS = 4
MOST_INTERVALS_TOO_BRIEF = 2
STOP_SECONDS = 4.0
NOTHING_GRANTED = Granted(0, "")
TIMER_SLACK = 0.01


class RegistrationMachine:
    """Keeps one address of record bound to one contact.

    `host` and `port` are the local address that Contact shows.  `authenticator`
    answers challenges (None: there is no password).  `random` draws waits and makes
    Call-IDs: let nobody guess it.  A plan that many registrations share names no
    user: then `address_of_record` and `contact_user` are given here.  `contact` is
    a whole Contact URI to show in place of the local address.
    """

    __slots__ = (
        "_address", "_authenticator", "_bound_contact", "_calls", "_connected_to", "_failure", "_granted",
        "_minimum_expires", "_outstanding", "_pending_wait", "_port_index", "_probe_planned", "_random",
        "_silent", "_token", "active_calls", "address_of_record", "bound_until", "candidates", "connected",
        "contact_user", "next_attempt", "plan", "server", "service_route", "state",
    )  # fmt: skip

    def __init__(
        self,
        plan: RegistrationPlan,
        *,
        host: str,
        port: int,
        random: random.Random,
        authenticator: Authenticator | None = None,
        address_of_record: str = "",
        contact_user: str = "",
        contact: str = "",
    ) -> None:
        self.plan = plan
        self.address_of_record = address_of_record or plan.address_of_record
        self.contact_user = contact_user or plan.contact_user
        self.state = State.IDLE
        self.connected = not plan.stream
        self.service_route: tuple[str, ...] = ()
        self.candidates = Candidates() if plan.redundancy else NO_CANDIDATES
        self.bound_until: float | None = None
        self.next_attempt: float | None = None
        self.active_calls = 0
        self.server = ""
        self._address = contact_address(host, port, contact)
        self._bound_contact = ""
        self._connected_to: Target | None = None
        self._random = random
        self._authenticator = authenticator
        self._minimum_expires = 0
        self._calls: tuple[RegisterCall, ...] = ()
        self._outstanding: tuple[Outstanding, ...] = ()
        self._token = 0
        self._failure: RegisterFailure | None = None
        self._granted = NOTHING_GRANTED
        self._pending_wait = (0.0, "")
        self._silent = False
        self._probe_planned = False
        self._port_index = 0

    # What happened

    def on_start(self, now: float) -> list[Action]:
        """The service starts; on a stream nothing is sent before `on_connected`."""
        return self._fire(Event.START, now)

    def on_connected(self, now: float, target: Target | None = None) -> list[Action]:
        """A stream's connection is up: register at once, unless an ordered wait runs (SPEC C6).

        With redundancy `target` is the candidate that it leads to.
        """
        self.connected, self._connected_to = True, target
        return self._fire(Event.CONNECTED, now)

    def on_lost(self, now: float) -> list[Action]:
        """The connection is gone; `on_connected` will follow, the supervisor paces it (SPEC C6)."""
        if self.plan.stream:
            self.connected = False
        return self._fire(Event.LOST, now)

    def on_candidates(self, now: float, targets: tuple[Target, ...], ttl: float) -> list[Action]:
        """The candidates of redundancy, in order, good for `ttl` seconds; also when they were renewed (SPEC B12)."""
        self.candidates.renew(targets)
        actions: list[Action] = []
        if ttl < DAY:
            actions.append(StartTimer(CANDIDATES, now + max(ttl, LEAST_REFRESH)))
        if self.state is State.REGISTERING and not self._outstanding:
            actions.extend(self._send_to(now, self.candidates.first(now), ()))
        elif self.state is State.REGISTERED:
            actions.extend(self._plan_probe(now))
        return actions

    def on_response(self, now: float, token: int, response: RegisterResponse, *, server: str = "") -> list[Action]:
        """A response to the REGISTER `token`, from `server` ("192.0.2.10:5060").  Late ones are ignored."""
        outstanding = None if response.status_code < 200 else self._take(token)
        if outstanding is None:
            return []
        if outstanding.purpose == "register" or (outstanding.purpose == "fallback" and response.status_code < 300):
            self.server = server or self.server
        self._silent = False
        again = self._answer_again(now, outstanding, response)
        if again is not None:
            return again
        return self._finish(now, outstanding, response)

    def on_no_answer(self, now: float, token: int, *, server: str = "") -> list[Action]:
        """The REGISTER `token` got no final answer: Timer F (SPEC B5: 900)."""
        return self._give_up(now, token, NO_ANSWER, "No Answer", server)

    def on_unreachable(self, now: float, token: int, why: str, *, server: str = "") -> list[Action]:
        """The name has no address, or the host cannot be reached (SPEC B5: 901).  `token` 0: for FindCandidates."""
        if token == 0:
            if self.state is State.REGISTERING and not self._outstanding:
                return self._fail(now, NOT_REACHABLE, why)
            return [StartTimer(CANDIDATES, now + self.plan.retry_interval), Note(f"candidates kept: {why}", "SPEC B12")]
        return self._give_up(now, token, NOT_REACHABLE, why, server)

    def on_timer(self, now: float, name: str) -> list[Action]:
        """A timer of this machine fired; one that was replaced, cancelled or is early does no harm."""
        if name == PROBE:
            return self._probe(now)
        if name == CANDIDATES:
            return [] if self.state in (State.LEAVING, State.STOPPING, State.STOPPED) else [FindCandidates()]
        if self.next_attempt is None or name != TIMER_OF.get(self.state, RETRY):
            return []
        if now < self.next_attempt - TIMER_SLACK:
            return [StartTimer(name, self.next_attempt)]
        self.next_attempt = None
        return self._fire(Event.TIMER if self.connected else Event.TIMER_OFFLINE, now)

    def on_probe(self, now: float, target: Target, status_code: int | None) -> list[Action]:
        """The answer to a Probe, None for silence: any final but 408 and 503 lets REGISTER decide (SPEC B12)."""
        if status_code in (None, 408, 503) or self.state is not State.REGISTERED or target not in self.candidates:
            return []
        return self._send(now, "fallback", target, self._expires(), ())

    def on_address_changed(self, now: float, host: str, port: int) -> list[Action]:
        """The local address is another one: register again at once, once (SPEC A1)."""
        if (host, port) == self._address.local:
            return []
        self._address = self._address.moved(host, port)
        return self._fire(Event.MOVED, now)

    def on_refresh(self, now: float) -> list[Action]:
        """Somebody wants it registered anew: at once, but where an attempt runs or a wait was ordered (SPEC B11)."""
        ready = self.connected and self.state is not State.ORDERED
        return self._fire(Event.MOVED, now) if ready and not self._outstanding else []

    def on_stop(self, now: float, *, wait: bool = True) -> list[Action]:
        """Take the binding back, in a bounded time, and end (SPEC B16).

        Without a connection one is waited for, as long as for an answer; not with `wait` false.
        """
        if not self.connected:
            return self._fire(Event.STOP_OFFLINE if wait and self.is_bound(now) else Event.STOP_UNBOUND, now)
        bound = self._bound_contact or self._outstanding
        return self._fire(Event.STOP_BOUND if bound else Event.STOP_UNBOUND, now)

    # The table's steps

    def _fire(self, event: Event, now: float) -> list[Action]:
        row = TABLE.get((self.state, event))
        if row is None:
            return []
        self.state, steps = row
        actions: list[Action] = []
        for step in steps:
            actions.extend(_STEPS[step](self, now))
        return actions

    def _begin(self, now: float) -> list[Action]:
        return self._fire(Event.CONNECTED, now) if self.connected else []

    def _send_first(self, now: float) -> list[Action]:
        if self.plan.redundancy and not self.candidates.targets:
            return [FindCandidates()]
        target, self._connected_to = self._connected_to or self.candidates.first(now), None
        return [*self._next_port(), *self._send_to(now, target, ())]

    def _next_port(self) -> list[Action]:
        """After silence, and while no call is up, another local port (SPEC A3)."""
        if not self._silent or self.plan.stream or self.active_calls or len(self.plan.ports) < 2:
            return []
        self._port_index = (self._port_index + 1) % len(self.plan.ports)
        port = self.plan.ports[self._port_index]
        self._address = self._address.moved(self._address.local[0], port)
        return [UsePort(port), Note(f"no answer on the last port, now from {port}", "SPEC A3")]

    def _forget(self, _now: float) -> list[Action]:
        self._outstanding = ()
        return []

    def _cancel(self, _now: float) -> list[Action]:
        self.next_attempt = None
        self._probe_planned = False
        self._outstanding = ()
        return [CancelTimer(REFRESH), CancelTimer(RETRY), CancelTimer(PROBE)]

    def _bind(self, now: float) -> list[Action]:
        granted, self._granted = self._granted, NOTHING_GRANTED
        expires = granted.expires
        self._failure = None
        self.bound_until = now + expires
        self.next_attempt = now + draw_refresh(expires, self._random)
        note = Note(f"registered for {expires}s: {granted.why}", "SPEC B2, B3", self.next_attempt)
        actions: list[Action] = [
            Registered(self.registered_with, expires, self.service_route, granted.keep),
            StartTimer(REFRESH, self.next_attempt),
            note,
        ]
        return [*actions, *self._plan_probe(now)]

    def _wait(self, now: float) -> list[Action]:
        wait, why = self._pending_wait
        self.next_attempt = now + wait
        assert self._failure is not None  # set by _fail
        self._failure.retry_at = self.next_attempt
        note = Note(f"register failed: {self._failure.text}; {why}", "SPEC B9, B10", self.next_attempt)
        return [StartTimer(RETRY, self.next_attempt), Unregistered(self._failure.text), note]

    def _bound_wait(self, now: float) -> list[Action]:
        self.next_attempt = self.next_attempt or now + STOP_SECONDS
        return [StartTimer(STOP, self.next_attempt)]

    def _remove(self, now: float) -> list[Action]:
        return [*self._send(now, "stop", self.registered_with, 0, ()), *self._bound_wait(now)]

    def _end(self, _now: float) -> list[Action]:
        self._outstanding = ()
        self.next_attempt = None
        gone = not self._bound_contact
        self.bound_until = None
        return [*map(CancelTimer, (STOP, PROBE, CANDIDATES)), Stopped(deregistered=gone)]

    # Sending

    def _send_to(self, now: float, target: Target | None, tried: tuple[Place, ...]) -> list[Action]:
        return self._send(now, "register", target, self._expires(), tried)

    def _expires(self) -> int:
        return max(self.plan.period, self._minimum_expires)

    def _send(
        self, _now: float, purpose: str, target: Target | None, expires: int, tried: tuple[Place, ...]
    ) -> list[Action]:
        contact = (self._bound_contact or self.contact) if purpose in ("stop", "remove") else self.contact
        attempt = None
        credentials: tuple[Header, ...] = ()
        if self._authenticator is not None:
            attempt = self._authenticator.attempt(method="REGISTER", uri=self.plan.request_uri)
            credentials = tuple(attempt.first_headers())
        outstanding = Outstanding(
            purpose,
            target,
            contact,
            expires,
            self.plan.request_uri,
            attempt,
            contact_values(self.plan, contact, expires, self._bound_contact),
            credentials=credentials,
            tried=tried if target is None else (*tried, place_of(target)),
        )
        return [self._send_outstanding(outstanding)]

    def _take(self, token: int) -> Outstanding | None:
        """The REGISTER `token`, no longer outstanding; None for one that is not waited for."""
        taken = next((waiting for waiting in self._outstanding if waiting.token == token), None)
        self._outstanding = tuple(waiting for waiting in self._outstanding if waiting is not taken)
        return taken

    def _send_outstanding(self, outstanding: Outstanding) -> SendRegister:
        """Give it a token and the next CSeq of its server's Call-ID (SPEC B4)."""
        self._token += 1
        outstanding.token = self._token
        self._outstanding = (*self._outstanding, outstanding)
        live = [self.registered_with, *self.candidates.targets, *(o.target for o in self._outstanding)]
        self._calls = next_call(self._calls, outstanding.target, live, self._random)
        return write_register(self.plan, self.address_of_record, outstanding, self._calls[-1])

    # Answers that lead to another REGISTER at once

    def _answer_again(self, now: float, outstanding: Outstanding, response: RegisterResponse) -> list[Action] | None:
        """The next REGISTER that this answer asks for, or None when it is final (SPEC B6, B7, B8, B14)."""
        if self.plan.discover_public_address:
            self._address = self._address.learnt(now, response.received, response.rport)
        code = response.status_code
        if code in (401, 407):
            again = self._authenticate(outstanding, response)
        elif code == 423:
            again = self._lengthen(outstanding, response)
        elif 300 <= code < 400:
            again = self._redirect(outstanding, response)
        else:
            again = None
        return None if again is None else [self._send_outstanding(again)]

    def _authenticate(self, outstanding: Outstanding, response: RegisterResponse) -> Outstanding | None:
        if outstanding.attempt is None:
            outstanding.refusal = outstanding.refusal or "there is no password to answer with"
            return None
        try:
            headers = outstanding.attempt.answer(response.status_code, response.headers, uri=outstanding.request_uri)
        except SipError as refused:
            outstanding.refusal = str(refused)
            return None
        contact = outstanding.contact if outstanding.expires == 0 else self.contact
        contacts = contact_values(self.plan, contact, outstanding.expires, self._bound_contact)
        return replace(outstanding, credentials=tuple(headers), contact=contact, contacts=contacts)

    def _lengthen(self, outstanding: Outstanding, response: RegisterResponse) -> Outstanding | None:
        """423: at once with what the registrar asks for, remembered (SPEC B8)."""
        wanted = response.min_expires or 0
        if not 0 < outstanding.expires < wanted <= MOST_MINIMUM_EXPIRES:
            outstanding.refusal = f"it asks for {wanted}s" if wanted else "without a usable Min-Expires"
            return None
        if outstanding.too_brief >= MOST_INTERVALS_TOO_BRIEF:
            outstanding.refusal = f"{outstanding.too_brief + 1} in a row"
            return None
        self._minimum_expires = wanted
        contacts = contact_values(self.plan, outstanding.contact, wanted, self._bound_contact)
        return replace(outstanding, expires=wanted, contacts=contacts, too_brief=outstanding.too_brief + 1)

    def _redirect(self, outstanding: Outstanding, response: RegisterResponse) -> Outstanding | None:
        """3xx: followed at once; the fifth in a row is an error (SPEC B6)."""
        if not response.contacts:
            outstanding.refusal = "a redirection without Contact"
            return None
        if outstanding.redirections >= MOST_REDIRECTIONS:
            outstanding.refusal = f"redirection {outstanding.redirections + 1} in a row"
            return None
        uri = max(response.contacts, key=lambda contact: contact.q).uri
        followed = replace(outstanding, request_uri=uri, redirections=outstanding.redirections + 1)
        if self.plan.keeps_credentials(uri):
            return followed
        return replace(followed, attempt=None, credentials=(), refusal="a redirection left the service's own servers")

    # Final answers

    def _finish(self, now: float, outstanding: Outstanding, response: RegisterResponse) -> list[Action]:
        """The REGISTER came to its end with this answer."""
        success = 200 <= response.status_code < 300
        if success and outstanding.attempt is not None:
            outstanding.attempt.accepted(response.headers)
        if outstanding.purpose == "remove":
            return []
        if outstanding.purpose == "stop":
            self._bound_contact = "" if success else self._bound_contact
            return self._fire(Event.REMOVED, now)
        if success:
            return self._take_grant(now, outstanding, response)
        if outstanding.purpose == "fallback":
            return self._refuse_fallback(now, outstanding, response)
        return self._refuse(now, outstanding, response)

    def _take_grant(self, now: float, outstanding: Outstanding, response: RegisterResponse) -> list[Action]:
        granted = read_granted(
            response, contact=outstanding.contact, instance=self.plan.instance, asked=outstanding.expires
        )
        if granted.expires <= 0:
            refused = replace(response, reason_phrase=f"{response.reason_phrase}, but granted 0s".lstrip(", "))
            if outstanding.purpose == "fallback":
                return self._refuse_fallback(now, outstanding, refused)
            return self._refuse(now, outstanding, refused)
        fell_back = outstanding.purpose == "fallback"
        left = self.candidates.left_for(outstanding.target, fell_back=fell_back)
        if fell_back:
            self._outstanding = ()
        old_contact, self._bound_contact = self._bound_contact, outstanding.contact
        self._granted = replace(granted, keep=response.keep)
        self.candidates.take(outstanding.target)
        self.service_route = response.service_route
        actions = self._fire(Event.GRANTED, now)
        if left is not None:
            actions.extend(self._remove_at(now, left, old_contact))
        if self.contact != outstanding.contact:
            actions.append(Note(f"seen as {format_host_port(*self.contact_address)}, so once more", "SPEC B14"))
            actions.extend(self._fire(Event.MOVED, now))
        elif self._address.unstable:
            self._address = self._address.settled()
            actions.append(Note("seen with another address again within 60s: not followed", "SPEC B14"))
        return actions

    def _remove_at(self, now: float, server: Target, contact: str) -> list[Action]:
        """Take back the binding at a server that was left (SPEC B12)."""
        kept, self._bound_contact = self._bound_contact, contact
        actions = self._send(now, "remove", server, 0, ())
        self._bound_contact = kept
        return actions

    def _refuse(self, now: float, outstanding: Outstanding, response: RegisterResponse) -> list[Action]:
        text = f"{response.status_code} {response.reason_phrase}".rstrip()
        text = f"{text}: {outstanding.refusal}" if outstanding.refusal else text
        ordered = retry_after_wait(response)
        if response.status_code == 503:
            elsewhere = self._fail_over(now, outstanding, ordered)
            if elsewhere:
                return elsewhere
        self._pending_wait = (ordered, "Retry-After (SPEC B9)") if ordered else self._mapped_wait(response.status_code)
        self._failure = RegisterFailure(text, self.server)
        return self._fire(Event.REFUSED, now)

    def _refuse_fallback(self, now: float, outstanding: Outstanding, response: RegisterResponse) -> list[Action]:
        """The better server did not take us after all: stay, and probe again later."""
        if outstanding.target is not None:
            seconds = retry_after_wait(response) or self.plan.fallback_interval
            self.candidates.mark_dead(outstanding.target, now, seconds)
        return [Note(f"no fallback: {response.status_code} {response.reason_phrase}", "SPEC B12")]

    def _give_up(self, now: float, token: int, code: int, why: str, server: str) -> list[Action]:
        """900 or 901 for the REGISTER `token`."""
        outstanding = self._take(token)
        if outstanding is None or outstanding.purpose == "remove":
            return []
        if outstanding.purpose == "stop":
            return self._fire(Event.REMOVED, now)
        if outstanding.purpose == "fallback":
            return self._refuse_fallback(now, outstanding, RegisterResponse(code, why))
        self.server = server or self.server
        why = f"redirected to {outstanding.request_uri}: {why}" if outstanding.redirections else why
        elsewhere = self._fail_over(now, outstanding, None)
        return elsewhere or self._fail(now, code, why)

    def _fail(self, now: float, code: int, why: str) -> list[Action]:
        self._silent = code == NO_ANSWER
        self._pending_wait = self._mapped_wait(code)
        self._failure = RegisterFailure(f"{code} {why}", self.server)
        return self._fire(Event.UNANSWERED, now)

    def _mapped_wait(self, code: int) -> tuple[float, str]:
        return self.plan.codes.wait(code, self.plan.retry_interval, self._random)

    # Redundancy

    def _fail_over(self, now: float, outstanding: Outstanding, seconds: float | None) -> list[Action]:
        """Mark the candidate and try the next one at once; empty when every one was tried (SPEC B9, B12)."""
        if not self.plan.redundancy or outstanding.target is None:
            return []
        self.candidates.mark_dead(outstanding.target, now, seconds)
        target = self.candidates.next_untried(now, outstanding.tried)
        if target is None:
            return []
        return self._send_to(now, target, outstanding.tried)

    def _plan_probe(self, now: float) -> list[Action]:
        """Start the timer of the next probe unless it runs: a refresh must not put it off."""
        if self._probe_planned or not self.candidates.better():
            return []
        self._probe_planned = True
        return [StartTimer(PROBE, now + self.plan.fallback_interval)]

    def _probe(self, now: float) -> list[Action]:
        self._probe_planned = False
        if self.state not in (State.REGISTERED, State.REGISTERING):
            return []
        target = self.candidates.next_probe()
        return [] if target is None else [Probe(target), *self._plan_probe(now)]

    # What is known

    @property
    def contact_address(self) -> tuple[str, int]:
        """The host and port that Contact shows: the public ones once they were discovered (SPEC B14)."""
        return self._address.shown

    @property
    def contact(self) -> str:
        """The Contact URI."""
        return self._address.uri(self.plan.contact_scheme, self.contact_user, self.plan.transport)

    @property
    def registered_with(self) -> Target | None:
        """The server that holds the registration; None without redundancy."""
        return self.candidates.held

    def is_bound(self, now: float) -> bool:
        """Whether the last binding granted still lives, whatever was tried since."""
        return self.bound_until is not None and now < self.bound_until

    @property
    def is_leaving(self) -> bool:
        """Whether a binding is being taken back at a server that was left (SPEC B12)."""
        return any(waiting.purpose == "remove" for waiting in self._outstanding)

    @property
    def failure(self) -> str:
        """What went wrong last; empty once a binding was granted after it."""
        return "" if self._failure is None else self._failure.text

    @property
    def is_registered(self) -> bool:
        return self.state is State.REGISTERED

    def status(self, now: float) -> str:
        """The registration in the device's words (SPEC F1)."""
        return describe(
            now,
            state=self.state,
            server=self.server,
            bound_until=self.bound_until,
            failure=self._failure,
            next_attempt=self.next_attempt,
        )


_STEPS: dict[str, Callable[[RegistrationMachine, float], list[Action]]] = {
    "begin": RegistrationMachine._begin,
    "send": RegistrationMachine._send_first,
    "forget": RegistrationMachine._forget,
    "cancel": RegistrationMachine._cancel,
    "bind": RegistrationMachine._bind,
    "wait": RegistrationMachine._wait,
    "await": RegistrationMachine._bound_wait,
    "remove": RegistrationMachine._remove,
    "end": RegistrationMachine._end,
}
