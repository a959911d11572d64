"""Sending less to next hops that say they are overloaded (RFC 7339, FAULTS 47)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from kit import CLIENT, SERVER, parsed_request, parsed_response, request_octets, response_octets, stack_at

from sipcore import CallRejected, Request, sim
from sipcore._message import build_response
from sipcore.restraint import Ask, NextHop, is_urgent, parse_ask
from sipcore.sim import DatagramPeer, SimNetwork
from sipcore.stack import Stack

URI = f"sip:bob@{SERVER}"


def answer_with(parameters: str) -> bytes:
    return response_octets(request_octets(branch=f"z9hG4bKx{parameters}"), 200)


def said(parameters: str) -> Ask | None:
    """What a response with these Via parameters asks for."""
    return parse_ask(parsed_response(answer_with(parameters)))


def asks(percent: int, *, validity: str = ";oc-validity=500", sequence: str = "1.1") -> str:
    return f';oc={percent};oc-algo="loss"{validity};oc-seq={sequence}'


# what is said


def test_the_parameters_of_the_top_via_are_read() -> None:
    assert said(asks(20)) == Ask(20, 0.5, (1, 10_000))
    assert said(asks(0, validity=";oc-validity=0")) == Ask(0, 0.0, (1, 10_000))
    assert said(asks(100, validity="")) == Ask(100, 0.5, (1, 10_000)), "500 ms where nothing is said (section 4.3)"
    assert said(";oc=7;oc-seq=1282321615.782") == Ask(7, 0.5, (1282321615, 78_200))
    assert said(asks(1, validity=";oc-validity=999999999")) == Ask(1, 3_600.0, (1, 10_000)), (
        "nobody is silenced for days"
    )


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";oc",
        ';oc;oc-algo="loss"',
        asks(101),
        ";oc=-1;oc-seq=1.1",
        ";oc=1e1;oc-seq=1.1",
        ";oc=99999999999999999999;oc-seq=1.1",
        ";oc=10",
        ";oc=10;oc-seq=now",
        ";oc=10;oc-seq=1.x",
        ';oc=10;oc-algo="rate";oc-seq=1.1',
        ";oc=10;oc-validity=soon;oc-seq=1.1",
    ],
)
def test_what_is_malformed_or_no_loss_asks_for_nothing(parameters: str) -> None:
    assert said(parameters) is None


def test_what_was_overtaken_on_the_way_changes_nothing() -> None:
    hop = NextHop(Ask(50, 0.5, (2, 0)), 0.0)
    hop.renew(Ask(90, 5.0, (1, 99_999)), 0.1)
    assert (hop.ask.percent, hop.until) == (50, 0.5)
    hop.renew(Ask(10, 0.5, (2, 1)), 0.2)
    assert (hop.ask.percent, hop.until) == (10, 0.7)


# what is spared


def test_urgent_requests_are_those_of_dialogs_and_emergencies() -> None:
    assert not is_urgent(parsed_request(request_octets("INVITE")))
    assert is_urgent(parsed_request(request_octets("BYE", to="<sip:bob@example.com>;tag=t")))
    assert is_urgent(parsed_request(request_octets("INVITE", "urn:service:sos.fire")))
    assert is_urgent(parsed_request(request_octets("INVITE", headers=[("Priority", "emergency")])))
    assert is_urgent(parsed_request(request_octets("INVITE", headers=[("Resource-Priority", "ets.0")])))


@pytest.mark.parametrize(
    ("percent", "ordinary", "urgent"), [(0, 0, 0), (40, 50, 0), (80, 100, 0), (90, 100, 50), (100, 100, 100)]
)
def test_urgent_requests_are_spared_last(percent: int, ordinary: int, urgent: int) -> None:
    """RFC 7339 section 5.10.1: four of five requests are ordinary, and what is asked is met by them if it can be."""
    hop = NextHop(Ask(percent, 0.5, (1, 0)), 0.0)
    for number in range(5_000):
        hop.chance(number % 5 == 0)
    assert round(100 * hop.chance(False)) == pytest.approx(ordinary, abs=1)
    assert round(100 * hop.chance(True)) == pytest.approx(urgent, abs=1)


async def server_that_asks(
    network: SimNetwork, parameters: str
) -> tuple[DatagramPeer, Counter[str], asyncio.Task[Any]]:
    """A peer that answers 200 and asks for something; the methods that reached it."""
    peer = network.datagram_peer(SERVER, 5060)
    seen: Counter[str] = Counter()

    async def serve() -> None:
        while True:
            octets, source = await peer.receive(timeout=1e6)
            request = parsed_request(octets)
            seen[request.method] += 1
            response = build_response(request, 200, to_tag="t").edit()
            via = response_via(request, parameters)
            response.replace("Via", via)
            peer.send(bytes(response.build()), source)

    return peer, seen, asyncio.create_task(serve())


def response_via(request: Request, parameters: str) -> str:
    value = request["Via"]
    return value.replace(';oc;oc-algo="loss"', parameters) if ";oc;" in value else value


def run_against(parameters: str, main: Any, *, obeys: bool = True) -> Any:
    async def whole(network: SimNetwork) -> Any:
        _, seen, task = await server_that_asks(network, parameters)
        client = await stack_at(network, CLIENT)
        if obeys:
            client.ua.obey_overload()
        try:
            return await main(client, seen)
        finally:
            task.cancel()
            await client.close()

    return sim.run(whole)


async def statuses(client: Stack, count: int, method: str = "OPTIONS", **arguments: Any) -> Counter[int]:
    sent = [client.request(method, URI, **arguments) for _ in range(count)]
    return Counter([(await transaction).status_code for transaction in sent])


def test_the_share_that_a_next_hop_asks_for_is_answered_503_here() -> None:
    """FAULTS 47: nothing of it is seen on the network, and no Retry-After stops what may still be sent."""

    async def main(client: Stack, seen: Counter[str]) -> None:
        assert await statuses(client, 1) == {200: 1}
        got = await statuses(client, 1_000)
        assert got[503] == pytest.approx(300, abs=60) and got[200] == 1_000 - got[503]
        assert seen["OPTIONS"] == 1 + got[200]
        assert client.ua.restraint is not None and client.ua.restraint.spared == got[503]
        refusal = next(r for r in [await client.request("OPTIONS", URI) for _ in range(50)] if r.status_code == 503)
        assert refusal.get("Retry-After") is None and refusal.to.tag

    run_against(asks(30), main)


def test_what_was_asked_ends_with_its_validity() -> None:
    async def main(client: Stack, seen: Counter[str]) -> None:
        await statuses(client, 1)
        assert await statuses(client, 20) == {503: 20}
        await asyncio.sleep(0.6)
        assert await statuses(client, 1) == {200: 1}, "and is asked anew by what is sent then"
        assert await statuses(client, 20) == {503: 20}

    run_against(asks(100), main)


def test_a_next_hop_ends_it_with_a_validity_of_nothing() -> None:
    async def main(client: Stack, seen: Counter[str]) -> None:
        restraint = client.ua.obey_overload()
        key = ("udp", SERVER, 5060)
        await statuses(client, 1)
        assert (await statuses(client, 20))[503] == 20
        ended = asks(0, validity=";oc-validity=0", sequence="2.0")
        restraint.hear(key, parsed_response(answer_with(ended)))
        assert await statuses(client, 1) == {200: 1}

    run_against(asks(100), main)


def test_who_does_not_obey_does_not_offer() -> None:
    async def main(client: Stack, seen: Counter[str]) -> None:
        transaction = client.request("OPTIONS", URI)
        await transaction
        assert transaction.request is not None and "oc" not in transaction.request.via[0].parameters
        assert await statuses(client, 50) == {200: 50}

    run_against(asks(100), main, obeys=False)


def test_other_next_hops_are_not_spared() -> None:
    async def main(client: Stack, seen: Counter[str]) -> None:
        other = await stack_at(client.env.network, "192.0.2.3")  # type: ignore[attr-defined]
        await statuses(client, 1)
        assert (await client.request("OPTIONS", URI)).status_code == 503
        assert (await client.request("OPTIONS", "sip:bob@192.0.2.3")).status_code == 200
        await other.close()

    run_against(asks(100), main)


def test_requests_of_dialogs_pass_while_new_ones_are_spared() -> None:
    """FAULTS 48, at the client: half is asked for, and new requests make up for it alone."""

    async def main(client: Stack, seen: Counter[str]) -> None:
        await statuses(client, 1)
        inside = {"to": f"<{URI}>;tag=t"}
        passed: Counter[int] = Counter()
        for _ in range(200):
            await statuses(client, 2)
            passed += await statuses(client, 1, "INFO", **inside)
        assert passed == {200: 200} == {200: seen["INFO"]}

    run_against(asks(50), main)


def test_a_spared_call_is_rejected_and_leaves_nothing() -> None:
    async def main(client: Stack, seen: Counter[str]) -> None:
        await statuses(client, 1)
        with pytest.raises(CallRejected) as raised:
            async with client.dial(URI) as leg:
                await leg.answered()
        assert raised.value.response.status_code == 503
        assert seen["INVITE"] == 0 and not client.ua.calls and not client.ua.live

    run_against(asks(100), main)


# two stacks


async def flood(client: Stack, uri: str, count: int, pause: float) -> Counter[int]:
    sent = []
    for _ in range(count):
        sent.append(client.request("MESSAGE", uri, body=b"x"))
        await asyncio.sleep(pause)
    return Counter([(await transaction).status_code for transaction in sent])


async def slow_server(server: Stack, seconds: float) -> None:
    """Handlers that take their time, and room for 20 of them."""
    server.overload.admission_limit, server.overload.source_share = 20, 1.0

    @server.on("MESSAGE")
    async def message(request: Request) -> None:
        await asyncio.sleep(seconds)
        request.reply(200)


def test_a_client_that_obeys_relieves_an_overloaded_server_and_goes_back_to_normal() -> None:
    """FAULTS 45 and 49: five times what can be served; most of what is too much is never sent."""

    async def main(network: SimNetwork) -> None:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        await slow_server(server, 0.5)
        restraint = client.ua.obey_overload()
        await flood(client, URI, 1_000, 0.005)
        spared, refused = restraint.spared, server.engine.stats()["refused_requests"]
        got = await flood(client, URI, 2_000, 0.005)
        assert got[200] >= 0.8 * 2_000 * 0.005 * 40, "goodput stays near the 40 a second that can be served"
        assert restraint.spared - spared > 2 * (server.engine.stats()["refused_requests"] - refused)
        await asyncio.sleep(10)
        assert await flood(client, URI, 100, 0.1) == {200: 100}
        await client.close()
        await server.close()

    sim.run(main)


async def two_stacks() -> None:
    server, client = Stack(), Stack()
    listener = await server.listen("udp", "127.0.0.1:0")
    await client.listen("udp", "127.0.0.1:0")
    server.overload.admission_limit, server.overload.source_share = 10, 1.0
    held: list[Request] = []
    server.on("MESSAGE", held.append)
    restraint = client.ua.obey_overload()
    uri = f"sip:bob@127.0.0.1:{listener.port}"
    transactions = [client.request("MESSAGE", uri) for _ in range(100)]
    refused = [transaction for transaction in transactions[10:] if (await transaction).status_code == 503]
    assert len(refused) == 90 and restraint.spared == 0, "all were sent before anything was heard"
    assert refused[-1].response is not None
    assert int(refused[-1].response.via[0].parameters["oc"] or 0) >= 80
    after = [client.request("MESSAGE", uri, timeout=5) for _ in range(50)]
    await asyncio.gather(*after)
    assert restraint.spared >= 25
    for request in held:
        request.reply(200)
    await asyncio.gather(*transactions)
    await asyncio.gather(client.close(), server.close())


def test_two_stacks_on_loopback_agree_on_less() -> None:
    asyncio.run(two_stacks())
