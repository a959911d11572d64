"""Stream sockets: every message once and in order, slow readers, resets (FAULTS 13, 14, 15), IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit import SDP, SDP_TYPE, request_octets

from sipcore import Request
from sipcore.aio import run
from sipcore.call import IncomingCall
from sipcore.env import StreamLimits
from sipcore.errors import TransportError
from sipcore.stack import Stack


@contextlib.asynccontextmanager
async def serving(limits: StreamLimits | None = None, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[Stack, int]]:
    stack = Stack()
    listener = await stack.listen("tcp", address, limits=limits)
    try:
        yield stack, listener.port
    finally:
        await stack.close(timeout=2)


async def dial(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


def numbered(connection: int, number: int, method: str = "MESSAGE") -> bytes:
    return request_octets(
        method,
        transport="TCP",
        branch=f"z9hG4bK{connection}x{number}",
        call_id=f"{connection}-{number}",
        from_tag=f"f{connection}x{number}",
        body=b"x" * (number % 50),
    )


def split(octets: bytes, draw: random.Random) -> list[bytes]:
    """In pieces of random sizes, many of them tiny."""
    pieces, at = [], 0
    while at < len(octets):
        size = draw.choice((1, 2, 3, 17, 100, 700, 3_000))
        pieces.append(octets[at : at + size])
        at += size
    return pieces


async def talk(port: int, connection: int) -> bool:
    """A hundred messages and keep-alives in pieces; whether the answers are those of the messages, in their order."""
    loop = asyncio.get_running_loop()
    draw = random.Random(connection)
    sock = await dial(port)
    octets = b"".join(numbered(connection, n) + draw.choice((b"", b"\r\n", b"\r\n\r\n")) for n in range(100))
    answered = b""

    async def read() -> None:
        nonlocal answered
        while answered.count(b"SIP/2.0 200") < 100:
            answered += await loop.sock_recv(sock, 65_536)

    reading = asyncio.ensure_future(read())
    for piece in split(octets, draw):
        await loop.sock_sendall(sock, piece)
        if draw.random() < 0.05:
            await asyncio.sleep(0)
    await reading
    sock.close()
    return [int(number) for number in re.findall(rb"\r\nCall-ID: \d+-(\d+)", answered)] == list(range(100))


def be_talkers(port: int) -> None:
    """A process of a hundred clients, which tells how many were answered well."""

    async def main() -> int:
        return sum(await asyncio.gather(*(talk(port, connection) for connection in range(100))))

    print(asyncio.run(main()))


@pytest.mark.slow
def test_pipelined_messages_in_random_splits_come_once_and_in_order_and_others_get_their_turn() -> None:
    """FAULTS 13: 10,000 messages on 100 connections with keep-alives between them, from another process; meanwhile a
    request on one more connection waits for less than 50 ms of this process's work."""
    got: dict[str, list[int]] = {}

    def note(request: Request) -> None:
        connection, _, number = (request.call_id or "").partition("-")
        got.setdefault(connection, []).append(int(number))
        request.reply(200)

    async def main() -> tuple[int, list[float]]:
        async with serving() as (stack, port):
            stack.on("MESSAGE", note)
            other = await dial(port)
            talkers = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-c",
                    "import sys, test_sockets; test_sockets.be_talkers(int(sys.argv[1]))",
                    str(port),
                ),
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parent,
            )
            told = asyncio.ensure_future(talkers.communicate())
            waits = []
            while not told.done():
                start = time.process_time()
                await asyncio.get_running_loop().sock_sendall(other, numbered(999, len(waits), "OPTIONS"))
                await asyncio.get_running_loop().sock_recv(other, 65_536)
                waits.append(time.process_time() - start)
                await asyncio.sleep(0.002)
            other.close()
            return int((await told)[0]), waits

    well, waits = run(main())
    assert well == 100
    assert len(got) == 100
    assert all(numbers == list(range(100)) for numbers in got.values())
    print(f"another connection waited for {1000 * max(waits):.1f} ms of work at most, in {len(waits)} requests")
    assert sorted(waits)[int(0.99 * len(waits))] < 0.05


def test_a_chunk_of_many_messages_is_answered_in_one_write() -> None:
    """One write for each read: the answers to what came together leave together."""

    async def main() -> tuple[int, int]:
        async with serving() as (stack, port):
            sock = await dial(port)
            await asyncio.get_running_loop().sock_sendall(sock, b"".join(numbered(1, n, "OPTIONS") for n in range(20)))
            answer = await asyncio.get_running_loop().sock_recv(sock, 1 << 20)
            sock.close()
            return answer.count(b"SIP/2.0 200"), stack.engine.stats()["sent"]

    assert run(main()) == (20, 20)


