"""Which targets a request may use (SPEC D8)."""

import pytest

from sipcore.policy.failover import MAXIMUM_MARKS, DeadMarks, choose_one, fails_over
from sipcore.policy.locate import Target

TARGETS = tuple(Target("example.com", f"192.0.2.{number}", 5060, "udp") for number in range(1, 6))


def test_spec_d8_the_address_in_use_stays_while_the_answer_contains_it():
    assert choose_one(TARGETS, TARGETS[3]) == TARGETS[3]
    assert choose_one(TARGETS[:2], TARGETS[3]) == TARGETS[0]
    assert choose_one(TARGETS, None) == TARGETS[0]


@pytest.mark.parametrize(("status_code", "expected"), [(None, True), (503, True), (486, False), (603, False)])
def test_spec_d8_only_silence_and_503_lead_to_the_next_address(status_code: int | None, expected: bool):
    assert fails_over(status_code) is expected


def test_spec_d8_at_most_three_addresses_are_tried():
    assert DeadMarks().passable(TARGETS, 0.0) == TARGETS[:3]


def test_spec_d8_an_address_that_failed_is_passed_over_for_thirty_seconds():
    marks = DeadMarks()
    marks.mark(TARGETS[0], 100.0)
    assert marks.passable(TARGETS, 129.9)[0] == TARGETS[1]
    assert marks.passable(TARGETS, 130.0)[0] == TARGETS[0]


def test_spec_d8_when_all_failed_all_are_tried():
    marks = DeadMarks()
    for target in TARGETS:
        marks.mark(target, 0.0)
    assert marks.passable(TARGETS, 1.0) == TARGETS[:3]


def test_an_answer_clears_the_mark():
    marks = DeadMarks()
    marks.mark(TARGETS[0], 0.0)
    marks.clear(TARGETS[0])
    assert not marks.is_dead(TARGETS[0], 1.0)


def test_marks_are_bounded():
    marks = DeadMarks()
    for number in range(MAXIMUM_MARKS + 50):
        marks.mark(Target("x", f"host{number}", 5060, "udp"), 0.0)
    assert not marks.is_dead(Target("x", "host0", 5060, "udp"), 1.0)
    assert marks.is_dead(Target("x", f"host{MAXIMUM_MARKS + 49}", 5060, "udp"), 1.0)
