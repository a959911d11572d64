"""Keep-alives on stream connections that requests share (RFC 5626 section 4.4.1): CRLFCRLF out, CRLF back in time.

On WebSocket they are its own pings and pongs (RFC 7118 section 6).  When a
registration's path is kept open, and by what, is the business of
`policy.keepalive`; here it is asked for flow by flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipcore.errors import TransportError, UsageError

if TYPE_CHECKING:
    from sipcore.user_agent import UserAgent

PING = b"\r\n\r\n"
PONG_SECONDS = 10.0
SHORTEST = 0.8  # of the interval, from which the next ping is drawn evenly


class Pinger:
    """Pings flows of one user agent; a far side that does not answer within 10 s loses its connection."""

    def __init__(self, user_agent: UserAgent) -> None:
        self._user_agent = user_agent
        self._timers: dict[int, int] = {}
        self._intervals: dict[int, float] = {}
        self._waiting: set[int] = set()

    def keep(self, flow: int, seconds: float) -> None:
        """Ping `flow` at least every `seconds` from now on, until it ends; 0: no more.  UsageError for UDP."""
        if self._user_agent.engine.flow_info(flow)[0] == "udp":
            raise UsageError("keep-alives of UDP are STUN requests (RFC 5626 section 4.4.2); this is no stream")
        self._forget(flow)
        if seconds > 0:
            self._intervals[flow] = seconds
            self._next(flow)

    def on_pong(self, flow: int) -> None:
        """A CRLF came on `flow`."""
        if flow in self._waiting:
            self._waiting.discard(flow)
            self._next(flow)

    def _next(self, flow: int) -> None:
        draw = self._user_agent.env.random.uniform(SHORTEST, 1.0)
        self._start(flow, self._intervals[flow] * draw)

    def _start(self, flow: int, seconds: float) -> None:
        engine = self._user_agent.engine
        if flow in self._timers:
            engine.cancel_timer(self._timers[flow])
        self._timers[flow] = engine.start_timer(self._user_agent.env.now() + seconds, lambda: self._due(flow))

    def _due(self, flow: int) -> None:
        del self._timers[flow]
        if flow in self._waiting:
            self._forget(flow)
            self._user_agent.disconnect(flow, "no answer to a keep-alive")
            return
        try:
            self._user_agent.engine.send(PING, flow)
        except TransportError:  # it has ended
            self._forget(flow)
            return
        self._waiting.add(flow)
        self._start(flow, PONG_SECONDS)

    def _forget(self, flow: int) -> None:
        self._waiting.discard(flow)
        self._intervals.pop(flow, None)
        if (timer := self._timers.pop(flow, 0)) != 0:
            self._user_agent.engine.cancel_timer(timer)
