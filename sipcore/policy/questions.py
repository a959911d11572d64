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
    replaces it), `stale` is true for a remembered answer past its TTL, by
    `stale_for` seconds.
    `additional` holds addresses that came along: host name to addresses.
    `serial` numbers the answers that were received: copies of one answer served
    from a cache carry one serial, so that a draw is made once per answer (SPEC D8).
    `canonical` is the name that CNAMEs led to, empty where there were none.
    """

    question: Question
    records: tuple[str | Srv | Naptr, ...]
    ttl: float
    age: float = 0.0
    server: str = ""
    stale: bool = False
    additional: tuple[tuple[str, tuple[str, ...]], ...] = ()
    serial: int = 0
    stale_for: float = 0.0
    canonical: str = ""

    def __str__(self) -> str:
        return f"{self.question.type} {self.question.name}: {self._found()} ({self._source()})"

    def _found(self) -> str:
        found = ", ".join(describe_record(record) for record in self.records) or "not found"
        return f"CNAME {self.canonical}, {found}" if self.canonical else found

    def _source(self) -> str:
        how = "remembered past its TTL" if self.stale else f"TTL {self.ttl:.0f}s"
        return f"from {self.server or 'the script'}, {self.age:.0f}s old, {how}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that got no usable answer; `why` names the servers asked and what each did (SPEC D6)."""

    question: Question
    why: str

    def __str__(self) -> str:
        return f"{self.question.type} {self.question.name}: failed, {self.why}"


def describe_record(record: str | Srv | Naptr) -> str:
    """One record as a person reads it: "192.0.2.1", "10 5 edge.example.net:5060", "10 10 s SIP+D2U _sip._udp.a.net"."""
    if isinstance(record, Srv):
        return f"{record.priority} {record.weight} {record.target}:{record.port}"
    if isinstance(record, Naptr):
        return f"{record.order} {record.preference} {record.flags} {record.service} {record.replacement}"
    return record


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
