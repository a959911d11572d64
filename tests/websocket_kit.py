"""A bare far side of WebSocket connections: raw sockets on which a test says each octet."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest
from kit import request_octets
from websockets.frames import Frame, Opcode

from sipcore.env import StreamLimits
from sipcore.stack import Stack

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
)
ASK = f"{HANDSHAKE}Sec-WebSocket-Protocol: sip\r\n\r\n".encode()
TOO_LONG = struct.pack("!BBQ", 0x81, 0xFF, 2**63) + b"mask"


def options(number: int = 1, body: bytes = b"") -> bytes:
    """An OPTIONS as a client on WebSocket sends it."""
    return request_octets(transport="WS", branch=f"z9hG4bKw{number}", call_id=f"w{number}", body=body)


def frame(
    payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True, mask: bool = True, reserved: bool = False
) -> bytes:
    """The octets of one frame; `reserved`: with a bit that nobody negotiated."""
    octets = bytearray(Frame(opcode, payload, fin).serialize(mask=mask))
    octets[0] |= 0x40 if reserved else 0
    return bytes(octets)


class Peer:
    """A raw connection to a listener."""

    opened: ClassVar[list[Peer]] = []

    def __init__(self, sock: socket.socket) -> None:
        self.opened.append(self)
        self.sock = sock
        self.octets = b""

    @classmethod
    async def dial(cls, port: int, source: str = "127.0.0.1") -> Peer:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    @classmethod
    async def open(cls, port: int) -> Peer:
        """One whose handshake is done."""
        peer = await cls.dial(port)
        await peer.send(ASK)
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        return peer

    async def send(self, octets: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self.sock, octets)

    async def more(self, timeout: float = 10) -> bool:
        """Whether something came before the far side closed."""
        async with asyncio.timeout(timeout):
            try:
                chunk = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            except ConnectionError:
                return False
        self.octets += chunk
        return bool(chunk)

    async def head(self) -> bytes:
        """The head of the HTTP response; b"" where the far side closed before its end."""
        while b"\r\n\r\n" not in self.octets:
            if not await self.more():
                return b""
        head, _, self.octets = self.octets.partition(b"\r\n\r\n")
        return head

    async def frames(self, count: int) -> list[tuple[Opcode, bytes]]:
        """The next frames that the server sent; fewer where it closed."""
        found: list[tuple[Opcode, bytes]] = []
        while len(found) < count:
            if one := self._frame():
                found.append(one)
            elif not await self.more():
                break
        return found

    def _frame(self) -> tuple[Opcode, bytes] | None:
        """What a server says is whole and unmasked."""
        if len(self.octets) < 2:
            return None
        size, begin = self.octets[1], 2
        if size == 126 and len(self.octets) >= 4:
            size, begin = int.from_bytes(self.octets[2:4], "big"), 4
        if len(self.octets) < begin + size or (size == 126 and begin == 2):
            return None
        opcode, payload = Opcode(self.octets[0] & 15), self.octets[begin : begin + size]
        self.octets = self.octets[begin + size :]
        return opcode, payload

    async def close_code(self) -> int:
        """The code of the Close frame that comes before the connection ends; 0: none came."""
        code = 0
        while found := await self.frames(1):
            if found[0][0] is Opcode.CLOSE:
                code = int.from_bytes(found[0][1][:2], "big")
        return code

    def close(self) -> None:
        self.sock.close()


@pytest.fixture(autouse=True)
def peers_are_closed() -> Iterator[None]:
    """No test leaves a raw connection behind."""
    yield
    while Peer.opened:
        Peer.opened.pop().close()


@contextlib.asynccontextmanager
async def serving(limits: StreamLimits | None = None) -> AsyncIterator[tuple[Stack, int]]:
    """A stack that listens for WebSocket connections, and its port."""
    stack = Stack()
    listener = await stack.listen("ws", "127.0.0.1:0", limits=limits)
    try:
        yield stack, listener.port
    finally:
        await stack.close(timeout=2)


async def until(condition: object, timeout: float = 5) -> None:
    """Wait until `condition()` holds."""
    assert callable(condition)
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
