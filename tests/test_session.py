"""Calls that are up: requests inside the dialog, routes, bridges (RFC 3261 sections 12.2, 14, 15)."""

from __future__ import annotations

import asyncio
from typing import Any

from kit import (
    ANSWER,
    CLIENT,
    SDP,
    SERVER,
    URI,
    answer_call,
    between,
    parsed_request,
    parsed_response,
    request_octets,
    response_octets,
    scripted_call,
    stack_at,
)

from sipcore import Request, sim
from sipcore.call import IncomingCall
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

# inside the dialog


def test_a_reinvite_changes_the_session_from_either_side() -> None:
    async def main(server: Stack, client: Stack) -> None:
        call = await client.dial(URI, body=SDP)
        (incoming,) = server.ua.calls
        response = await call.reinvite(SDP.replace(b"4000", b"4002"))
        assert response.status_code == 200
        assert response.body == ANSWER
        assert b"4002" in incoming.body
        response = await incoming.reinvite(ANSWER.replace(b"5000", b"5002"))
        assert response.status_code == 200
        assert b"5002" in call.body
        await asyncio.sleep(60)
        assert call.is_up and incoming.is_up, "both ACKs arrived"
        await call.bye()

    between(main, answer_call)


def test_requests_inside_the_call_reach_its_handlers() -> None:
    seen: list[tuple[str, bytes]] = []

    async def handler(call: IncomingCall) -> None:
        @call.on("INFO")
        async def info(request: Request) -> None:
            seen.append((request["Content-Type"], request.body))
            request.reply(200)

        await call.answer(ANSWER)
        await call.ended()

    async def main(server: Stack, client: Stack) -> list[int]:
        call = await client.dial(URI, body=SDP)
        codes = [(await call.info(b"Signal=5", "application/dtmf-relay")).status_code]
        codes += [(await call.send(method)).status_code for method in ("OPTIONS", "REFER", "FLY")]
        await call.bye()
        return codes

    assert between(main, handler) == [200, 200, 405, 501]
    assert seen == [("application/dtmf-relay", b"Signal=5")]


def test_requests_follow_the_route_set_both_ways() -> None:
    async def main(network: SimNetwork) -> list[Request]:
        client = await stack_at(network, CLIENT)
        server, proxy = network.datagram_peer(SERVER, 5060), network.datagram_peer("192.0.2.9", 5060)
        dialing = asyncio.create_task(client.dial(URI, body=SDP).answered())
        octets, source = await server.receive()
        routes = ["Record-Route: <sip:192.0.2.9;lr>", f"Contact: <sip:bob@{SERVER}:5099>"]
        server.send(response_octets(octets, 200, headers=routes), source)
        call = await dialing
        requests = [parsed_request((await proxy.receive())[0])]
        bye = asyncio.create_task(call.bye())
        octets, source = await proxy.receive()
        requests.append(parsed_request(octets))
        proxy.send(response_octets(octets, 200), source)
        await bye
        return requests

    ack, bye = sim.run(main)
    assert (ack.method, bye.method) == ("ACK", "BYE")
    for request in (ack, bye):
        assert str(request.request_uri) == f"sip:bob@{SERVER}:5099"
        assert request.get_all("Route") == ["<sip:192.0.2.9;lr>"]
        assert request.to is not None and request.to.tag == "t1"
    assert [request.cseq.number for request in (ack, bye) if request.cseq] == [1, 2]


def test_the_next_hop_is_told_which_requests_are_inside_a_dialog() -> None:
    async def main(server: Stack, client: Stack) -> list[tuple[str, bool, bool]]:
        asked: list[tuple[str, bool, bool]] = []
        default = client.ua.next_hop

        def next_hop(outgoing: OutgoingRequest) -> Any:
            asked.append((outgoing.method, outgoing.dialog is not None, outgoing.is_initial_invite))
            return default(outgoing)

        client.ua.next_hop = next_hop
        call = await client.dial(URI, body=SDP)
        await call.bye()
        return asked

    assert between(main, answer_call) == [("INVITE", False, True), ("ACK", True, False), ("BYE", True, False)]


def test_the_ack_waits_for_a_next_hop_that_takes_its_time() -> None:
    async def main(server: Stack, client: Stack) -> None:
        async def next_hop(outgoing: OutgoingRequest) -> Hop:
            await asyncio.sleep(0.3)
            return Hop(client.ua.datagram_flow(SERVER, 5060), "udp")

        client.ua.next_hop = next_hop
        call = await client.dial(URI, body=SDP)
        (incoming,) = server.ua.calls
        assert isinstance(incoming, IncomingCall)
        await incoming.confirmed()
        await call.bye()

    between(main, answer_call)


def test_a_request_out_of_order_is_500() -> None:
    async def main(network: SimNetwork) -> int:
        server = await stack_at(network, SERVER)
        server.on_invite(answer_call)
        peer = network.datagram_peer(CLIENT, 5060)
        tag = await scripted_call(peer)
        to = f"<sip:bob@example.com>;tag={tag}"
        peer.send(request_octets("INFO", branch="z9hG4bKi", to=to, sequence=1 - 1), (SERVER, 5060))
        return parsed_response((await peer.receive())[0]).status_code

    assert sim.run(main) == 500


# two legs


def test_a_bridge_passes_requests_on_and_ends_both_legs() -> None:
    async def main(network: SimNetwork) -> None:
        caller, between_them = await stack_at(network, CLIENT), await stack_at(network, "192.0.2.3")
        callee = await stack_at(network, SERVER)
        callee.on_invite(answer_call)

        @between_them.on_invite
        async def inbound(call: IncomingCall) -> None:
            async with call.dial(URI, headers=[("X-Trunk", "7")], body=call.body, timeout=30) as leg:
                async for provisional in leg.provisionals:
                    await call.progress(provisional.status_code, body=provisional.body)
                await call.answer(leg.body)
                await call.bridge(leg)

        call = await caller.dial("sip:bob@192.0.2.3", body=SDP)
        assert call.body == ANSWER
        (far,) = callee.ua.calls
        assert isinstance(far, IncomingCall)
        assert far.request["X-Trunk"] == "7"
        response = await call.reinvite(SDP.replace(b"4000", b"4444"))
        assert response.status_code == 200
        assert b"4444" in far.body
        await far.bye()
        assert await call.ended() == "the far side hung up"
        await asyncio.sleep(1)
        assert not between_them.ua.calls
        await asyncio.gather(caller.close(), between_them.close(), callee.close())

    sim.run(main)


def test_a_caller_that_gives_up_takes_the_second_leg_with_it() -> None:
    async def main(network: SimNetwork) -> None:
        caller, between_them = await stack_at(network, CLIENT), await stack_at(network, "192.0.2.3")
        callee = await stack_at(network, SERVER)
        cancelled: list[bool] = []

        @callee.on_invite
        async def rings(call: IncomingCall) -> None:
            try:
                await call.progress(180)
                await asyncio.sleep(3_600)
            finally:
                cancelled.append(call.cancelled)

        @between_them.on_invite
        async def inbound(call: IncomingCall) -> None:
            async with call.dial(URI, body=call.body) as leg:
                async for provisional in leg.provisionals:
                    await call.progress(provisional.status_code)

        async with caller.dial("sip:bob@192.0.2.3", body=SDP):
            await asyncio.sleep(2)
        await asyncio.sleep(2)
        assert cancelled == [True]
        assert not between_them.ua.calls
        await asyncio.gather(caller.close(), between_them.close(), callee.close())

    sim.run(main)
