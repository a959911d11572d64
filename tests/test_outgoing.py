"""Requests from here on the simulated network: their form, next hop, attempts, challenges, and their end."""

from __future__ import annotations

import asyncio

import pytest
from kit import CLIENT, SERVER, parsed_request, response_octets, stack_at

from sipcore import Request, sim
from sipcore.errors import CallCancelled, TransactionTimeout, TransportError
from sipcore.outgoing import Challenged, Hop, OutgoingRequest
from sipcore.sim import SimNetwork

# requests from here


def test_a_request_gets_its_final_response() -> None:
    async def main(network: SimNetwork) -> tuple[int, list[int]]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)

        @server.on("INVITE")
        async def invite(request: Request) -> None:
            request.reply(183)
            await asyncio.sleep(1)
            request.reply(486)

        transaction = client.request("INVITE", f"sip:bob@{SERVER}")
        provisionals = [response.status_code async for response in transaction]
        response = await transaction
        await asyncio.gather(server.close(), client.close())
        return response.status_code, provisionals

    assert sim.run(main) == (486, [183])


def test_a_request_is_formed_as_rfc_3261_section_8_1_1_says() -> None:
    async def main(network: SimNetwork) -> Request:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer(SERVER, 5060)
        client.request("OPTIONS", f"sip:bob@{SERVER}", headers=[("X-Any", "1")])
        return parsed_request((await peer.receive())[0])

    request = sim.run(main)
    assert request.method == "OPTIONS"
    assert str(request.request_uri) == f"sip:bob@{SERVER}"
    assert request["Via"].startswith(f"SIP/2.0/UDP {CLIENT}:5060;branch=z9hG4bK")
    assert ";rport" in request["Via"]
    assert request.from_ is not None and request.from_.tag
    assert request.to is not None and request.to.tag is None
    assert request.max_forwards == 70
    assert request.cseq is not None and (request.cseq.number, request.cseq.method) == (1, "OPTIONS")
    assert [str(contact.uri) for contact in request.contacts] == [f"sip:{CLIENT}:5060"]
    assert request["X-Any"] == "1"


def test_nobody_answering_is_a_transaction_timeout_after_64_t1() -> None:
    async def main(network: SimNetwork) -> tuple[float, int]:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer(SERVER, 5060)
        start = network.loop.time()
        with pytest.raises(TransactionTimeout):
            await client.request("OPTIONS", f"sip:{SERVER}")
        return network.loop.time() - start, len(peer.received)

    took, sent = sim.run(main)
    assert took == pytest.approx(32, abs=0.1)
    assert sent == 11


def test_a_request_can_be_given_less_time() -> None:
    async def main(network: SimNetwork) -> float:
        client = await stack_at(network, CLIENT)
        start = network.loop.time()
        with pytest.raises(TransactionTimeout):
            await client.request("OPTIONS", f"sip:{SERVER}", timeout=3)
        assert not client.ua.live
        return network.loop.time() - start

    assert sim.run(main) == pytest.approx(3, abs=0.1)


def test_the_next_hop_is_replaceable_and_may_take_its_time() -> None:
    async def main(network: SimNetwork) -> tuple[str, list[OutgoingRequest]]:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer("192.0.2.99", 5070)
        asked: list[OutgoingRequest] = []

        async def next_hop(outgoing: OutgoingRequest) -> Hop:
            asked.append(outgoing)
            await asyncio.sleep(2)
            return Hop(client.ua.datagram_flow("192.0.2.99", 5070), "udp")

        client.ua.next_hop = next_hop
        transaction = client.request("OPTIONS", "sip:bob@elsewhere.example.com", routes=["<sip:p1;lr>"])
        octets, source = await peer.receive()
        peer.send(response_octets(octets, 200), source)
        await transaction
        return parsed_request(octets)["Route"], asked

    route, asked = sim.run(main)
    assert route == "<sip:p1;lr>"
    assert [(outgoing.method, outgoing.routes) for outgoing in asked] == [("OPTIONS", ("<sip:p1;lr>",))]


def test_a_next_hop_that_never_comes_fails_the_request_in_64_t1() -> None:
    async def main(network: SimNetwork) -> float:
        client = await stack_at(network, CLIENT)

        async def next_hop(outgoing: OutgoingRequest) -> Hop:
            await asyncio.sleep(3_600)
            raise AssertionError

        client.ua.next_hop = next_hop
        start = network.loop.time()
        with pytest.raises(TransactionTimeout):
            await client.request("OPTIONS", "sip:x.example.com")
        assert client.ua.parked == 0
        return network.loop.time() - start

    assert sim.run(main) == pytest.approx(32, abs=0.1)


