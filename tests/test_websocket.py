"""SIP over WebSocket (RFC 7118): what is spoken, what is refused, what a hostile far side costs (FAULTS 11-14, 18)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import tracemalloc

import pytest
from kit import response_octets
from test_secure import URI, asking, server_context
from websocket_kit import (
    ASK,
    HANDSHAKE,
    TOO_LONG,
    Opcode,
    Peer,
    frame,
    options,
    peers_are_closed,  # noqa: F401  (a fixture of every test here)
    serving,
    until,
)
from websockets.http11 import Request as HttpRequest
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from sipcore import Limits, Proxy, Registrar, Request, Stack, TransportError, UsageError, parse, secure
from sipcore.aio import AsyncioEnv, run
from sipcore.env import StreamLimits
from sipcore.websocket import HEAD_SIZE, WebSocket, WebSocketOptions

# ---- what is spoken


def test_a_request_and_its_response_share_a_connection_and_name_ws() -> None:
    """RFC 7118 sections 5.1 to 5.3."""

    async def main() -> tuple[list[str], str, int, int]:
        async with serving() as (server, port), Stack() as client:
            seen: list[str] = []

            def answer(request: Request) -> None:
                seen.append(request["Via"])
                request.reply(200)

            server.on("OPTIONS", answer)
            uri = f"sip:127.0.0.1:{port};transport=ws"
            responses = await asyncio.gather(*(client.request("OPTIONS", uri) for _ in range(20)))
            assert {one.status_code for one in responses} == {200}
            connections = client.engine.connections()
            contact = client.ua.contact(connections[0].flow)
            return seen, contact, len(connections), len(server.engine.connections())

    vias, contact, ours, theirs = run(main())
    assert len(vias) == 20
    assert all(via.startswith("SIP/2.0/WS 127.0.0.1:") for via in vias)
    assert contact.endswith(";transport=ws>")
    assert (ours, theirs) == (1, 1), "concurrent senders share one connection"


@pytest.mark.parametrize("uri", [URI + ";transport=ws", "sip:sip.example.com:{};transport=wss"])
def test_a_secure_websocket_is_verified_for_the_name_in_the_uri(uri: str) -> None:
    """SPEC C10; a sips: URI with transport=ws is WSS."""

    async def main(name: str) -> tuple[int, str, str]:
        async with Stack() as server, asking() as client:
            listener = await server.listen("wss", "127.0.0.1:0", ssl=server_context(name))
            server.on("OPTIONS", lambda request: request.reply(200, headers=[("X-Via", request["Via"])]))
            response = await client.request("OPTIONS", uri.format(listener.port))
            contact = client.ua.contact(client.engine.connections()[0].flow)
            return response.status_code, response["X-Via"], contact

    status_code, via, contact = run(main("server"))
    assert status_code == 200
    assert via.startswith("SIP/2.0/WSS ")
    assert contact.endswith(";transport=ws>"), "RFC 7118 section 5.3 has one word for both"
    with pytest.raises(TransportError, match=r"sip\.example\.com"):
        run(main("client"))


def test_the_server_asks_back_on_the_connection_that_a_browser_opened() -> None:
    """A browser's Contact and sent-by are names that lead nowhere: the flow is the only way (RFC 7118 section 5)."""

    async def main() -> tuple[bytes, int]:
        async with serving() as (server, port):
            flows: list[int] = []

            def register(request: Request) -> None:
                flows.append(request.flow)
                request.reply(200)

            server.on("REGISTER", register)
            peer = await Peer.open(port)
            await peer.send(frame(options().replace(b"OPTIONS", b"REGISTER").replace(b"192.0.2.20", b"df7jal.invalid")))
            assert (await peer.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            asked = server.request("MESSAGE", "sip:alice@df7jal.invalid;transport=ws", flow=flows[0])
            request = (await peer.frames(1))[0][1]
            await peer.send(frame(response_octets(request, 200)))
            return request, (await asked).status_code

    request, status_code = run(main())
    assert request.startswith(b"MESSAGE sip:alice@df7jal.invalid;transport=ws SIP/2.0\r\nVia: SIP/2.0/WS 127.0.0.1:")
    assert status_code == 200


def test_two_browsers_call_each_other_through_registrar_and_proxy() -> None:
    """RFC 5626 section 5.3: each side of a dialog is found by the token of its own connection."""

    def of_browser(name: str, method: str, sequence: int, to: str, routes: list[str], uri: str) -> bytes:  # noqa: PLR0917
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/WS {name}.invalid;branch=z9hG4bK{name}{sequence}",
            f"From: <sip:{name}@example.com>;tag={name}",
            f"To: {to}",
            f"Call-ID: {'call' if method != 'REGISTER' else name}",
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:{name}@{name}.invalid;transport=ws>",
            *(f"Route: {route}" for route in routes),
        ]
        return frame("\r\n".join((*lines, "", "")).encode())

    async def answered(peer: Peer, tag: str) -> Request:
        request = parse((await peer.frames(1))[0][1])
        assert isinstance(request, Request)
        headers = [f"Record-Route: {value}" for value in request.get_all("Record-Route")]
        contact = f"Contact: <sip:{tag}@{tag}.invalid;transport=ws>"
        await peer.send(frame(response_octets(bytes(request), 200, tag=tag, headers=[*headers, contact])))
        return request

    async def main() -> list[str]:
        async with serving() as (stack, port):
            registrar = Registrar(stack.ua, domains=["example.com"])
            Proxy(stack.ua, targets=registrar.targets)
            alice, bob = await Peer.open(port), await Peer.open(port)
            for peer, name in ((alice, "alice"), (bob, "bob")):
                await peer.send(of_browser(name, "REGISTER", 1, f"<sip:{name}@example.com>", [], "sip:example.com"))
                assert (await peer.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            to_bob = "<sip:bob@example.com>"
            await alice.send(of_browser("alice", "INVITE", 2, to_bob, [], "sip:bob@example.com"))
            invite = await answered(bob, "bob")
            route_set = invite.get_all("Record-Route")
            assert (await alice.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            seen = [invite.method]
            uri = "sip:{0}@{0}.invalid;transport=ws"
            for sequence, method in ((2, "ACK"), (3, "INFO")):
                routes = route_set[::-1]
                await alice.send(of_browser("alice", method, sequence, f"{to_bob};tag=bob", routes, uri.format("bob")))
                if method == "ACK":
                    seen.append(parse((await bob.frames(1))[0][1]).method)  # type: ignore[union-attr]
                else:
                    seen.append((await answered(bob, "bob")).method)
                    assert (await alice.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            to_alice = "<sip:alice@example.com>;tag=alice"
            await bob.send(of_browser("bob", "BYE", 9, to_alice, route_set, uri.format("alice")))
            seen.append((await answered(alice, "alice")).method)
            assert (await bob.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            return seen

    assert run(main()) == ["INVITE", "ACK", "INFO", "BYE"]


def test_a_message_needs_no_content_length_and_may_come_as_text_or_binary_in_any_fragments() -> None:
    """RFC 7118 section 5: one SIP message a WebSocket message; a frame may end inside a character."""
    plain = options(1).replace(b"Content-Length: 0\r\n", b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n")
    at = plain.index(b"\xc3") + 1

    async def main() -> list[tuple[Opcode, bytes]]:
        async with serving() as (stack, port):
            stack.on("OPTIONS", lambda request: request.reply(200, headers=[("Subject", request["Subject"])]))
            peer = await Peer.open(port)
            await peer.send(frame(plain))
            again = plain.replace(b"w1", b"w2")
            await peer.send(frame(again[:at], fin=False) + frame(b"", Opcode.CONT, fin=False))
            await peer.send(frame(b"hm", Opcode.PING) + frame(again[at:], Opcode.CONT))
            await peer.send(frame(plain.replace(b"w1", b"w3").replace(b"\xc3", b"\xff"), Opcode.BINARY))
            return await peer.frames(4)

    told = run(main())
    assert (Opcode.PONG, b"hm") in told
    kinds, texts = zip(*[one for one in told if one[0] is not Opcode.PONG], strict=True)
    assert kinds == (Opcode.TEXT, Opcode.TEXT, Opcode.BINARY), "what is no UTF-8 goes as binary"
    assert all(b"Gr\xc3\xbc\xc3\x9fe" in text for text in texts[:2])
    assert b"Gr\xff\xbc\xff\x9fe" in texts[2]


def test_pipelined_messages_in_random_splits_are_delivered_once_and_in_order() -> None:
    """FAULTS 13."""
    choose = random.Random(7)
    octets = b"".join(frame(options(number)) + (frame(b"", Opcode.PING) * (number % 3)) for number in range(300))

    async def main() -> tuple[list[str], list[bytes]]:
        async with serving() as (stack, port):
            seen: list[str] = []

            def answer(request: Request) -> None:
                seen.append(request.call_id or "")
                request.reply(200)

            stack.on("OPTIONS", answer)
            peer = await Peer.open(port)
            at = 0
            while at < len(octets):
                size = choose.choice((1, 3, 50, 700, 20_000))
                await peer.send(octets[at : at + size])
                at += size
            answers = [text for kind, text in await peer.frames(600) if kind is Opcode.TEXT]
            return seen, answers

    seen, answers = run(main())
    assert seen == [f"w{number}" for number in range(300)]
    assert [text.split(b"\r\n")[0] for text in answers] == [b"SIP/2.0 200 OK"] * 300


def test_both_sides_keep_the_connection_alive() -> None:
    """RFC 7118 section 6: pings of WebSocket, and CRLF for those who cannot send them (RFC 5626 section 4.4.1)."""

    async def main() -> tuple[list[tuple[Opcode, bytes]], list[int], int]:
        async with serving() as (stack, port):
            pongs: list[int] = []
            stack.ua.pong = pongs.append
            peer = await Peer.open(port)
            await peer.send(frame(b"a", Opcode.PING) + frame(b"\r\n\r\n"))
            told = await peer.frames(2)
            flow = stack.engine.connections()[0].flow
            stack.engine.send(b"\r\n\r\n", flow)
            told += await peer.frames(1)
            await peer.send(frame(b"", Opcode.PONG) + frame(b"\r\n"))
            await until(lambda: len(pongs) == 2)
            return told, pongs, flow

    told, pongs, flow = run(main())
    assert told == [(Opcode.TEXT, b"\r\n"), (Opcode.PONG, b"a"), (Opcode.PING, b"")]
    assert pongs == [flow, flow]


# ---- what is refused


@pytest.mark.parametrize(
    "octets, status",
    [
        (HANDSHAKE + "\r\n", 400),
        (HANDSHAKE + "Sec-WebSocket-Protocol: chat, xmpp\r\n\r\n", 400),
        (ASK.decode().replace("13", "8"), 400),
        (ASK.decode().replace("Upgrade: websocket\r\n", ""), 426),
        (ASK.decode().replace("GET", "POST"), 405),
        (options().decode(), 400),
        (HANDSHAKE + "X: " + HEAD_SIZE * "x" + "\r\n\r\n", 431),
        (HANDSHAKE + "X: " + 2 * HEAD_SIZE * "x", 431),
    ],
    ids=["no subprotocol", "others", "an old version", "no upgrade", "POST", "plain SIP", "a long head", "no end"],
)
def test_a_handshake_that_does_not_lead_to_sip_is_refused(octets: str, status: int) -> None:
    """RFC 7118 section 4: the subprotocol sip or nothing."""

    async def main() -> tuple[bytes, int]:
        async with serving() as (stack, port):
            peer = await Peer.dial(port)
            await peer.send(octets.encode())
            head = await peer.head()
            while await peer.more():
                pass
            return head, len(stack.engine.connections())

    head, left = run(main())
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert left == 0


@pytest.mark.parametrize(
    "origin, status", [("https://good.example.com", 101), ("https://evil.example.com", 403), ("", 403)]
)
def test_only_pages_of_the_origins_that_are_named_may_connect(origin: str, status: int) -> None:
    async def main() -> bytes:
        async with Stack() as stack:
            stack.ua.websocket = WebSocketOptions(origins=["https://good.example.com"])
            listener = await stack.listen("ws", "127.0.0.1:0")
            peer = await Peer.dial(listener.port)
            line = f"Origin: {origin}\r\n" if origin else ""
            await peer.send(ASK[:-2] + line.encode() + b"\r\n")
            return await peer.head()

    assert run(main()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "answer, says",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", r"HTTP/1\.1 200 OK"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", r"404"),
        (b"SIP/2.0 400 Bad Request\r\n\r\n", r"SIP/2\.0 400"),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", "Accept"),
        (b"x" * 2 * HEAD_SIZE, "too long"),
        (b"", "closed by the far side"),
    ],
)
def test_a_server_that_does_not_speak_sip_over_websocket_is_not_talked_to(answer: bytes, says: str) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Stack() as client:
            with pytest.raises(TransportError, match=says):
                await client.request("OPTIONS", f"sip:127.0.0.1:{port};transport=ws")
            assert not client.engine.connections()

    run(main())


@pytest.mark.parametrize(
    "message, status",
    [
        (options(1) + options(2), b"SIP/2.0 400 "),
        (options(1, b"body") + b"more", b"SIP/2.0 400 "),
        (options(1, b"body")[:-1], b"SIP/2.0 400 "),
        (options(1)[:-2], b"SIP/2.0 400 "),
    ],
    ids=["two", "one and some", "a part of one", "no end of its head"],
)
def test_a_message_that_is_more_or_less_than_one_sip_message_is_refused(message: bytes, status: bytes) -> None:
    """RFC 7118 section 5; the bounds of the next one are known, so the connection stands."""

    async def main() -> tuple[list[bytes], int]:
        async with serving() as (stack, port):
            peer = await Peer.open(port)
            await peer.send(frame(message) + frame(options(9)))
            return [text for _, text in await peer.frames(2)], stack.engine.stats()["malformed_requests"]

    answers, malformed = run(main())
    assert answers[0].startswith(status)
    assert answers[1].startswith(b"SIP/2.0 200 ")
    assert malformed == 1


HOSTILE: dict[str, tuple[bytes, int]] = {
    "a length of 2**63": (TOO_LONG, 1009),
    "a length over the limit": (b"\x82\xff" + (131_073).to_bytes(8, "big") + b"mask", 1009),
    "fragments over the limit": (
        frame(b"x" * 60_000, fin=False) + 3 * frame(b"x" * 60_000, Opcode.CONT, fin=False),
        1009,
    ),
    "no mask": (frame(options(), mask=False), 1002),
    "a reserved bit": (frame(options(), reserved=True), 1002),
    "an unknown opcode": (b"\x83\x80mask", 1002),
    "a continuation of nothing": (frame(options(), Opcode.CONT), 1002),
    "a message inside of another": (frame(b"a", fin=False) + frame(b"b"), 1002),
    "a long ping": (b"\x89\xfe\x00\x7e" + b"mask" + bytes(126), 1002),
    "a ping in fragments": (b"\x09\x80mask", 1002),
    "text that is no UTF-8": (frame(options().replace(b"Max", b"M\xff")), 1007),
    "text that ends inside a character": (frame(b"\xc3", fin=False) + frame(b"", Opcode.CONT), 1007),
    "no SIP": (frame(b"hello"), 1008),
    "a Close frame": (frame(b"\x03\xe8bye", Opcode.CLOSE), 1000),
    "a Close frame of one octet": (frame(b"\x03", Opcode.CLOSE), 1002),
    "a close code that nobody has": (frame(b"\x00\x01", Opcode.CLOSE), 1002),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_faulty_frame_closes_its_connection_with_the_code_that_says_why(fault: str) -> None:
    """FAULTS 18: and what came well before it is answered."""
    octets, code = HOSTILE[fault]

    async def main() -> tuple[list[tuple[Opcode, bytes]], int, int]:
        async with serving() as (stack, port):
            peer = await Peer.open(port)
            await peer.send(frame(options(5)) + octets)
            answered = await peer.frames(1)
            return answered, await peer.close_code(), len(stack.engine.connections())

    answered, told, left = run(main())
    assert answered[0][1].startswith(b"SIP/2.0 200 ")
    assert told == code
    assert left == 0


def test_endless_continuation_costs_nothing_and_ends_with_the_deadline_of_a_message() -> None:
    """FAULTS 18: empty fragments never reach a limit of size, 60,000 octets stay below it."""

    async def main() -> tuple[int, str, float]:
        loop = asyncio.get_running_loop()
        async with serving(StreamLimits(message_timeout=1.0)) as (stack, port):
            peer = await Peer.open(port)
            connection = stack.engine.connections()[0]
            await peer.send(frame(b"x" * 60_000, fin=False))
            fragments = 500 * frame(b"", Opcode.CONT, fin=False)
            await peer.send(fragments)
            await asyncio.sleep(0.1)
            tracemalloc.start()
            before, start = tracemalloc.get_traced_memory()[0], loop.time()
            for _ in range(40):
                await peer.send(fragments)
                await asyncio.sleep(0)
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            await until(lambda: connection.reason)
            return grown, connection.reason, loop.time() - start

    grown, reason, took = run(main())
    assert grown < 200_000, "20,000 fragments are not kept"
    assert "not ended" in reason
    assert took < 5


def test_slow_handshakes_end_with_their_deadline_and_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 11 before WebSocket is spoken: silent ones, and those that send an octet now and then."""
    monkeypatch.setattr(secure, "HALF_OPEN", 20)

    async def main() -> tuple[int, int, int, int]:
        async with serving(StreamLimits(connect_timeout=0.6)) as (stack, port):
            slow = [await Peer.dial(port) for _ in range(50)]
            await asyncio.gather(*(peer.send(ASK[:10]) for peer in slow[::2]))
            assert isinstance(stack.env, AsyncioEnv)
            await until(lambda: len(stack.env.streaming.handshakes) == 20)  # type: ignore[attr-defined]
            good = await Peer.open(port)
            half_open, dropped = len(stack.env.streaming.handshakes), stack.env.streaming.handshakes.dropped
            for _ in range(8):
                await asyncio.gather(*(peer.send(b"x") for peer in slow))
                await asyncio.sleep(0.1)
            left = len(stack.engine.connections())
            await good.send(frame(options()))
            assert (await good.frames(1))[0][1].startswith(b"SIP/2.0 200 ")
            return half_open, dropped, left, len(stack.env.streaming.handshakes)

    half_open, dropped, left, at_last = run(main())
    assert half_open <= 20
    assert dropped >= 30
    assert (left, at_last) == (1, 0)


def test_connections_are_bounded_by_address_and_in_all() -> None:
    """FAULTS 12: also those that have not shaken hands."""

    async def main(limits: StreamLimits, sources: list[str]) -> list[bool]:
        async with serving(limits) as (_, port):
            peers = [await Peer.dial(port, source) for source in sources]
            for peer in peers:
                await peer.send(ASK)
            return [bool(await peer.head()) for peer in peers]

    taken = run(main(StreamLimits(connections_per_address=2), ["127.0.0.1"] * 3 + ["127.0.0.2"]))
    assert taken == [True, True, False, True]
    assert run(main(StreamLimits(connections=2), ["127.0.0.1", "127.0.0.2", "127.0.0.3"])) == [True, True, False]


def test_a_slow_reader_loses_its_connection_and_nobody_else_does() -> None:
    """FAULTS 14: the queue is bounded, its transactions fail at once."""

    async def main() -> tuple[str, int, type[BaseException], bytes]:
        async with serving(StreamLimits(write_queue=65_536, stall_timeout=30)) as (stack, port):
            slow, good = await Peer.open(port), await Peer.open(port)
            slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection = min(stack.engine.connections(), key=lambda one: one.flow)
            body, most, asked = b"x" * 20_000, 0, []
            with contextlib.suppress(TransportError):
                for _ in range(2_000):
                    asked.append(stack.request("MESSAGE", "sip:a@x.invalid", body=body, flow=connection.flow))
                    await asyncio.sleep(0)
                    most = max(most, connection._waiting())
            await until(lambda: connection.reason)
            error = await asyncio.gather(asked[0].final(), return_exceptions=True)
            await good.send(frame(options()))
            return connection.reason, most, type(error[0]), (await good.frames(1))[0][1]  # type: ignore[return-value]

    reason, most, error, answer = run(main())
    assert "queue is full" in reason
    assert most <= 65_536
    assert error is TransportError
    assert answer.startswith(b"SIP/2.0 200 ")


# ---- the end, and what is held until then


def test_both_sides_hear_why_the_other_one_closed() -> None:
    """1001 from a server that stops; a request on a connection that the far side closed fails at once (SPEC C6)."""

    async def main() -> tuple[int, str, str]:
        server, client = Stack(), Stack()
        listener = await server.listen("ws", "127.0.0.1:0")
        server.on("MESSAGE", lambda _: None)
        lost: list[str] = []
        flow = await client.ua.connect("ws", "127.0.0.1", listener.port, on_lost=lambda _, reason: lost.append(reason))
        asked = client.request("MESSAGE", f"sip:127.0.0.1:{listener.port};transport=ws", flow=flow)
        peer = await Peer.open(listener.port)
        await asyncio.sleep(0.1)
        await server.close(timeout=0.1)
        with pytest.raises(TransportError) as failed:
            await asked
        code = await peer.close_code()
        await client.close(timeout=1)
        return code, lost[0], str(failed.value)

    code, lost, failed = run(main())
    assert code == 1001
    assert lost == failed == "closed by the far side, WebSocket 1001"


def test_what_the_server_sends_right_behind_its_handshake_is_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol(subprotocols=[Subprotocol("sip")])
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        for event in protocol.events_received():
            assert isinstance(event, HttpRequest)
            protocol.send_response(protocol.accept(event))
        writer.write(b"".join(protocol.data_to_send()) + frame(options(), mask=False))
        await reader.read()
        writer.close()

    async def main() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, Stack() as client:
            got: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            client.on("OPTIONS", lambda request: (got.set_result(request["Via"]), request.reply(200)))
            await client.ua.connect("ws", "127.0.0.1", server.sockets[0].getsockname()[1])
            return await asyncio.wait_for(got, 5)

    assert run(main()).startswith("SIP/2.0/WS ")


def test_stacks_that_share_an_environment_keep_limits_of_their_own() -> None:
    async def main() -> tuple[int, int]:
        async with serving() as (server, port):
            env, uri = AsyncioEnv(), f"sip:127.0.0.1:{port};transport=ws"
            server.on("MESSAGE", lambda request: request.reply(202))
            server.on("OPTIONS", lambda request: request.reply(200, body=b"x" * 8_000))
            narrow = Limits(max_size=4_096, max_head_size=4_096)
            async with Stack(env=env, limits=narrow) as small, Stack(env=env) as usual:
                first = await small.request("MESSAGE", uri)
                second = await usual.request("OPTIONS", uri)
                return first.status_code, second.status_code

    assert run(main()) == (202, 200)


def test_an_idle_connection_holds_nothing_of_the_library() -> None:
    async def main() -> list[tuple[object, object]]:
        async with serving() as (stack, port):
            peers = [await Peer.open(port) for _ in range(3)]
            for peer in peers:
                await peer.send(frame(options()))
                await peer.frames(1)
            framings = [one.framing for one in stack.engine.connections()]
            assert all(isinstance(one, WebSocket) for one in framings)
            return [(one._codec, one._handshake) for one in framings]

    assert run(main()) == [(None, None)] * 3


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sipcore.websocket", None)
    monkeypatch.delattr("sipcore.websocket", raising=False)
    for name in [name for name in sys.modules if name.startswith(("websockets", "sipcore.websocket"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)

    async def main() -> None:
        async with Stack() as stack:
            with pytest.raises(UsageError, match=r"sipcore\[websocket\]"):
                await stack.listen("ws", "127.0.0.1:0")
            with pytest.raises(UsageError, match=r"sipcore\[websocket\]"):
                await stack.request("OPTIONS", "sip:127.0.0.1:9;transport=ws")

    run(main())
