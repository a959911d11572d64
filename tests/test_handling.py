"""What handlers raise, and how long they may take: FAULTS 56 on the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from kit import CLIENT, SERVER, parsed_response, request_octets, stack_at

from sipcore import Request, sim
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

SETTLED = 64 * 0.5 + 5


def statuses_after(handler: Callable[[Request], Coroutine[Any, Any, None]], seconds: float) -> list[int]:
    """What a MESSAGE gets within `seconds`; an OPTIONS beside it is answered at once, and nothing is left."""

    async def main(network: SimNetwork) -> list[int]:
        stack = await stack_at(network, SERVER)
        stack.on("MESSAGE", handler)
        tasks = len(asyncio.all_tasks())
        peer, other = network.datagram_peer(CLIENT, 5060), network.datagram_peer("192.0.2.3", 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        asked = network.loop.time()
        other.send(request_octets(branch="z9hG4bKx2", call_id="call-2", host="192.0.2.3"), (SERVER, 5060))
        assert parsed_response((await other.receive())[0]).status_code == 200
        assert network.loop.time() - asked < 0.1
        await asyncio.sleep(seconds)
        heard = [parsed_response(octets).status_code for octets, _ in peer.received]
        await asyncio.sleep(SETTLED)
        check_at_baseline(stack)
        assert len(asyncio.all_tasks()) == tasks
        return [status for status in heard if status != 100]

    return sim.run(main)


def check_at_baseline(stack: Stack) -> None:
    stats = stack.engine.stats()
    assert stats["server_transactions"] == stats["timers"] == stats["policy_timers"] == 0


def test_a_handler_that_never_returns_costs_its_own_request_a_500() -> None:
    async def for_ever(request: Request) -> None:
        await asyncio.get_running_loop().create_future()

    assert statuses_after(for_ever, 29.9) == []
    assert statuses_after(for_ever, 30.1) == [500]


def test_a_handler_that_has_answered_may_take_its_time() -> None:
    ends: list[str] = []

    async def at_length(request: Request) -> None:
        request.reply(202)
        await asyncio.sleep(31.0)
        ends.append("by itself")

    assert statuses_after(at_length, 31.5) == [202]
    assert ends == ["by itself"]


def test_a_handler_that_answers_late_but_in_time_is_not_cancelled() -> None:
    async def late(request: Request) -> None:
        await asyncio.sleep(29.5)
        request.reply(200)
        await asyncio.sleep(1.0)

    assert statuses_after(late, 31.0) == [200]


@pytest.mark.parametrize("headers", [[], [("Require", "magic")]])
@pytest.mark.parametrize("uri", ["sip:192.0.2.1", "magic:x"])
@pytest.mark.parametrize("to", ["<sip:bob@example.com>", "<sip:bob@example.com>;tag=nobody"])
def test_an_invite_that_nobody_wants_is_refused_in_one_datagram(
    headers: list[tuple[str, str]], uri: str, to: str
) -> None:
    """FAULTS 22: whoever it was forged for gets no eleven repetitions of it, and no more octets than twice its own."""

    async def main(network: SimNetwork) -> None:
        stack = await stack_at(network, SERVER)
        peer = network.datagram_peer(CLIENT, 5060)
        octets = request_octets("INVITE", uri, to=to, headers=headers)
        peer.send(octets, (SERVER, 5060))
        await asyncio.sleep(SETTLED)
        ((answer, _),) = peer.received
        assert parsed_response(answer).status_code in (405, 416, 420, 481)
        assert len(answer) <= 2 * len(octets)
        check_at_baseline(stack)

    sim.run(main)


def test_a_cancel_in_the_same_batch_as_its_invite_gets_487() -> None:
    """FAULTS 25: the CANCEL comes before any 100, and on CPython 3.11 before the handler has begun."""

    async def main(network: SimNetwork) -> list[int]:
        stack = await stack_at(network, SERVER)

        @stack.on("INVITE")
        async def ring(request: Request) -> None:
            await asyncio.sleep(3_600)

        peer = network.datagram_peer(CLIENT, 5060)
        for method in ("INVITE", "CANCEL"):
            peer.send(request_octets(method), (SERVER, 5060))
        await asyncio.sleep(0.1)
        heard = [parsed_response(octets).status_code for octets, _ in peer.received]
        await asyncio.sleep(SETTLED)
        check_at_baseline(stack)
        return sorted(heard)

    assert sim.run(main) == [200, 487]


async def taken(request: Request) -> None:
    await asyncio.sleep(0.1)
    request.reply(202)


class Application:
    async def __call__(self, request: Request) -> None:
        await taken(request)


def plain(request: Request) -> Coroutine[Any, Any, None]:
    return taken(request)


@pytest.mark.parametrize("handler", [taken, Application(), plain])
def test_whatever_makes_a_coroutine_is_an_asynchronous_handler(handler: Any) -> None:
    assert statuses_after(handler, 1.0) == [202]
