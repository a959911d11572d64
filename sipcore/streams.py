"""One stream connection as engine and owner see it: bounded writes, deadlines, one end.

Real sockets (`aio`) and simulated ones (`sim`) are subclasses that carry octets;
what is the same for both lives here.  Knows nothing of sockets and of SIP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator

from sipcore.env import Driver, StreamLimits

logger = logging.getLogger("sipcore.streams")

OnLost = Callable[[int, str], None]


class StreamConnection:
    """Between one transport connection and the engine; the engine's `StreamWriter`.

    `flow` is 0 before `opened` and stays what it was after the end; `reason`
    is "" while the connection lives.
    """

    def __init__(self, driver: Driver, limits: StreamLimits, on_lost: OnLost | None) -> None:
        self.flow = 0
        self.local = 0
        self.reason = ""
        self.remote_host = ""
        self._driver = driver
        self._limits = limits
        self._on_lost = on_lost
        self._deadlines: dict[str, int] = {}

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

    def opened(
        self, transport: str, local: int, local_address: tuple[str, int], remote: tuple[str, int], *, accepted: bool
    ) -> int:
        """The connection stands: the engine learns of it.  Returns the flow; `accepted` if the far side opened it."""
        self.remote_host = remote[0]
        self.local = local
        self.flow = self._driver.engine.add_connection(local, transport, local_address, remote, self, accepted=accepted)
        return self.flow

    def received(self, data: bytes) -> None:
        """A chunk came in: one batch."""
        if self.reason:
            return
        driver = self._driver
        keep = False
        try:
            keep = driver.engine.receive_stream(data, self.flow, driver.now())
        finally:
            driver.after_batch()
            self._after(keep=keep)

    def _after(self, *, keep: bool) -> None:
        if self.reason:
            return
        if keep:
            self._watch_message()
        else:
            self.end("the far side sent what is no SIP", abort=False)

    def end(self, reason: str, *, abort: bool = True) -> None:
        """End the connection from here; the engine and the owner hear of it at once, and once."""
        if not self.reason:
            self.lost(reason)
            self._shut(abort=abort)

    def lost(self, reason: str) -> None:
        """The connection has ended: its transactions fail (SPEC C6), its owner is told."""
        if self.reason:
            return
        self.reason = reason or "closed"
        for name in tuple(self._deadlines):
            self._clear(name)
        if self.flow:
            self._driver.engine.remove_connection(self.flow, self.reason, self._driver.now())
            self._driver.after_batch()
        if self._on_lost is not None:
            self._on_lost(self.flow, self.reason)

    def stalled(self) -> None:
        """The far side takes nothing for the moment (FAULTS 14)."""
        if not self.reason and "stall" not in self._deadlines:
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
            self._set("stall", 0.0, "its write queue is full")
            return False
        self._carry(octets)
        return True

    def close(self) -> None:
        """The engine wants the connection closed, after what is queued."""
        self._set("close", 0.0, "closed by the engine", abort=False)

    # deadlines, in the engine's wheel

    def watch_idle(self) -> None:
        """Close an accepted connection on which no message comes (FAULTS 12)."""
        if self._limits.idle_timeout:
            self._set("idle", self._limits.idle_timeout, "nothing came for a long time")

    def _watch_message(self) -> None:
        if "idle" in self._deadlines:
            self.watch_idle()
        if self._driver.engine.stream_pending(self.flow):
            if "message" not in self._deadlines:
                self._set("message", self._limits.message_timeout, "a message was begun and not ended")
        else:
            self._clear("message")

    def _set(self, name: str, seconds: float, reason: str, *, abort: bool = True) -> None:
        self._clear(name)

        def expired() -> None:
            self._deadlines.pop(name, None)
            self.end(reason, abort=abort)

        self._deadlines[name] = self._driver.engine.start_timer(self._driver.now() + seconds, expired)

    def _clear(self, name: str) -> None:
        timer = self._deadlines.pop(name, None)
        if timer is not None:
            self._driver.engine.cancel_timer(timer)


class StreamTable:
    """The live connections of one host: closes by flow, counts by address, keeps the limits (FAULTS 12)."""

    def __init__(self) -> None:
        self._connections: dict[tuple[int, int], StreamConnection] = {}
        self._per_address: dict[str, int] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[StreamConnection]:
        return iter(tuple(self._connections.values()))

    def admits(self, remote_host: str, limits: StreamLimits) -> bool:
        """Whether one more accepted connection from `remote_host` is within the limits; counts the refusals."""
        full = len(self._connections) >= limits.connections
        if full or self._per_address.get(remote_host, 0) >= limits.connections_per_address:
            self.refused += 1
            return False
        return True

    def add(self, driver: Driver, connection: StreamConnection) -> None:
        self._connections[id(driver), connection.flow] = connection
        host = connection.remote_host
        self._per_address[host] = self._per_address.get(host, 0) + 1

    def discard(self, driver: Driver, connection: StreamConnection) -> None:
        if self._connections.pop((id(driver), connection.flow), None) is None:
            return
        left = self._per_address[connection.remote_host] - 1
        if left:
            self._per_address[connection.remote_host] = left
        else:
            del self._per_address[connection.remote_host]

    def end(self, driver: Driver, flow: int, reason: str) -> None:
        """Close one connection by its flow, if it lives."""
        connection = self._connections.get((id(driver), flow))
        if connection is not None:
            connection.end(reason, abort=False)

    def end_all(self, driver: Driver, locals: Collection[int] | None) -> None:
        """Close the connections of one driver that speak for one of `locals`, or for any."""
        for (of, _), connection in tuple(self._connections.items()):
            if of == id(driver) and (locals is None or connection.local in locals):
                connection.end("closed here", abort=False)
