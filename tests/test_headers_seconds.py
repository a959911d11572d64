"""Durations: sipcore/headers/seconds.py (RFC 3261 sections 20.19, 20.23, 20.33; RFC 4028)."""

import pytest

from sipcore.errors import ParseError, UsageError
from sipcore.headers import MinSE, RetryAfter, SessionExpires, format_header, parse_header
from sipcore.headers.parameters import Parameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18000;duration=3600", RetryAfter(18000, "", Parameters.of({"duration": "3600"}))),
        ("120 (I'm in a meeting)", RetryAfter(120, "I'm in a meeting")),
        (
            "5 (a (nested; \\) one), here) ; duration = 7",
            RetryAfter(5, "a (nested; \\) one), here", Parameters.of({"duration": "7"})),
        ),
        ("0", RetryAfter(0)),
    ],
)
def test_retry_after_has_seconds_a_comment_and_a_duration(text: str, value: RetryAfter) -> None:
    assert parse_header("Retry-After", [text]) == value
    assert parse_header("Retry-After", [format_header("Retry-After", value)]) == value


def test_session_expires_names_the_refresher() -> None:
    value = parse_header("session-expires", ["4000 ; Refresher=UAC;x=y"])
    assert value == SessionExpires(4000, "uac", Parameters.of({"x": "y"}))
    assert str(value) == "4000;refresher=uac;x=y"
    assert parse_header("Session-Expires", ["90"]).refresher is None
    assert parse_header("Min-SE", ["90"]) == MinSE(90)


@pytest.mark.parametrize("name", ["Expires", "Min-Expires", "Min-SE", "Session-Expires", "Retry-After"])
@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "0x10", "1.5", "five", "1 2", "4294967296", "1" + "0" * 100, "9" * 70000, "١", "1;", "1;;"]
)
def test_seconds_never_wrap(name: str, text: str) -> None:
    """FAULTS 7: a number that does not fit is an error."""
    with pytest.raises(ParseError):
        parse_header(name, [text])


def test_the_largest_number_of_seconds_is_read() -> None:
    assert parse_header("Expires", ["0" * 5000 + "4294967295"]) == 2**32 - 1


def test_a_second_field_is_refused() -> None:
    with pytest.raises(ParseError):
        parse_header("Expires", ["1", "1"])
    assert parse_header("Expires", []) is None


@pytest.mark.parametrize(
    "text", ["1 (", "1 (a", "1 (a\\)", "1 (a))", "1 a", "1;duration=x", "1;duration", "1;duration=4294967296"]
)
def test_a_malformed_retry_after_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_header("Retry-After", [text])


@pytest.mark.parametrize("comment", ["(", ")", "a) (b", "a\\", "a\r\nb"])
def test_a_comment_that_would_end_early_cannot_be_written(comment: str) -> None:
    with pytest.raises(UsageError):
        format_header("Retry-After", RetryAfter(1, comment))


@pytest.mark.parametrize("seconds", [-1, 2**32])
def test_seconds_out_of_range_cannot_be_written(seconds: int) -> None:
    with pytest.raises(UsageError):
        format_header("Expires", seconds)
