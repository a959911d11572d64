"""All (state, event) pairs of the four machines, driven through the engine and compared with the tables.

A pair that cannot be brought about from outside (a timer that does not run in
the state) is covered by test_tables.py, which compares the compiled array.
"""

from __future__ import annotations

import itertools

import pytest
from engine_kit import Bench, Receiver, method_of, request, response_to, status_of

from sipcore.machines import (
    ACCEPTED,
    ACKNOWLEDGED,
    CALLING,
    COMPLETED,
    CONFIRMED,
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    PROCEEDING,
    RECV_1XX,
    RECV_2XX,
    RECV_300_699,
    RECV_ACK,
    RECV_REQUEST,
    TERMINATED,
    TIMERS,
    TRANSPORT_ERROR,
    TRYING,
    TU_1XX,
    TU_2XX,
    TU_300_699,
    Action,
    Event,
    Machine,
    State,
)  # fmt: skip

STATUS = {RECV_1XX: 180, RECV_2XX: 200, RECV_300_699: 486, TU_1XX: 180, TU_2XX: 200, TU_300_699: 486}


class ClientSide:
    """One client transaction of ours, in a state that it was driven to."""

    def __init__(self, method: str, *, stream: bool) -> None:
        self.bench = Bench()
        self.flow, self.stream = self.bench.connect() if stream else (self.bench.flow, None)
        self.handle, self.receiver, self.octets = self.bench.send(method, flow=self.flow)
        self.take()

    def take(self) -> list[bytes]:
        return self.stream.take() if self.stream is not None else self.bench.sent.take()

    def state(self) -> int:
        return self.bench.engine.client_transactions.state(self.handle)

    def happen(self, event: Event) -> None:
        if event == TRANSPORT_ERROR:
            self.bench.engine.remove_connection(self.flow, "gone", self.bench.now)
        else:
            self.bench.receive(response_to(self.octets, STATUS[event]), self.flow)

    def done(self, heard: tuple[int, int, int]) -> Action:
        """The actions seen since `heard`."""
        actions = Action.NOTHING
        for octets in self.take():
            actions |= Action.SEND_ACK if method_of(octets) == "ACK" else Action.SEND_REQUEST
        responses, timeouts, errors = heard
        if len(self.receiver.responses) > responses:
            actions |= Action.PASS_TO_TU
        if self.receiver.timeouts > timeouts:
            actions |= Action.INFORM_TIMEOUT
        if len(self.receiver.errors) > errors:
            actions |= Action.INFORM_TRANSPORT_ERROR
        return actions

    def heard(self) -> tuple[int, int, int]:
        receiver: Receiver = self.receiver
        return len(receiver.responses), receiver.timeouts, len(receiver.errors)


class ServerSide:
    """One server transaction, in a state that it was driven to; the handler answers nothing by itself."""

    def __init__(self, method: str, *, stream: bool) -> None:
        self.bench = Bench()
        self.method = method
        self.flow, self.stream = self.bench.connect() if stream else (self.bench.flow, None)
        self.bench.receive(request(method), self.flow)
        self.request = self.bench.events.requests[0]
        self.status = 0

    def take(self) -> list[bytes]:
        return self.stream.take() if self.stream is not None else self.bench.sent.take()

    def state(self) -> int:
        return self.bench.engine.server_transactions.state(self.request.transaction)

    def happen(self, event: Event) -> None:
        if event == TRANSPORT_ERROR:
            self.bench.engine.remove_connection(self.flow, "gone", self.bench.now)
        elif event == RECV_REQUEST:
            self.bench.receive(request(self.method), self.flow)
        elif event == RECV_ACK:
            self.bench.receive(self.ack(), self.flow)
        else:
            self.status = STATUS[event]
            self.request.reply(self.status)
            self.bench.engine.flush()

    def ack(self) -> str:
        tag = self.bench.engine.to_tag(self.request)
        if self.status == 200:
            return request("ACK", branch="z9hG4bKother", to_tag=tag)
        return request("ACK", to_tag=tag)

    def done(self, heard: tuple[int, int]) -> Action:
        actions = Action.NOTHING
        for octets in self.take():
            actions |= Action.SEND_TRYING if status_of(octets) == 100 else Action.SEND_RESPONSE
        requests, unacknowledged = heard
        if len(self.bench.events.requests) > requests:
            actions |= Action.PASS_TO_TU
        if len(self.bench.events.unacknowledged) > unacknowledged:
            actions |= Action.INFORM_NO_ACK
        return actions

    def heard(self) -> tuple[int, int]:
        return len(self.bench.events.requests), len(self.bench.events.unacknowledged)


