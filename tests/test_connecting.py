"""Connections that one user agent's requests share."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from kit import CLIENT, SERVER, stack_at

from sipcore import sim
from sipcore.env import StreamLimits
from sipcore.errors import SipError, TransactionTimeout, TransportError, UsageError
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


def pings(network: SimNetwork) -> list[float]:
    """When the client sent a keep-alive."""
    return [one.at for one in network.trace if one.octets == b"\r\n\r\n" and one.source[0] == CLIENT]


def test_connections_are_pinged_where_that_is_asked_for_and_closed_when_nobody_answers() -> None:
    """RFC 5626 section 4.4.1: drawn from 80 to 100 % of the interval, a pong within 10 s or the connection is dead."""

    async def main(network: SimNetwork) -> tuple[list[float], int, int, float, int]:
        await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        client.ua.keep_alive = 30.0
        await client.request("OPTIONS", URI)
        await asyncio.sleep(300)
        sent, alive = pings(network), len(client.engine.connections())
        network.unplug(SERVER)
        silent = network.loop.time()
        while client.engine.connections():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        took = network.loop.time() - silent
        network.plug(SERVER)
        status_code = (await client.request("OPTIONS", URI)).status_code
        return sent, alive, len(client.engine.connections()), took, status_code

    sent, alive, again, took, status_code = sim.run(main)
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert 10 <= len(sent) <= 12
    assert all(24 <= gap <= 30.1 for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) > 1, "not all at the same pace"
    assert (alive, again, status_code) == (1, 1, 200)
    assert 10 <= took <= 40.2


def test_a_server_pings_a_flow_until_it_is_told_to_stop() -> None:
    """The side that accepted may ask too; a flow that has ended is forgotten."""

    async def main(network: SimNetwork) -> tuple[int, int, dict[str, int]]:
        server = await stack_at(network, SERVER, "tcp")
        client = await stack_at(network, CLIENT)
        flows: list[int] = []
        server.on("OPTIONS", lambda request: (flows.append(request.flow), request.reply(200)))
        await client.request("OPTIONS", URI)
        server.ua.connector.keep_alive(flows[0], 10.0)
        await asyncio.sleep(60)
        counted = client.engine.stats()["keep_alives"]
        server.ua.connector.keep_alive(flows[0], 0)
        await asyncio.sleep(60)
        stopped = client.engine.stats()["keep_alives"]
        server.ua.connector.keep_alive(flows[0], 10.0)
        client.ua.disconnect(client.engine.connections()[0].flow)
        await asyncio.sleep(60)
        return counted, stopped, server.engine.stats()

    counted, stopped, stats = sim.run(main)
    assert 6 <= counted == stopped <= 7
    assert stats["policy_timers"] == stats["connections"] == 0


def test_datagrams_are_not_kept_alive_by_crlf() -> None:
    async def main(network: SimNetwork) -> None:
        client = await stack_at(network, CLIENT)
        with pytest.raises(UsageError, match="STUN"):
            client.ua.connector.keep_alive(client.ua.datagram_flow(SERVER, 5060), 10.0)

    sim.run(main)
