"""A decision and the reason for it (SPEC D9): what the log, `sipcore explain` and the tests read.

This room decides nothing itself and knows no clock: whoever decides says when.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sipcore.policy.questions import Answer, Failure

RING_SIZE = 64


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one request goes, or why it goes nowhere, or when it is tried again.

    `at` and `next_attempt` are monotonic seconds; `subject` is what was decided
    about ("REGISTER sip:example.com"); `rule` is the rule that chose ("SPEC C1") and
    `why` its reason in words; `located` and `located_rule` say the same of the address
    that the next hop's name led to ("SPEC D2.1"); `questions` what DNS was asked and
    said, in order; `address` is empty when nothing was found; `bypassed` says which
    next hop was passed over and by which rule (SPEC C8), `not_bypassed` why a bypass
    that is configured does not count; `others` where it would go next (SPEC D8); `host_name`
    the name that the address is of, empty where that is the next hop's own; `notes`
    what else there is to know.
    """

    at: float
    subject: str
    why: str
    rule: str
    located: str = ""
    located_rule: str = ""
    questions: tuple[Answer | Failure, ...] = ()
    address: str = ""
    port: int = 0
    transport: str = ""
    connection: str = ""
    bypassed: str = ""
    not_bypassed: str = ""
    others: tuple[str, ...] = ()
    host_name: str = ""
    notes: tuple[str, ...] = ()
    next_attempt: float | None = None

    @property
    def whole_why(self) -> str:
        """Both reasons: of the next hop, and of its address."""
        return "; ".join(filter(None, (self.why, self.located)))

    @property
    def whole_rule(self) -> str:
        """Both rules."""
        return "; ".join(filter(None, (self.rule, self.located_rule)))

    def destination(self) -> str:
        """ "192.0.2.10:5060 udp", "[2001:db8::1]:5060 tcp", or "nowhere"."""
        if not self.address:
            return "nowhere"
        return f"{format_host_port(self.address, self.port)} {self.transport}".rstrip()

    def __str__(self) -> str:
        line = f"{self.subject} -> {self.destination()}: {self.whole_why} ({self.whole_rule})"
        if self.next_attempt is None:
            return line
        return f"{line}; next attempt in {max(0.0, self.next_attempt - self.at):.1f}s"

    def lines(self) -> list[str]:
        """The whole explanation, an answer to "why did it go there?", without trailing newlines."""
        named = f"  ({self.host_name})" if self.host_name else ""
        lines = [f"{self.subject}", f"  goes to     {self.destination()}{named}"]
        lines += [f"  or, failing {other}" for other in self.others]
        if self.connection:
            lines.append(f"  connection  {self.connection}")
        if self.located:
            lines.append(f"  next hop    {self.why} ({self.rule})")
            lines.append(f"  address     {self.located} ({self.located_rule})")
        else:
            lines.append(f"  because     {self.why} ({self.rule})")
        if self.bypassed:
            lines.append(f"  passed over {self.bypassed}")
        if self.not_bypassed:
            lines.append(f"  no bypass   {self.not_bypassed}")
        lines += [f"  note        {note}" for note in self.notes]
        lines.extend(question_lines(self.questions))
        if self.next_attempt is not None:
            lines.append(f"  again       in {max(0.0, self.next_attempt - self.at):.1f}s")
        return lines

    def as_dict(self) -> dict[str, object]:
        """The same for `--json`: plain values only; `questions` as readable strings."""
        return {
            "at": self.at,
            "subject": self.subject,
            "why": self.whole_why,
            "rule": self.whole_rule,
            "questions": [str(question) for question in self.questions],
            "address": self.address,
            "port": self.port,
            "transport": self.transport,
            "connection": self.connection,
            "bypassed": self.bypassed,
            "not_bypassed": self.not_bypassed,
            "others": list(self.others),
            "host_name": self.host_name,
            "notes": list(self.notes),
            "next_attempt": self.next_attempt,
        }


def question_lines(questions: Sequence[object]) -> list[str]:
    """What DNS was asked and said, a line each, for people."""
    if not questions:
        return ["  asked DNS   nothing"]
    labels = ["  asked DNS   ", *["              "] * (len(questions) - 1)]
    return [f"{label}{question}" for label, question in zip(labels, questions, strict=True)]


def format_host_port(host: str, port: int | None) -> str:
    """Join host and port as a sent-by does: an IPv6 address stands in brackets, no port prints nothing."""
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return shown if port is None else f"{shown}:{port}"


def format_seconds(interval: float) -> str:
    """ "34s": rounded up, never below 0."""
    return f"{max(0, math.ceil(interval))}s"


class DecisionRing:
    """The last decisions and notes of one service, oldest first; the oldest falls out when it is full (SPEC D9)."""

    __slots__ = ("_decisions", "count")

    def __init__(self, maxlen: int = RING_SIZE) -> None:
        self._decisions: deque[Decision | str] = deque(maxlen=maxlen)
        self.count = 0

    def append(self, decision: Decision | str) -> None:
        """Keep `decision`; `count` counts all that were ever kept."""
        self._decisions.append(decision)
        self.count += 1

    @property
    def latest(self) -> Decision | str | None:
        return self._decisions[-1] if self._decisions else None

    def __iter__(self) -> Iterator[Decision | str]:
        return iter(tuple(self._decisions))

    def __len__(self) -> int:
        return len(self._decisions)
