"""Several targets for one call (RFC 3261 section 16.7)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kit import ANSWER, CLIENT, SDP, stack_at

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.errors import CallBusy, CallError, CallRejected, CallTimeout, UsageError
from sipcore.sim import SimNetwork

# What the called sides do: reject with a code, or answer after so many seconds (0.5), or never (None).
Behaviour = int | float | None


def hunted(*behaviours: Behaviour, parallel: bool) -> tuple[Any, list[str]]:
    """Who answered (or the error), and what each called side saw in the end."""

    async def main(network: SimNetwork) -> tuple[Any, list[str]]:
        client = await stack_at(network, CLIENT)
        stacks, seen = [], ["nothing"] * len(behaviours)
        for number, behaviour in enumerate(behaviours):
            stack = await stack_at(network, f"192.0.2.{10 + number}")
            stack.on_invite(callee(behaviour, number, seen))
            stacks.append(stack)
        uris = [f"sip:bob@192.0.2.{10 + number}" for number in range(len(behaviours))]
        outcome: Any
        try:
            call = await client.ua.hunt(uris, parallel=parallel, body=SDP, timeout=5)
            outcome = str(call.transaction.request.request_uri) if call.transaction.request else ""
            await asyncio.sleep(2)
            assert call.is_up
            await call.bye()
        except CallError as error:
            outcome = error
        await asyncio.sleep(2)
        assert not client.ua.calls
        await asyncio.gather(client.close(), *(stack.close() for stack in stacks))
        return outcome, seen

    return sim.run(main)


def callee(behaviour: Behaviour, number: int, seen: list[str]) -> Any:
    async def handler(call: IncomingCall) -> None:
        seen[number] = "rang"
        await call.progress(180)
        try:
            if isinstance(behaviour, int):
                await call.reject(behaviour)
                return
            await asyncio.sleep(3_600 if behaviour is None else behaviour)
        except asyncio.CancelledError:
            seen[number] = "cancelled"
            raise
        seen[number] = "answered"
        await call.answer(ANSWER)
        await call.ended()

    return handler


def test_one_after_the_other_until_one_answers() -> None:
    outcome, seen = hunted(486, None, 0.5, 0.5, parallel=False)
    assert outcome == "sip:bob@192.0.2.12"
    assert seen == ["rang", "cancelled", "answered", "nothing"]


def test_all_at_once_the_quickest_wins_and_the_others_are_cancelled() -> None:
    outcome, seen = hunted(486, None, 1.5, 0.5, parallel=True)
    assert outcome == "sip:bob@192.0.2.13"
    assert seen == ["rang", "cancelled", "cancelled", "answered"]


def test_two_that_answer_at_once_leave_one_call() -> None:
    outcome, _ = hunted(0.5, 0.5, 0.5, parallel=True)
    assert isinstance(outcome, str)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_6xx_ends_the_hunt(parallel: bool) -> None:
    outcome, seen = hunted(603, None, parallel=parallel)
    assert isinstance(outcome, CallRejected)
    assert seen[1] in ("nothing", "cancelled")


@pytest.mark.parametrize(
    ("codes", "expected"), [((500, 486), CallBusy), ((404, 503), CallRejected), ((None, None), CallTimeout)]
)
@pytest.mark.parametrize("parallel", [False, True])
def test_the_refusal_that_counts_most_is_raised(codes: Any, expected: type[CallError], parallel: bool) -> None:
    outcome, _ = hunted(*codes, parallel=parallel)
    assert isinstance(outcome, expected)


def test_a_hunt_needs_a_target() -> None:
    async def main(network: SimNetwork) -> None:
        client = await stack_at(network, CLIENT)
        with pytest.raises(UsageError):
            await client.ua.hunt([])

    sim.run(main)
