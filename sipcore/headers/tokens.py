"""Headers made of tokens, with or without parameters: Allow, Supported, Require, Info-Package and their like.

RFC 3261 sections 20.5, 20.12, 20.13, 20.20, 20.26, 20.29, 20.32, 20.37, 20.40; RFC 3903, RFC 6086, RFC 6665.
Does not know what any token asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.errors import ParseError, UsageError
from sipcore.headers.grammar import (
    UNPRINTABLE,
    WORD,
    Cursor,
    check_number,
    check_text,
    check_token,
    parse_list,
    parse_whole,
)
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters


@dataclass(frozen=True, slots=True)
class TokenValue:
    """A token with parameters, such as `gzip;q=0.5` or `conf;since=1`."""

    name: str
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return format_token_value(self)


def read_token_value(cursor: Cursor) -> TokenValue:
    return TokenValue(cursor.token(), read_parameters(cursor))


def parse_token(text: str) -> str:
    return parse_whole(text, Cursor.token)


def parse_tokens(text: str) -> tuple[str, ...]:
    """A comma list of tokens as they were written; an empty value is an empty list."""
    return parse_list(text, Cursor.token, empty=True)


def parse_token_value(text: str) -> TokenValue:
    return parse_whole(text, read_token_value)


def parse_token_values(text: str) -> tuple[TokenValue, ...]:
    return parse_list(text, read_token_value, empty=True)


def read_call_id(cursor: Cursor) -> str:
    """`word [ "@" word ]` (RFC 3261 section 25.1)."""
    local = cursor.match(WORD, "a Call-ID").group()
    if cursor.peek() != "@":
        return local
    cursor.at += 1
    return f"{local}@{cursor.match(WORD, 'what follows @ in a Call-ID').group()}"


def parse_call_id(text: str) -> str:
    return parse_whole(text, read_call_id)


def parse_call_ids(text: str) -> tuple[str, ...]:
    """In-Reply-To."""
    return parse_list(text, read_call_id)


def parse_text(text: str) -> str:
    """Any text: Organization, Server, Subject, User-Agent (RFC 3261 section 20); not CR, LF or NUL."""
    if UNPRINTABLE.search(text):
        raise ParseError("CR, LF or NUL in a header value")
    return text.strip(" \t")


def parse_octet(text: str) -> int:
    """A number from 0 to 255: Max-Forwards (RFC 3261 section 20.22), Max-Breadth (RFC 5393)."""
    return parse_whole(text, lambda cursor: cursor.integer("a number up to 255", 255))


def format_octet(number: int) -> str:
    return check_number(number, 255)


def format_text(text: str) -> str:
    """Without the white space round it, which a reader takes for no part of it."""
    return check_text(text).strip(" \t")


def format_token(text: str) -> str:
    return check_token(text)


def format_tokens(values: Sequence[str]) -> str:
    return ", ".join(map(check_token, values))


def format_token_value(value: TokenValue) -> str:
    return f"{check_token(value.name)}{value.parameters}"


def format_token_values(values: Sequence[TokenValue]) -> str:
    return ", ".join(map(format_token_value, values))


def format_call_id(call_id: str) -> str:
    local, separator, host = call_id.partition("@")
    if not WORD.fullmatch(local) or (separator and not WORD.fullmatch(host)):
        raise UsageError(f"not a Call-ID: {call_id!r}")
    return call_id


def format_call_ids(values: Sequence[str]) -> str:
    return ", ".join(map(format_call_id, values))
