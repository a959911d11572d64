"""Calls on the simulated network, both sides ours or the far side scripted (RFC 3261 sections 9, 12 to 15)."""

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
    answer_call,
    between,
    check_nothing_is_left,
    parsed_request,
    parsed_response,
    request_octets,
    response_octets,
    scripted_call,
    stack_at,
)

from sipcore import Request, sim
from sipcore.call import IncomingCall, OutgoingCall
from sipcore.errors import CallBusy, CallCancelled, CallRejected, CallTimeout, TransportError
from sipcore.sim import SimNetwork
from sipcore.stack import Stack


def test_a_call_is_placed_answered_and_hung_up_by_the_caller() -> None:
    async def main(server: Stack, client: Stack) -> None:
        async with client.dial(URI, body=SDP) as call:
            codes = [provisional.status_code async for provisional in call.provisionals]
            assert codes == [180]
            assert call.is_up
            assert call.body == ANSWER
            (incoming,) = server.ua.calls
            assert incoming.body == SDP
            await asyncio.sleep(60)
            assert incoming.is_up
        assert await incoming.ended() == "the far side hung up"
        assert call.end_reason == "hung up here"

    between(main, answer_call)


def test_a_call_is_hung_up_by_the_called_side() -> None:
    async def handler(call: IncomingCall) -> None:
        await call.answer(ANSWER)
        await call.confirmed()
        await asyncio.sleep(5)
        await call.bye()

    async def main(server: Stack, client: Stack) -> str:
        call = await client.dial(URI, body=SDP)
        return await call.ended()

    assert between(main, handler) == "the far side hung up"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_over_each_transport(transport: str) -> None:
    async def main(server: Stack, client: Stack) -> None:
        call = await client.dial(f"{URI};transport={transport}", body=SDP)
        await call.bye()

    between(main, answer_call, transport)


def test_calls_come_about_on_a_lossy_network() -> None:
    async def main(server: Stack, client: Stack) -> int:
        calls = await asyncio.gather(*(client.dial(URI, body=SDP).answered() for _ in range(30)))
        await asyncio.sleep(10)
        await asyncio.gather(*(call.bye() for call in calls))
        return len(calls)

    assert between(main, answer_call, lossy=0.1) == 30


@pytest.mark.parametrize(
    ("status_code", "error"),
    [(486, CallBusy), (600, CallBusy), (603, CallRejected), (404, CallRejected), (408, CallTimeout)],
)
def test_a_refused_call_raises_what_it_was_refused_with(status_code: int, error: type[CallRejected]) -> None:
    async def handler(call: IncomingCall) -> None:
        await call.reject(status_code)

    async def main(server: Stack, client: Stack) -> None:
        with pytest.raises(error) as raised:
            await client.dial(URI, body=SDP)
        assert raised.value.response is not None
        assert raised.value.response.status_code == status_code

    between(main, handler)


def test_a_call_that_nobody_answers_is_cancelled_in_time() -> None:
    cancelled: list[bool] = []

    async def handler(call: IncomingCall) -> None:
        try:
            await call.progress(180)
            await asyncio.sleep(3_600)
        finally:
            cancelled.append(call.cancelled)

    async def main(server: Stack, client: Stack) -> float:
        start = client.env.now()
        with pytest.raises(CallTimeout):
            await client.dial(URI, body=SDP, timeout=20)
        took = client.env.now() - start
        await asyncio.sleep(1)
        return took

    assert between(main, handler) == pytest.approx(20, abs=0.1)
    assert cancelled == [True]


def test_cancelling_from_here_ends_the_far_handler() -> None:
    ends: list[str] = []

    async def handler(call: IncomingCall) -> None:
        await call.progress(180)
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            ends.append(call.end_reason)
            with pytest.raises(CallCancelled):
                await call.answer(ANSWER)
            raise

    async def main(server: Stack, client: Stack) -> None:
        async with client.dial(URI, body=SDP) as call:
            await asyncio.sleep(1)
        assert call.cancelled
        with pytest.raises(CallCancelled):
            await call.answered()
        await asyncio.sleep(1)

    between(main, handler)
    assert ends == ["cancelled by the caller"]


