"""Reading header values: the basic rules of RFC 3261 section 25.1 on a text with a position.

Values come in unfolded (`str`, UTF-8 with surrogateescape).  Every rule reads
forward only: each pattern is a run of one character class or possessive, so the
time is linear in the text whatever it holds.  Does not know any header by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from sipcore.errors import ParseError, UsageError

MAX_PARAMETERS = 128
"""Parameters that one value may carry; more are a ParseError."""

MAX_VALUES = 1024
"""Values that one comma list may hold; more are a ParseError."""

DELTA_SECONDS_MOST = 2**32 - 1
"""RFC 3261 section 20.19: seconds are a number between 0 and (2**32)-1."""

Value = TypeVar("Value")

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]++")
WORD = re.compile(r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}]++")
DIGITS = re.compile(r"[0-9]++")
SPACE = re.compile(r"[ \t\r\n]*+")
QUOTED_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
ANGLED = re.compile(r"<([^<>\"\x00-\x20\x7f]*+)>")
QVALUE = re.compile(r"(?:0(?:\.[0-9]{0,3}+)?+|1(?:\.0{0,3}+)?+)(?![0-9.])")
UNPRINTABLE = re.compile(r"[\x00\r\n]")
NEEDS_ESCAPE = re.compile(r'(["\\])')


class Cursor:
    """A position in one header value.  Every reader raises ParseError with `.at` where it stopped."""

    __slots__ = ("at", "text")

    def __init__(self, text: str, at: int = 0) -> None:
        self.text = text
        self.at = at
        self.skip_space()

    def fault(self, reason: str) -> NoReturn:
        raise ParseError(reason, at=self.at)

    def skip_space(self) -> None:
        self.at = SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]

    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        """The character here, "" at the end."""
        return self.text[self.at : self.at + 1]

    def accept(self, separator: str) -> bool:
        """Take `separator` and the white space around it, if it is here."""
        start = self.at
        self.skip_space()
        if self.peek() != separator:
            self.at = start
            return False
        self.at += 1
        self.skip_space()
        return True

    def expect(self, separator: str) -> None:
        if not self.accept(separator):
            self.fault(f"expected {separator!r}")

    def match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        """Take what `pattern` matches here; `what` names it in the error."""
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fault(f"expected {what}")
        self.at = found.end()
        return found

    def token(self, what: str = "a token") -> str:
        return self.match(TOKEN, what).group()

    def quoted_string(self) -> str:
        """The text of a quoted-string, quoted-pairs taken off."""
        return unescape(self.match(QUOTED_STRING, "a closed quoted string").group(1))

    def token_or_quoted(self, what: str) -> str:
        return self.quoted_string() if self.peek() == '"' else self.token(what)

    def angled(self, what: str) -> str:
        """What stands between < and >, without them."""
        return self.match(ANGLED, what).group(1)

    def integer(self, what: str, most: int) -> int:
        """Decimal digits, at most `most`; a larger number is an error, never wrapped."""
        start = self.at
        digits = self.match(DIGITS, what).group()
        number = bounded_integer(digits, most)
        if number is None:
            self.at = start
            self.fault(f"{what} is larger than {most}")
        return number

    def qvalue(self) -> float:
        """0 to 1 with at most three decimals (RFC 3261 section 25.1)."""
        return float(self.match(QVALUE, "a q value between 0 and 1").group())

    def rest(self) -> str:
        """Everything up to the end, trimmed."""
        start, self.at = self.at, len(self.text)
        return self.text[start:].rstrip(" \t\r\n")

    def end(self) -> None:
        """Nothing but white space may follow."""
        self.skip_space()
        if not self.at_end():
            self.fault("unexpected characters after the value")


def bounded_integer(digits: str, most: int) -> int | None:
    """ASCII digits as a number, None when there are none, others, or it exceeds `most`."""
    if not DIGITS.fullmatch(digits):
        return None
    significant = digits.lstrip("0")
    if len(significant) > len(str(most)):
        return None
    number = int(significant or "0")
    return number if number <= most else None


def parse_whole(text: str, read: Callable[[Cursor], Value]) -> Value:
    """One value that is the whole of `text`."""
    cursor = Cursor(text)
    value = read(cursor)
    cursor.end()
    return value


def parse_list(text: str, read: Callable[[Cursor], Value], *, empty: bool = False) -> tuple[Value, ...]:
    """A comma list of one value or more; `empty` says that none is allowed too."""
    cursor = Cursor(text)
    if empty and cursor.at_end():
        return ()
    values = [read(cursor)]
    while cursor.accept(","):
        if len(values) >= MAX_VALUES:
            cursor.fault(f"more than {MAX_VALUES} values in a list")
        values.append(read(cursor))
    cursor.end()
    return tuple(values)


def unescape(inner: str) -> str:
    """Take the quoted-pairs off the inside of a quoted-string."""
    return QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner


def check_text(text: str) -> str:
    """`text` as it is; CR, LF and NUL are a UsageError (FAULTS 6)."""
    if UNPRINTABLE.search(text):
        raise UsageError("CR, LF or NUL in a header value")
    return text


def check_token(text: str) -> str:
    """`text` as it is; anything but a token is a UsageError."""
    if not TOKEN.fullmatch(text):
        raise UsageError(f"not a token: {text!r}")
    return text


def check_number(number: int, most: int) -> str:
    """Decimal digits of a number from 0 to `most`; outside it a UsageError."""
    if not 0 <= number <= most:
        raise UsageError(f"{number} is not between 0 and {most}")
    return str(number)


def quote(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + NEEDS_ESCAPE.sub(r"\\\1", check_text(text)) + '"'


def angle(uri: str) -> str:
    """`uri` between < and >; what could end it early is a UsageError."""
    bracketed = f"<{uri}>"
    if not ANGLED.fullmatch(bracketed):
        raise UsageError(f"not a URI: {uri!r}")
    return bracketed


def format_qvalue(q: float) -> str:
    """0 to 1 with as many decimals (at most three) as it takes."""
    if not 0 <= q <= 1:
        raise UsageError(f"a q value is between 0 and 1, not {q}")
    text = f"{q:.3f}"
    return text.rstrip("0").rstrip(".")
