"""What one worker process does: a loop, a stack, the application around it, until the supervisor says that it is over.

Knows the order of a worker's life; who starts it and why is `serving`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sipcore import aio
from sipcore.stack import Stack
from sipcore.workers import Place, Workers, take_place

logger = logging.getLogger("sipcore.workers")

Application = Callable[[Stack], Any]
RETIRED_LOOK = 0.5  # seconds between two looks whether all has ended


def run_worker(application: Application, place: Place) -> int:
    """Be the worker of `place` until told to end; the exit code.  What the application raises is raised."""
    take_place(place)
    _name_log_records(place.number)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"sip-worker-{place.number}")  # what ps and top show
    aio.run(_work(application, place))
    return 0


def _name_log_records(number: int) -> None:
    """Let `%(processName)s` and the text of each log record say which worker wrote it."""
    former = logging.getLogRecordFactory()

    def named(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = former(*args, **kwargs)
        record.processName = f"worker-{number}"
        record.msg = f"[worker {number}] {record.msg}"
        return record

    logging.setLogRecordFactory(named)


async def _work(application: Application, place: Place) -> None:
    workers = Workers(place, asyncio.get_running_loop())
    stack = Stack(workers=workers)
    workers.on_begin = stack.resume
    try:
        async with _running(application, stack):
            workers.say({"say": "ready"})
            if not workers.is_held:
                workers.begin()
            await _until_over(workers, stack)
            workers.say_report()  # in case that what follows is cut short
            await stack.close(timeout=workers.stopping.result() if workers.stopping.done() else 0.0)
            workers.say_report()
    finally:
        workers.detach()
        await stack.close(timeout=0.0)


@asynccontextmanager
async def _running(application: Application, stack: Stack) -> AsyncIterator[None]:
    """The application set up; after a `yield` of its own it clears away."""
    begun = application(stack)
    if inspect.isasyncgen(begun):
        await anext(begun)
        try:
            yield
        finally:
            await anext(begun, None)
        return
    if inspect.isawaitable(begun):
        await begun
    yield


async def _until_over(workers: Workers, stack: Stack) -> None:
    """Return when the worker is to end: it is told so, the application closed the stack, or it retired and is idle."""
    closed = asyncio.ensure_future(stack.wait_closed())
    try:
        over: set[asyncio.Future[Any]] = {closed, workers.stopping, workers.retiring}
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        if closed.done() or workers.stopping.done():
            return
        stack.pause()
        workers.say({"say": "done"})
        while not _is_idle(stack) and not workers.stopping.done():
            await asyncio.wait({workers.stopping}, timeout=RETIRED_LOOK)
    finally:
        closed.cancel()


def _is_idle(stack: Stack) -> bool:
    """Whether nothing that was begun goes on: no call, no task, no transaction that might be asked for again."""
    stats = stack.engine.stats()
    return not (stats["server_transactions"] or stats["client_transactions"]) and all(
        user_agent.is_idle for user_agent in stack.user_agents
    )
