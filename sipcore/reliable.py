"""Provisional responses that must arrive: RSeq, RAck and PRACK (RFC 3262), as values and one small sender.

Knows numbers and instants; sending, and what a call is, it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sipcore.errors import ParseError

if TYPE_CHECKING:
    from sipcore._engine import Engine
    from sipcore._message import Message, Request, Response

OPTION = "100rel"
T1 = 0.5  # seconds, RFC 3261 section 17.1.1.1
GIVE_UP = 64 * T1  # RFC 3262 section 3


def names_option(message: Message, header: str) -> bool:
    """Whether Supported or Require names 100rel."""
    return any(tag.strip().lower() == OPTION for tag in message.get_all(header))


def reliable_number(response: Response) -> int | None:
    """The RSeq of a provisional response that wants a PRACK; None for any other."""
    text = response.get("RSeq", "")
    if response.status_code == 100 or not text.isdecimal() or not names_option(response, "Require"):
        return None
    return int(text)


def format_rack(number: int, invite: Request) -> str:
    """The RAck value for the response `number` to `invite` (RFC 3262 section 7.2)."""
    if invite.cseq is None:
        raise ParseError("CSeq is missing")
    return f"{number} {invite.cseq.number} {invite.cseq.method}"


class InOrder:
    """The reliable responses of each early dialog, taken in order and once (RFC 3262 section 4)."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def take(self, tag: str, number: int) -> bool:
        """Whether response `number` of the dialog with remote `tag` is the next one, not repeated and not early."""
        last = self._last.get(tag)
        if last is not None and number != last + 1:
            return False
        self._last[tag] = number
        return True


class ReliableSender:
    """Repeats one provisional response, T1 doubling, until it is acknowledged or 64*T1 have passed."""

    __slots__ = ("_deadline", "_engine", "_interval", "_lost", "_now", "_send", "_timer", "rack")

    def __init__(
        self, engine: Engine, now: Callable[[], float], rack: str, send: Callable[[], None], lost: Callable[[], None]
    ) -> None:
        self.rack = rack
        self._engine = engine
        self._now = now
        self._send = send
        self._lost = lost
        self._interval = T1
        self._deadline = now() + GIVE_UP
        send()
        self._timer = engine.start_timer(now() + T1, self._repeat)

    def stop(self) -> None:
        """It was acknowledged, or the call went on without it."""
        self._engine.cancel_timer(self._timer)

    def _repeat(self) -> None:
        now = self._now()
        if now >= self._deadline:
            self._lost()
            return
        self._send()
        self._interval *= 2
        self._timer = self._engine.start_timer(min(now + self._interval, self._deadline), self._repeat)
