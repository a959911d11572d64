"""Joins one engine to one event loop: flushes after each batch, keeps one loop timer behind the engine's wheel.

It knows when to call the engine, not what the engine does; no socket, no SIP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sipcore._engine import Engine
from sipcore.env import Env
from sipcore.limits import Limits

logger = logging.getLogger("sipcore.driver")


class LoopDriver:
    """The engine's clock and alarm on an asyncio loop (see `env.Driver`)."""

    __slots__ = ("_alarm", "_alarm_at", "_loop", "_woken", "after_flush", "closed", "engine", "now")

    def __init__(self, env: Env, limits: Limits | None = None) -> None:
        self._loop = env.loop
        self.now: Callable[[], float] = env.now
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._woken = False
        self.closed = False
        self.after_flush: list[Callable[[], None]] = []
        self.engine = Engine(key=env.key(), now=env.now(), on_wake=self._wake, clock=env.now, limits=limits)

    def after_batch(self) -> None:
        """Send what is queued; arm the timer.  A timer that became later fires once for nothing, which is
        cheaper than cancelling and starting a loop timer for each batch."""
        engine = self.engine
        if engine.in_batch:
            return
        engine.flush()
        for look in self.after_flush:
            look()
        due = engine.next_timer()
        if due is None or self.closed:
            return
        if self._alarm is not None:
            if self._alarm_at <= due:
                return
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._loop.call_at(due, self._ring)

    def close(self) -> None:
        """Stop ringing and let go of every transaction; what is queued has been sent."""
        self.engine.flush()
        self.closed = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.engine.close()

    def _wake(self) -> None:
        if not self._woken and not self.closed:
            self._woken = True
            self._loop.call_soon(self._woke)

    def _woke(self) -> None:
        self._woken = False
        if not self.closed:
            self.after_batch()

    def _ring(self) -> None:
        """The clock may stand a rounding error before the alarm; the engine would find nothing due, again and again."""
        self._alarm = None
        try:
            self.engine.handle_timers(max(self.now(), self._alarm_at))
        finally:
            self.after_batch()


def start_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *args: Any) -> None:
    """Run `callback` on `loop` from any thread; ignored once the loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        logger.debug("the loop is closed; %r is not run", callback)
