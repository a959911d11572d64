"""RSeq and RAck: reliable provisional responses (RFC 3262 section 7)."""

from __future__ import annotations

from dataclasses import dataclass

from sipcore.errors import UsageError
from sipcore.headers.grammar import Cursor, check_number, check_token, parse_whole

RSEQ_MOST = 2**32 - 1
CSEQ_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RAck:
    """What a PRACK acknowledges: the RSeq and the CSeq of the response."""

    rseq: int
    cseq_number: int
    method: str

    def __str__(self) -> str:
        return format_rack(self)


def read_rseq(cursor: Cursor) -> int:
    """1 to 2**32 - 1."""
    start = cursor.at
    number = cursor.integer("a response number", RSEQ_MOST)
    if number == 0:
        cursor.at = start
        cursor.fault("a response number of 0")
    return number


def read_rack(cursor: Cursor) -> RAck:
    rseq = read_rseq(cursor)
    cursor.skip_space()
    number = cursor.integer("a CSeq number", CSEQ_MOST)
    cursor.skip_space()
    return RAck(rseq, number, cursor.token("a method"))


def parse_rseq(text: str) -> int:
    return parse_whole(text, read_rseq)


def parse_rack(text: str) -> RAck:
    return parse_whole(text, read_rack)


def format_rseq(number: int) -> str:
    if number == 0:
        raise UsageError("a response number is at least 1")
    return check_number(number, RSEQ_MOST)


def format_rack(value: RAck) -> str:
    return f"{format_rseq(value.rseq)} {check_number(value.cseq_number, CSEQ_MOST)} {check_token(value.method)}"
