"""SIP over WebSocket with real peers: the `websockets` library as a softphone, Kamailio as a server, Wireshark."""

import asyncio
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from sipcore import Proxy, Registrar, Registration
from sipcore.aio import run
from sipcore.call import IncomingCall
from sipcore.stack import Stack

from . import kamailio
from .capture import Capture
from .conftest import Peers
from .kamailio import CERTIFICATES
from .processes import LOOPBACK, free_port
from .sipp import Counts, Sipp
from .test_streams import SDP, server_context

pytestmark = pytest.mark.interop

USERS = {"alice": "wonderland"}
CALLS = 100
TRANSPORTS = pytest.mark.parametrize("transport", ["ws", "wss"])


def client_context(keys: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    if keys is not None:
        context.keylog_filename = str(keys)
    return context


class Softphone:
    """What a browser would say, written by hand: it knows no address of its own, and answers every call."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def register(self) -> str:
        """The status line of the answer."""
        await self._connection.send(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bKr1\r\n"
            "Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=a\r\nTo: <sip:alice@example.com>\r\nCall-ID: r1\r\n"
            "CSeq: 1 REGISTER\r\nSupported: path, outbound\r\nContact: <sip:alice@df7jal23ls0d.invalid;transport=ws>"
            ';reg-id=1;+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"\r\n\r\n'
        )
        return str(await self._connection.recv()).split("\r\n")[0]

    async def answer_calls(self) -> list[str]:
        """Answer until the server closes; the methods that came."""
        methods = []
        async for message in self._connection:
            assert isinstance(message, str)
            methods.append(message.split(" ")[0])
            if methods[-1] in ("INVITE", "BYE"):
                await self._connection.send(self._ok(message))
        return methods

    def _ok(self, request: str) -> str:
        """200 without Content-Length, which WebSocket does without (RFC 7118 section 5)."""
        copied = ("via:", "from:", "to:", "call-id:", "cseq:", "record-route:")
        head = request.partition("\r\n\r\n")[0]
        lines = [line for line in head.split("\r\n") if line.lower().startswith(copied)]
        lines = [f"{line};tag=b" if line.lower().startswith("to:") and ";tag=" not in line else line for line in lines]
        contact = "Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>"
        body = f"Content-Type: application/sdp\r\n\r\n{SDP.decode()}" if request.startswith("INVITE") else "\r\n"
        return "\r\n".join(["SIP/2.0 200 OK", *lines, contact, body])


@TRANSPORTS
def test_a_softphone_on_the_websockets_library_registers_and_is_called(
    peers: Peers, tmp_path: Path, transport: str
) -> None:
    """Registrar and proxy of ours find it on its own connection; SIPp calls it over UDP."""

    async def main() -> tuple[str, Counts, str, list[str]]:
        stack = Stack()
        agent = stack.user_agent("", is_proxy=True)
        registrar = Registrar(agent, domains=["example.com"])
        Proxy(agent, targets=registrar.targets)
        context = server_context() if transport == "wss" else None
        listener = await agent.listen(transport, f"{LOOPBACK}:0", ssl=context)
        datagrams = await agent.listen("udp", f"{LOOPBACK}:0")
        uri = f"{transport}://{LOOPBACK}:{listener.port}/"
        client = client_context() if transport == "wss" else None
        async with connect(uri, subprotocols=[Subprotocol("sip")], ssl=client) as connection:
            phone = Softphone(connection)
            status = await phone.register()
            answering = asyncio.create_task(phone.answer_calls())
            caller = Sipp(tmp_path, "caller", target=datagrams.port, service="alice", calls=CALLS, rate=100)
            seen = await asyncio.to_thread(caller.run)
            await stack.close(timeout=5)
            return status, seen, caller.errors(), await answering

    status, seen, errors, methods = run(main())
    assert status == "SIP/2.0 200 OK"
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, errors)
    assert [methods.count(method) for method in ("INVITE", "ACK", "BYE")] == [CALLS] * 3


@TRANSPORTS
def test_we_register_at_kamailio_over_websocket_and_take_its_calls(
    peers: Peers, tmp_path: Path, transport: str
) -> None:
    """With digest, a ping now and then, and calls on the connection that we opened; taken back at the end."""
    tls_port = free_port() if transport == "wss" else None
    server = peers.start(kamailio.Registrar(tmp_path, users=USERS, tls_port=tls_port, websocket=True))

    async def main() -> tuple[list[str], Counts, str, int]:
        async with Stack() as stack:
            stack.ua.tls_context = client_context()

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.answer(SDP)
                await call.ended()

            pongs: list[int] = []
            stack.ua.pong = pongs.append
            place = f"sip:{LOOPBACK}:{tls_port or server.port};transport={transport}"
            registration = Registration(stack, "sip:alice@example.test", password="wonderland", registrar=place)
            await registration.registered(timeout=10)
            bound = (await asyncio.to_thread(server.bindings))["alice"]
            stack.engine.send(b"\r\n\r\n", stack.engine.connections()[0].flow)
            caller = Sipp(tmp_path, "caller", target=server.port, service="alice", calls=CALLS, rate=50)
            seen = await asyncio.to_thread(caller.run)
            assert len(stack.engine.connections()) == 1
            await registration.stop()
            return bound, seen, caller.errors(), len(pongs)

    bound, seen, errors, pongs = run(main())
    assert len(bound) == 1 and bound[0].endswith(";transport=ws")
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, errors)
    assert pongs == 1
    assert server.bindings() == {}


@TRANSPORTS
def test_wireshark_decodes_every_message_over_websocket(peers: Peers, tmp_path: Path, transport: str) -> None:
    keys = tmp_path / "keys.log"

    async def main() -> tuple[Capture, int]:
        async with Stack() as server, Stack() as client:
            listener = await server.listen(
                transport, "127.0.0.1:0", ssl=server_context() if transport == "wss" else None
            )
            server.on("MESSAGE", lambda request: request.reply(202, body=b"thanks"))
            client.ua.tls_context = client_context(keys)
            capture = await asyncio.to_thread(peers.start, Capture(tmp_path, [listener.port]))
            uri = f"sip:{LOOPBACK}:{listener.port};transport={transport}"
            for number in range(20):
                response = await client.request("MESSAGE", uri, body=b"\xff" * (number % 2) + b"x" * 100 * number)
                assert response.status_code == 202
            client.engine.send(b"\r\n\r\n", client.engine.connections()[0].flow)
            await asyncio.sleep(0.1)
        await asyncio.to_thread(capture.stop)
        return capture, listener.port

    capture, port = run(main())
    kind = "tls.port" if transport == "wss" else "tcp.port"
    decode = ["-o", f"tls.keylog_file:{keys}"] + (["-d", f"tcp.port=={port},tls"] if transport == "wss" else [])
    decode += ["-d", f"{kind}=={port},http"]
    told = capture._tshark(*decode, "-Y", "sip", "-T", "fields", "-e", "sip.CSeq.method", "-e", "sip.Via.transport")
    bad = capture._tshark(*decode, "-Y", "_ws.malformed or (sip and _ws.expert.severity == error)")
    assert bad == []
    assert sum(line.count("MESSAGE") for line in told) == 40, "twenty requests, and CSeq in twenty responses"
    assert all(transport.upper() in line.split("\t")[1].split(",") for line in told)
    frames = capture._tshark(*decode, "-Y", "websocket.opcode == 9 or websocket.opcode == 10 or websocket.opcode == 8")
    assert len(frames) >= 3, "ping, pong and the Close that ends it"
