"""Content-Type, Content-Disposition, Accept and their kin (RFC 3261 sections 20.1-20.3 and 20.11-20.15).

Knows media types by their grammar only; bodies are `sipcore.body` and `sipcore.sdp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.headers.grammar import Cursor, check_token, parse_list, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters
from sipcore.headers.tokens import TokenValue, read_token_value


@dataclass(frozen=True, slots=True)
class MediaType:
    """`type/subtype;parameters` of Content-Type, or a range such as `application/*;q=0.5` of Accept."""

    type: str
    subtype: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def essence(self) -> str:
        """`type/subtype` in lower case: what is compared."""
        return f"{self.type}/{self.subtype}".lower()

    @property
    def boundary(self) -> str | None:
        """What separates the parts of a multipart body (RFC 2046 section 5.1.1)."""
        return self.parameters.get("boundary")

    def matches(self, media_type: MediaType) -> bool:
        """Whether this range covers `media_type`; parameters are not looked at."""
        if self.type == "*":
            return True
        same_type = self.type.lower() == media_type.type.lower()
        return same_type and self.subtype.lower() in ("*", media_type.subtype.lower())

    def __str__(self) -> str:
        return format_media_type(self)


@dataclass(frozen=True, slots=True)
class Disposition:
    """Content-Disposition; `handling` is "required" where nothing is said (RFC 3261 section 20.11)."""

    type: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def handling(self) -> str:
        return (self.parameters.get("handling") or "required").lower()

    def __str__(self) -> str:
        return format_disposition(self)


def quality(value: MediaType | TokenValue) -> float:
    """The q of an accepted value, 1.0 where none is given (RFC 3261 section 20.1); ParseError when it is none."""
    text = value.parameters.get("q")
    return 1.0 if text is None else parse_whole(text, Cursor.qvalue)


def read_media_type(cursor: Cursor) -> MediaType:
    kind = cursor.token("a media type")
    cursor.expect("/")
    subtype = cursor.token("a media subtype")
    return MediaType(kind, subtype, read_parameters(cursor))


def read_weighted(cursor: Cursor) -> TokenValue:
    value = read_token_value(cursor)
    quality(value)
    return value


def read_media_range(cursor: Cursor) -> MediaType:
    value = read_media_type(cursor)
    quality(value)
    return value


def parse_content_type(text: str) -> MediaType:
    return parse_whole(text, read_media_type)


def parse_accept(text: str) -> tuple[MediaType, ...]:
    """Ranges in the order sent; an empty value accepts nothing."""
    return parse_list(text, read_media_range, empty=True)


def parse_weighted_list(text: str) -> tuple[TokenValue, ...]:
    """Accept-Encoding, Accept-Language: names with a q."""
    return parse_list(text, read_weighted, empty=True)


def parse_content_disposition(text: str) -> Disposition:
    return parse_whole(text, lambda cursor: Disposition(cursor.token("a disposition"), read_parameters(cursor)))


def format_media_type(value: MediaType) -> str:
    return f"{check_token(value.type)}/{check_token(value.subtype)}{value.parameters}"


def format_accept(values: Sequence[MediaType]) -> str:
    return ", ".join(map(format_media_type, values))


def format_disposition(value: Disposition) -> str:
    return f"{check_token(value.type)}{value.parameters}"
