"""Accepting: slow and idle peers, limits, and a process without descriptors (FAULTS 11, 12, 53)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kit import request_octets

from sipcore.aio import run
from sipcore.env import StreamLimits
from sipcore.errors import TransportError
from sipcore.stack import Stack


@contextlib.asynccontextmanager
async def serving(limits: StreamLimits | None = None) -> AsyncIterator[tuple[Stack, int]]:
    stack = Stack()
    listener = await stack.listen("tcp", "0.0.0.0:0", limits=limits)
    try:
        yield stack, listener.port
    finally:
        await stack.close(timeout=2)


async def dial(port: int, source: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


def open_descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(4_096) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def ask(sock: socket.socket, number: int = 1, timeout: float = 5) -> bytes:
    """The answer to an OPTIONS."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(
        sock, request_octets(transport="TCP", branch=f"z9hG4bKa{id(sock)}{number}", call_id=f"a{id(sock)}{number}")
    )
    return await asyncio.wait_for(loop.sock_recv(sock, 65_536), timeout)


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    """At least that many descriptors, if the hard limit allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"{count} descriptors are not to be had")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_two_thousand_slow_writers_are_closed_by_the_deadline_and_good_clients_are_served() -> None:
    """FAULTS 11: an octet a second each; the deadline of a message is 5 s from its first octet."""

    async def main() -> tuple[int, int, float, int]:
        limits = StreamLimits(connections_per_address=3_000)
        async with serving(limits) as (stack, port):
            slow = [await dial(port) for _ in range(2_000)]
            start, served, asked = time.monotonic(), 0, 0
            good = [await dial(port, "127.0.0.2") for _ in range(5)]
            octets = request_octets(transport="TCP")
            for second in range(12):
                for sock in slow:
                    with contextlib.suppress(OSError):
                        sock.send(octets[second : second + 1])
                for sock in good:
                    asked += 1
                    served += (await ask(sock, second)).startswith(b"SIP/2.0 200 ")
                if len(stack.engine.connections()) == len(good):
                    break
                await asyncio.sleep(1)
            took = time.monotonic() - start
            closed = sum(map(is_closed, slow))
            for sock in (*slow, *good):
                sock.close()
            return closed, asked - served, took, second

    with descriptors(8_192):
        closed, unserved, took, rounds = run(main())
    print(f"{closed} connections closed after {took:.1f} s")
    assert closed == 2_000
    assert unserved == 0
    assert rounds < 12


@pytest.mark.slow
def test_idle_connections_above_the_limit_of_an_address_are_refused_and_others_are_accepted() -> None:
    """FAULTS 12: the default limit and 1,000 more; afterwards the descriptors are back."""

    async def main() -> tuple[int, bytes, int, int]:
        before = len(open_descriptors())
        async with serving() as (stack, port):
            limit = StreamLimits().connections_per_address
            idle = [await dial(port) for _ in range(limit + 1_000)]
            for _ in range(100):
                await asyncio.sleep(0.05)
                if stack.engine.stats()["refused_connections"] >= 1_000:
                    break
            other = await dial(port, "127.0.0.2")
            answer = await ask(other)
            kept = sum(not is_closed(sock) for sock in idle)
            for sock in (*idle, other):
                sock.close()
            for _ in range(100):
                await asyncio.sleep(0.05)
                if not stack.engine.connections():
                    break
            after = len(open_descriptors())
        return kept - limit, answer, after - before, 0

    with descriptors(16_384):
        more, answer, leaked, _ = run(main())
    assert more == 0
    assert answer.startswith(b"SIP/2.0 200 ")
    assert leaked <= 3, "the loop's own and the listener's"


def test_when_all_places_are_taken_the_idlest_connection_gives_up_its_own() -> None:
    async def main() -> tuple[list[bool], bytes]:
        async with serving(StreamLimits(connections=3, spare_idle=0.2)) as (_, port):
            first, second, third = [await dial(port) for _ in range(3)]
            await asyncio.sleep(0.1)
            refused = await dial(port)
            await asyncio.sleep(0.3)
            for sock in (first, third):
                await ask(sock)
            late = await dial(port)
            answer = await ask(late)
            states = [is_closed(sock) for sock in (first, second, third, refused)]
            for sock in (first, second, third, refused, late):
                sock.close()
            return states, answer

    states, answer = run(main())
    assert states == [False, True, False, True]
    assert answer.startswith(b"SIP/2.0 200 ")


def test_an_idle_connection_is_closed_only_after_its_time_without_a_message() -> None:
    async def main() -> tuple[float, bool]:
        async with serving(StreamLimits(idle_timeout=0.4)) as (_, port):
            idle, busy = await dial(port), await dial(port)
            start = time.monotonic()
            while not is_closed(idle):
                await asyncio.sleep(0.1)
                await ask(busy, int(1e6 * time.monotonic()))
            took = time.monotonic() - start
            state = is_closed(busy)
            idle.close(), busy.close()
            return took, state

    took, busy_was_closed = run(main())
    assert took >= 0.4
    assert not busy_was_closed


def test_without_descriptors_accepting_pauses_and_goes_on_when_there_are_some() -> None:
    """FAULTS 53: no spinning, who is connected is served, who waits is accepted later, connecting fails."""

    async def main() -> tuple[list[bytes], float, str]:
        async with serving() as (stack, port):
            old = await dial(port)
            answers = [await ask(old)]
            waiting = [socket.socket() for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(open_descriptors())
            fillers = [os.dup(0) for _ in range(8)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(highest, *fillers) + 1, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        fillers.append(os.dup(0))
                for sock in waiting:
                    sock.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                before = time.process_time()
                await asyncio.sleep(0.5)
                answers.append(await ask(old, 2))
                spun = time.process_time() - before
                with pytest.raises(TransportError) as raised:
                    await stack.request("OPTIONS", f"sip:127.0.0.1:{port};transport=tcp")
            finally:
                for descriptor in fillers:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in waiting:
                answers.append(await ask(sock))
            for sock in (*waiting, old):
                sock.close()
            return answers, spun, str(raised.value)

    answers, spun, reason = run(main())
    assert len(answers) == 5
    assert all(octets.startswith(b"SIP/2.0 200 ") for octets in answers)
    assert spun < 0.3, "half a second was slept, not spun"
    assert "open files" in reason
