"""Several targets for one call: one after the other, or all at once (RFC 3261 section 16.7 says whose refusal counts).

Knows calls, nothing below them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sipcore.call import OutgoingCall
from sipcore.errors import CallCancelled, CallError, CallRejected, UsageError

Dial = Callable[[str], OutgoingCall]


async def hunt(dial: Dial, uris: Sequence[str], *, parallel: bool) -> OutgoingCall:
    """The first of `uris` that answers; every other call is cancelled, or hung up if it answered too.

    Raises the refusal that counts most when nobody answers.  A 6xx ends the hunt.
    """
    if not uris:
        raise UsageError("a hunt needs a target")
    return await (_all_at_once if parallel else _one_by_one)(dial, uris)


async def _one_by_one(dial: Dial, uris: Sequence[str]) -> OutgoingCall:
    errors: list[CallError] = []
    for uri in uris:
        call = dial(uri)
        try:
            return await call.answered()
        except CallCancelled:
            raise
        except CallError as error:
            errors.append(error)
            if _is_global(error):
                break
        finally:
            if not call.is_up:
                call.hang_up()
    raise _best(errors)


async def _all_at_once(dial: Dial, uris: Sequence[str]) -> OutgoingCall:
    calls = [dial(uri) for uri in uris]
    waiting = {asyncio.ensure_future(call.answered()) for call in calls}
    winner: OutgoingCall | None = None
    errors: list[CallError] = []
    try:
        while waiting and winner is None and not any(map(_is_global, errors)):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if isinstance(error, CallError):
                    errors.append(error)
                elif error is not None:
                    raise error
                else:
                    winner = winner or task.result()
    finally:
        for call in calls:
            if call is not winner:
                call.hang_up()
        await asyncio.gather(*waiting, return_exceptions=True)
    if winner is None:
        raise _best(errors)
    return winner


def _is_global(error: CallError) -> bool:
    return error.response is not None and error.response.status_code >= 600


def _best(errors: Sequence[CallError]) -> CallError:
    """RFC 3261 section 16.7 step 6: a 6xx, else the lowest class; no answer at all counts as 408."""

    def rank(error: CallError) -> int:
        status_code = error.response.status_code if error.response is not None else 408
        return 0 if status_code >= 600 else status_code // 100

    best = min(errors, key=rank, default=CallRejected("nobody was called"))
    return type(best)(best.reason, response=best.response)
