"""Runs the application's handlers of requests: what they raise, and how long they may take (FAULTS 56).

Knows requests and tasks; which handler a request is for is decided by the user
agent and its calls.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sipcore import uas
from sipcore._message import Request
from sipcore.machines import State

if TYPE_CHECKING:
    from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.stack")

Handler = Callable[[Request], Any]

ANSWER_WITHIN = 30.0  # seconds; the client of a non-INVITE request gives up after 64*T1 (RFC 3261 section 17.1.2.2)
UNANSWERED = (State.TRYING, State.PROCEEDING)


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine: an `async def`, or an object that is called with one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def run_handler(user_agent: UserAgent, handler: Handler, request: Request) -> None:
    """Call a handler; what it leaves to be awaited becomes a task."""
    result = handler(request)
    if result is not None:
        await_result(user_agent, result, request)


def await_result(user_agent: UserAgent, result: Any, request: Request) -> None:
    """Run what a handler returned as a task; anything but an awaitable is of no interest.

    A CANCEL cancels the task of an INVITE.  Any other request whose task has not answered within ANSWER_WITHIN is
    answered 500 and its task cancelled: from then on nothing could be said any more (RFC 4320 section 4.2).
    """
    if not inspect.isawaitable(result):
        return
    task = user_agent.start_task(_run(result, request))
    task.add_done_callback(lambda task: _conclude(task, result, request))
    if task.done():
        return
    transaction = request.transaction
    if request.method == "INVITE":
        user_agent.pend(transaction, task)
        task.add_done_callback(lambda _: user_agent.unpend(transaction))
    elif transaction:
        _limit(user_agent, task, request)


async def _run(result: Awaitable[Any], request: Request) -> None:
    """What a handler raises becomes a 500."""
    try:
        await result
    except Exception:
        logger.exception("the handler of %s failed", request.method)
        uas.reply_quietly(request, 500)


def _conclude(task: asyncio.Task[Any], result: Awaitable[Any], request: Request) -> None:
    """What was cancelled is answered 487 or 503, also where the CANCEL came before the task had begun."""
    if not task.cancelled():
        return
    if inspect.iscoroutine(result):
        result.close()
    if request.transaction:  # without one, nobody knows whether it was answered before
        uas.reply_quietly(request, 487 if request.method == "INVITE" else 503)


def _limit(user_agent: UserAgent, task: asyncio.Task[Any], request: Request) -> None:
    engine = user_agent.engine

    def out_of_time() -> None:
        if engine.server_transactions.state(request.transaction) in UNANSWERED:
            logger.error("the handler of %s has not answered within %.0f s", request.method, ANSWER_WITHIN)
            uas.reply_quietly(request, 500)
            task.cancel()

    timer = engine.start_timer(user_agent.driver.now() + ANSWER_WITHIN, out_of_time)
    task.add_done_callback(lambda _: engine.cancel_timer(timer))