def test_a_handler_that_fails_or_forgets_to_answer_ends_the_call() -> None:
    async def fails(call: IncomingCall) -> None:
        raise RuntimeError("a fault of the application")

    async def forgets(call: IncomingCall) -> None:
        await call.progress(180)

    for handler, status_code in ((fails, 500), (forgets, 480)):

        async def main(server: Stack, client: Stack) -> int:
            with pytest.raises(CallRejected) as raised:
                await client.dial(URI, body=SDP)
            assert raised.value.response is not None
            return raised.value.response.status_code

        assert between(main, handler) == status_code


def test_a_limit_on_calls_refuses_with_503() -> None:
    async def main(server: Stack, client: Stack) -> int:
        server.ua.call_limit = 1
        call = await client.dial(URI, body=SDP)
        with pytest.raises(CallRejected) as raised:
            await client.dial(URI, body=SDP)
        await call.bye()
        assert raised.value.response is not None
        return raised.value.response.status_code

    assert between(main, answer_call) == 503


def test_an_unknown_body_type_is_415() -> None:
    async def main(server: Stack, client: Stack) -> str:
        with pytest.raises(CallRejected, match="415") as raised:
            await client.dial(URI, body=b"x", content_type="application/unknown")
        assert raised.value.response is not None
        return str(raised.value.response["Accept"])

    assert "application/sdp" in between(main, answer_call)


# what only a scripted far side does


def test_a_2xx_that_nobody_acknowledges_ends_the_call_with_bye() -> None:
    """RFC 3261 section 13.3.1.4."""

    async def main(network: SimNetwork) -> tuple[list[str], list[str]]:
        server = await stack_at(network, SERVER)
        reasons: list[str] = []

        async def handler(call: IncomingCall) -> None:
            await call.answer(ANSWER)
            reasons.append(await call.ended())

        server.on_invite(handler)
        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("INVITE", body=SDP, headers=SDP_TYPE), (SERVER, 5060))
        await asyncio.sleep(40)
        starts = [octets.split(b" ")[0].decode() for octets, _ in peer.received]
        return starts, reasons

    starts, reasons = sim.run(main)
    assert reasons == ["the 2xx was never acknowledged"]
    assert starts.count("SIP/2.0") == 11
    assert "BYE" in starts


def test_the_callee_sends_bye_only_after_the_ack() -> None:
    """RFC 3261 section 15."""

    async def main(network: SimNetwork) -> list[str]:
        server = await stack_at(network, SERVER)

        async def handler(call: IncomingCall) -> None:
            await call.answer(ANSWER)
            await call.bye()

        server.on_invite(handler)
        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("INVITE", body=SDP, headers=SDP_TYPE), (SERVER, 5060))
        response = parsed_response((await peer.receive())[0])
        await asyncio.sleep(0.3)
        before = [octets[:3] for octets, _ in peer.received]
        assert response.to is not None
        ack = request_octets("ACK", branch="z9hG4bKa", to=f"<sip:bob@example.com>;tag={response.to.tag}")
        peer.send(ack, (SERVER, 5060))
        await asyncio.sleep(0.1)
        assert b"BYE" not in before
        return [octets[:3].decode() for octets, _ in peer.received]

    assert sim.run(main)[-1] == "BYE"


async def forked(network: SimNetwork, tags: list[str], *, repeat: int = 1) -> tuple[list[Request], OutgoingCall]:
    """A call that each of `tags` answers, `repeat` times each; what the callees then get."""
    client = await stack_at(network, CLIENT)
    server = network.datagram_peer(SERVER, 5060)
    call = client.dial(URI, body=SDP).start()
    octets, source = await server.receive()
    for _ in range(repeat):
        for tag in tags:
            contact = [f"Contact: <sip:{tag}@{SERVER}>"]
            server.send(response_octets(octets, 200, tag=tag, headers=contact), source)
    await asyncio.sleep(0.2)
    for octets, _ in list(server.received):
        if octets.startswith(b"BYE"):
            server.send(response_octets(octets, 200), source)
    await asyncio.sleep(0.2)
    return [parsed_request(octets) for octets, _ in server.received[1:]], call


