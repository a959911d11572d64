"""Connections that one user agent's requests share."""

from __future__ import annotations

import asyncio

import pytest
from kit import CLIENT, SERVER, stack_at

from sipcore import sim
from sipcore.env import StreamLimits
from sipcore.errors import SipError, TransactionTimeout, TransportError
from sipcore.sim import SimNetwork

URI = f"sip:bob@{SERVER};transport=tcp"


def test_a_sender_that_gives_up_leaves_the_connection_to_the_others() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], int]:
        await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        network.link(CLIENT, SERVER).delay = 1.0
        hasty = client.request("OPTIONS", URI, timeout=0.5)
        patient = [client.request("OPTIONS", URI) for _ in range(5)]
        with pytest.raises(TransactionTimeout):
            await hasty
        codes = [(await transaction).status_code for transaction in patient]
        return codes, network.counts["connects"]

    assert sim.run(main) == ([200] * 5, 1)


def test_a_connection_that_cannot_be_had_fails_everybody_who_waits_with_an_error_of_their_own() -> None:
    async def main(network: SimNetwork) -> tuple[list[SipError], float]:
        client = await stack_at(network, CLIENT)
        client.ua.limits = StreamLimits(connect_timeout=2)
        network.unplug(SERVER)
        start = network.loop.time()
        waiting = [client.request("OPTIONS", URI) for _ in range(5)]
        errors = []
        for transaction in waiting:
            with pytest.raises(TransportError, match="timed out") as raised:
                await transaction
            errors.append(raised.value)
        return errors, network.loop.time() - start

    errors, took = sim.run(main)
    assert len({id(error) for error in errors}) == 5
    assert took == pytest.approx(2, abs=0.1)


def test_a_connection_is_opened_again_after_it_was_lost() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], int]:
        await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        codes = []
        for _ in range(3):
            codes.append((await client.request("OPTIONS", URI)).status_code)
            network.cut_streams(SERVER)
            await asyncio.sleep(1)
        return codes, network.counts["connects"]

    assert sim.run(main) == ([200] * 3, 3)


def test_two_user_agents_do_not_share() -> None:
    """SPEC A8, C5: a connection is counted per service."""

    async def main(network: SimNetwork) -> int:
        await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        other = client.user_agent("other")
        await asyncio.gather(client.request("OPTIONS", URI).final(), other.request("OPTIONS", URI).final())
        return network.streams_to(SERVER, 5060)

    assert sim.run(main) == 2


def test_closing_while_a_connection_is_being_opened_leaves_nothing() -> None:
    async def main(network: SimNetwork) -> tuple[int, int]:
        await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        network.link(CLIENT, SERVER).delay = 3.0
        transaction = client.request("OPTIONS", URI)
        await asyncio.sleep(1)
        await client.close(timeout=0.5)
        with pytest.raises(TransportError):
            await transaction
        await asyncio.sleep(10)
        return len(asyncio.all_tasks()), network.streams_to(SERVER, 5060)

    assert sim.run(main) == (1, 0)
