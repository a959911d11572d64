"""Redundancy and random histories of one registration (SPEC B9, B11, B12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registration_kit import EQUAL, FIRST, MINUTE, SECOND, answer, machine, none_sent, of, sent

from sipcore.policy.actions import StartTimer
from sipcore.policy.candidates import Candidates
from sipcore.policy.locate import Target
from sipcore.policy.register import (
    BoundContact,
    RegisterResponse,
    SendRegister,
)
from sipcore.policy.registration import (
    Action,
    FindCandidates,
    Probe,
    Registered,
    RegistrationMachine,
    State,
)


def redundant(*targets: Target, ttl: float = 300.0) -> RegistrationMachine:
    which = machine(redundancy=True)
    assert which.on_start(0.0) == [FindCandidates()]
    assert sent(which.on_candidates(0.0, targets, ttl)).target == targets[0]
    return which


def test_spec_b12_the_first_candidate_that_accepts_is_primary():
    which = redundant(FIRST, SECOND)
    register = sent(which.on_no_answer(32.0, which._token))
    assert register.target == SECOND
    actions = answer(which, 32.0, MINUTE)
    assert [action.target for action in actions if isinstance(action, Registered)] == [SECOND]
    assert which.registered_with == SECOND


def test_spec_b9_with_redundancy_a_503_marks_the_candidate_and_the_next_is_tried_at_once():
    which = redundant(FIRST, SECOND)
    assert sent(answer(which, 0.0, RegisterResponse(503, retry_after=100))).target == SECOND
    assert none_sent(answer(which, 0.0, RegisterResponse(503)))
    assert which.next_attempt == 30.0
    assert sent(which.on_timer(30.0, "retry")).target == SECOND


def test_spec_d8_when_all_are_passed_over_the_one_whose_time_is_up_first_is_tried():
    servers = Candidates()
    servers.renew((FIRST, EQUAL, SECOND))
    servers.mark_dead(FIRST, 0.0, 300.0)
    servers.mark_dead(EQUAL, 5.0, None)
    servers.mark_dead(SECOND, 1.0, None)
    assert servers.first(6.0) is SECOND
    assert servers.first(36.0) is EQUAL


def test_spec_f1_the_fallback_list_says_who_holds_the_registration_and_who_is_passed_over():
    servers = Candidates()
    servers.renew((FIRST, EQUAL, SECOND))
    servers.mark_dead(FIRST, 0.0, 30.0)
    servers.take(SECOND)
    assert servers.describe(4.5) == (
        "192.0.2.1:5060 udp (passed over for 26s)",
        "192.0.2.3:5060 udp",
        "192.0.2.2:5060 udp (holds the registration)",
    )
    assert servers.in_order(4.5) == [SECOND, EQUAL, FIRST]


def test_spec_b12_on_a_stream_the_register_goes_to_the_server_that_was_connected_to():
    which = machine(redundancy=True, transport="tcp")
    which.on_start(0.0)
    which.on_candidates(0.0, (FIRST, SECOND), 300.0)
    assert sent(which.on_connected(0.0, SECOND)).target == SECOND


def test_spec_b12_the_binding_at_a_server_that_dns_no_longer_names_is_taken_back():
    which = redundant(FIRST)
    answer(which, 0.0, MINUTE)
    which.on_candidates(1.0, (SECOND,), 300.0)
    assert sent(which.on_timer(which.next_attempt or 0.0, "refresh")).target == SECOND
    removal = sent(answer(which, 50.0, MINUTE))
    assert (removal.target, removal.expires, removal.purpose) == (FIRST, 0, "remove")


def test_spec_b12_a_final_answer_of_the_registrar_does_not_fail_over():
    which = redundant(FIRST, SECOND)
    assert none_sent(answer(which, 0.0, RegisterResponse(403)))


def test_spec_b12_each_server_has_its_own_call_id():
    which = machine(redundancy=True)
    which.on_start(0.0)
    first = sent(which.on_candidates(0.0, (FIRST, SECOND), 300.0))
    second = sent(which.on_no_answer(32.0, first.token))
    assert first.call_id != second.call_id
    assert second.cseq == 1


def on_second() -> RegistrationMachine:
    which = redundant(FIRST, SECOND)
    which.on_no_answer(0.0, which._token)
    answer(which, 0.0, MINUTE)
    return which


def test_spec_b12_a_better_candidate_is_probed_every_interval_and_refreshes_do_not_put_it_off():
    which = redundant(FIRST, SECOND)
    which.on_no_answer(0.0, which._token)
    assert StartTimer("probe", 60.0) in answer(which, 0.0, MINUTE)
    assert which.next_attempt is not None
    which.on_timer(which.next_attempt, "refresh")
    assert not any(action.name == "probe" for action in answer(which, 55.0, MINUTE) if isinstance(action, StartTimer))
    assert which.on_timer(60.0, "probe") == [Probe(FIRST), StartTimer("probe", 120.0)]


@pytest.mark.parametrize(("status_code", "tries"), [(200, True), (404, True), (481, True), (408, False), (503, False),
                                                    (None, False)])  # fmt: skip
def test_spec_b12_any_final_but_408_and_503_lets_register_decide(status_code: int | None, tries: bool):
    actions = on_second().on_probe(60.0, FIRST, status_code)
    assert none_sent(actions) is not tries


def test_spec_b12_a_fallback_that_is_accepted_moves_over_and_removes_the_old_binding():
    which = on_second()
    fallback = sent(which.on_probe(60.0, FIRST, 200))
    assert (fallback.target, fallback.purpose) == (FIRST, "fallback")
    actions = answer(which, 60.0, MINUTE, fallback.token)
    removal = sent(actions)
    assert (removal.target, removal.purpose, removal.expires) == (SECOND, "remove", 0)
    assert which.registered_with == FIRST
    assert which.on_response(61.0, removal.token, RegisterResponse(500), server="192.0.2.2:5060") == []
    assert "server=192.0.2.2" not in which.status(61.0)


def test_spec_b12_a_fallback_that_is_refused_leaves_all_as_it_was():
    which = on_second()
    fallback = sent(which.on_probe(60.0, FIRST, 200))
    answer(which, 60.0, RegisterResponse(403, "Forbidden"), fallback.token)
    assert (which.state, which.registered_with) == (State.REGISTERED, SECOND)


def test_spec_b12_a_fallback_accepted_during_a_refresh_wins_over_it():
    which = on_second()
    fallback = sent(which.on_probe(50.0, FIRST, 200))
    assert which.next_attempt is not None
    refresh = sent(which.on_timer(which.next_attempt + 1, "refresh"))
    answer(which, 56.0, MINUTE, fallback.token)
    assert answer(which, 57.0, MINUTE, refresh.token) == []
    assert which.registered_with == FIRST


def test_spec_b12_equal_candidates_are_not_probed():
    which = redundant(FIRST, EQUAL)
    which.on_no_answer(0.0, which._token)
    assert not any(action.name == "probe" for action in answer(which, 0.0, MINUTE) if isinstance(action, StartTimer))


def test_spec_b12_candidates_are_renewed_when_their_ttl_ends():
    which = machine(redundancy=True)
    which.on_start(0.0)
    assert StartTimer("candidates", 40.0) in which.on_candidates(0.0, (FIRST,), 40.0)
    answer(which, 0.0, MINUTE)
    assert which.on_timer(40.0, "candidates") == [FindCandidates()]
    which.on_candidates(40.0, (SECOND,), 40.0)
    assert which.next_attempt is not None
    assert sent(which.on_timer(which.next_attempt, "refresh")).target == SECOND


def test_spec_b12_dns_trouble_at_renewal_keeps_the_candidates_and_asks_again():
    which = on_second()
    assert StartTimer("candidates", 70.0) in which.on_unreachable(40.0, 0, "SERVFAIL")
    assert which.is_registered


def test_spec_b12_no_candidates_is_901():
    which = machine(redundancy=True)
    which.on_start(0.0)
    which.on_unreachable(0.0, 0, "example.com: not found")
    assert "901 example.com: not found" in which.status(0.0)
    assert which.next_attempt is not None
    assert which.on_timer(which.next_attempt, "retry") == [FindCandidates()]


events = st.lists(
    st.tuples(
        st.sampled_from(
            ["200", "zero", "401", "302", "423", "503", "403", "silence", "unreachable", "lost", "up", "timer", "move",
             "candidates", "probe", "refresh"]
        ),
        st.floats(0.0, 200.0),
    ),
    max_size=60,
)  # fmt: skip


@given(events, st.booleans(), st.booleans(), st.integers(0, 1000))
def test_spec_b11_any_history_leaves_an_attempt_to_come(
    history: list[tuple[str, float]], stream: bool, redundancy: bool, seed: int
):
    which = machine(seed, transport="tcp" if stream else "udp", redundancy=redundancy, discover_public_address=True)
    which.on_start(0.0)
    which.on_connected(0.0)
    now = 0.0
    waiting_until = 0.0
    for event, passed in history:
        now += passed
        token = max((waiting.token for waiting in which._outstanding), default=0)
        before = which.state
        actions = _happen(which, event, now, token)
        registers = [a for a in actions if isinstance(a, SendRegister) and a.purpose == "register"]
        assert len(registers) <= 1
        if before is State.ORDERED and registers and event in ("up", "refresh", "timer"):
            assert now >= waiting_until - 0.011
        if which.state in (State.WAITING, State.ORDERED, State.REGISTERED):
            assert which.next_attempt is not None
            waiting_until = which.next_attempt
            assert which.next_attempt <= now + 86400
        if which.state is State.REGISTERING:
            assert which._outstanding or of(FindCandidates, actions) or not which.candidates.targets
        if which.state is State.OFFLINE:
            assert stream


def _happen(which: RegistrationMachine, event: str, now: float, token: int) -> list[Action]:
    contact = (BoundContact("sip:r.example"),)
    answers = {
        "200": RegisterResponse(200, "OK", expires=60, received="203.0.113.5", rport=4000 + int(now) % 3),
        "zero": RegisterResponse(200, "OK", expires=0),
        "401": RegisterResponse(401, "Unauthorized"),
        "302": RegisterResponse(302, "Moved", contacts=contact),
        "423": RegisterResponse(423, "Interval Too Brief", min_expires=90),
        "503": RegisterResponse(503, "Unavailable", retry_after=10),
        "403": RegisterResponse(403, "Forbidden"),
    }
    if event in answers:
        return which.on_response(now, token, answers[event])
    return {
        "silence": lambda: which.on_no_answer(now, token),
        "unreachable": lambda: which.on_unreachable(now, token, "no route"),
        "lost": lambda: which.on_lost(now) if which.plan.stream else [],
        "up": lambda: which.on_connected(now) if which.plan.stream else [],
        "timer": lambda: which.on_timer(which.next_attempt or now, "retry") if now >= (which.next_attempt or 0) else [],
        "refresh": lambda: which.on_timer(now, "refresh"),
        "move": lambda: which.on_address_changed(now, f"192.0.2.{int(now) % 200}", 5060),
        "candidates": lambda: which.on_candidates(now, (FIRST, SECOND), 300.0) if which.plan.redundancy else [],
        "probe": lambda: which.on_probe(now, FIRST, 200),
    }[event]()
