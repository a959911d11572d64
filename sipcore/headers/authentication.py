"""Challenges and credentials (RFC 3261 sections 20.7, 20.27, 20.28, 20.44 and 22; RFC 7616; RFC 8898).

`WWW-Authenticate`, `Proxy-Authenticate`, `Authorization`, `Proxy-Authorization`
and `Authentication-Info`.  Knows how they are written, not how a digest is
computed or checked: that is `sipcore.digest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sipcore.errors import UsageError
from sipcore.headers.grammar import (
    MAX_PARAMETERS,
    MAX_VALUES,
    QUOTED_STRING,
    TOKEN,
    Cursor,
    check_token,
    parse_whole,
    quote,
    unescape,
)
from sipcore.headers.parameters import BARE_VALUE, NO_PARAMETERS, Parameter, Parameters

TOKEN68 = re.compile(r"([A-Za-z0-9\-._~+/]++=*+)[ \t]*+(?=,|$)")
SWS = r"[ \t\r\n]*+"
# Name, then the value: quoted without and with quoted-pairs, or bare; then a comma that another parameter follows.
# That last group is not possessive: before CPython 3.11.5 a possessive group that fails late keeps what it had matched.
AUTHENTICATION_PARAMETER = re.compile(
    rf"({TOKEN.pattern}){SWS}={SWS}"
    rf'(?:"([^"\\]*+)"|{QUOTED_STRING.pattern}|({BARE_VALUE.pattern}))'
    rf"({SWS},{SWS}(?={TOKEN.pattern}{SWS}=))?",
    re.DOTALL,
)
PLAIN = re.compile(r'[^"\\\x00\r\n]*+')
NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")

# RFC 7616 sections 3.3 and 3.4: always quoted, and not quoted where the value is a token.
QUOTED = frozenset(
    {"realm", "domain", "nonce", "opaque", "username", "uri", "response", "cnonce", "nextnonce", "rspauth"}
)
BARE = frozenset({"algorithm", "stale", "nc", "userhash"})
SECRET = frozenset({"response", "cnonce", "rspauth"})


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a 401 or 407: a scheme with its parameters, or a bare token68."""

    scheme: str
    parameters: Parameters = NO_PARAMETERS
    token68: str = ""

    @classmethod
    def digest(cls, values: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> Challenge:
        return cls("Digest", Parameters.of(values))

    @property
    def realm(self) -> str | None:
        return self.parameters.get("realm")

    @property
    def nonce(self) -> str | None:
        return self.parameters.get("nonce")

    @property
    def opaque(self) -> str | None:
        return self.parameters.get("opaque")

    @property
    def algorithm(self) -> str | None:
        """As it was sent; absent means MD5 (RFC 3261 section 22.4)."""
        return self.parameters.get("algorithm")

    @property
    def qop(self) -> tuple[str, ...]:
        """The offered qualities of protection in lower case; empty when the parameter is absent."""
        offered = self.parameters.get("qop") or ""
        return tuple(option for option in re.split(r"[ \t,]+", offered.lower()) if option)

    @property
    def stale(self) -> bool:
        return (self.parameters.get("stale") or "").lower() == "true"

    def __str__(self) -> str:
        return format_challenge(self)


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What answers a challenge.  `response`, `cnonce` and a token68 never show in the repr."""

    scheme: str
    parameters: Parameters = NO_PARAMETERS
    token68: str = ""

    @classmethod
    def digest(cls, values: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> Credentials:
        return cls("Digest", Parameters.of(values))

    @property
    def username(self) -> str | None:
        return self.parameters.get("username")

    @property
    def realm(self) -> str | None:
        return self.parameters.get("realm")

    @property
    def nonce(self) -> str | None:
        return self.parameters.get("nonce")

    @property
    def uri(self) -> str | None:
        return self.parameters.get("uri")

    @property
    def response(self) -> str | None:
        return self.parameters.get("response")

    @property
    def algorithm(self) -> str | None:
        return self.parameters.get("algorithm")

    @property
    def cnonce(self) -> str | None:
        return self.parameters.get("cnonce")

    @property
    def opaque(self) -> str | None:
        return self.parameters.get("opaque")

    @property
    def qop(self) -> str | None:
        """The chosen quality of protection in lower case."""
        chosen = self.parameters.get("qop")
        return None if chosen is None else chosen.lower()

    @property
    def nonce_count(self) -> int | None:
        """`nc` as a number; None when it is absent."""
        text = self.parameters.get("nc")
        return None if text is None else int(text, 16)

    def __str__(self) -> str:
        return format_credentials(self)

    def __repr__(self) -> str:
        shown = {name: "***" if name.lower() in SECRET else value for name, value in self.parameters.items()}
        return f"Credentials(scheme={self.scheme!r}, parameters={shown!r}{', token68=***' if self.token68 else ''})"


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """One challenge or several separated by commas (RFC 7235 section 4.1)."""
    cursor = Cursor(text)
    challenges: list[Challenge] = []
    while True:
        scheme, parameters, token68 = read_scheme(cursor)
        challenges.append(Challenge(scheme, parameters, token68))
        if not cursor.accept(","):
            break
        if len(challenges) >= MAX_VALUES:
            cursor.fault(f"more than {MAX_VALUES} challenges")
    cursor.end()
    return tuple(challenges)


def parse_credentials(text: str) -> Credentials:
    """The whole of an Authorization value; a comma never starts a second one."""
    credentials = parse_whole(text, lambda cursor: Credentials(*read_scheme(cursor)))
    nonce_count = credentials.parameters.get("nc")
    if nonce_count is not None and not NONCE_COUNT.fullmatch(nonce_count):
        Cursor(text).fault("nc is not eight hexadecimal digits")
    return credentials


def parse_credentials_field(text: str) -> tuple[Credentials, ...]:
    """One field holds one value; several realms come as several fields (RFC 3261 section 22.3)."""
    return (parse_credentials(text),)


def parse_authentication_info(text: str) -> Parameters:
    """The parameters of Authentication-Info or Proxy-Authentication-Info (RFC 7615)."""
    return parse_whole(text, read_authentication_parameters)


def read_scheme(cursor: Cursor) -> tuple[str, Parameters, str]:
    """A scheme with its parameters or token68; Digest has to have parameters."""
    scheme = cursor.token("an authentication scheme")
    cursor.skip_space()
    digest = scheme.lower() == "digest"
    if not digest:
        found = TOKEN68.match(cursor.text, cursor.at)
        if found is not None:
            cursor.at = found.end()
            return scheme, NO_PARAMETERS, found.group(1)
        if cursor.at_end() or cursor.peek() == ",":
            return scheme, NO_PARAMETERS, ""
    return scheme, read_authentication_parameters(cursor), ""


def read_authentication_parameters(cursor: Cursor) -> Parameters:
    """`auth-param *(COMMA auth-param)`; stops before a comma that no further parameter follows.

    A repeated name is an error: two elements could each believe another one.
    """
    items: dict[str, Parameter] = {}
    more = True
    while more:
        found = cursor.match(AUTHENTICATION_PARAMETER, "a parameter with its value")
        name, plain, escaped, bare, comma = found.groups()
        key = name.lower()
        if key in items or len(items) >= MAX_PARAMETERS:
            cursor.fault(f"repeated parameter {name}" if key in items else f"more than {MAX_PARAMETERS} parameters")
        if bare is not None:
            items[key] = Parameter(name, bare)
        else:
            items[key] = Parameter(name, plain if plain is not None else unescape(escaped), quoted=True)
        more = comma is not None
    return Parameters(tuple(items.values()))


def format_challenge(challenge: Challenge) -> str:
    return format_scheme(challenge.scheme, challenge.parameters, challenge.token68, QUOTED | {"qop"}, BARE)


def format_challenges(challenges: Sequence[Challenge]) -> str:
    """A comma list; better sent as one header field each (RFC 3261 section 7.3.1)."""
    return ", ".join(map(format_challenge, challenges))


def format_credentials(credentials: Credentials) -> str:
    return format_scheme(credentials.scheme, credentials.parameters, credentials.token68, QUOTED, BARE | {"qop"})


def format_credentials_field(values: Sequence[Credentials]) -> str:
    """The one value: credentials are never combined in one field (RFC 3261 section 7.3.1)."""
    if len(values) != 1:
        raise UsageError(f"one field holds one value of credentials, not {len(values)}")
    return format_credentials(values[0])


def format_authentication_info(parameters: Parameters) -> str:
    return format_authentication_parameters(parameters, QUOTED, BARE | {"qop"})


def format_scheme(
    scheme: str, parameters: Parameters, token68: str, quoted: frozenset[str], bare: frozenset[str]
) -> str:
    if token68:
        if parameters or not TOKEN68.fullmatch(token68):
            raise UsageError("not a token68")
        return f"{check_token(scheme)} {token68}"
    return f"{check_token(scheme)} {format_authentication_parameters(parameters, quoted, bare)}".rstrip()


def format_authentication_parameters(parameters: Parameters, quoted: frozenset[str], bare: frozenset[str]) -> str:
    return ", ".join(format_authentication_parameter(item, quoted, bare) for item in parameters.items_in_order)


def format_authentication_parameter(item: Parameter, quoted: frozenset[str], bare: frozenset[str]) -> str:
    if item.value is None:
        raise UsageError(f"parameter {item.name} without a value")
    name = item.name.lower()
    if name in quoted:
        value = f'"{item.value}"' if PLAIN.fullmatch(item.value) else quote(item.value)
        return f"{check_token(item.name)}={value}"
    if name in bare and TOKEN.fullmatch(item.value):
        return f"{check_token(item.name)}={item.value}"
    return str(item)
