"""Who a call was meant for before: History-Info (RFC 7044) and Diversion (RFC 5806)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sipcore._fields import Address
from sipcore._uri import Uri, unescape
from sipcore.errors import ParseError
from sipcore.headers.addresses import check_number_parameter, format_address, read_address
from sipcore.headers.grammar import Cursor, parse_list
from sipcore.headers.reason import Reason, parse_reasons

INDEX = re.compile(r"[0-9]{1,9}+(?:\.[0-9]{1,9}+){0,31}+")
COUNTER_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One hi-entry: a target that the request had, and its place in the tree of targets."""

    address: Address

    @property
    def uri(self) -> Uri:
        return self.address.uri

    @property
    def index(self) -> tuple[int, ...]:
        """`1.2.1` as (1, 2, 1); () when it is absent."""
        return index_of(self.address, "index")

    @property
    def recursed_from(self) -> tuple[int, ...]:
        """The index that `rc` names: the same user's URI before (RFC 7044 section 10.2); () without it."""
        return index_of(self.address, "rc")

    @property
    def mapped_from(self) -> tuple[int, ...]:
        """The index that `mp` names: another user's URI before; () without it."""
        return index_of(self.address, "mp")

    @property
    def not_changed_from(self) -> tuple[int, ...]:
        """The index that `np` names; () without it."""
        return index_of(self.address, "np")

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The Reason headers embedded in the URI (RFC 7044 section 10.1.2); ParseError when malformed."""
        texts = (unescape(value) for name, value in self.uri.headers.items() if unescape(name).lower() == "reason")
        return tuple(reason for text in texts for reason in parse_reasons(text))

    def __str__(self) -> str:
        return format_address(self.address)


@dataclass(frozen=True, slots=True)
class Diversion:
    """One diversion: who diverted the call, and why."""

    address: Address

    @property
    def uri(self) -> Uri:
        return self.address.uri

    @property
    def reason(self) -> str | None:
        """In lower case: unknown, user-busy, no-answer, unconditional, deflection, ..."""
        return lower_parameter(self.address, "reason")

    @property
    def counter(self) -> int | None:
        """How many diversions this entry stands for; None where nothing is said."""
        return check_number_parameter(self.address, "counter", COUNTER_MOST)

    @property
    def limit(self) -> int | None:
        return check_number_parameter(self.address, "limit", COUNTER_MOST)

    @property
    def privacy(self) -> str | None:
        """In lower case: full, name, uri, off."""
        return lower_parameter(self.address, "privacy")

    @property
    def screen(self) -> str | None:
        """In lower case: yes, no."""
        return lower_parameter(self.address, "screen")

    def __str__(self) -> str:
        return format_address(self.address)


def lower_parameter(address: Address, name: str) -> str | None:
    value = address.parameters.get(name)
    return None if value is None else value.lower()


def index_of(address: Address, name: str) -> tuple[int, ...]:
    """A dotted index; ParseError for another text."""
    if name not in address.parameters:
        return ()
    text = address.parameters[name] or ""
    if not INDEX.fullmatch(text):
        raise ParseError(f"{name} is not a dotted index: {text[:32]!r}")
    return tuple(int(number) for number in text.split("."))


def read_history_entry(cursor: Cursor) -> HistoryEntry:
    start = cursor.at
    entry = HistoryEntry(read_address(cursor))
    try:
        for name in ("index", "rc", "mp", "np"):
            index_of(entry.address, name)
    except ParseError as error:
        raise ParseError(error.reason, at=start) from None
    return entry


def read_diversion(cursor: Cursor) -> Diversion:
    start = cursor.at
    diversion = Diversion(read_address(cursor))
    try:
        _ = diversion.counter, diversion.limit
    except ParseError as error:
        raise ParseError(error.reason, at=start) from None
    return diversion


def parse_history(text: str) -> tuple[HistoryEntry, ...]:
    return parse_list(text, read_history_entry)


def parse_diversions(text: str) -> tuple[Diversion, ...]:
    return parse_list(text, read_diversion)


def format_history(values: Sequence[HistoryEntry]) -> str:
    return ", ".join(map(str, values))


def format_diversions(values: Sequence[Diversion]) -> str:
    return ", ".join(map(str, values))
