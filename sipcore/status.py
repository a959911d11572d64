"""The device's words for the state of a service (SPEC F1), and the record that `--json` prints of it.

Pure formatting: does not know how a service came into its state, nor any clock.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

NOT_CONFIGURED = "Service Not Configured"
NOT_REQUIRED = "Registration Not Required"
REGISTERING = "Registering"
STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class RegistrationReport:
    """What an operator sees of one registration; `candidates` is its fallback list, empty without redundancy."""

    status: str
    server: str
    connection: str
    candidates: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            "status": self.status,
            "server": self.server,
            "connection": self.connection,
            "candidates": list(self.candidates),
        }


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What an operator sees of one service.

    `server` and `port` are where its requests go now ("" and 0 while unknown),
    `expires_in` and `retry_in` whole seconds or None, `connection` the state of
    its outbound connection ("" on UDP), `candidates` the servers of redundancy in
    order, `secondary` the second registration, `warnings` what is as configured and had
    better not be, `decisions` the last reasons, newest last.
    """

    sp: int
    status: str
    registered: bool = False
    server: str = ""
    port: int = 0
    expires_in: int | None = None
    retry_in: int | None = None
    calls: int = 0
    connection: str = ""
    candidates: tuple[str, ...] = ()
    secondary: RegistrationReport | None = None
    warnings: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The object that stands in `services` of `sipcore run --json` and `sipcore demo --json`."""
        return {
            "sp": self.sp,
            "status": self.status,
            "registered": self.registered,
            "server": self.server,
            "port": self.port,
            "expires_in": self.expires_in,
            "retry_in": self.retry_in,
            "calls": self.calls,
            "connection": self.connection,
            "candidates": list(self.candidates),
            "secondary": self.secondary.as_dict() if self.secondary is not None else None,
            "warnings": list(self.warnings),
            "decisions": list(self.decisions),
        }


_COUNTDOWN = re.compile(r"\(\d+\)|\b\d+s\b")


def without_countdown(words: str) -> str:
    """A status without its running seconds: what is equal in this form is no news."""
    return _COUNTDOWN.sub("", words)


def whole_seconds(seconds: float) -> int:
    """Seconds as the device shows them: rounded up, never below 0."""
    return max(0, math.ceil(seconds))


def format_active_calls(count: int) -> str:
    """ "0 Active Calls", "1 Active Calls": the device's own spelling knows no singular."""
    return f"{count} Active Calls"


def format_unusable(reason: str, retry_in: float) -> str:
    """A service whose own port or address is not to be had: one line, and when it tries again."""
    return f"Not Started: {reason} (retry in {whole_seconds(retry_in)}s)"
