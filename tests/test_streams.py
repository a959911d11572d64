"""Streams under the stack, on the simulated network: sharing, loss, deadlines, slow readers."""

from __future__ import annotations

import asyncio

import pytest
from kit import CLIENT, SERVER, request_octets, stack_at

from sipcore import sim
from sipcore.errors import TransportError
from sipcore.sim import SimNetwork

# streams


def test_requests_and_responses_share_one_connection() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], int]:
        server, client = await stack_at(network, SERVER, "tcp"), await stack_at(network, CLIENT)
        uri = f"sip:bob@{SERVER};transport=tcp"
        responses = await asyncio.gather(*(client.request("OPTIONS", uri) for _ in range(20)))
        count = network.streams_to(SERVER, 5060)
        await asyncio.gather(server.close(), client.close())
        return [response.status_code for response in responses], count

    codes, count = sim.run(main)
    assert codes == [200] * 20
    assert count == 1, "concurrent senders share one connection"


def test_a_lost_connection_fails_its_requests_at_once_and_is_opened_anew() -> None:
    async def main(network: SimNetwork) -> tuple[float, int]:
        server, client = await stack_at(network, SERVER, "tcp"), await stack_at(network, CLIENT)
        server.on("MESSAGE", lambda request: None)
        uri = f"sip:bob@{SERVER};transport=tcp"
        waiting = client.request("MESSAGE", uri)
        await asyncio.sleep(1)
        start = network.loop.time()
        network.cut_streams(SERVER)
        with pytest.raises(TransportError):
            await waiting
        took = network.loop.time() - start
        response = await client.request("OPTIONS", uri)
        await asyncio.gather(server.close(), client.close())
        return took, response.status_code

    took, status_code = sim.run(main)
    assert took < 0.1
    assert status_code == 200


def test_nobody_listening_is_a_transport_error() -> None:
    async def main(network: SimNetwork) -> None:
        client = await stack_at(network, CLIENT)
        with pytest.raises(TransportError, match="refused"):
            await client.request("OPTIONS", f"sip:{SERVER};transport=tcp")

    sim.run(main)


def test_a_stack_that_closes_ends_its_connections_whoever_opened_them() -> None:
    async def main(network: SimNetwork) -> str:
        stack = await stack_at(network, SERVER, "tcp")
        peer = await network.stream_peer(CLIENT, SERVER, 5060)
        await stack.close()
        return await asyncio.wait_for(asyncio.shield(peer.lost), 5)

    assert sim.run(main) == "closed by the far side"


def test_a_message_that_begins_and_does_not_end_closes_its_connection() -> None:
    """FAULTS 11."""

    async def main(network: SimNetwork) -> float:
        await stack_at(network, SERVER, "tcp")
        peer = await network.stream_peer(CLIENT, SERVER, 5060)
        start = network.loop.time()
        for octet in request_octets(transport="TCP")[:100]:
            peer.send(bytes([octet]))
            await asyncio.sleep(0.2)
            if peer.lost.done():
                break
        await peer.lost
        return network.loop.time() - start

    assert sim.run(main) < 6.5


def test_a_malformed_stream_gets_400_and_is_closed() -> None:
    async def main(network: SimNetwork) -> bytes:
        await stack_at(network, SERVER, "tcp")
        peer = await network.stream_peer(CLIENT, SERVER, 5060)
        peer.send(request_octets(transport="TCP").replace(b"Content-Length: 0", b"Content-Length: five"))
        await asyncio.wait_for(asyncio.shield(peer.lost), 5)
        return bytes(peer.received)

    assert sim.run(main).startswith(b"SIP/2.0 400 ")


def test_a_slow_reader_is_closed_and_others_are_served() -> None:
    """FAULTS 14."""

    async def main(network: SimNetwork) -> tuple[bool, bytes]:
        await stack_at(network, SERVER, "tcp")
        slow = await network.stream_peer(CLIENT, SERVER, 5060)
        good = await network.stream_peer("192.0.2.3", SERVER, 5060)
        slow.stream.pause()
        for number in range(1_000):
            slow.send(request_octets(transport="TCP", branch=f"z9hG4bKs{number}", call_id=f"s{number}"))
        await asyncio.sleep(11)
        good.send(request_octets(transport="TCP", host="192.0.2.3", branch="z9hG4bKg", call_id="g"))
        got = await good.receive_until(b"\r\n\r\n", timeout=1)
        slow.stream.resume()
        await asyncio.sleep(1)
        return network.streams_to(SERVER, 5060) == 1, got

    closed, got = sim.run(main)
    assert closed
    assert got.startswith(b"SIP/2.0 200 ")
