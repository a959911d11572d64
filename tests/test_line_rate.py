"""One address sends all that it can on real sockets; others are served, and nothing grows (FAULTS 45, 46, 47, 49)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from verdict import GROWTH, SOAK

import sipcore
from sipcore import Stack
from sipcore.errors import SipError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

SERVER = """
    import asyncio, json, sys, time
    import sipcore

    def busy(request):
        end = time.perf_counter() + 0.0003
        while time.perf_counter() < end:
            pass
        request.reply(200)

    async def main():
        async with sipcore.Stack() as stack:
            listener = await stack.listen("udp", "127.0.0.1:0")
            stack.on("MESSAGE", busy)
            stack.on("OPTIONS", lambda request: request.reply(200))
            stack.overload.max_transactions = 20_000
            print(listener.port, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            print(json.dumps(stack.engine.stats()), flush=True)

    sipcore.run(main())
"""

FLOOD = """
    import socket, sys, time
    from sipcore._batch import DatagramSocket

    port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    own, number = sock.getsockname()[1], 0
    datagrams = DatagramSocket(sock.fileno())
    while time.monotonic() < end:
        batch = []
        for _ in range(64):
            number += 1
            batch.append((
                b"MESSAGE sip:x@127.0.0.1 SIP/2.0\\r\\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bKflood%010d\\r\\n"
                b"Max-Forwards: 70\\r\\nFrom: <sip:f@127.0.0.1>;tag=%d\\r\\nTo: <sip:x@127.0.0.1>\\r\\n"
                b"Call-ID: %d\\r\\nCSeq: 1 MESSAGE\\r\\nContent-Length: 0\\r\\n\\r\\n" % (own, number, number, number),
                "127.0.0.1", port))
        datagrams.send_batch(batch)
        while datagrams.receive():
            pass
    print(number)
"""


@contextmanager
def program(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def resident(process: subprocess.Popen[str]) -> int:
    """Megabytes."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * 4096 >> 20


async def probe(port: int, seconds: float) -> tuple[int, int]:
    """Ask ten times a second from another address: (asked, answered 200)."""
    asked, answers = 0, []
    async with Stack() as stack:
        await stack.listen("udp", "127.0.0.2:0")

        async def ask() -> bool:
            try:
                return (await stack.request("OPTIONS", f"sip:x@127.0.0.1:{port}")).status_code == 200
            except SipError:
                return False

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked += 1
            answers.append(asyncio.ensure_future(ask()))
            await asyncio.sleep(0.1)
        return asked, sum(await asyncio.gather(*answers))


def test_a_flood_from_one_address_leaves_the_others_served() -> None:
    seconds = 600.0 if SOAK else 20.0  # FAULTS 46: ten minutes
    with program(SERVER) as server:
        assert server.stdout is not None and server.stdin is not None
        port = int(server.stdout.readline())
        with program(FLOOD, str(port), str(seconds)) as flood:
            assert flood.stdout is not None
            time.sleep(1)
            asked, answered = sipcore.run(probe(port, seconds / 2))
            early = resident(server)
            flood.wait(seconds + 20)
            sent = int(flood.stdout.readline())
        late = resident(server)
        assert server.poll() is None
        after = sipcore.run(probe(port, 2))
        server.stdin.write("\n")
        server.stdin.flush()
        stats = json.loads(server.stdout.readline())
        server.wait(20)
    assert sent > 20_000
    assert answered >= 0.99 * asked
    assert after[0] == after[1], "back to normal"
    assert stats["dropped_requests"] > stats["replies"], "most of the flood is not even answered"
    assert late <= early * GROWTH + 1, "nothing grows once the bound is reached"
