"""Provisional responses that must arrive (RFC 3262)."""

from __future__ import annotations

import asyncio

import pytest
from kit import (
    ANSWER,
    CLIENT,
    SDP,
    SDP_TYPE,
    SERVER,
    URI,
    parsed_request,
    parsed_response,
    request_octets,
    response_octets,
    stack_at,
)

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.reliable import InOrder
from sipcore.sim import SimNetwork


def test_each_reliable_response_is_taken_once_and_in_order() -> None:
    order = InOrder()
    taken = [order.take("a", number) for number in (7, 7, 9, 8, 9, 8)]
    assert taken == [True, False, False, True, True, False]
    assert order.take("b", 100)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_progress_is_acknowledged_by_prack_when_both_sides_know_it(loss: float) -> None:
    async def main(network: SimNetwork) -> tuple[list[int], set[bytes]]:
        network.default_link.loss = loss
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        server.ua.supported = client.ua.supported = ("100rel",)

        @server.on_invite
        async def inbound(call: IncomingCall) -> None:
            await call.progress(183, body=ANSWER)
            await call.progress(180)
            await call.answer(ANSWER)
            await call.ended()

        async with client.dial(URI, body=SDP) as call:
            codes = [provisional.status_code async for provisional in call.provisionals]
            assert call.body == ANSWER
        methods = {packet.octets.split(b" ")[0] for packet in network.trace}
        await asyncio.gather(server.close(), client.close())
        return codes, methods

    codes, methods = sim.run(main, seed=5)
    assert codes == [183, 180]
    assert b"PRACK" in methods


def test_without_100rel_nothing_is_repeated() -> None:
    async def main(network: SimNetwork) -> set[bytes]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        server.ua.supported = ("100rel",)

        @server.on_invite
        async def inbound(call: IncomingCall) -> None:
            await call.progress(183)
            await call.answer(ANSWER)
            await call.ended()

        await (await client.dial(URI, body=SDP)).bye()
        return {packet.octets.split(b" ")[0] for packet in network.trace}

    assert b"PRACK" not in sim.run(main)


def test_a_caller_who_never_acknowledges_is_refused_after_64_t1() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], float]:
        server = await stack_at(network, SERVER)
        server.ua.supported = ("100rel",)

        @server.on_invite
        async def inbound(call: IncomingCall) -> None:
            await call.progress(183)

        peer = network.datagram_peer(CLIENT, 5060)
        headers = [*SDP_TYPE, ("Require", "100rel")]
        peer.send(request_octets("INVITE", body=SDP, headers=headers), (SERVER, 5060))
        codes = []
        start = network.loop.time()
        while not codes or codes[-1] < 200:
            codes.append(parsed_response((await peer.receive())[0]).status_code)
        assert not server.ua.calls
        return codes, network.loop.time() - start

    codes, took = sim.run(main)
    assert codes == [183] * 7 + [504]
    assert took == pytest.approx(32, abs=0.5)


def test_a_prack_for_nothing_is_481() -> None:
    async def main(network: SimNetwork) -> list[int]:
        server = await stack_at(network, SERVER)
        server.ua.supported = ("100rel",)

        @server.on_invite
        async def inbound(call: IncomingCall) -> None:
            await call.progress(183)
            await call.answer(ANSWER)

        peer = network.datagram_peer(CLIENT, 5060)
        headers = [*SDP_TYPE, ("Supported", "100rel")]
        peer.send(request_octets("INVITE", body=SDP, headers=headers), (SERVER, 5060))
        ringing = parsed_response((await peer.receive())[0])
        assert ringing.to is not None
        to = f"<sip:bob@example.com>;tag={ringing.to.tag}"
        codes = []
        for number, rack in enumerate(("1 1 INVITE", f"{ringing['RSeq']} 1 INVITE"), start=2):
            octets = request_octets(
                "PRACK", branch=f"z9hG4bKp{number}", to=to, sequence=number, headers=[("RAck", rack)]
            )
            peer.send(octets, (SERVER, 5060))
            await asyncio.sleep(0.1)
            answers = [parsed_response(octets) for octets, _ in peer.received]
            codes += [one.status_code for one in answers if one.cseq and one.cseq.number == number]
        return codes

    assert sim.run(main) == [481, 200]


def test_a_repeated_reliable_response_is_acknowledged_once() -> None:
    async def main(network: SimNetwork) -> list[str]:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        client.dial(URI, body=SDP).start()
        invite, source = await server.receive()
        for number in (8, 8, 10, 9):
            lines = ["Require: 100rel", f"RSeq: {number}", f"Contact: <sip:bob@{SERVER}>"]
            server.send(response_octets(invite, 183, headers=lines), source)
        await asyncio.sleep(0.1)
        requests = [parsed_request(octets) for octets, _ in server.received]
        return [request["RAck"] for request in requests if request.method == "PRACK"]

    assert sim.run(main) == ["8 1 INVITE", "9 1 INVITE"]
