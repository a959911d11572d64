"""Privacy (RFC 3323) and Identity (RFC 8224).  Verifies no signature and fetches no certificate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.errors import UsageError
from sipcore.headers.grammar import MAX_PARAMETERS, Cursor, angle, check_token, parse_list, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters

SIGNED_DIGEST = re.compile(r"[A-Za-z0-9+/=_\-.]++")


@dataclass(frozen=True, slots=True)
class Identity:
    """A PASSporT in full or compact form, where its certificate is (`info`, a URI) and its parameters."""

    digest: str
    info: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def algorithm(self) -> str:
        """ES256 where nothing is said (RFC 8224 section 4)."""
        return self.parameters.get("alg") or "ES256"

    @property
    def extension(self) -> str | None:
        """The PASSporT extension, such as "shaken"."""
        return self.parameters.get("ppt")

    def __str__(self) -> str:
        return format_identity(self)


def read_identity(cursor: Cursor) -> Identity:
    """`digest;info=<uri>;alg=...`: without info it is no Identity of RFC 8224."""
    digest = cursor.match(SIGNED_DIGEST, "a signed identity digest").group()
    parameters = read_parameters(cursor)
    info = parameters.find("info")
    if info is None or info.quoted or not (info.value or "").startswith("<"):
        cursor.fault("info is not a URI between < and >")
    return Identity(digest, (info.value or "")[1:-1], parameters.without("info"))


def parse_identities(text: str) -> tuple[Identity, ...]:
    return parse_list(text, read_identity)


def parse_privacy(text: str) -> tuple[str, ...]:
    """Privacy values in lower case: none, or header, session, user, id, history, critical.

    Separated by ";" (RFC 3323 section 4.2); a comma is read as one.
    """
    return parse_whole(text, read_privacy)


def read_privacy(cursor: Cursor) -> tuple[str, ...]:
    values = [cursor.token("a privacy value").lower()]
    while cursor.accept(";") or cursor.accept(","):
        if len(values) >= MAX_PARAMETERS:
            cursor.fault(f"more than {MAX_PARAMETERS} privacy values")
        values.append(cursor.token("a privacy value").lower())
    return tuple(values)


def format_identity(value: Identity) -> str:
    if not SIGNED_DIGEST.fullmatch(value.digest):
        raise UsageError("not a signed identity digest")
    return f"{value.digest};info={angle(value.info)}{value.parameters}"


def format_identities(values: Sequence[Identity]) -> str:
    return ", ".join(map(format_identity, values))


def format_privacy(values: Sequence[str]) -> str:
    if not values:
        raise UsageError("Privacy needs a value")
    return ";".join(map(check_token, values))
