"""What an idle connection costs a server in memory: resident octets of its process alone, the client in another.

    python benches/idle_connections.py [--tcp 15000] [--tls 5000] [--ws 5000] [--wss 2000] [--asyncio]

Connections come from several loopback addresses, each asks once (OPTIONS) and
then stays silent.  Prints one JSON object for each transport.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from websockets.frames import Frame, Opcode

from sipcore.env import SECURE_TRANSPORTS, WEBSOCKET_TRANSPORTS, StreamLimits
from sipcore.stack import Stack

CERTIFICATES = Path(__file__).parent.parent / "tests" / "tls"
PER_ADDRESS = 5_000
REQUEST = (
    "OPTIONS sip:idle@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bK{n}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:idle@127.0.0.1>;tag={n}\r\nTo: <sip:idle@127.0.0.1>\r\nCall-ID: {n}\r\n"
    "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)


def more_descriptors() -> None:
    """As many as the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident() -> int:
    """Resident octets of this process."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def be_client(transport: str, port: int, count: int) -> None:
    """Connect, ask once, be silent until standard input ends."""
    more_descriptors()
    context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    kept = []
    for number in range(count):
        sock: socket.socket = socket.socket()
        sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        sock.connect(("127.0.0.1", port))
        if transport in SECURE_TRANSPORTS:
            sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        request = REQUEST.format(transport=transport.upper(), n=number).encode()
        if transport in WEBSOCKET_TRANSPORTS:
            sock.sendall(HANDSHAKE)
            sock.recv(4_096)
            request = Frame(Opcode.TEXT, request).serialize(mask=True)
        sock.sendall(request)
        if b"SIP/2.0 200" not in sock.recv(4_096):
            raise SystemExit(f"connection {number} was not answered")
        kept.append(sock)
    print("done", flush=True)
    sys.stdin.read()


async def measure(transport: str, count: int) -> dict[str, object]:
    """Serve `count` connections and look how much more is resident; a first few warm up what is made once."""
    more_descriptors()
    context = None
    if transport in SECURE_TRANSPORTS:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    limits = StreamLimits(connections=count + 1_000, connections_per_address=PER_ADDRESS + 100)
    async with Stack() as stack:
        listener = await stack.listen(transport, "127.0.0.1:0", ssl=context, limits=limits)
        few = await start_client(transport, listener.port, 50)
        before = resident()
        many = await start_client(transport, listener.port, count)
        after = resident()
        connected = len(stack.engine.connections())
        for process in (few, many):
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
    return {
        "transport": transport,
        "connections": connected,
        "octets_a_connection": round((after - before) / count),
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
    }


async def start_client(transport: str, port: int, count: int) -> asyncio.subprocess.Process:
    """A client process, once all its connections stand."""
    command = [sys.executable, __file__, "--client", transport, str(port), str(count)]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if await process.stdout.readline() != b"done\n":
        raise RuntimeError("the client did not get all its connections")
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tcp", type=int, default=15_000)
    parser.add_argument("--tls", type=int, default=5_000)
    parser.add_argument("--ws", type=int, default=5_000)
    parser.add_argument("--wss", type=int, default=2_000)
    parser.add_argument("--asyncio", action="store_true", help="the standard event loop in place of uvloop")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        be_client(options.client[0], int(options.client[1]), int(options.client[2]))
        return
    if options.asyncio:
        runner = asyncio.run
    else:
        import uvloop  # noqa: PLC0415

        runner = uvloop.run
    for transport in ("tcp", "tls", "ws", "wss"):
        count = getattr(options, transport)
        if count:
            print(json.dumps(runner(measure(transport, count))), flush=True)


if __name__ == "__main__":
    main()
