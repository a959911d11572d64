"""Keeping a path open between requests (SPEC B15).

A plan from the configuration, and a small machine that says when to send what.
How the octets get there is told to it only as far as it matters: whether the
path is a stream, and whether its far end promised to answer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sipcore.policy.actions import CancelTimer, StartTimer
from sipcore.policy.settings import Server, Service

PONG_SECONDS = 10.0
LEAST_INTERVAL = 1.0  # seconds, whatever the far end asks for
OCTETS = ("keep-alive", "empty", "stun")  # the kinds that are no SIP message
STREAMS = ("tcp", "tls")
DOUBLE_CRLF = b"\r\n\r\n"
KEEP_ALIVE, PONG = "keep-alive", "pong"
STUN_COOKIE = bytes.fromhex("2112a442")


@dataclass(frozen=True, slots=True)
class KeepAlivePlan:
    """What is sent every `interval` seconds.

    `kind` is "keep-alive", "empty", "stun", "options" or "custom"; `server` is where
    the first three go, None for where REGISTER goes; the other two go by SPEC C1.
    """

    kind: str
    interval: float
    server: Server | None = None
    custom_message: str = ""


@dataclass(frozen=True, slots=True)
class SendOctets:
    """Send these octets, no SIP message, to `server` (None: where REGISTER goes)."""

    octets: bytes
    server: Server | None


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Send an OPTIONS by the ordinary next hop; its answer is of no interest."""


@dataclass(frozen=True, slots=True)
class SendCustom:
    """Send this message once by the ordinary next hop, not retransmitted, answers ignored."""

    message: str


@dataclass(frozen=True, slots=True)
class ClosePath:
    """The far end promised to answer and did not: the connection is dead."""

    why: str


Action = SendOctets | SendOptions | SendCustom | ClosePath | StartTimer | CancelTimer


def plan_keep_alive(service: Service) -> KeepAlivePlan | None:
    """The plan of a configured service; None when it wants none."""
    if not service.keep_alive_enable:
        return None
    kind = service.keep_alive_message_type
    own_server = kind in OCTETS and bool(service.keep_alive_server)
    server = Server(service.keep_alive_server, service.keep_alive_server_port, "udp") if own_server else None
    return KeepAlivePlan(kind, float(service.keep_alive_expires), server, service.keep_alive_custom_message)


def offers_keep(service: Service, transport: str) -> bool:
    """Whether REGISTER offers keep-alives in its Via (RFC 6223 section 4.2).

    Only those that its next hop answers: CRLF on a stream, STUN with datagrams.
    """
    plan = plan_keep_alive(service)
    if plan is None:
        return False
    return plan.kind in OCTETS if transport in STREAMS else plan.kind == "stun" and plan.server is None


class KeepAlive:
    """Sends by its plan.  On a stream a double CRLF stands for the plan's octets (RFC 5626 section 3.5.1).

    `negotiated` says that outbound or keep (RFC 6223) was agreed on this path.
    """

    def __init__(self, plan: KeepAlivePlan, *, stream: bool, random: random.Random) -> None:
        self.plan = plan
        self.stream = stream
        self.negotiated = False
        self._agreed = 0
        self._interval = plan.interval
        self._pong_seen = False
        self._waiting = False
        self._random = random

    def on_start(self, now: float) -> list[Action]:
        """The path is there: a new connection, or a bound socket."""
        self._pong_seen = self._waiting = self.negotiated = False
        self._interval = self.plan.interval
        return [StartTimer(KEEP_ALIVE, now + self._interval)]

    def on_agreed(self, now: float, seconds: int) -> list[Action]:
        """Outbound or keep was agreed on; `seconds` is the most that the far end wants between two, 0: any number.

        80 to 100 % of it are kept to, where the plan is slower (RFC 5626 section 4.4.1, RFC 6223 section 4.3).
        """
        if self.negotiated and seconds == self._agreed:
            return []
        self.negotiated, self._agreed = True, seconds
        slowest = self._random.uniform(0.8, 1.0) * seconds if seconds else self.plan.interval
        before, self._interval = self._interval, min(self.plan.interval, max(slowest, LEAST_INTERVAL))
        return [StartTimer(KEEP_ALIVE, now + self._interval)] if self._interval < before else []

    def on_stop(self) -> list[Action]:
        """The path is gone."""
        self._waiting = False
        return [CancelTimer(KEEP_ALIVE), CancelTimer(PONG)]

    def on_pong(self) -> list[Action]:
        """A single CRLF came on the stream: from now on its absence means something."""
        self._pong_seen, self._waiting = True, False
        return [CancelTimer(PONG)]

    def on_timer(self, now: float, name: str) -> list[Action]:
        """A timer of this machine fired."""
        if name == PONG:
            return self._miss_pong()
        return [*self._send(now), StartTimer(KEEP_ALIVE, now + self._interval)]

    def _miss_pong(self) -> list[Action]:
        if not self._waiting:
            return []
        self._waiting = False
        return [CancelTimer(KEEP_ALIVE), ClosePath(f"no pong within {PONG_SECONDS:.0f}s")]

    def _send(self, now: float) -> list[Action]:
        if self.plan.kind == "options":
            return [SendOptions()]
        if self.plan.kind == "custom":
            return [SendCustom(self.plan.custom_message)]
        if not self.stream:
            return [SendOctets(self._datagram(), self.plan.server)]
        sent: list[Action] = [SendOctets(DOUBLE_CRLF, None)]
        if (self.negotiated or self._pong_seen) and not self._waiting:
            self._waiting = True
            sent.append(StartTimer(PONG, now + PONG_SECONDS))
        return sent

    def _datagram(self) -> bytes:
        """The octets of one keep-alive; a STUN Binding request has a transaction id of its own (RFC 5389 section 6)."""
        if self.plan.kind == "stun":
            return bytes.fromhex("00010000") + STUN_COOKIE + self._random.randbytes(12)
        return b"" if self.plan.kind == "empty" else b"keep-alive"
