"""Header parameters: `;name`, `;name=token`, `;name="quoted"` (RFC 3261 section 7.3.1, generic-param of 25.1).

Order, spelling and quoting are kept, so printing a parsed value gives it back.
Does not know what any parameter means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sipcore.errors import ParseError
from sipcore.headers.grammar import (
    DELTA_SECONDS_MOST,
    MAX_PARAMETERS,
    Cursor,
    bounded_integer,
    check_token,
    quote,
)

# Wider than token / host: real elements send "=", "@" and "/" unquoted.
BARE_VALUE = re.compile(r"<[^<>\"\x00-\x20\x7f]*+>|[^\x00-\x20\x7f;,\"<>]++")
SAFE_VALUE = re.compile(r"<[^<>\"\x00-\x20\x7f]*+>|[A-Za-z0-9\-.!%*_+`'~\[\]:@/]++")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.  `value` is None where there is no "=", and without its quotes where it was `quoted`."""

    name: str
    value: str | None = None
    quoted: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        name = check_token(self.name)
        if self.value is None:
            return name
        # RFC 3840 section 9: what follows a "+name=" is always quoted.
        bare = not self.quoted and not name.startswith("+") and SAFE_VALUE.fullmatch(self.value)
        return f"{name}={self.value}" if bare else f"{name}={quote(self.value)}"


@dataclass(frozen=True, slots=True)
class Parameters(Mapping[str, str | None]):
    """An immutable ordered mapping; names are compared without case, the first of a repeated name counts."""

    items_in_order: tuple[Parameter, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, str | None] | Iterable[tuple[str, str | None]]) -> Parameters:
        """From a mapping or from pairs."""
        pairs = values.items() if isinstance(values, Mapping) else values
        return cls(tuple(Parameter(name, value) for name, value in pairs))

    def find(self, name: str) -> Parameter | None:
        wanted = name.lower()
        for parameter in self.items_in_order:
            if parameter.name.lower() == wanted:
                return parameter
        return None

    def __getitem__(self, name: str) -> str | None:
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found.value

    def __iter__(self) -> Iterator[str]:
        return (parameter.name for parameter in self.items_in_order)

    def __len__(self) -> int:
        return len(self.items_in_order)

    def without(self, name: str) -> Parameters:
        """The same parameters but `name`."""
        unwanted = name.lower()
        return Parameters(tuple(item for item in self.items_in_order if item.name.lower() != unwanted))

    def replaced(self, name: str, value: str | None, *, quoted: bool = False) -> Parameters:
        """The same parameters with `name` set: in its place if it is there, else at the end."""
        replacement = Parameter(name, value, quoted)
        if self.find(name) is None:
            return Parameters((*self.items_in_order, replacement))
        wanted = name.lower()
        return Parameters(tuple(replacement if item.name.lower() == wanted else item for item in self.items_in_order))

    def integer(self, name: str, most: int = DELTA_SECONDS_MOST) -> int | None:
        """The value as a number; None when the parameter is absent, ParseError when it is no number up to `most`."""
        text = self.get(name)
        if text is None:
            if name in self:
                raise ParseError(f"parameter {name} without a value")
            return None
        number = bounded_integer(text, most)
        if number is None:
            raise ParseError(f"parameter {name} is not a number up to {most}: {text[:32]!r}")
        return number

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __str__(self) -> str:
        """`;a=1;b`, "" for none: what is printed after a value."""
        return "".join(f";{item}" for item in self.items_in_order)


NO_PARAMETERS = Parameters()


def read_parameter(cursor: Cursor) -> Parameter:
    """`name`, `name=value` or `name="value"`."""
    name = cursor.token("a parameter name")
    if not cursor.accept("="):
        return Parameter(name)
    if cursor.peek() == '"':
        return Parameter(name, cursor.quoted_string(), quoted=True)
    return Parameter(name, cursor.match(BARE_VALUE, "a parameter value").group())


def read_parameters(cursor: Cursor) -> Parameters:
    """`*(SEMI generic-param)` from here on."""
    items: list[Parameter] = []
    while cursor.accept(";"):
        if len(items) >= MAX_PARAMETERS:
            cursor.fault(f"more than {MAX_PARAMETERS} parameters")
        items.append(read_parameter(cursor))
    return Parameters(tuple(items)) if items else NO_PARAMETERS
