"""The language of `X_RegisterRetryResponseCodes`: which failure waits how long (SPEC B10).

    map     = "(" element *("|" element) ")"       the outer brackets may be left out
    element = "<" set ":w" seconds ["-" seconds] ">"   wait so long, or at random within the range
            | set                                      wait RegisterRetryInterval
    set     = three of: digit | "x" (any digit) | "[" digits or ranges "]"

The first element that matches a code rules.  900 is "no answer", 901 "name not
resolved or host not reachable" (SPEC B5); `99[01]` is taken for `90[01]`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

NO_ANSWER = 900
NOT_REACHABLE = 901
MAXIMUM_ELEMENTS = 64
MAXIMUM_WAIT = 86400

_PLACE = r"(?:[0-9xX]|\[[0-9-]+\])"
_SET = re.compile(rf"{_PLACE}{{3}}")
_WAITED = re.compile(rf"<({_PLACE}{{3}}):w([0-9]{{1,6}})(?:-([0-9]{{1,6}}))?>")


@dataclass(frozen=True, slots=True)
class RetryElement:
    """One element: its text, the codes it covers, and the wait in seconds (low, high), or None for the default wait."""

    text: str
    codes: frozenset[int] = field(repr=False)
    wait: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class RetryCodes:
    """A parsed map; `text` is what was written."""

    text: str
    elements: tuple[RetryElement, ...]

    def find(self, code: int) -> RetryElement | None:
        """The first element that covers `code`, or None."""
        return next((element for element in self.elements if code in element.codes), None)

    def wait(self, code: int, default: float, source: random.Random) -> tuple[float, str]:
        """Seconds to wait after `code`, and why.  A code that no element covers waits `default` too."""
        element = self.find(code)
        if element is None:
            return default, f"{code} is in no element, so RegisterRetryInterval"
        if element.wait is None:
            return default, f"{element.text} has no wait, so RegisterRetryInterval"
        low, high = element.wait
        return source.uniform(low, high), f"{element.text} of X_RegisterRetryResponseCodes"


def parse_retry_codes(text: str) -> RetryCodes:
    """Parse a map; ValueError names the element that is wrong."""
    inner = text.strip()
    if inner.startswith("(") and inner.endswith(")"):
        inner = inner[1:-1]
    parts = [part.strip() for part in inner.split("|")]
    if len(parts) > MAXIMUM_ELEMENTS:
        raise ValueError(f"at most {MAXIMUM_ELEMENTS} elements, not {len(parts)}")
    return RetryCodes(text, tuple(_parse_element(part) for part in parts))


def _parse_element(part: str) -> RetryElement:
    if _SET.fullmatch(part):
        return RetryElement(part, _parse_set(part), None)
    waited = _WAITED.fullmatch(part)
    if waited is None:
        raise ValueError(f"{part!r} is neither a set such as 40[34] nor <40[34]:w120> nor <90[01]:w120-200>")
    low = int(waited.group(2))
    high = int(waited.group(3) or low)
    if not 1 <= low <= high <= MAXIMUM_WAIT:
        raise ValueError(f"{part!r}: a wait is from 1 to {MAXIMUM_WAIT} seconds, the smaller end first")
    return RetryElement(part, _parse_set(waited.group(1)), (low, high))


def _parse_set(text: str) -> frozenset[int]:
    first, second, third = (_parse_place(place) for place in re.findall(_PLACE, text))
    codes = {100 * a + 10 * b + c for a in first for b in second for c in third}
    if min(codes) < 300:
        raise ValueError(f"{text!r} covers {min(codes)}, which is no failure")
    if {990, 991} & codes and not {900, 901} & codes:
        codes |= {code - 90 for code in codes & {990, 991}}
    return frozenset(codes)


def _parse_place(place: str) -> tuple[int, ...]:
    if place in "xX":
        return tuple(range(10))
    if not place.startswith("["):
        return (int(place),)
    digits: list[int] = []
    for low, high in re.findall(r"([0-9])(?:-([0-9]))?", place):
        if high and high < low:
            raise ValueError(f"{place!r}: the smaller digit comes first")
        digits.extend(range(int(low), int(high or low) + 1))
    if "".join(re.findall(r"[0-9](?:-[0-9])?", place)) != place[1:-1]:
        raise ValueError(f"{place!r} is not a set of digits")
    return tuple(digits)


DEFAULT_RETRY_CODES = parse_retry_codes("(<40[17]:w120>|<40[34]:w120>|<90[01]:w120-200>|[4-9]xx)")
