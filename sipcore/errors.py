"""Every exception that sipcore raises, in one family.

The compiled rooms work with fault codes; the codes become these exceptions at
the door.  No instance is ever shared or raised twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sipcore._message import Response


class SipError(Exception):
    """The root of every exception that sipcore raises on its own account."""


class ParseError(SipError, ValueError):
    """Octets that are not what the grammar asks for.

    `at` is the offset in the parsed octets (or text) where reading stopped;
    `status_hint` is the status code a server would answer with (400, 413, 505,
    513, ...).
    """

    def __init__(self, reason: str, *, at: int = 0, status_hint: int = 400) -> None:
        super().__init__(reason, at, status_hint)
        self.reason = reason
        self.at = at
        self.status_hint = status_hint

    def __str__(self) -> str:
        return f"{self.reason} (at octet {self.at})"


class UsageError(SipError):
    """The caller asked for something that cannot be done: wrong state, wrong argument, re-entered engine."""


class ConfigError(SipError, ValueError):
    """A configuration that cannot be run; says file, line and key, and what was expected there."""

    def __init__(self, reason: str, *, file: str, line: int, key: str) -> None:
        super().__init__(reason, file, line, key)
        self.reason = reason
        self.file = file
        self.line = line
        self.key = key

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.reason}"


class TransactionTimeout(SipError, TimeoutError):
    """Timer B, F or H fired: no final response, or no ACK, within 64*T1 (RFC 3261 section 17).

    `status_code` is what it counts as (RFC 3261 section 8.1.3.1).
    """

    status_code = 408


class TransportError(SipError, OSError):
    """The transport could not carry a message: refused, reset, unreachable, queue full, or never connected.

    `status_code` is what it counts as (RFC 3261 section 8.1.3.1).
    """

    status_code = 503


class LocateError(SipError):
    """No address for a name: not found, or no answer (SPEC D2, D6; registration code 901).

    `rule` names the rule that ended the search ("SPEC D2.3"); `asked` is filled
    by whoever drove the search: the answers and failures met on the way.
    """

    def __init__(self, name: str, *, why: str, rule: str = "SPEC D2") -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why
        self.rule = rule
        self.asked: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


class CallError(SipError):
    """A call that did not come about; `response` is the final response behind it, if there was one."""

    def __init__(self, reason: str, *, response: Response | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


class CallBusy(CallError):
    """486 Busy Here or 600 Busy Everywhere."""


class CallRejected(CallError):
    """Any other final response that is not a 2xx."""


class CallTimeout(CallError, TimeoutError):
    """Nobody answered in time: no final response, 408 or 487 after our own time limit."""


class CallCancelled(CallError):
    """The call was cancelled before it was answered, from here or there."""
