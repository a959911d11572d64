"""Headers that point at something: Alert-Info, Call-Info, Error-Info (RFC 3261 section 20), Geolocation (RFC 6442).

The URIs may have any scheme (http, cid, urn, ...) and stay text; nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.errors import ParseError
from sipcore.headers.grammar import Cursor, angle, check_number, parse_list, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters

GEOLOCATION_ERROR_MOST = 999


@dataclass(frozen=True, slots=True)
class Reference:
    """`<uri>;parameters`; `uri` without its brackets."""

    uri: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def purpose(self) -> str:
        """What Call-Info gives: icon, info, card; "info" where nothing is said (RFC 3261 section 20.9)."""
        return (self.parameters.get("purpose") or "info").lower()

    def __str__(self) -> str:
        return format_reference(self)


@dataclass(frozen=True, slots=True)
class GeolocationError:
    """A code of RFC 6442 section 4.4 and its text."""

    code: int
    parameters: Parameters = NO_PARAMETERS

    @property
    def text(self) -> str | None:
        return self.parameters.get("code")

    def __str__(self) -> str:
        return format_geolocation_error(self)


def read_reference(cursor: Cursor) -> Reference:
    uri = cursor.angled("a URI between < and >")
    scheme, separator, _ = uri.partition(":")
    if not separator or not scheme[:1].isalpha():
        raise ParseError("a URI without a scheme", at=cursor.at)
    return Reference(uri, read_parameters(cursor))


def read_geolocation_error(cursor: Cursor) -> GeolocationError:
    code = cursor.integer("an error code", GEOLOCATION_ERROR_MOST)
    return GeolocationError(code, read_parameters(cursor))


def parse_references(text: str) -> tuple[Reference, ...]:
    return parse_list(text, read_reference)


def parse_geolocation_error(text: str) -> GeolocationError:
    return parse_whole(text, read_geolocation_error)


def format_reference(value: Reference) -> str:
    return f"{angle(value.uri)}{value.parameters}"


def format_references(values: Sequence[Reference]) -> str:
    return ", ".join(map(format_reference, values))


def format_geolocation_error(value: GeolocationError) -> str:
    return f"{check_number(value.code, GEOLOCATION_ERROR_MOST)}{value.parameters}"
