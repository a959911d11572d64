"""Many calls on a network that loses, repeats and reorders: each ends, each on one final, nothing stays behind."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from kit import ANSWER, CLIENT, SDP, SERVER, URI, stack_at

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.errors import CallError
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

AFTERGLOW = 64 * 0.5 + 5  # seconds: what FAULTS gives every trace of a transaction to go


async def inbound(call: IncomingCall) -> None:
    """What a called side may do, drawn by the caller's number."""
    number = int(call.request["X-Number"])
    await call.progress(180)
    await asyncio.sleep(number % 7)
    if number % 5 == 0:
        await call.reject(486)
        return
    await call.answer(ANSWER)
    if number % 3 == 0:
        await call.confirmed()
        await call.reinvite(ANSWER)
        await asyncio.sleep(20)
        await call.bye()
    await call.ended()


async def place(client: Stack, number: int) -> str:
    """One call of the caller; how it went."""
    try:
        async with client.dial(URI, body=SDP, headers=[("X-Number", str(number))], timeout=4) as call:
            await call.answered()
            await call.send("INFO")
            if number % 3 == 0:
                await asyncio.wait_for(call.ended(), 120)
            else:
                await asyncio.sleep(number % 11)
        return "answered"
    except CallError as error:
        return type(error).__name__


async def calls(network: SimNetwork, count: int) -> Counter[str]:
    link = network.default_link
    link.loss, link.duplicate, link.reorder, link.jitter = 0.1, 0.1, 0.1, 0.02
    server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
    server.on_invite(inbound)
    placed = []
    for number in range(count):
        placed.append(asyncio.create_task(place(client, number)))
        await asyncio.sleep(0.05)
    outcome = Counter(await asyncio.gather(*placed))
    await asyncio.sleep(64)
    for stack in (server, client):
        left = {name: value for name, value in stack.engine.stats().items() if value and name in GAUGES}
        assert not left
        assert not stack.ua.calls and not stack.ua.live
        assert not stack.ua._dialogs and not stack.ua._placed and not stack.ua._by_transaction
    await asyncio.gather(server.close(), client.close())
    assert len(asyncio.all_tasks()) == 1
    return outcome


GAUGES = (
    "server_transactions",
    "server_transactions_unfinished",
    "client_transactions",
    "client_transactions_unfinished",
    "timers",
    "policy_timers",
    "connections",
)


def test_every_call_ends_and_nothing_is_left_behind() -> None:
    outcome = sim.run(lambda network: calls(network, 150), seed=3)
    assert sum(outcome.values()) == 150
    assert set(outcome) <= {"answered", "CallBusy", "CallTimeout"}
    assert outcome["answered"] > 50
    assert outcome["CallBusy"] > 10
    assert outcome["CallTimeout"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_thousands_of_calls_on_a_bad_network(seed: int) -> None:
    outcome = sim.run(lambda network: calls(network, 2_000), seed=seed)
    assert sum(outcome.values()) == 2_000
    assert set(outcome) <= {"answered", "CallBusy", "CallTimeout"}