SEEN = (
    Action.SEND_REQUEST | Action.SEND_RESPONSE | Action.SEND_ACK | Action.SEND_TRYING | Action.PASS_TO_TU
    | Action.INFORM_TIMEOUT | Action.INFORM_TRANSPORT_ERROR | Action.INFORM_NO_ACK
)  # fmt: skip
"""What can be seen from outside of an engine."""

INVITE_CLIENT_PATHS = {
    CALLING: (),
    PROCEEDING: (RECV_1XX,),
    ACCEPTED: (RECV_2XX,),
    COMPLETED: (RECV_300_699,),
}
NON_INVITE_CLIENT_PATHS = {TRYING: (), PROCEEDING: (RECV_1XX,), COMPLETED: (RECV_2XX,)}
INVITE_SERVER_PATHS = {
    PROCEEDING: (TU_1XX,),
    ACCEPTED: (TU_2XX,),
    ACKNOWLEDGED: (TU_2XX, RECV_ACK),
    COMPLETED: (TU_300_699,),
    CONFIRMED: (TU_300_699, RECV_ACK),
}
NON_INVITE_SERVER_PATHS = {TRYING: (), COMPLETED: (TU_2XX,)}
CLIENT_EVENTS = (RECV_1XX, RECV_2XX, RECV_300_699, TRANSPORT_ERROR)
SERVER_EVENTS = (RECV_REQUEST, RECV_ACK, TU_1XX, TU_2XX, TU_300_699, TRANSPORT_ERROR)
NON_INVITE_SERVER_EVENTS = (RECV_REQUEST, TU_1XX, TU_2XX, TU_300_699, TRANSPORT_ERROR)

Path = tuple[Event, ...]


def ends_at_once(machine: Machine, state: State, event: Event) -> bool:
    """Whether the transition starts a timer that is zero on a reliable transport."""
    _, actions = machine[(state, event)]
    return any(action in actions and timer.on_reliable.name == "ZERO" for action, timer in TIMERS.items())


def check(side: ClientSide | ServerSide, machine: Machine, state: State, event: Event, *, reliable: bool) -> None:
    assert side.state() == state
    side.take()
    heard = side.heard()
    side.happen(event)
    after, actions = machine.get((state, event), (state, Action.NOTHING))
    if reliable and (state, event) in machine and ends_at_once(machine, state, event):
        after = TERMINATED
    assert State(side.state()) is after
    assert side.done(heard) == actions & SEEN  # type: ignore[arg-type]


def pairs(paths: dict[State, Path], events: tuple[Event, ...], *, stream: bool) -> list[tuple[State, Event]]:
    """On UDP nothing reports a transport error; on a stream Completed and Confirmed are over at once."""
    return [
        (state, event)
        for state, event in itertools.product(paths, events)
        if (event == TRANSPORT_ERROR) <= stream and not (stream and state in (COMPLETED, CONFIRMED))
    ]


def named(pair: tuple[State, Event]) -> str:
    return f"{pair[0].name}-{pair[1].name}"


@pytest.mark.parametrize("pair", pairs(INVITE_CLIENT_PATHS, CLIENT_EVENTS, stream=False), ids=named)
def test_invite_client_on_udp(pair: tuple[State, Event]) -> None:
    side = ClientSide("INVITE", stream=False)
    for event in INVITE_CLIENT_PATHS[pair[0]]:
        side.happen(event)
    check(side, INVITE_CLIENT, *pair, reliable=False)


@pytest.mark.parametrize("pair", pairs(INVITE_CLIENT_PATHS, CLIENT_EVENTS, stream=True), ids=named)
def test_invite_client_on_a_stream(pair: tuple[State, Event]) -> None:
    side = ClientSide("INVITE", stream=True)
    for event in INVITE_CLIENT_PATHS[pair[0]]:
        side.happen(event)
    check(side, INVITE_CLIENT, *pair, reliable=True)


@pytest.mark.parametrize("pair", pairs(NON_INVITE_CLIENT_PATHS, CLIENT_EVENTS, stream=False), ids=named)
def test_non_invite_client_on_udp(pair: tuple[State, Event]) -> None:
    side = ClientSide("OPTIONS", stream=False)
    for event in NON_INVITE_CLIENT_PATHS[pair[0]]:
        side.happen(event)
    check(side, NON_INVITE_CLIENT, *pair, reliable=False)


