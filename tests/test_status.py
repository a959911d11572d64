"""The device's words (SPEC F1)."""

from __future__ import annotations

import pytest

from sipcore.status import ServiceStatus, format_active_calls, format_unusable, whole_seconds, without_countdown


@pytest.mark.parametrize(("seconds", "whole"), [(33.2, 34), (0.0, 0), (-5.0, 0), (60.0, 60)])
def test_seconds_are_rounded_up_and_never_negative(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole


def test_calls_are_counted_as_the_device_counts_them() -> None:
    assert [format_active_calls(count) for count in (0, 1, 2)] == ["0 Active Calls", "1 Active Calls", "2 Active Calls"]


def test_a_port_that_is_not_to_be_had_says_when_it_is_tried_again() -> None:
    assert format_unusable("192.0.2.1:5060 in use", 3.1) == "Not Started: 192.0.2.1:5060 in use (retry in 4s)"


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("Backing Off (29): refused", "Backing Off (1): refused"),
        ("Registered (server=192.0.2.10:5060; expire in 34s)", "Registered (server=192.0.2.10:5060; expire in 9s)"),
    ],
)
def test_the_same_state_a_second_later_reads_the_same(earlier: str, later: str) -> None:
    assert without_countdown(earlier) == without_countdown(later)


def test_another_server_is_news() -> None:
    one, other = (f"Registered (server=192.0.2.{n}:5060; expire in 9s)" for n in (1, 2))
    assert without_countdown(one) != without_countdown(other)


def test_the_json_object_has_every_field_of_the_command_line() -> None:
    assert list(ServiceStatus(1, "Registering").as_dict()) == [
        "sp", "status", "registered", "server", "port", "expires_in", "retry_in", "calls", "connection",
        "candidates", "secondary", "warnings", "decisions",
    ]  # fmt: skip
