"""A primary and a secondary registration (SPEC B13)."""

import random
from dataclasses import replace

from registration_kit import EQUAL, FIRST, MINUTE, SECOND, machine, plan

from sipcore.policy.actions import StartTimer
from sipcore.policy.locate import Target
from sipcore.policy.pair import Promoted, RegistrationPair, Wanted
from sipcore.policy.register import RegisterResponse, SendRegister
from sipcore.policy.registration import FindCandidates, RegistrationMachine, Stopped

THIRD = Target("d.example", "192.0.2.4", 5060, "udp", priority=30)


def pair() -> RegistrationPair:
    source = random.Random(1)

    def make(secondary: bool) -> RegistrationMachine:
        planned = plan(redundancy=True, instance="urn:uuid:1", reg_id=2 if secondary else 1)
        return RegistrationMachine(planned, host="192.0.2.9", port=5060, random=source)

    return RegistrationPair(make)


def registers(wanted: list[Wanted]) -> list[tuple[int, Target | None]]:
    return [(number, action.target) for number, action in wanted if isinstance(action, SendRegister)]


def respond(which: RegistrationPair, now: float, wanted: list[Wanted], response: RegisterResponse) -> list[Wanted]:
    """Answer the one REGISTER that is wanted."""
    found = [(number, action) for number, action in wanted if isinstance(action, SendRegister)]
    assert len(found) == 1, found
    number, register = found[0]
    return which.tell(now, number, lambda machine: machine.on_response(now, register.token, response))


def both_up(*targets: Target) -> RegistrationPair:
    which = pair()
    assert which.on_start(0.0) == [(1, FindCandidates())]
    wanted = which.on_candidates(0.0, targets, 300.0)
    wanted = respond(which, 0.0, wanted, MINUTE)
    respond(which, 0.0, wanted, MINUTE)
    assert which.secondary is not None
    assert which.machines[which.secondary].is_registered
    return which


def test_spec_b13_the_secondary_is_an_equal_or_lower_candidate():
    which = pair()
    which.on_start(0.0)
    wanted = which.on_candidates(0.0, (FIRST, EQUAL, SECOND), 300.0)
    assert registers(wanted) == [(1, FIRST)]
    assert registers(respond(which, 0.0, wanted, MINUTE)) == [(2, EQUAL)]


def test_spec_b13_a_higher_candidate_is_never_the_secondary():
    which = pair()
    which.on_start(0.0)
    wanted = which.on_candidates(0.0, (FIRST, SECOND, THIRD), 300.0)
    wanted = respond(which, 0.0, wanted, RegisterResponse(503))
    assert registers(wanted) == [(1, SECOND)]
    assert registers(respond(which, 0.0, wanted, MINUTE)) == [(2, THIRD)]


def test_spec_b13_the_two_have_their_own_reg_ids_and_call_ids():
    which = both_up(FIRST, SECOND)
    assert [machine.plan.reg_id for machine in which.machines.values()] == [1, 2]


def test_spec_b13_the_secondary_is_promoted_at_once_when_the_primary_fails_and_a_new_one_sought():
    which = both_up(FIRST, EQUAL, SECOND)
    primary = which.machines[1]
    assert primary.next_attempt is not None
    now = primary.next_attempt
    wanted = which.tell(now, 1, lambda machine: machine.on_timer(now, "refresh"))
    wanted = respond(which, now, wanted, RegisterResponse(403, "Forbidden"))
    assert (2, Promoted(EQUAL)) in wanted
    assert which.primary == 2
    assert (3, FIRST) in registers(wanted)


def test_spec_b13_without_a_registered_secondary_the_primary_goes_on_by_itself():
    which = pair()
    which.on_start(0.0)
    wanted = which.on_candidates(0.0, (FIRST, SECOND), 300.0)
    respond(which, 0.0, wanted, RegisterResponse(403))
    assert (which.primary, which.secondary) == (1, None)
    assert which.machines[1].next_attempt == 120.0


def test_spec_b13_a_failing_secondary_leaves_the_primary_alone():
    which = pair()
    which.on_start(0.0)
    wanted = respond(which, 0.0, which.on_candidates(0.0, (FIRST, SECOND), 300.0), MINUTE)
    assert not registers(respond(which, 0.0, wanted, RegisterResponse(403)))
    assert which.machines[1].is_registered


