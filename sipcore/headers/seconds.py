"""Durations in seconds: Expires, Retry-After, Session-Expires and the like (RFC 3261 section 20, RFC 4028).

All are delta-seconds from 0 to (2**32)-1.  Does not know what a timer does with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sipcore.errors import ParseError, UsageError
from sipcore.headers.grammar import DELTA_SECONDS_MOST, Cursor, check_number, check_text, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters

COMMENT_RUN = re.compile(r"[^()\\]*+")


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """`120 (in a meeting);duration=60`; `comment` without its outer parentheses."""

    seconds: int
    comment: str = ""
    parameters: Parameters = NO_PARAMETERS

    @property
    def duration(self) -> int | None:
        """Seconds for which the called party will then be reachable."""
        return self.parameters.integer("duration")

    def __str__(self) -> str:
        return format_retry_after(self)


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """The session interval in seconds and who refreshes: "uac", "uas" or None (RFC 4028 section 4)."""

    seconds: int
    refresher: str | None = None
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return format_session_expires(self)


@dataclass(frozen=True, slots=True)
class MinSE:
    """The least session interval that is accepted, in seconds (RFC 4028 section 5)."""

    seconds: int
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return format_min_se(self)


def read_seconds(cursor: Cursor) -> int:
    return cursor.integer("seconds", DELTA_SECONDS_MOST)


def read_comment(cursor: Cursor) -> str:
    """A comment, possibly nested, without its outer parentheses; quoted-pairs stay as they are."""
    start = cursor.at + 1
    depth = 0
    while True:
        cursor.at = COMMENT_RUN.match(cursor.text, cursor.at).end()  # type: ignore[union-attr]
        character = cursor.peek()
        if character == "":
            cursor.fault("a comment that is not closed")
        cursor.at += 2 if character == "\\" else 1
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return cursor.text[start : cursor.at - 1]


def read_retry_after(cursor: Cursor) -> RetryAfter:
    seconds = read_seconds(cursor)
    cursor.skip_space()
    comment = read_comment(cursor) if cursor.peek() == "(" else ""
    value = RetryAfter(seconds, comment, read_parameters(cursor))
    value.parameters.integer("duration")
    return value


def read_session_expires(cursor: Cursor) -> SessionExpires:
    seconds = read_seconds(cursor)
    parameters = read_parameters(cursor)
    refresher = (parameters["refresher"] or "").lower() if "refresher" in parameters else None
    if refresher not in (None, "uac", "uas"):
        cursor.fault("refresher is neither uac nor uas")
    return SessionExpires(seconds, refresher, parameters.without("refresher"))


def parse_seconds(text: str) -> int:
    """Expires, Min-Expires."""
    return parse_whole(text, read_seconds)


def parse_retry_after(text: str) -> RetryAfter:
    return parse_whole(text, read_retry_after)


def parse_session_expires(text: str) -> SessionExpires:
    return parse_whole(text, read_session_expires)


def parse_min_se(text: str) -> MinSE:
    return parse_whole(text, lambda cursor: MinSE(read_seconds(cursor), read_parameters(cursor)))


def format_seconds(seconds: int) -> str:
    return check_number(seconds, DELTA_SECONDS_MOST)


def format_retry_after(value: RetryAfter) -> str:
    comment = f" ({check_comment(value.comment)})" if value.comment else ""
    return f"{format_seconds(value.seconds)}{comment}{value.parameters}"


def check_comment(comment: str) -> str:
    """`comment` as it is; a UsageError where its parentheses don't match."""
    try:
        if read_comment(Cursor(f"({check_text(comment)})")) == comment:
            return comment
    except ParseError:
        pass
    raise UsageError("a comment with unmatched parentheses")


def format_session_expires(value: SessionExpires) -> str:
    if value.refresher not in (None, "uac", "uas"):
        raise UsageError(f"refresher is uac or uas, not {value.refresher!r}")
    refresher = f";refresher={value.refresher}" if value.refresher else ""
    return f"{format_seconds(value.seconds)}{refresher}{value.parameters}"


def format_min_se(value: MinSE) -> str:
    return f"{format_seconds(value.seconds)}{value.parameters}"
