"""Headers that are addresses or hops: Via, Route, Path, Service-Route, P-Asserted-Identity, Reply-To and their like.

RFC 3261 sections 20.30, 20.31, 20.34; RFC 3325, RFC 3327, RFC 3608, RFC 7315.
One value is `Address`, `Via` or `CSeq` of `sipcore._fields`; this file finds where each ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sipcore._fields import Address, CSeq, Via
from sipcore.errors import ParseError, UsageError
from sipcore.headers.grammar import Cursor, Value, bounded_integer, check_text, parse_list, parse_whole

# A comma ends a value outside quoted strings and angle brackets.
VALUE = re.compile(r'(?:[^",<]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"|<[^<>]*+>)+', re.DOTALL)


def read_compiled(cursor: Cursor, make: Callable[[str], Value], what: str) -> Value:
    """One value of a comma list, read by a compiled type."""
    start = cursor.at
    text = cursor.match(VALUE, what).group().rstrip(" \t\r\n")
    try:
        return make(text)
    except ParseError as error:
        # Octets of the value against characters of the field: the same for ASCII, near enough otherwise.
        raise ParseError(error.reason, at=min(start + error.at, len(cursor.text))) from None
    except UnicodeEncodeError:
        raise ParseError(f"{what} that is no text", at=start) from None


def read_address(cursor: Cursor) -> Address:
    """A name-addr or addr-spec with its parameters, up to the next comma."""
    return read_compiled(cursor, Address, "an address")


def parse_cseq(text: str) -> CSeq:
    """CSeq (RFC 3261 section 20.16)."""
    return parse_whole(text, lambda cursor: read_compiled(cursor, CSeq.parse, "a CSeq"))


def parse_vias(text: str) -> tuple[Via, ...]:
    """Via values, top first (RFC 3261 section 20.42)."""
    return parse_list(text, lambda cursor: read_compiled(cursor, Via, "a Via"))


def parse_address(text: str) -> Address:
    return parse_whole(text, read_address)


def parse_addresses(text: str) -> tuple[Address, ...]:
    return parse_list(text, read_address)


def format_address(value: Address) -> str:
    return check_text(str(value))


def format_cseq(value: CSeq) -> str:
    return str(value)


def format_vias(values: Sequence[Via]) -> str:
    return ", ".join(check_text(str(value)) for value in values)


def format_addresses(values: Sequence[Address]) -> str:
    return ", ".join(map(format_address, values))


def check_number_parameter(address: Address, name: str, most: int) -> int | None:
    """A parameter that is a number; None when absent, ParseError when it is none up to `most`."""
    if name not in address.parameters:
        return None
    number = bounded_integer(address.parameters[name] or "", most)
    if number is None:
        raise ParseError(f"parameter {name} is not a number up to {most}")
    return number


def bracketed(value: str) -> str:
    """A URI as the quoted `"<uri>"` of +sip.instance and the like hold it."""
    if ">" in value or "<" in value:
        raise UsageError(f"not a URI: {value!r}")
    return f"<{value}>"
