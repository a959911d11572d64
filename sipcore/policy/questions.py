"""Questions that policy asks of DNS, and the answers it is sent.

Policy code is generators that yield a `Question` and are sent an `Answer`; what
asks (a resolver, the simulator's script, a literal in a test) is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecordType = Literal["A", "AAAA", "SRV", "NAPTR"]


@dataclass(frozen=True, slots=True)
class Question:
    """One DNS question: a name without trailing dot, lower case, and a record type."""

    name: str
    type: RecordType


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record (RFC 2782); `target` without trailing dot, "." for "decidedly not available"."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record as RFC 3263 section 4.1 uses it."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS said, after following CNAMEs; empty `records` means "not found" (SPEC D6).

    `ttl` seconds are left of the answer's life, `age` seconds have passed since
    it was received, `server` is who gave it ("192.0.2.53:53", "cache" never
    replaces it), `stale` is true for a remembered answer past its TTL.
    `additional` holds addresses that came along: host name to addresses.
    """

    question: Question
    records: tuple[str | Srv | Naptr, ...]
    ttl: float
    age: float = 0.0
    server: str = ""
    stale: bool = False
    additional: tuple[tuple[str, tuple[str, ...]], ...] = ()


class LookupFailed(Exception):
    """Thrown into a policy generator: the question got no usable answer (SERVFAIL, REFUSED, time-out).

    A failure is not "not found" (SPEC D6).
    """

    def __init__(self, question: Question, *, why: str) -> None:
        super().__init__(question, why)
        self.question = question
        self.why = why

    def __str__(self) -> str:
        return f"{self.question.type} {self.question.name}: {self.why}"
