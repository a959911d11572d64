"""Warning (RFC 3261 section 20.43): a code, who says so, and a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.errors import UsageError
from sipcore.headers.grammar import Cursor, parse_list, quote

CODE = re.compile(r"[1-9][0-9]{2}(?![0-9])")
AGENT = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]++")


@dataclass(frozen=True, slots=True)
class Warning:
    """`307 isi.edu "text"`; `agent` is a host with or without port, or a pseudonym."""

    code: int
    agent: str
    text: str

    def __str__(self) -> str:
        return format_warning(self)


def read_warning(cursor: Cursor) -> Warning:
    code = int(cursor.match(CODE, "a warning code of three digits").group())
    cursor.skip_space()
    agent = cursor.match(AGENT, "a warning agent").group()
    cursor.skip_space()
    return Warning(code, agent, cursor.quoted_string())


def parse_warnings(text: str) -> tuple[Warning, ...]:
    return parse_list(text, read_warning)


def format_warning(value: Warning) -> str:
    if not 100 <= value.code <= 999:
        raise UsageError(f"a warning code has three digits, not {value.code}")
    if not AGENT.fullmatch(value.agent):
        raise UsageError(f"not a warning agent: {value.agent!r}")
    return f"{value.code} {value.agent} {quote(value.text)}"


def format_warnings(values: Sequence[Warning]) -> str:
    return ", ".join(map(format_warning, values))
