"""The stack on the simulated network: handlers, the user agent core, requests, next hops, the end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from kit import CLIENT, SERVER, parsed_response, request_octets, response_octets, stack_at

from sipcore import Hop, Request, sim
from sipcore.errors import TransportError, UsageError
from sipcore.handover import split_address
from sipcore.sim import SimNetwork
from sipcore.stack import Stack


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


def test_a_handler_that_cancels_itself_ends_its_request_only() -> None:
    """FAULTS 56."""

    async def main(network: SimNetwork) -> list[int]:
        stack = await stack_at(network, SERVER)

        @stack.on("MESSAGE")
        async def message(request: Request) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)

        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        peer.send(request_octets("OPTIONS", branch="z9hG4bKx2", call_id="call-2"), (SERVER, 5060))
        codes = [parsed_response((await peer.receive())[0]).status_code for _ in range(2)]
        await stack.close()
        return sorted(codes)

    assert sim.run(main) == [200, 503]


def test_an_interrupt_in_a_handler_ends_the_program_but_not_the_batch() -> None:
    async def main(network: SimNetwork) -> None:
        stack = await stack_at(network, SERVER)

        @stack.on("MESSAGE")
        def message(request: Request) -> None:
            raise KeyboardInterrupt

        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        await asyncio.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        sim.run(main)


# the world misbehaves


def test_a_process_that_stood_still_sends_one_retransmission_and_goes_on() -> None:
    """FAULTS 52: 20 s without running are no reason for a burst."""

    async def main(network: SimNetwork) -> tuple[int, int]:
        client = await stack_at(network, CLIENT)
        peer = network.datagram_peer(SERVER, 5060)
        transaction = client.request("OPTIONS", f"sip:{SERVER}")
        await asyncio.sleep(1)
        before = len(peer.received)
        assert isinstance(network.loop, sim.SimLoop)
        network.loop.stall(20)
        await asyncio.sleep(0.2)
        burst = len(peer.received) - before
        octets, source = peer.received[0]
        peer.send(response_octets(octets, 200), source)
        return burst, (await transaction).status_code

    assert sim.run(main) == (1, 200)


def test_requests_without_a_route_fail_as_errors_and_go_again_when_there_is_one() -> None:
    """FAULTS 51."""

    async def main(network: SimNetwork) -> int:
        client = Stack(env=network.env(CLIENT))
        await stack_at(network, SERVER)
        network.unplug(CLIENT)
        with pytest.raises(TransportError, match="no route"):
            await client.request("OPTIONS", f"sip:{SERVER}")
        network.plug(CLIENT)
        response = await client.request("OPTIONS", f"sip:{SERVER}")
        return response.status_code

    assert sim.run(main) == 200


@pytest.mark.parametrize("is_parked", [False, True])
def test_a_send_hook_that_fails_is_told_to_who_waits_and_leaves_nothing(is_parked: bool) -> None:
    async def main(network: SimNetwork) -> float:
        client = await stack_at(network, CLIENT)
        if is_parked:
            client.ua.next_hop = lambda outgoing: asyncio.sleep(1, Hop(client.ua.datagram_flow(SERVER, 5060), "udp"))

        @client.on_send
        def hook(request: Request, flow: int) -> Request:
            raise ValueError("a fault of the application")

        with pytest.raises(UsageError, match="a fault of the application"):
            await client.request("OPTIONS", f"sip:{SERVER}")
        assert not client.ua.live
        start = network.loop.time()
        await client.close()
        return network.loop.time() - start

    assert sim.run(main) < 1


def test_a_closed_stack_says_so() -> None:
    async def main(network: SimNetwork) -> None:
        stack = await stack_at(network, SERVER)
        await stack.close()
        with pytest.raises(TransportError, match="the stack is closed"):
            await stack.request("OPTIONS", f"sip:{CLIENT}")
        with pytest.raises(UsageError, match="the stack is closed"):
            await stack.listen("udp", f"{SERVER}:5060")
        stack.post_threadsafe(lambda: None)

    sim.run(main)


def test_a_known_method_in_other_letters_and_a_stateless_invite_are_refused() -> None:
    """RFC 3261 section 7.1: methods are case-sensitive; what is refused has left no handler behind."""

    async def main(network: SimNetwork) -> None:
        stack = await stack_at(network, SERVER)
        with pytest.raises(UsageError, match="SUBSCRIBE"):
            stack.on("subscribe", lambda request: None)
        with pytest.raises(UsageError):
            stack.on("INVITE", lambda request: None, stateless=True)
        assert stack.ua.methods == {"OPTIONS", "CANCEL"}

    sim.run(main)


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
    assert codes == [503, 100, 200]  # 100: RFC 4320 section 4.1
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


def test_a_handler_may_close_its_own_stack() -> None:
    async def main(network: SimNetwork) -> tuple[int, float]:
        server = await stack_at(network, SERVER)
        closed = asyncio.Event()

        @server.on("MESSAGE")
        async def message(request: Request) -> None:
            request.reply(200)
            await server.close()
            closed.set()

        peer = network.datagram_peer(CLIENT, 5060)
        start = network.loop.time()
        peer.send(request_octets("MESSAGE"), (SERVER, 5060))
        await closed.wait()
        return parsed_response((await peer.receive())[0]).status_code, network.loop.time() - start

    status_code, took = sim.run(main)
    assert status_code == 200
    assert took < 1


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
    [
        ("192.0.2.1:5060", ("192.0.2.1", 5060)),
        ("[2001:db8::1]:5061", ("2001:db8::1", 5061)),
        ("192.0.2.1", ("192.0.2.1", 0)),
    ],
)
def test_addresses_are_written_as_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["192.0.2.1:", "192.0.2.1:sip", "192.0.2.1:70000"])
def test_a_port_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        split_address(text)
