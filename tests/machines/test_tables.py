"""The machines as tables: what is compiled is what is written, and what is written hangs together."""

from __future__ import annotations

import itertools

import pytest

from sipcore import machines
from sipcore._transactions import transition
from sipcore.machines import MACHINES, TIMERS, Action, Event, Machine, Reliable, State

by_name = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


@pytest.mark.parametrize("number", range(4), ids=list(MACHINES))
def test_the_compiled_array_is_the_table_on_every_pair(number: int) -> None:
    machine = list(MACHINES.values())[number]
    for state, event in itertools.product(State, Event):
        assert transition(number, state, event) == machine.get((state, event)), (state, event)


def test_numbers_outside_of_the_array_are_refused() -> None:
    for machine, state, event in ((4, 0, 0), (-1, 0, 0), (0, 16, 0), (0, 0, 32)):
        with pytest.raises(ValueError, match="no such"):
            transition(machine, state, event)


def test_every_member_is_a_name_of_the_module() -> None:
    for member in (*State, *Event, *Action):
        assert getattr(machines, str(member.name)) is member


def started(actions: Action) -> list[Event]:
    return [timer.event for action, timer in TIMERS.items() if action in actions]


@by_name
def test_every_state_is_reached_and_left(machine: Machine) -> None:
    reached, seen = {State.INITIAL}, set[State]()
    while reached - seen:
        state = (reached - seen).pop()
        seen.add(state)
        reached |= {after for (before, _), (after, _) in machine.items() if before == state}
    assert seen == {state for state, _ in machine} | {State.TERMINATED}
    for state in seen - {State.TERMINATED}:
        assert any(before == state and after != state for (before, _), (after, _) in machine.items()), state


@by_name
def test_a_timer_that_is_started_is_heard_in_the_state_it_leads_to(machine: Machine) -> None:
    for (state, event), (after, actions) in machine.items():
        for timer in started(actions):
            assert (after, timer) in machine, f"{state.name} + {event.name} starts {timer.name}"


@by_name
def test_every_final_state_ends_by_a_timer(machine: Machine) -> None:
    """Accepted, Completed and Confirmed never depend on the far side to end: nothing leaks."""
    for state in {state for state, _ in machine} & {
        State.ACCEPTED, State.ACKNOWLEDGED, State.COMPLETED, State.CONFIRMED,
    }:  # fmt: skip
        ends = [event for (before, event), (after, _) in machine.items() if before == state and after == 0]
        assert any(event.name.startswith("TIMER_") for event in ends), state


@by_name
def test_a_final_response_is_passed_or_sent_once(machine: Machine) -> None:
    """No state that follows a final response takes another one, but a further 2xx to an INVITE (RFC 6026)."""
    for (state, event), (_, actions) in machine.items():
        if state in (State.COMPLETED, State.CONFIRMED):
            assert not actions & Action.PASS_TO_TU
            assert not event.name.startswith("TU_")
        if state in (State.ACCEPTED, State.ACKNOWLEDGED):
            assert not event.name.endswith("300_699")


def test_the_timers_are_those_of_rfc_3261_table_4() -> None:
    def row(action: Action) -> tuple[int, int | None, Reliable]:
        return TIMERS[action][1:]

    t1, t2, t4 = 500, 4000, 5000
    never, zero, same = Reliable.NEVER, Reliable.ZERO, Reliable.SAME
    assert row(Action.START_A) == (t1, 64 * t1, never)
    assert row(Action.START_B) == row(Action.START_F) == row(Action.START_H) == (64 * t1, None, same)
    assert row(Action.START_D) == row(Action.START_J) == (64 * t1, None, zero)
    assert row(Action.START_E) == row(Action.START_G) == (t1, t2, never)
    assert row(Action.START_I) == row(Action.START_K) == (t4, None, zero)
    assert row(Action.START_L) == row(Action.START_M) == (64 * t1, None, same)
    assert set(TIMERS) == {action for action in Action if str(action.name).startswith("START_")}