def test_parked_requests_are_bounded() -> None:
    async def main(network: SimNetwork) -> int:
        client = await stack_at(network, CLIENT)

        async def next_hop(outgoing: OutgoingRequest) -> Hop:
            await asyncio.sleep(3_600)
            raise AssertionError

        client.ua.next_hop = next_hop
        transactions = [client.request("OPTIONS", "sip:x.example.com") for _ in range(1_100)]
        refused = sum(isinstance(transaction.error, TransportError) for transaction in transactions)
        for transaction in transactions:
            transaction.abandon(TransportError("over"))
        return refused

    assert sim.run(main) == 1_100 - 1_024


def test_a_challenge_is_answered_by_the_user_agents_credentials() -> None:
    async def main(network: SimNetwork) -> tuple[int, list[Request], list[Challenged]]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        seen: list[Request] = []
        asked: list[Challenged] = []

        @server.on("MESSAGE")
        def message(request: Request) -> None:
            seen.append(request)
            request.reply(200 if "Authorization" in request else 401, headers=[("WWW-Authenticate", "Digest x=1")])

        def authorize(challenged: Challenged) -> list[tuple[str, str]]:
            asked.append(challenged)
            return [("Authorization", "Digest secret")]

        client.ua.authorize = authorize
        response = await client.request("MESSAGE", f"sip:{SERVER}")
        return response.status_code, seen, asked

    status_code, seen, asked = sim.run(main)
    assert status_code == 200
    assert [request.cseq.number for request in seen if request.cseq] == [1, 2]
    assert seen[0].call_id == seen[1].call_id
    assert seen[0]["From"] == seen[1]["From"]
    assert [challenged.attempt for challenged in asked] == [1]


def test_endless_challenges_end() -> None:
    """FAULTS 35."""

    async def main(network: SimNetwork) -> tuple[int, int]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        seen: list[Request] = []

        @server.on("MESSAGE")
        def message(request: Request) -> None:
            seen.append(request)
            request.reply(401)

        client.ua.authorize = lambda challenged: [("Authorization", "Digest secret")]
        response = await client.request("MESSAGE", f"sip:{SERVER}")
        return response.status_code, len(seen)

    assert sim.run(main) == (401, 5)


def test_a_send_hook_sees_and_changes_each_request() -> None:
    async def main(network: SimNetwork) -> Request:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer(SERVER, 5060)

        @client.on_send
        def hook(request: Request, flow: int) -> Request:
            assert client.engine.flow_info(flow)[3] == SERVER
            changed = request.edit().add("X-Hook", "1").build()
            assert isinstance(changed, Request)
            return changed

        client.request("OPTIONS", f"sip:{SERVER}")
        return parsed_request((await peer.receive())[0])

    assert sim.run(main)["X-Hook"] == "1"


def test_a_request_that_is_cancelled_before_it_was_sent_is_never_sent() -> None:
    async def main(network: SimNetwork) -> int:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer(SERVER, 5060)

        async def next_hop(outgoing: OutgoingRequest) -> Hop:
            await asyncio.sleep(2)
            return Hop(client.ua.datagram_flow(SERVER, 5060), "udp")

        client.ua.next_hop = next_hop
        transaction = client.request("INVITE", f"sip:{SERVER}")
        await asyncio.sleep(1)
        transaction.cancel()
        transaction.cancel()
        with pytest.raises(CallCancelled):
            await transaction
        await asyncio.sleep(5)
        return len(peer.received)

    assert sim.run(main) == 0


def test_an_invite_that_is_cancelled_ends_with_its_487() -> None:
    async def main(network: SimNetwork) -> tuple[int, list[str]]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)

        @server.on("INVITE")
        async def invite(request: Request) -> None:
            request.reply(180)
            await asyncio.sleep(60)

        transaction = client.request("INVITE", f"sip:{SERVER}")
        await asyncio.sleep(1)
        transaction.cancel(headers=[("Reason", "SIP;cause=200")])
        response = await transaction
        sent = [packet.octets for packet in network.trace if packet.octets.startswith(b"CANCEL")]
        await asyncio.gather(server.close(), client.close())
        return response.status_code, [parsed_request(octets)["Reason"] for octets in sent]

    assert sim.run(main) == (487, ["SIP;cause=200"])
