"""The default next hop: RFC 3263 with failover (SPEC D5, D8), connections that requests share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from kit import CLIENT, SERVER, request_octets, stack_at

from sipcore import sim
from sipcore.dns_exchange import Reply
from sipcore.errors import LocateError
from sipcore.policy.questions import Question, Srv
from sipcore.resolver import DnsResolver
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

# RFC 3263, SPEC D5 and D8


def with_dns(network: SimNetwork) -> None:
    network.dns.script.update(
        {
            ("_sip._udp.example.com", "SRV"): [Srv(1, 0, 5071, "a.example.com"), Srv(2, 0, 5072, "b.example.com")],
            ("a.example.com", "A"): ["192.0.2.11"],
            ("b.example.com", "A"): ["192.0.2.12"],
        }
    )


def test_a_name_is_found_by_srv_and_the_answer_is_remembered() -> None:
    async def main(network: SimNetwork) -> tuple[int, int, str]:
        with_dns(network)
        server = await stack_at(network, "192.0.2.11", port=5071)
        client = await stack_at(network, CLIENT)
        first = client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        assert (await first).status_code == 200
        asked = len(network.dns.asked)
        second = client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        assert second.flow, "a remembered answer is used at once"
        await second
        await asyncio.gather(server.close(), client.close())
        return asked, len(network.dns.asked), str(first.decision)

    before, after, decision = sim.run(main)
    assert before == after > 0
    assert "192.0.2.11:5071 udp" in decision


def test_a_silent_address_costs_a_share_of_the_time_and_the_next_is_used() -> None:
    """FAULTS 40."""

    async def main(network: SimNetwork) -> tuple[int, float, float]:
        with_dns(network)
        server = await stack_at(network, "192.0.2.12", port=5072)
        client = await stack_at(network, CLIENT)
        start = network.loop.time()
        response = await client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        took = network.loop.time() - start
        start = network.loop.time()
        await client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        again = network.loop.time() - start
        await asyncio.gather(server.close(), client.close())
        return response.status_code, took, again

    status_code, took, again = sim.run(main)
    assert status_code == 200
    assert 5 < took < 16
    assert again < 1, "an address that failed is passed over for 30 s"


def test_a_closed_port_costs_a_round_trip_and_the_next_address_is_used() -> None:
    """FAULTS 40: faster on ICMP."""

    async def main(network: SimNetwork) -> tuple[int, float]:
        with_dns(network)
        network.refusing.add("192.0.2.11")
        server = await stack_at(network, "192.0.2.12", port=5072)
        client = await stack_at(network, CLIENT)
        start = network.loop.time()
        response = await client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        took = network.loop.time() - start
        await asyncio.gather(server.close(), client.close())
        return response.status_code, took

    status_code, took = sim.run(main)
    assert status_code == 200
    assert took < 0.5, "less than one retransmission"


def test_a_503_goes_to_the_next_address_and_a_486_does_not() -> None:
    async def main(network: SimNetwork) -> tuple[int, int]:
        with_dns(network)
        first = await stack_at(network, "192.0.2.11", port=5071)
        second = await stack_at(network, "192.0.2.12", port=5072)
        client = await stack_at(network, CLIENT)
        first.on("OPTIONS", lambda request: request.reply(503))
        first.on("MESSAGE", lambda request: request.reply(486))
        busy = await client.request("MESSAGE", "sip:bob@example.com;transport=udp")
        moved = await client.request("OPTIONS", "sip:bob@example.com;transport=udp")
        await asyncio.gather(first.close(), second.close(), client.close())
        return busy.status_code, moved.status_code

    assert sim.run(main) == (486, 200)


def test_a_name_that_is_not_found_is_a_locate_error() -> None:
    async def main(network: SimNetwork) -> None:
        client = await stack_at(network, CLIENT)
        with pytest.raises(LocateError):
            await client.request("OPTIONS", "sip:bob@nowhere.example.com")

    sim.run(main)


@pytest.mark.parametrize(("size", "transport"), [(100, "udp"), (1_400, "tcp")])
def test_a_request_that_is_large_for_a_datagram_goes_by_tcp(size: int, transport: str) -> None:
    """RFC 3261 section 18.1.1."""

    async def main(network: SimNetwork) -> str:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        await server.listen("tcp", f"{SERVER}:5060")
        server.on("MESSAGE", lambda request: request.reply(200))
        transaction = client.request("MESSAGE", f"sip:{SERVER}", body=b"x" * size)
        await transaction
        await asyncio.gather(server.close(), client.close())
        assert transaction.decision is not None
        return transaction.decision.transport

    assert sim.run(main) == transport


def test_a_large_request_goes_by_udp_where_nobody_listens_on_tcp() -> None:
    async def main(network: SimNetwork) -> tuple[list[str], int]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        server.on("MESSAGE", lambda request: request.reply(200))
        transports = []
        for _ in range(3):
            transaction = client.request("MESSAGE", f"sip:{SERVER}", body=b"x" * 1_400)
            await transaction
            assert transaction.decision is not None
            transports.append(transaction.decision.transport)
        tried = network.counts["connects"]
        await asyncio.gather(server.close(), client.close())
        return transports, tried

    assert sim.run(main) == (["udp"] * 3, 1), "that there is no TCP is remembered for a while"


def test_a_transport_that_the_uri_names_stands_whatever_the_size() -> None:
    async def main(network: SimNetwork) -> str:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        await server.listen("tcp", f"{SERVER}:5060")
        server.on("MESSAGE", lambda request: request.reply(200))
        transaction = client.request("MESSAGE", f"sip:{SERVER};transport=udp", body=b"x" * 1_400)
        await transaction
        await asyncio.gather(server.close(), client.close())
        assert transaction.decision is not None
        return transaction.decision.transport

    assert sim.run(main) == "udp"


def test_faults_40_ten_thousand_requests_to_one_name_are_one_query_of_each_kind() -> None:
    """FAULTS 40: one in flight, whatever waits for it; what is too much to wait fails at once, and asks nothing."""

    asked: Counter[Question] = Counter()

    async def exchange(question: Question, server: Any, **_: Any) -> Reply:
        asked[question] += 1
        await asyncio.sleep(1)
        records = {"SRV": (Srv(1, 0, 5071, "a.example.com"),), "A": ("192.0.2.11",)}
        return Reply(records.get(question.type, ()), 60.0)

    async def main(network: SimNetwork) -> Counter[str]:
        server = await stack_at(network, "192.0.2.11", port=5071)
        client = Stack(env=network.env(CLIENT, resolver=DnsResolver([("192.0.2.53", 53)], exchange=exchange)))
        await client.listen("udp", f"{CLIENT}:5060")
        requests = [client.request("OPTIONS", "sip:bob@example.com;transport=udp") for _ in range(10_000)]
        ends = Counter(type(end).__name__ for end in await asyncio.gather(*requests, return_exceptions=True))
        await asyncio.gather(server.close(), client.close())
        return ends

    ends = sim.run(main)
    assert asked and set(asked.values()) == {1}, asked
    assert sum(ends.values()) == 10_000 and ends["Response"] > 0


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "MESSAGE", "SUBSCRIBE", "REGISTER", "BYE", "NOTIFY", "FOO"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_faults_41_a_stack_looks_up_no_name_that_a_stranger_writes(method: str, transport: str) -> None:
    """FAULTS 41: a server that challenges and answers, and what an unauthenticated request may say."""

    async def main(network: SimNetwork) -> None:
        server = await stack_at(network, SERVER, transport)
        challenge = ("WWW-Authenticate", 'Digest realm="x", nonce="n"')
        server.on("*", lambda request: request.reply(401, headers=[challenge]))
        octets = request_octets(
            method,
            "sip:bob@target.evil.example",
            host="via.evil.example",
            transport=transport.upper(),
            to="<sip:bob@to.evil.example>",
            headers=[
                ("Route", f"<sip:{SERVER};lr>, <sip:route.evil.example;lr>"),
                ("Record-Route", "<sip:rr.evil.example;lr>"),
                ("Reply-To", "<sip:reply.evil.example>"),
                ("Refer-To", "<sip:refer.evil.example>"),
                ("Alert-Info", "<http://alert.evil.example/>"),
            ],
        )
        if transport == "udp":
            network.datagram_peer(CLIENT, 5060).send(octets, (SERVER, 5060))
        else:
            (await network.connect_stream((CLIENT, 40_000), (SERVER, 5060), timeout=1)).write(octets)
        await asyncio.sleep(40)
        assert server.engine.stats()["requests"] + server.engine.stats()["refused_requests"] >= 1
        assert network.dns.asked == []
        await server.close(timeout=0)

    sim.run(main)