def test_each_fork_that_answers_too_is_acknowledged_and_ended() -> None:
    """FAULTS 28."""

    async def main(network: SimNetwork) -> None:
        requests, call = await forked(network, [f"t{number}" for number in range(100)])
        acks = {request.to.tag for request in requests if request.method == "ACK" and request.to}
        byes = {request.to.tag for request in requests if request.method == "BYE" and request.to}
        assert acks == {f"t{number}" for number in range(100)}
        assert byes == acks - {"t0"}
        assert call.is_up

    sim.run(main)


def test_each_repeated_2xx_is_acknowledged_again_and_ended_once() -> None:
    async def main(network: SimNetwork) -> None:
        requests, call = await forked(network, ["t0", "t1"], repeat=3)
        got = [(request.method, request.to.tag) for request in requests if request.to]
        assert got.count(("ACK", "t0")) == 3
        assert got.count(("ACK", "t1")) == 3
        assert got.count(("BYE", "t1")) == 1
        assert call.is_up

    sim.run(main)


def test_a_2xx_after_its_transaction_has_gone_is_acknowledged_again() -> None:
    async def main(network: SimNetwork) -> list[str]:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        client.dial(URI, body=SDP).start()
        invite, source = await server.receive()
        ok = response_octets(invite, 200, headers=[f"Contact: <sip:bob@{SERVER}>"])
        server.send(ok, source)
        await asyncio.sleep(40)
        server.received.clear()
        server.send(ok, source)
        await asyncio.sleep(1)
        return [octets[:3].decode() for octets, _ in server.received]

    assert sim.run(main) == ["ACK"]


def test_early_dialogs_are_capped() -> None:
    """FAULTS 28."""

    async def main(network: SimNetwork) -> int:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        call = client.dial(URI, body=SDP).start()
        octets, source = await server.receive()
        for number in range(1_000):
            server.send(response_octets(octets, 180, tag=f"t{number}", headers=[f"Contact: <sip:b@{SERVER}>"]), source)
        await asyncio.sleep(1)
        return len(call.early)

    assert sim.run(main) == 16


def test_a_thousand_early_dialogs_and_a_hundred_answers_leave_nothing() -> None:
    """FAULTS 28: ACK and BYE for each 2xx, early dialogs capped, all freed when the call has ended."""

    async def main(network: SimNetwork) -> None:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        tasks = len(asyncio.all_tasks())
        call = client.dial(URI, body=SDP).start()
        octets, source = await server.receive()
        contact = [f"Contact: <sip:b@{SERVER}>"]
        for number in range(1_000):
            server.send(response_octets(octets, 180, tag=f"t{number}", headers=contact), source)
        await asyncio.sleep(0.5)
        assert len(call.early) <= 16
        for number in range(100):
            server.send(response_octets(octets, 200, tag=f"t{number * 10}", headers=contact), source)
        await asyncio.sleep(0.2)
        call.hang_up()
        await asyncio.sleep(0.2)
        for sent, _ in list(server.received):
            if sent.startswith(b"BYE"):
                server.send(response_octets(sent, 200), source)
        await asyncio.sleep(64 * 0.5 + 5)
        requests = [parsed_request(sent) for sent, _ in server.received[1:]]
        answered = {f"t{number * 10}" for number in range(100)}
        for method in ("ACK", "BYE"):
            assert {sent.to.tag for sent in requests if sent.method == method and sent.to} == answered
        check_nothing_is_left(client)
        assert len(asyncio.all_tasks()) == tasks

    sim.run(main)


@pytest.mark.parametrize("contact", [[], ["Contact: <<<"], ["Contact: *"]])
def test_a_2xx_without_usable_contact_is_acknowledged_and_can_be_ended(contact: list[str]) -> None:
    """FAULTS 29."""

    async def main(network: SimNetwork) -> list[str]:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        call = client.dial(URI, body=SDP).start()
        octets, source = await server.receive()
        server.send(response_octets(octets, 200, headers=contact), source)
        await call.answered()
        call.hang_up()
        await asyncio.sleep(0.1)
        return [octets[:3].decode() for octets, _ in server.received]

    assert sim.run(main) == ["INV", "ACK", "BYE"]