def test_a_slow_reader_is_closed_its_transactions_fail_and_others_are_served() -> None:
    """FAULTS 14: requests to a peer whose window is closed."""

    async def main() -> tuple[float, str, int, bytes]:
        async with serving(StreamLimits(stall_timeout=1.0)) as (stack, port):
            flows: list[int] = []

            def note(request: Request) -> None:
                flows.append(request.flow)
                request.reply(200)

            stack.on("MESSAGE", note)
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, ("127.0.0.1", port))
            await loop.sock_sendall(slow, numbered(1, 0))
            await loop.sock_recv(slow, 4_096)
            start = time.monotonic()
            waiting = stack.request("INFO", "sip:slow@127.0.0.1", flow=flows[0])
            with contextlib.suppress(TransportError):
                for number in range(2_000):
                    stack.request("INFO", "sip:slow@127.0.0.1", flow=flows[0], body=b"x" * 8_192, timeout=30)
                    if number % 20 == 0:
                        await asyncio.sleep(0)
            with pytest.raises(TransportError) as raised:
                await waiting
            took = time.monotonic() - start
            good = await dial(port)
            await loop.sock_sendall(good, numbered(2, 0))
            answer = await loop.sock_recv(good, 65_536)
            left = stack.engine.stats()["client_transactions_unfinished"]
            slow.close(), good.close()
            return took, str(raised.value), left, answer

    took, reason, left, answer = run(main())
    assert took < 10
    assert "queue" in reason or "takes nothing" in reason
    assert left == 0
    assert answer.startswith(b"SIP/2.0 200 ")


def test_a_peer_that_reads_late_gets_every_answer() -> None:
    """A full socket stops the reading, not the connection."""

    async def main() -> int:
        async with serving() as (stack, port):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port))
            stack.on("MESSAGE", lambda request: request.reply(200, body=b"y" * 100))
            sending = asyncio.ensure_future(loop.sock_sendall(sock, b"".join(numbered(1, n) for n in range(4_000))))
            await asyncio.sleep(0.5)
            seen, tail = 0, b""
            while seen < 4_000:
                octets = tail + await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 10)
                seen += octets.count(b"SIP/2.0 200 OK\r\n")
                tail = octets[-15:]
            await sending
            sock.close()
            return seen

    assert run(main()) == 4_000


@pytest.mark.slow
def test_connections_reset_after_pipelined_invites_leave_no_dialog_behind() -> None:
    """FAULTS 15, 10,000 times ten INVITEs; the answers to them find no connection."""

    async def main() -> tuple[int, dict[str, int], bytes]:
        async with serving() as (stack, port):

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.progress(180)
                await asyncio.sleep(0.01)
                await call.reject(486)

            for connection in range(10_000):
                sock = await dial(port)
                invites = [
                    request_octets(
                        "INVITE",
                        transport="TCP",
                        branch=f"z9hG4bKr{connection}x{number}",
                        call_id=f"r{connection}x{number}",
                        from_tag=f"r{connection}x{number}",
                        headers=SDP_TYPE,
                        body=SDP,
                    )
                    for number in range(10)
                ]
                await asyncio.get_running_loop().sock_sendall(sock, b"".join(invites))
                if connection % 3:
                    await asyncio.sleep(0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
                if connection % 50 == 0:
                    await asyncio.sleep(0.01)
            for _ in range(200):
                await asyncio.sleep(0.05)
                if not stack.engine.connections() and not stack.ua.calls:
                    break
            good = await dial(port)
            await asyncio.get_running_loop().sock_sendall(good, numbered(1, 1, "OPTIONS"))
            answer = await asyncio.get_running_loop().sock_recv(good, 65_536)
            good.close()
            return len(stack.ua.calls), stack.engine.stats(), answer

    calls, stats, answer = run(main())
    assert answer.startswith(b"SIP/2.0 200 ")
    assert calls == 0
    assert stats["server_transactions_unfinished"] == 0
    assert stats["callback_errors"] == stats["internal_errors"] == 0


def test_requests_go_over_ipv6() -> None:
    async def main() -> tuple[int, str]:
        async with serving(address="[::1]:0") as (_, port), Stack() as client:
            transaction = client.request("OPTIONS", f"sip:bob@[::1]:{port};transport=tcp")
            response = await transaction
            assert transaction.request is not None
            return response.status_code, transaction.request["Via"]

    status_code, via = run(main())
    assert status_code == 200
    assert via.startswith("SIP/2.0/TCP [::1]:")
