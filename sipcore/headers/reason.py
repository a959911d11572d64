"""Reason (RFC 3326, RFC 8606): why a request or a response was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.errors import ParseError
from sipcore.headers.grammar import Cursor, check_token, parse_list
from sipcore.headers.parameters import NO_PARAMETERS, Parameter, Parameters, read_parameters

CAUSE_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, such as `Q.850;cause=16;text="Terminated"`."""

    protocol: str
    parameters: Parameters = NO_PARAMETERS

    @classmethod
    def of(cls, protocol: str, cause: int, text: str | None = None) -> Reason:
        items = [Parameter("cause", str(cause))]
        if text is not None:
            items.append(Parameter("text", text, quoted=True))
        return cls(protocol, Parameters(tuple(items)))

    @property
    def cause(self) -> int | None:
        """The status code or Q.850 cause; None when none is given."""
        return self.parameters.integer("cause", CAUSE_MOST)

    @property
    def text(self) -> str | None:
        return self.parameters.get("text")

    @property
    def location(self) -> str | None:
        """Where an ISUP release began (RFC 8606)."""
        return self.parameters.get("location")

    def __str__(self) -> str:
        return format_reason(self)


def read_reason(cursor: Cursor) -> Reason:
    start = cursor.at
    value = Reason(cursor.token("a protocol"), read_parameters(cursor))
    try:
        _ = value.cause
    except ParseError:
        cursor.at = start
        cursor.fault("cause is not a number")
    return value


def parse_reasons(text: str) -> tuple[Reason, ...]:
    return parse_list(text, read_reason)


def format_reason(value: Reason) -> str:
    return f"{check_token(value.protocol)}{value.parameters}"


def format_reasons(values: Sequence[Reason]) -> str:
    return ", ".join(map(format_reason, values))