def test_spec_b13_one_candidate_makes_no_secondary():
    which = pair()
    which.on_start(0.0)
    assert not registers(respond(which, 0.0, which.on_candidates(0.0, (FIRST,), 300.0), MINUTE))


def test_spec_b13_a_lost_connection_is_a_failure_too():
    which = both_up(FIRST, SECOND)
    wanted = which.tell(5.0, 1, lambda machine: machine.on_lost(5.0))
    assert (2, Promoted(SECOND)) in wanted


def test_spec_b13_the_primary_does_not_fail_over_to_where_the_secondary_is():
    which = both_up(FIRST, SECOND)
    now = which.first.next_attempt or 0.0
    wanted = which.tell(now, 1, lambda machine: machine.on_timer(now, "refresh"))
    wanted = respond(which, now, wanted, RegisterResponse(503))
    assert (2, Promoted(SECOND)) in wanted
    assert (1, SECOND) not in registers(wanted)


def test_spec_b13_the_promoted_one_looks_for_a_better_server_at_the_primary_s_interval():
    which = both_up(FIRST, SECOND)
    assert which.second is not None
    which.second.plan = replace(which.second.plan, fallback_interval=7)
    wanted = which.tell(5.0, 1, lambda machine: machine.on_lost(5.0))
    assert (2, StartTimer("probe", 65.0)) in wanted


def test_spec_b4_a_new_secondary_takes_the_reg_id_that_is_free():
    which = both_up(FIRST, EQUAL, SECOND)
    which.tell(5.0, 1, lambda machine: machine.on_lost(5.0))
    assert which.first.plan.reg_id == 2
    assert which.second is not None
    assert which.second.plan.reg_id == 1


def test_spec_b13_the_two_change_places_when_dns_ranks_them_the_other_way():
    which = both_up(FIRST, SECOND)
    other = (replace(SECOND, priority=5), FIRST)
    wanted = which.on_candidates(10.0, other, 300.0)
    assert (2, Promoted(other[0])) in wanted
    assert (which.primary, which.secondary) == (2, 1)
    assert not registers(wanted)


def test_spec_b13_a_secondary_without_a_server_left_to_it_is_taken_back():
    which = both_up(FIRST, SECOND)
    assert registers(which.on_candidates(10.0, (FIRST,), 300.0)) == [(2, SECOND)]
    assert which.secondary is None
    assert which.first.is_registered


def test_spec_b13_after_the_primary_moved_the_secondary_may_use_what_it_left():
    which = both_up(FIRST, SECOND, THIRD)
    which.tell(5.0, 1, lambda machine: machine.on_lost(5.0))
    assert which.second is not None
    assert which.second.candidates.targets == (THIRD,)
    wanted = which.tell(70.0, 2, lambda machine: machine.on_probe(70.0, FIRST, 200))
    number, register = next((number, act) for number, act in wanted if isinstance(act, SendRegister))
    which.tell(70.0, number, lambda machine: machine.on_response(70.0, register.token, MINUTE))
    assert which.second.candidates.targets == (SECOND, THIRD)


def test_spec_b13_no_secondary_unless_one_is_wanted():
    which = RegistrationPair(lambda _: machine(redundancy=True), wanted=False)
    which.on_start(0.0)
    assert not registers(respond(which, 0.0, which.on_candidates(0.0, (FIRST, SECOND), 300.0), MINUTE))


def test_spec_b16_stopping_takes_both_bindings_back():
    which = both_up(FIRST, SECOND)
    wanted = which.on_stop(10.0)
    assert sorted(number for number, _ in registers(wanted)) == [1, 2]
    for number, action in wanted:
        if isinstance(action, SendRegister):
            token = action.token
            ended = which.tell(11.0, number, lambda m, token=token: m.on_response(11.0, token, RegisterResponse(200)))
            assert (number, Stopped(deregistered=True)) in ended
    assert not which.machines
    assert which.tell(12.0, 1, lambda machine: machine.on_timer(12.0, "refresh")) == []
