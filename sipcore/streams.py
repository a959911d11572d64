"""One stream connection as engine and owner see it: bounded writes, deadlines, one end.

Real sockets (`sockets`) and simulated ones (`simnet`) are subclasses that carry
octets; what is the same for both lives here.  Who is connected, and within which
limits, is kept by the engine's table.  Knows nothing of sockets and of SIP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from sipcore.env import Driver, StreamLimits

logger = logging.getLogger("sipcore.streams")

OnLost = Callable[[int, str], None]

NO_SIP = "the far side sent what is no SIP"
CLOSED_THERE = "closed by the far side"
CLOSED_HERE = "closed here"


class Framing:
    """How messages lie in the octets of a connection where RFC 3261 section 18.3 does not say so (RFC 7118)."""

    __slots__ = ()

    def received(self, data: bytes) -> None:
        """A chunk came in; whole messages go to the connection's `take`."""
        raise NotImplementedError

    def frame(self, message: bytes) -> bytes:
        """The octets that one message goes out as."""
        raise NotImplementedError

    def farewell(self, reason: str, *, abort: bool) -> bytes:
        """What the far side is told before this side closes; b"": nothing."""
        raise NotImplementedError

    def lost(self, reason: str) -> None:
        """The connection has ended."""


class StreamConnection:
    """Between one transport connection and the engine; the engine's `StreamWriter`.

    `flow` is 0 before `opened` and stays what it was after the end; `reason`
    is "" while the connection lives; `proved` are the names that the far side's
    certificate proved, `framing` is how messages lie in what it carries (None: the
    engine finds them).
    """

    __slots__ = ("_deadlines", "_driver", "_limits", "_on_lost", "flow", "framing", "proved", "reason")

    def __init__(self, driver: Driver, limits: StreamLimits, on_lost: OnLost | None) -> None:
        self.flow = 0
        self.reason = ""
        self.proved: tuple[str, ...] = ()
        self.framing: Framing | None = None
        self._driver = driver
        self._limits = limits
        self._on_lost = on_lost
        self._deadlines: dict[str, int] | None = None

    # what a subclass carries out

    def _carry(self, octets: bytes) -> None:
        raise NotImplementedError

    def _waiting(self) -> int:
        """Octets written and not yet taken by the far side."""
        raise NotImplementedError

    def _shut(self, *, abort: bool) -> None:
        """Close the transport: after what is queued, or (abort) at once."""
        raise NotImplementedError

    # what the transport reports

    def received(self, data: bytes) -> None:
        """A chunk came in: one batch."""
        if self.reason:
            return
        if self.framing is not None:
            self.framing.received(data)
            return
        driver = self._driver
        keep = False
        try:
            keep = driver.engine.receive_stream(data, self.flow, driver.now())
        finally:
            driver.after_batch()
            self._after(keep=keep)

    def take(self, messages: list[bytes]) -> None:
        """The framing found these whole: one batch."""
        driver = self._driver
        keep = False
        try:
            keep = driver.engine.receive_messages(messages, self.flow, driver.now())
        finally:
            driver.after_batch()
            if not keep:
                self.end(NO_SIP, abort=False)

    def _after(self, *, keep: bool) -> None:
        if self.reason:
            return
        if not keep:
            self.end(NO_SIP, abort=False)
        else:
            # READ_WHOLE, READ_PART or READ_NEXT, which are in this order; this room does without the engine's.
            pending = self._driver.engine.stream_pending(self.flow)
            self.note_part(is_part=pending != 0, is_next=pending > 1)

    def note_part(self, *, is_part: bool, is_next: bool = False) -> None:
        """Whether a message has begun and not ended, which it has to in time (FAULTS 11); `is_next`: one ended."""
        if is_next or not is_part:
            self._clear("message")
        if is_part:
            self._message_begun()

    def end(self, reason: str, *, abort: bool = True) -> None:
        """End the connection from here; the engine and the owner hear of it at once, and once."""
        if self.reason:
            return
        farewell = b"" if self.framing is None else self.framing.farewell(reason, abort=abort)
        self.lost(reason)
        if farewell and not self._waiting():
            self._carry(farewell)
        self._shut(abort=abort)

    def lost(self, reason: str) -> None:
        """The connection has ended: its transactions fail (SPEC C6), its owner is told."""
        if self.reason:
            return
        self.reason = reason or "closed"
        for name in tuple(self._deadlines or ()):
            self._clear(name)
        if self.flow:
            self._driver.engine.remove_connection(self.flow, self.reason, self._driver.now())
            self._driver.after_batch()
        if self.framing is not None:
            self.framing.lost(self.reason)
            self.framing = None
        if self._on_lost is not None:
            self._on_lost(self.flow, self.reason)

    def stalled(self) -> None:
        """The far side takes nothing for the moment (FAULTS 14)."""
        if not self.reason and not self._is_set("stall"):
            self._set("stall", self._limits.stall_timeout, "it takes nothing any more")

    def drained(self) -> None:
        """The far side takes octets again."""
        self._clear("stall")

    # the engine's StreamWriter

    def write(self, octets: bytes) -> bool:
        """Queue octets; False when the connection ended or its queue is full, which ends it soon (FAULTS 14)."""
        if self.reason:
            return False
        if self._waiting() + len(octets) > self._limits.write_queue:
            return False
        self._carry(octets)
        return True

    def write_messages(self, messages: list[bytes]) -> bool:
        """`write` for messages whose bounds are kept: one write for all that leave together."""
        framing = self.framing
        return framing is not None and self.write(b"".join([framing.frame(message) for message in messages]))

    def close(self) -> None:
        """The engine wants the connection closed: it takes no more."""
        self._set("close", 0.0, "its write queue is full")

    def hear(self, on_lost: OnLost | None) -> None:
        """From now on `on_lost` hears of the end."""
        self._on_lost = on_lost

    # deadlines, in the engine's wheel

    def await_handshake(self) -> None:
        """End the connection unless `shook_hands` comes in time (FAULTS 11, 16)."""
        if not self._is_set("handshake"):
            self._set("handshake", self._limits.connect_timeout, "the handshake took too long")

    def shook_hands(self) -> None:
        """It stands."""
        self._clear("handshake")

    def watch_idle(self) -> None:
        """Close an accepted connection on which no message comes (FAULTS 12)."""
        if self._limits.idle_timeout:
            self._start("idle", self._limits.idle_timeout, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        """The deadline is not moved with each message: when it comes, what is left of it runs on."""
        idle_since = self._driver.engine.connection_used(self.flow)
        left = idle_since + self._limits.idle_timeout - self._driver.now()
        if left > 0:
            self._start("idle", left, self._look_whether_idle)
        else:
            self.end("nothing came for a long time", abort=False)

    def _message_begun(self) -> None:
        if not self._is_set("message"):
            self._set("message", self._limits.message_timeout, "a message was begun and not ended")

    def _is_set(self, name: str) -> bool:
        return self._deadlines is not None and name in self._deadlines

    def _set(self, name: str, seconds: float, reason: str) -> None:
        self._start(name, seconds, lambda: self.end(reason))

    def _start(self, name: str, seconds: float, at_end: Callable[[], None]) -> None:
        self._clear(name)

        def expired() -> None:
            if self._deadlines is not None:
                self._deadlines.pop(name, None)
            at_end()

        if self._deadlines is None:
            self._deadlines = {}
        self._deadlines[name] = self._driver.engine.start_timer(self._driver.now() + seconds, expired)

    def _clear(self, name: str) -> None:
        if self._deadlines is None:
            return
        timer = self._deadlines.pop(name, None)
        if timer is not None:
            self._driver.engine.cancel_timer(timer)
        if not self._deadlines:
            self._deadlines = None


def admits(driver: Driver, remote_host: str, limits: StreamLimits) -> bool:
    """Whether one more connection from `remote_host` may be accepted (FAULTS 12); an idle one may end for it."""
    engine = driver.engine
    admitted, idlest = engine.admit_connection(
        remote_host,
        driver.now() - limits.spare_idle,
        in_all=limits.connections,
        per_address=limits.connections_per_address,
    )
    if idlest:
        engine.connection(idlest).end("idle, and another one needs its place", abort=False)
    return admitted


def end_one(driver: Driver, flow: int, reason: str) -> None:
    """End a connection by its flow, if it lives."""
    connection = driver.engine.connection(flow)
    if isinstance(connection, StreamConnection):
        connection.end(reason, abort=False)


def end_all(driver: Driver, locals: Collection[int] | None) -> None:
    """End the connections that speak for one of `locals`, or for any."""
    for connection in driver.engine.connections(locals):
        if isinstance(connection, StreamConnection):
            connection.end(CLOSED_HERE, abort=False)
