"""The torture messages as a user agent server meets them: each request gets an answer that the manifest allows."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kit import SERVER, parsed_response, request_octets

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

FOLDER = Path(__file__).parent / "torture"
MESSAGES = tomllib.loads((FOLDER / "manifest.toml").read_text())["message"]
REQUESTS = [pytest.param(message, id=message["file"]) for message in MESSAGES if "expect_uas" in message]
# What a request that is in order may be answered with here: taken, of no dialog, or left to the application's handler.
PROCESSED = {200, 404, 405, 406, 415, 481, 486}


def octets_of(message: dict[str, Any]) -> bytes:
    octets = (FOLDER / message["file"]).read_bytes()
    return octets + bytes.fromhex(message.get("wire_append_hex", ""))


async def taking_calls(network: SimNetwork) -> tuple[Stack, int]:
    """A stack that takes calls, and the flow on which its peer sends."""
    stack = Stack(env=network.env(SERVER))
    listener = await stack.listen("udp", f"{SERVER}:5060")

    @stack.on_invite
    async def inbound(call: IncomingCall) -> None:
        await call.reject(406 if "text/nobodyKnowsThis" in call.request.get("Accept", "") else 486)

    return stack, stack.engine.datagram_flow(listener.local, "192.0.2.77", 5060)


def answers_to(octets: bytes) -> list[int]:
    """The final status codes that one datagram brings out of a stack that takes calls; then it must serve another."""

    async def main(network: SimNetwork) -> list[int]:
        stack, flow = await taking_calls(network)
        peer = network.datagram_peer("192.0.2.77", 5060)
        stack.engine.receive(octets, flow, stack.env.now())
        stack.engine.flush()
        await asyncio.sleep(0.1)
        codes = [int(answer.split(b" ")[1]) for answer, _ in peer.received]
        peer.received.clear()
        peer.send(request_octets(branch="z9hG4bKprobe", call_id="probe", host="192.0.2.77"), (SERVER, 5060))
        await asyncio.sleep(0.1)
        assert parsed_response(peer.received[-1][0]).status_code == 200
        return [status_code for status_code in codes if status_code >= 200]

    return sim.run(main)


@pytest.mark.parametrize("message", REQUESTS)
def test_a_torture_request_gets_an_answer_that_its_manifest_allows(message: dict[str, Any]) -> None:
    answers = answers_to(octets_of(message))
    allowed = {expected for expected in message["expect_uas"] if isinstance(expected, int)}
    if "process" in message["expect_uas"]:
        allowed |= PROCESSED
    if "drop" in message["expect_uas"]:
        assert answers == []
    else:
        assert len(answers) == 1, answers
        assert answers[0] in allowed


@pytest.mark.parametrize("message", [pytest.param(one, id=one["file"]) for one in MESSAGES if "expect_uas" not in one])
def test_a_torture_response_is_never_answered(message: dict[str, Any]) -> None:
    assert answers_to(octets_of(message)) == []
