"""Which header is read and written by which functions: the one table of typed headers.

Adding a header: write `parse_` and `format_` functions in the file of its
family and add a row here.  Headers without a row stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sipcore.errors import ParseError
from sipcore.headers import authentication, content, seconds


@dataclass(frozen=True, slots=True)
class HeaderType:
    """How one header is typed.

    `parse` takes one field value; for a `many` header it gives a tuple, and the
    tuples of several fields are joined.  `attribute` is its name on a message.
    """

    name: str
    attribute: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str]
    many: bool = False


def weighted_list(name: str, attribute: str) -> HeaderType:
    return HeaderType(name, attribute, content.parse_weighted_list, content.format_weighted_list, many=True)


def challenges(name: str, attribute: str) -> HeaderType:
    return HeaderType(name, attribute, authentication.parse_challenges, authentication.format_challenges, many=True)


def credentials(name: str, attribute: str) -> HeaderType:
    return HeaderType(name, attribute, parse_one_credentials, format_all_credentials, many=True)


def parse_one_credentials(text: str) -> tuple[authentication.Credentials, ...]:
    """Credentials for several realms come as one field each (RFC 3261 section 22.3)."""
    return (authentication.parse_credentials(text),)


def format_all_credentials(values: Sequence[authentication.Credentials]) -> str:
    """One value: credentials are never combined in one field (RFC 3261 section 7.3.1)."""
    (value,) = values
    return authentication.format_credentials(value)


HEADER_TYPES = (
    HeaderType("Accept", "accept", content.parse_accept, content.format_accept, many=True),
    weighted_list("Accept-Encoding", "accept_encoding"),
    weighted_list("Accept-Language", "accept_language"),
    HeaderType(
        "Authentication-Info",
        "authentication_info",
        authentication.parse_authentication_info,
        authentication.format_authentication_info,
    ),
    credentials("Authorization", "authorization"),
    HeaderType(
        "Content-Disposition", "content_disposition", content.parse_content_disposition, content.format_disposition
    ),
    HeaderType("Content-Type", "media_type", content.parse_content_type, content.format_media_type),
    HeaderType("Expires", "expires", seconds.parse_seconds, seconds.format_seconds),
    HeaderType("Min-Expires", "min_expires", seconds.parse_seconds, seconds.format_seconds),
    HeaderType("Min-SE", "min_se", seconds.parse_min_se, seconds.format_min_se),
    challenges("Proxy-Authenticate", "proxy_authenticate"),
    HeaderType(
        "Proxy-Authentication-Info",
        "proxy_authentication_info",
        authentication.parse_authentication_info,
        authentication.format_authentication_info,
    ),
    credentials("Proxy-Authorization", "proxy_authorization"),
    HeaderType("Retry-After", "retry_after", seconds.parse_retry_after, seconds.format_retry_after),
    HeaderType("Session-Expires", "session_expires", seconds.parse_session_expires, seconds.format_session_expires),
    challenges("WWW-Authenticate", "www_authenticate"),
)

BY_NAME = {header.name.lower(): header for header in HEADER_TYPES}
BY_ATTRIBUTE = {header.attribute: header for header in HEADER_TYPES}


def header_type(name: str) -> HeaderType | None:
    """The row of a header by its full name in any case; None for a header that stays text."""
    return BY_NAME.get(name.lower())


def parse_header(name: str, fields: Sequence[str]) -> Any:
    """The typed value of all fields of one header, in the order they stand in the message.

    `fields` are unfolded values, one for each field (or each list element).  A
    `many` header gives a tuple, () without fields; another gives its value, None
    without fields.  KeyError for a header without a row; ParseError for a value
    that is malformed and for a second field where one is allowed.
    """
    header = BY_NAME[name.lower()]
    if header.many:
        return tuple(value for text in fields for value in header.parse(text))
    if len(fields) > 1:
        raise ParseError(f"{header.name} stands {len(fields)} times")
    return header.parse(fields[0]) if fields else None


def format_header(name: str, value: Any) -> str:
    """A typed value as the text of one field.  KeyError for a header without a row, UsageError for a bad value."""
    return BY_NAME[name.lower()].format(value)
