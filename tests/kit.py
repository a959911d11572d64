"""What several tests share: stacks on the simulated network, and octets for scripted far sides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import sipcore
from sipcore import Message, Request, Response, sim
from sipcore.call import IncomingCall
from sipcore.sim import SimNetwork
from sipcore.simnet import DatagramPeer
from sipcore.stack import Stack

SERVER = "192.0.2.1"
CLIENT = "192.0.2.2"
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


async def stack_at(network: SimNetwork, host: str, transport: str = "udp", port: int = 5060) -> Stack:
    """A stack that listens on `host`."""
    stack = Stack(env=network.env(host))
    await stack.listen(transport, f"{host}:{port}")
    return stack


def request_octets(
    method: str = "OPTIONS",
    uri: str = f"sip:{SERVER}",
    *,
    branch: str = "z9hG4bKx1",
    host: str = CLIENT,
    port: int = 5060,
    transport: str = "UDP",
    call_id: str = "call-1",
    from_tag: str = "f1",
    to: str = "<sip:bob@example.com>",
    sequence: int = 1,
    sequence_method: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """A request as some far side would send it."""
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{transport} {host}:{port};branch={branch}",
        "Max-Forwards: 70",
        f"From: <sip:alice@example.com>;tag={from_tag}",
        f"To: {to}",
        f"Call-ID: {call_id}",
        f"CSeq: {sequence} {sequence_method or method}",
        f"Contact: <sip:alice@{host}:{port}>",
        *(f"{name}: {value}" for name, value in headers),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def response_octets(
    request: bytes,
    status_code: int,
    reason: str = "x",
    *,
    tag: str = "t1",
    headers: Sequence[str] = (),
    body: bytes = b"",
) -> bytes:
    """A response to a request that a stack under test sent."""
    message = parsed_request(request)
    to = message["To"] if ";tag=" in message["To"] or status_code == 100 else f"{message['To']};tag={tag}"
    lines = [
        f"SIP/2.0 {status_code} {reason}",
        *(f"Via: {value}" for value in message.get_all("Via")),
        f"From: {message['From']}",
        f"To: {to}",
        f"Call-ID: {message['Call-ID']}",
        f"CSeq: {message['CSeq']}",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parsed_request(octets: bytes) -> Request:
    message: Message = sipcore.parse(octets)
    assert isinstance(message, Request), octets
    return message


def parsed_response(octets: bytes) -> Response:
    message: Message = sipcore.parse(octets)
    assert isinstance(message, Response), octets
    return message


ANSWER = SDP.replace(b"4000", b"5000")
URI = f"sip:bob@{SERVER}"
Main = Callable[[Stack, Stack], Coroutine[Any, Any, Any]]


def between(main: Main, handler: Any = None, transport: str = "udp", lossy: float = 0.0) -> Any:
    """Run `main(server, client)`; the server gives its calls to `handler`."""

    async def whole(network: SimNetwork) -> Any:
        network.default_link.loss = lossy
        server, client = await stack_at(network, SERVER, transport), await stack_at(network, CLIENT, transport)
        if handler is not None:
            server.on_invite(handler)
        result = await main(server, client)
        await asyncio.gather(server.close(), client.close())
        assert not server.ua.calls and not client.ua.calls
        return result

    return sim.run(whole)


async def answer_call(call: IncomingCall) -> None:
    await call.progress(180)
    await call.answer(ANSWER)
    await call.ended()


SDP_TYPE = [("Content-Type", "application/sdp")]


async def scripted_call(peer: DatagramPeer, *, sequence: int = 1) -> str:
    """A scripted caller's INVITE, answered and acknowledged; returns the called side's tag."""
    peer.send(
        request_octets("INVITE", branch="z9hG4bKinv", sequence=sequence, body=SDP, headers=SDP_TYPE), (SERVER, 5060)
    )
    while True:
        response = parsed_response((await peer.receive())[0])
        if response.status_code >= 200:
            break
    assert response.status_code == 200 and response.to is not None and response.to.tag
    to = f"<sip:bob@example.com>;tag={response.to.tag}"
    peer.send(request_octets("ACK", branch="z9hG4bKack", to=to, sequence=sequence), (SERVER, 5060))
    await asyncio.sleep(0.01)
    return response.to.tag


def check_nothing_is_left(stack: Stack) -> None:
    """No transaction, no timer, no call, dialog or request of the stack's own user agent."""
    stats = stack.engine.stats()
    assert stats["client_transactions"] == stats["server_transactions"] == stats["timers"] == 0
    assert not (stack.ua.calls or stack.ua.live or stack.ua._dialogs or stack.ua._placed or stack.ua._by_transaction)
