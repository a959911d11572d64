"""Date and Timestamp (RFC 3261 sections 20.17 and 20.38).  Reads no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sipcore.errors import UsageError
from sipcore.headers.grammar import Cursor, parse_whole

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SIP_DATE = re.compile(
    rf"(?:{'|'.join(DAYS)}), ([0-9]{{2}}) ({'|'.join(MONTHS)}) ([0-9]{{4}}) ([0-9]{{2}}):([0-9]{{2}}):([0-9]{{2}}) GMT",
    re.IGNORECASE,
)
INSTANT = re.compile(r"[0-9]{1,20}+(?:\.[0-9]{0,20}+)?+(?![0-9.])")
DELAY = re.compile(r"(?=[0-9.])[0-9]{0,20}+(?:\.[0-9]{0,20}+)?+(?![0-9.])")


@dataclass(frozen=True, slots=True)
class Timestamp:
    """The sender's instant and the responder's delay as they were written: an instant is echoed digit for digit."""

    instant: str
    delay: str = ""

    @property
    def delay_seconds(self) -> float:
        return float(f"0{self.delay}") if self.delay else 0.0

    def __str__(self) -> str:
        return format_timestamp(self)


def read_date(cursor: Cursor) -> datetime:
    """An instant in GMT; no other zone is allowed.  The day of the week is not checked."""
    start = cursor.at
    day, month, year, hour, minute, second = cursor.match(
        SIP_DATE, "a date such as Sat, 13 Nov 2010 23:29:00 GMT"
    ).groups()
    try:
        return datetime(
            int(year), MONTHS.index(month.title()) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError:
        cursor.at = start
        cursor.fault("a date that does not exist")


def read_timestamp(cursor: Cursor) -> Timestamp:
    instant = cursor.match(INSTANT, "an instant").group()
    cursor.skip_space()
    return Timestamp(instant, "" if cursor.at_end() else cursor.match(DELAY, "a delay").group())


def parse_date(text: str) -> datetime:
    return parse_whole(text, read_date)


def parse_timestamp(text: str) -> Timestamp:
    return parse_whole(text, read_timestamp)


def format_date(instant: datetime) -> str:
    """An instant with a time zone, whole seconds."""
    if instant.tzinfo is None:
        raise UsageError("a Date needs a time zone")
    utc = instant.astimezone(UTC)
    return f"{DAYS[utc.weekday()]}, {utc.day:02} {MONTHS[utc.month - 1]} {utc.year:04} {utc:%H:%M:%S} GMT"


def format_timestamp(value: Timestamp) -> str:
    if not INSTANT.fullmatch(value.instant) or (value.delay and not DELAY.fullmatch(value.delay)):
        raise UsageError("a Timestamp is made of decimal numbers")
    return f"{value.instant} {value.delay}".rstrip()