def test_an_answer_that_crosses_our_cancel_is_acknowledged_and_hung_up() -> None:
    """FAULTS 25."""

    async def main(network: SimNetwork) -> list[str]:
        client = await stack_at(network, CLIENT)
        server = network.datagram_peer(SERVER, 5060)
        call = client.dial(URI, body=SDP).start()
        octets, source = await server.receive()
        server.send(response_octets(octets, 180), source)
        await asyncio.sleep(0.1)
        call.cancel()
        server.send(response_octets(octets, 200, headers=[f"Contact: <sip:bob@{SERVER}>"]), source)
        await asyncio.sleep(0.1)
        with pytest.raises(CallCancelled):
            await call.answered()
        return [octets.split(b" ")[0].decode() for octets, _ in server.received]

    assert sim.run(main) == ["INVITE", "CANCEL", "ACK", "BYE"]


def test_a_bye_before_the_answer_ends_the_invite_with_487() -> None:
    """RFC 3261 section 15.1.2."""

    async def main(network: SimNetwork) -> list[int]:
        server = await stack_at(network, SERVER)

        async def handler(call: IncomingCall) -> None:
            await call.progress(180)
            await asyncio.sleep(3_600)

        server.on_invite(handler)
        peer = network.datagram_peer(CLIENT, 5060)
        peer.send(request_octets("INVITE", body=SDP, headers=SDP_TYPE), (SERVER, 5060))
        ringing = parsed_response((await peer.receive())[0])
        assert ringing.to is not None
        to = f"<sip:bob@example.com>;tag={ringing.to.tag}"
        peer.send(request_octets("BYE", branch="z9hG4bKb", to=to, sequence=2), (SERVER, 5060))
        await asyncio.sleep(0.1)
        assert not server.ua.calls
        return sorted(parsed_response(octets).status_code for octets, _ in peer.received)

    assert sim.run(main) == [180, 200, 487]


def test_an_invite_without_contact_is_400() -> None:
    async def main(network: SimNetwork) -> int:
        server = await stack_at(network, SERVER)
        server.on_invite(answer_call)
        peer = network.datagram_peer(CLIENT, 5060)
        octets = request_octets("INVITE").replace(f"Contact: <sip:alice@{CLIENT}:5060>\r\n".encode(), b"")
        peer.send(octets, (SERVER, 5060))
        return parsed_response((await peer.receive())[0]).status_code

    assert sim.run(main) == 400


def test_all_responses_to_an_invite_carry_one_tag() -> None:
    async def main(network: SimNetwork) -> set[str | None]:
        server = await stack_at(network, SERVER)
        server.on_invite(answer_call)
        peer = network.datagram_peer(CLIENT, 5060)
        tag = await scripted_call(peer)
        tags = {parsed_response(octets).to for octets, _ in peer.received}
        return {address.tag for address in tags if address is not None} | {tag}

    assert len(sim.run(main)) == 1


# the end


def test_a_closing_stack_hangs_up_its_calls() -> None:
    async def main(network: SimNetwork) -> tuple[str, float]:
        server, client = await stack_at(network, SERVER), await stack_at(network, CLIENT)
        server.on_invite(answer_call)
        call = await client.dial(URI, body=SDP)
        start = network.loop.time()
        await server.close()
        reason = await call.ended()
        await client.close()
        return reason, network.loop.time() - start

    reason, took = sim.run(main)
    assert reason == "the far side hung up"
    assert took < 1


def test_a_dead_connection_ends_a_call_that_is_being_placed() -> None:
    async def main(network: SimNetwork) -> str:
        server, client = await stack_at(network, SERVER, "tcp"), await stack_at(network, CLIENT)
        server.on("INVITE", lambda request: None)
        call = client.dial(f"{URI};transport=tcp", body=SDP).start()
        await asyncio.sleep(0.1)
        network.cut_streams(SERVER)
        with pytest.raises(CallRejected) as raised:
            await call.answered()
        assert isinstance(raised.value.__cause__, TransportError)
        return call.end_reason

    assert sim.run(main)
