"""Tells when an event loop stands still, and where (FAULTS 56): a handler that blocks keeps everybody waiting.

A thread asks the loop now and then whether it runs.  Knows no SIP, and ends
nothing: `serving` replaces a worker that says nothing for long.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time

logger = logging.getLogger("sipcore.watchdog")


_shared: dict[asyncio.AbstractEventLoop, Watchdog] = {}


def share(loop: asyncio.AbstractEventLoop, patience: float) -> Watchdog:
    """The watchdog of `loop`, which all stacks on it share; the first one says how patient it is."""
    watchdog = _shared.get(loop)
    if watchdog is None:
        watchdog = _shared[loop] = Watchdog(loop, patience)
    else:
        watchdog.holders += 1
    return watchdog


class Watchdog:
    """Watches the loop of the thread that makes it; logged once when it starts to stand still, and when it goes on.

    `patience`: seconds that it may take for an answer, and between two questions.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self._loop = loop
        self._patience = patience
        self._watched = threading.get_ident()
        self._closed = threading.Event()
        self.holders = 1
        threading.Thread(target=self._watch, name="sipcore watchdog", daemon=True).start()

    def close(self) -> None:
        """Watch no more, unless others who share it want it; to be called once by each."""
        self.holders -= 1
        if not self.holders:
            self._closed.set()
            self._forget()

    def _forget(self) -> None:
        if _shared.get(self._loop) is self:
            del _shared[self._loop]

    def _watch(self) -> None:
        while not self._closed.wait(self._patience):
            answered, asked = threading.Event(), time.monotonic()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                self._forget()
                return
            if not answered.wait(self._patience) and self._stands_still():
                self._tell(answered, asked)

    def _stands_still(self) -> bool:
        """Whether it is the loop's turn to answer: nobody waits for one that is not run."""
        return self._loop.is_running() and not self._closed.is_set()

    def _tell(self, answered: threading.Event, asked: float) -> None:
        from traceback import format_stack  # noqa: PLC0415 - only where there is something to tell

        frame = sys._current_frames().get(self._watched)
        where = "".join(format_stack(frame)) if frame is not None else "in a thread that has ended"
        logger.error("the event loop has stood still for %.1f s:\n%s", time.monotonic() - asked, where)
        while not answered.wait(self._patience):
            if not self._stands_still():
                return
        logger.error("the event loop stood still for %.1f s and goes on", time.monotonic() - asked)
