"""The processes that `sipcore bench` measures: `python -m sipcore.bench.peer yardstick|stateless|stateful`.

Prints the port that it answers on and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading

from sipcore._message import Request
from sipcore._yardstick import respond
from sipcore.stack import Stack

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4002 RTP/AVP 0\r\n"
BUFFER = 4 << 20


def main(kind: str) -> None:
    """Serve until standard input ends."""
    if kind == "yardstick":
        _yardstick()
        return
    try:
        import uvloop  # noqa: PLC0415  (not everywhere installed)
    except ModuleNotFoundError:
        asyncio.run(_serve(kind))
    else:
        uvloop.run(_serve(kind))


def _yardstick() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    sock.bind(("127.0.0.1", 0))
    threading.Thread(target=_end_with_input, daemon=True).start()
    print(sock.getsockname()[1], flush=True)
    while True:
        respond(sock.fileno(), 60_000)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


async def _serve(kind: str) -> None:
    stack = Stack()
    listener = await stack.listen("udp", "127.0.0.1:0")
    answer = [("Contact", f"<sip:bench@127.0.0.1:{listener.port}>"), ("Content-Type", "application/sdp")]
    stack.on("OPTIONS", _ok, stateless=kind == "stateless")
    stack.on("INVITE", lambda request: request.reply(200, headers=answer, body=SDP))
    stack.on("ACK", _nothing)
    stack.on("BYE", _ok)
    print(listener.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


def _ok(request: Request) -> None:
    request.reply(200)


def _nothing(_: Request) -> None:
    """An ACK asks for nothing."""


if __name__ == "__main__":
    main(sys.argv[1])
