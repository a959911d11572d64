"""One connection to one server (SPEC C5, C6, C7), on all pairs and on random histories."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.policy.actions import StartTimer
from sipcore.policy.locate import Target
from sipcore.policy.supervisor import (
    BACK_OFF_TIMER,
    MAXIMUM_WAITING,
    TABLE,
    WAITING_TIMER,
    Action,
    Close,
    Connect,
    ConnectionDown,
    ConnectionMoved,
    ConnectionSupervisor,
    ConnectionUp,
    Event,
    FailWaiting,
    Locate,
    SendWaiting,
    State,
)

TARGET = Target("edge.example.net", "192.0.2.1", 5060, "tcp")
OTHER = Target("edge.example.net", "192.0.2.2", 5060, "tcp")


def supervisor(seed: int = 1) -> ConnectionSupervisor:
    return ConnectionSupervisor("edge.example.net", random=random.Random(seed))


def of(kind: type, actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def connect(machine: ConnectionSupervisor, now: float = 0.0) -> list[Action]:
    if machine.state is State.IDLE:
        machine.on_start(now)
    machine.on_located(now, machine.generation, TARGET)
    return machine.on_connected(now, machine.generation)


def in_state(state: State) -> ConnectionSupervisor:
    machine = supervisor()
    if state is State.IDLE:
        return machine
    machine.on_start(0.0)
    if state in (State.CONNECTING, State.UP):
        machine.on_located(0.0, machine.generation, TARGET)
    if state is State.UP:
        machine.on_connected(0.0, machine.generation)
    if state is State.BACKING_OFF:
        machine.on_failed(0.0, machine.generation, "refused")
    if state is State.STOPPED:
        machine.on_stop(0.0)
    assert machine.state is state
    return machine


def fire(machine: ConnectionSupervisor, event: Event) -> list[Action]:
    """Let `event` happen, as late and as true as it can be."""
    generation = machine.generation
    late = 1000.0
    return {
        Event.START: lambda: machine.on_start(late),
        Event.LOCATED: lambda: machine.on_located(late, generation, TARGET),
        Event.FAILED: lambda: machine.on_failed(late, generation, "refused"),
        Event.CONNECTED: lambda: machine.on_connected(late, generation),
        Event.LOST: lambda: machine.on_lost(late, generation, "reset"),
        Event.SUCCEEDED: lambda: machine.on_request_succeeded(late),
        Event.TIMER: lambda: machine.on_timer(late, BACK_OFF_TIMER),
        Event.RESTART: lambda: machine.on_restart(late, "the address changed"),
        Event.ADOPT: lambda: machine.on_adopted(late, machine.new_generation(), OTHER),
        Event.STOP: lambda: machine.on_stop(late),
    }[event]()


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_does_what_the_table_says(state: State, event: Event):
    machine = in_state(state)
    row = TABLE.get((state, event))
    actions = fire(machine, event)
    assert machine.state is (row[0] if row else state)
    if row is None:
        assert not actions


def test_spec_a2_the_connection_is_opened_when_the_service_starts():
    machine = supervisor()
    assert machine.on_start(0.0) == [Locate(1)]
    assert machine.on_located(0.1, 1, TARGET) == [Connect(1, TARGET)]
    assert machine.on_connected(0.2, 1)[0] == ConnectionUp(1, TARGET)


def test_spec_c6_the_first_attempt_follows_after_half_a_second_to_a_second():
    for seed in range(50):
        machine = supervisor(seed)
        connect(machine)
        actions = machine.on_lost(100.0, machine.generation, "reset by peer")
        assert actions[0] == ConnectionDown("reset by peer")
        timer = of(StartTimer, actions)[0]
        assert isinstance(timer, StartTimer)
        assert 100.5 <= timer.due <= 101.0


def test_spec_c6_waits_double_to_sixty_seconds_and_are_drawn_from_half_to_all():
    machine = in_state(State.BACKING_OFF)
    step, now = 1.0, 0.0
    for _ in range(12):
        assert machine.next_attempt is not None
        assert step / 2 <= machine.next_attempt - now <= step
        now = machine.next_attempt
        machine.on_timer(now, BACK_OFF_TIMER)
        machine.on_failed(now, machine.generation, "refused")
        step = min(2 * step, 60.0)


def test_spec_c6_only_a_request_that_succeeded_resets_the_back_off():
    machine = supervisor()
    machine.on_start(0.0)
    for _ in range(8):
        machine.on_failed(0.0, machine.generation, "refused")
        machine.on_timer(1e9, BACK_OFF_TIMER)
    connect(machine)
    machine.on_lost(0.0, machine.generation, "reset")
    assert machine.next_attempt is not None
    assert machine.next_attempt >= 30.0
    machine.on_timer(1e9, BACK_OFF_TIMER)
    connect(machine)
    machine.on_request_succeeded(0.0)
    machine.on_lost(0.0, machine.generation, "reset")
    assert machine.next_attempt is not None
    assert machine.next_attempt <= 1.0


def test_spec_c6_the_name_is_resolved_anew_at_each_attempt():
    machine = in_state(State.BACKING_OFF)
    assert machine.on_timer(100.0, BACK_OFF_TIMER) == [Locate(2)]


def test_spec_c6_one_attempt_at_a_time():
    machine = supervisor()
    machine.on_start(0.0)
    assert machine.on_start(0.0) == []
    machine.on_failed(0.0, 1, "refused")
    assert machine.on_failed(0.0, 1, "refused") == []
    machine.on_timer(10.0, BACK_OFF_TIMER)
    assert machine.on_timer(10.0, BACK_OFF_TIMER) == []


def test_what_is_said_of_an_old_connection_is_ignored():
    machine = supervisor()
    connect(machine)
    old = machine.generation
    machine.on_lost(0.0, old, "reset")
    machine.on_timer(10.0, BACK_OFF_TIMER)
    assert machine.on_lost(10.0, old, "reset") == []
    assert machine.on_connected(10.0, old) == [Close(old)]
    assert machine.state is State.LOCATING


def test_an_early_timer_is_started_again():
    machine = in_state(State.BACKING_OFF)
    assert machine.next_attempt is not None
    assert machine.on_timer(0.1, BACK_OFF_TIMER) == [StartTimer(BACK_OFF_TIMER, machine.next_attempt)]


def test_spec_c6_new_requests_wait_and_go_out_in_order():
    machine = in_state(State.CONNECTING)
    machine.on_request(0.0, "first", 32.0)
    machine.on_request(0.0, "second", 32.0)
    actions = machine.on_connected(1.0, machine.generation)
    assert of(SendWaiting, actions) == [SendWaiting("first"), SendWaiting("second")]
    assert machine.on_request(2.0, "third", 34.0) == [SendWaiting("third")]


def test_spec_c6_a_waiting_request_fails_with_503_at_its_deadline():
    machine = in_state(State.BACKING_OFF)
    assert machine.on_request(0.0, "first", 32.0) == [StartTimer(WAITING_TIMER, 32.0)]
    assert machine.on_timer(31.0, WAITING_TIMER) == [StartTimer(WAITING_TIMER, 32.0)]
    failed = machine.on_timer(32.0, WAITING_TIMER)[0]
    assert isinstance(failed, FailWaiting)
    assert (failed.request, failed.status_code) == ("first", 503)
    assert "refused" in failed.why
    assert machine.waiting_count == 0


def test_spec_c6_at_most_sixty_four_requests_wait():
    machine = in_state(State.CONNECTING)
    for number in range(MAXIMUM_WAITING):
        assert not of(FailWaiting, machine.on_request(0.0, number, 32.0))
    assert of(FailWaiting, machine.on_request(0.0, "one more", 32.0))
    machine.on_request_gone(0)
    assert not of(FailWaiting, machine.on_request(0.0, "again", 32.0))


def test_spec_c5_a_probe_that_wins_takes_over_and_the_old_connection_is_closed():
    machine = supervisor()
    connect(machine)
    old, new = machine.generation, machine.new_generation()
    assert machine.on_adopted(1.0, new, OTHER) == [ConnectionMoved(new, OTHER, old)]
    assert machine.on_lost(2.0, old, "closed") == []
    assert machine.on_lost(3.0, new, "reset")[0] == ConnectionDown("reset")


def test_spec_a1_a_changed_address_reconnects_at_once():
    machine = supervisor()
    connect(machine)
    assert machine.on_restart(1.0, "address changed") == [Close(1), ConnectionDown("address changed"), Locate(2)]


def test_spec_f1_the_status_counts_the_seconds_and_says_why():
    machine = in_state(State.BACKING_OFF)
    machine.next_attempt = 28.2
    assert machine.status(0.0) == "Backing Off (29): refused"


def test_stopping_fails_what_waits():
    machine = in_state(State.BACKING_OFF)
    machine.on_request(0.0, "first", 32.0)
    assert of(FailWaiting, machine.on_stop(1.0))
    assert of(FailWaiting, machine.on_request(2.0, "late", 32.0))


steps = st.lists(st.tuples(st.sampled_from(list(Event)), st.floats(0.0, 20.0)), max_size=80)


@given(steps, st.integers(0, 1000))
def test_spec_c6_attempts_never_come_closer_than_the_back_off_allows(history: list[tuple[Event, float]], seed: int):
    machine = supervisor(seed)
    now, failed_at, open_count = 0.0, None, 0
    for event, passed in history:
        if event in (Event.RESTART, Event.ADOPT, Event.STOP):
            continue
        now += passed
        before = machine.state
        generation = machine.generation
        actions = {
            Event.START: lambda now=now: machine.on_start(now),
            Event.LOCATED: lambda now=now, g=generation: machine.on_located(now, g, TARGET),
            Event.FAILED: lambda now=now, g=generation: machine.on_failed(now, g, "refused"),
            Event.CONNECTED: lambda now=now, g=generation: machine.on_connected(now, g),
            Event.LOST: lambda now=now, g=generation: machine.on_lost(now, g, "reset"),
            Event.SUCCEEDED: lambda now=now: machine.on_request_succeeded(now),
            Event.TIMER: lambda now=now: machine.on_timer(now, BACK_OFF_TIMER),
        }[event]()
        open_count += len(of(ConnectionUp, actions)) - len(of(ConnectionDown, actions))
        assert 0 <= open_count <= 1
        if of(Locate, actions) and failed_at is not None:
            assert now - failed_at >= 0.5 - 0.011
        if before is not State.BACKING_OFF and machine.state is State.BACKING_OFF:
            failed_at = now
        assert machine.state is not State.BACKING_OFF or machine.next_attempt is not None