@pytest.mark.parametrize("pair", pairs(NON_INVITE_CLIENT_PATHS, CLIENT_EVENTS, stream=True), ids=named)
def test_non_invite_client_on_a_stream(pair: tuple[State, Event]) -> None:
    side = ClientSide("OPTIONS", stream=True)
    for event in NON_INVITE_CLIENT_PATHS[pair[0]]:
        side.happen(event)
    check(side, NON_INVITE_CLIENT, *pair, reliable=True)


@pytest.mark.parametrize("pair", pairs(INVITE_SERVER_PATHS, SERVER_EVENTS, stream=False), ids=named)
def test_invite_server_on_udp(pair: tuple[State, Event]) -> None:
    side = ServerSide("INVITE", stream=False)
    for event in INVITE_SERVER_PATHS[pair[0]]:
        side.happen(event)
    check(side, INVITE_SERVER, *pair, reliable=False)


@pytest.mark.parametrize("pair", pairs(INVITE_SERVER_PATHS, SERVER_EVENTS, stream=True), ids=named)
def test_invite_server_on_a_stream(pair: tuple[State, Event]) -> None:
    side = ServerSide("INVITE", stream=True)
    for event in INVITE_SERVER_PATHS[pair[0]]:
        side.happen(event)
    check(side, INVITE_SERVER, *pair, reliable=True)


@pytest.mark.parametrize("pair", pairs(NON_INVITE_SERVER_PATHS, NON_INVITE_SERVER_EVENTS, stream=False), ids=named)
def test_non_invite_server_on_udp(pair: tuple[State, Event]) -> None:
    side = ServerSide("OPTIONS", stream=False)
    for event in NON_INVITE_SERVER_PATHS[pair[0]]:
        side.happen(event)
    check(side, NON_INVITE_SERVER, *pair, reliable=False)


@pytest.mark.parametrize("event", [TU_1XX, TU_2XX, TU_300_699, TRANSPORT_ERROR], ids=lambda event: event.name)
def test_non_invite_server_in_proceeding(event: Event) -> None:
    """Proceeding is entered by the late 100 of RFC 4320 alone."""
    side = ServerSide("OPTIONS", stream=True)
    side.bench.advance(3.6)
    check(side, NON_INVITE_SERVER, PROCEEDING, event, reliable=True)


def test_a_repeated_request_gets_the_late_100_again() -> None:
    side = ServerSide("OPTIONS", stream=False)
    side.bench.advance(3.6)
    assert side.bench.sent.statuses() == [100]
    side.happen(RECV_REQUEST)
    assert side.state() == PROCEEDING
    assert side.bench.sent.statuses() == [100]


def test_the_timers_that_run_in_a_state_do_what_the_table_says() -> None:
    """Every timer row, reached by letting time pass; the row before it says which timers run."""
    for method, machine, paths, build in (
        ("INVITE", INVITE_CLIENT, INVITE_CLIENT_PATHS, ClientSide),
        ("OPTIONS", NON_INVITE_CLIENT, NON_INVITE_CLIENT_PATHS, ClientSide),
        ("INVITE", INVITE_SERVER, INVITE_SERVER_PATHS, ServerSide),
        ("OPTIONS", NON_INVITE_SERVER, NON_INVITE_SERVER_PATHS, ServerSide),
    ):
        for state, path in paths.items():
            side = build(method, stream=False)
            for event in path:
                side.happen(event)
            side.take()
            heard = side.heard()
            side.bench.advance(200.0)
            rows = {event: row for (before, event), row in machine.items() if before == state and "TIMER" in event.name}
            if (machine, state) in ((INVITE_CLIENT, PROCEEDING), (INVITE_SERVER, PROCEEDING)):
                assert side.state() == state, "ringing ends by no timer"
                continue
            assert side.state() == TERMINATED, (method, state)
            expected = Action.NOTHING
            for _, actions in rows.values():
                expected |= actions & SEEN
            if machine is NON_INVITE_SERVER and state is TRYING:
                assert side.done(heard) == Action.SEND_TRYING  # type: ignore[arg-type]
            else:
                assert side.done(heard) == expected, (method, state)  # type: ignore[arg-type]
