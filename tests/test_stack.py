"""The stack on the simulated network: handlers, the user agent core, requests, next hops, the end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sipcore import Request, sim
from sipcore.errors import LocateError, TransactionTimeout, TransportError, UsageError
from sipcore.outgoing import Challenged, Hop, OutgoingRequest
from sipcore.policy.questions import Srv
from sipcore.sim import SimNetwork
from sipcore.stack import Stack, split_address

from .kit import CLIENT, SERVER, parsed_request, parsed_response, request_octets, response_octets, stack_at


def answer_to(octets: bytes, prepare: Any = None) -> Any:
    """What a stack on the simulated network answers to one datagram (None: nothing)."""

    async def main(network: SimNetwork) -> Any:
        stack = await stack_at(network, SERVER)
        if prepare is not None:
            prepare(stack)
        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(octets, (SERVER, 5060))
        with contextlib.suppress(TimeoutError):
            return parsed_response((await peer.receive(timeout=5))[0])
        return None

    return sim.run(main)


# the user agent server core, RFC 3261 section 8.2


def test_options_is_built_in_and_says_what_is_understood() -> None:
    response = answer_to(request_octets())
    assert response.status_code == 200
    assert "OPTIONS" in response["Allow"]
    assert response.to.tag


def test_a_method_without_handler_is_405_and_an_unknown_one_501_both_with_allow() -> None:
    assert answer_to(request_octets("MESSAGE")).status_code == 405
    response = answer_to(request_octets("FLY"))
    assert (response.status_code, response["Allow"]) == (501, "CANCEL, OPTIONS")


def test_an_unknown_scheme_is_416() -> None:
    assert answer_to(request_octets(uri="nobody:unknown")).status_code == 416


def test_an_unknown_extension_is_420_and_named() -> None:
    response = answer_to(request_octets(headers=[("Require", "nothing, path")]))
    assert (response.status_code, response["Unsupported"]) == (420, "nothing, path")


def test_a_to_tag_of_no_dialog_is_481() -> None:
    assert answer_to(request_octets(to="<sip:bob@example.com>;tag=nobody")).status_code == 481


def test_an_ack_is_never_answered() -> None:
    assert answer_to(request_octets("ACK", to="<sip:bob@example.com>;tag=x")) is None


def test_a_plain_handler_answers_inside_the_batch() -> None:
    def prepare(stack: Stack) -> None:
        @stack.on("MESSAGE")
        def message(request: Request) -> None:
            assert stack.engine.in_batch
            request.reply(202, "Fine", headers=[("X-Any", "1")], body=b"")

    response = answer_to(request_octets("MESSAGE"), prepare)
    assert (response.status_code, response.reason_phrase, response["X-Any"]) == (202, "Fine", "1")


def test_an_async_handler_answers_when_it_likes() -> None:
    def prepare(stack: Stack) -> None:
        @stack.on("MESSAGE")
        async def message(request: Request) -> None:
            await asyncio.sleep(3)
            request.reply(202)

    assert answer_to(request_octets("MESSAGE"), prepare).status_code == 202


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_handler_raises_becomes_a_500_and_the_stack_goes_on(is_async: bool) -> None:
    """FAULTS 56."""

    async def main(network: SimNetwork) -> list[int]:
        stack = await stack_at(network, SERVER)

        def plain(request: Request) -> None:
            raise RuntimeError("a fault of the application")

        async def later(request: Request) -> None:
            raise RuntimeError("a fault of the application")

        stack.on("MESSAGE", later if is_async else plain)
        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        peer.send(request_octets("OPTIONS", branch="z9hG4bKx2", call_id="call-2"), (SERVER, 5060))
        codes = [parsed_response((await peer.receive())[0]).status_code for _ in range(2)]
        await stack.close()
        return sorted(codes)

    assert sim.run(main) == [200, 500]


def test_a_handler_for_everything_sees_requests_unchecked() -> None:
    def prepare(stack: Stack) -> None:
        stack.on("*", lambda request: request.reply(404))

    octets = request_octets("FLY", "unknown:x", to="<sip:b@example.com>;tag=z", headers=[("Require", "wings")])
    assert answer_to(octets, prepare).status_code == 404


def test_a_stateless_handler_is_asked_again_by_a_retransmission() -> None:
    async def main(network: SimNetwork) -> tuple[int, int]:
        stack = await stack_at(network, SERVER)
        seen: list[Request] = []

        @stack.on("OPTIONS", stateless=True)
        def options(request: Request) -> None:
            seen.append(request)
            request.reply(200)

        peer = network.datagram_peer(CLIENT, 5060)
        for _ in range(3):
            peer.send(request_octets(), (SERVER, 5060))
        await asyncio.sleep(1)
        return len(seen), len(peer.received)

    assert sim.run(main) == (3, 3)


def test_a_cancelled_invite_ends_its_async_handler_with_487() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], list[str]]:
        stack = await stack_at(network, SERVER)
        ends: list[str] = []

        @stack.on("INVITE")
        async def invite(request: Request) -> None:
            request.reply(180)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("INVITE"), (SERVER, 5060))
        await asyncio.sleep(1)
        peer.send(request_octets("CANCEL"), (SERVER, 5060))
        await asyncio.sleep(0.1)
        codes = [parsed_response(octets).status_code for octets, _ in peer.received]
        await stack.close()
        return codes, ends

    codes, ends = sim.run(main)
    assert sorted(codes) == [180, 200, 487]
    assert ends == ["cancelled"]


# requests from here


def test_a_request_gets_its_final_response() -> None:
    async def main(network: SimNetwork) -> tuple[int, list[int]]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)

        @server.on("MESSAGE")
        async def message(request: Request) -> None:
            request.reply(183)
            await asyncio.sleep(1)
            request.reply(200)

        transaction = client.request("MESSAGE", f"sip:bob@{SERVER}", body=b"hi", headers=[("Content-Type", "text/plain")])
        provisionals = [response.status_code async for response in transaction]
        response = await transaction
        await asyncio.gather(server.close(), client.close())
        return response.status_code, provisionals

    assert sim.run(main) == (200, [183])


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


def test_a_503_goes_to_the_next_address_and_a_486_does_not() -> None:
    async def main(network: SimNetwork) -> tuple[int, int]:
        with_dns(network)
        first, second = await stack_at(network, "192.0.2.11", port=5071), await stack_at(network, "192.0.2.12", port=5072)
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


# user agents beside each other, SPEC A8


def test_two_user_agents_of_one_stack_call_each_other() -> None:
    async def main(network: SimNetwork) -> tuple[int, int]:
        stack = Stack(env=network.env(SERVER))
        one, five = stack.user_agent("one"), stack.user_agent("five")
        await one.listen("udp", f"{SERVER}:5060")
        await five.listen("udp", f"{SERVER}:5064")
        seen: list[Request] = []

        @five.on("MESSAGE")
        def message(request: Request) -> None:
            seen.append(request)
            request.reply(200)

        response = await one.request("MESSAGE", f"sip:five@{SERVER}:5064")
        await stack.close()
        return response.status_code, len(seen)

    assert sim.run(main) == (200, 1)


# the end, FAULTS 57


def test_a_closing_stack_refuses_new_work_and_lets_what_runs_end() -> None:
    async def main(network: SimNetwork) -> tuple[list[int], float]:
        server = await stack_at(network, SERVER)

        @server.on("MESSAGE")
        async def message(request: Request) -> None:
            await asyncio.sleep(5)
            request.reply(200)

        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        await asyncio.sleep(1)
        closing = asyncio.create_task(server.close())
        await asyncio.sleep(0.1)
        start = network.loop.time()
        peer.send(request_octets("MESSAGE", branch="z9hG4bKnew", call_id="new"), (SERVER, 5060))
        await closing
        await asyncio.sleep(0.1)
        codes = [parsed_response(octets).status_code for octets, _ in peer.received]
        return codes, network.loop.time() - start

    codes, took = sim.run(main)
    assert codes == [503, 200]
    assert took < 6


def test_closing_is_bounded_and_leaves_no_task() -> None:
    async def main(network: SimNetwork) -> tuple[float, int]:
        server = await stack_at(network, SERVER)

        @server.on("MESSAGE")
        async def message(request: Request) -> None:
            await asyncio.sleep(3_600)

        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        server.request("OPTIONS", "sip:192.0.2.77")
        await asyncio.sleep(1)
        start = network.loop.time()
        await server.close(timeout=4)
        took = network.loop.time() - start
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return took, len(asyncio.all_tasks())

    took, tasks = sim.run(main)
    assert took == pytest.approx(4, abs=0.1)
    assert tasks == 1


def test_closing_twice_is_harmless_and_a_closed_stack_does_nothing_more() -> None:
    async def main(network: SimNetwork) -> None:
        stack = await stack_at(network, SERVER)
        await stack.close()
        await stack.close()
        with pytest.raises(UsageError):
            stack.user_agent("late")

    sim.run(main)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("192.0.2.1:5060", ("192.0.2.1", 5060)), ("[2001:db8::1]:5061", ("2001:db8::1", 5061)), ("192.0.2.1", ("192.0.2.1", 0))],
)
def test_addresses_are_written_as_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["192.0.2.1:", "192.0.2.1:sip", "192.0.2.1:70000"])
def test_a_port_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        split_address(text)
