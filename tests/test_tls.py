"""TLS on loopback: verified for the name that was asked for (SPEC C10, RFC 5922); bad handshakes end (FAULTS 16)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit import request_octets

from sipcore.aio import AsyncioEnv, run
from sipcore.env import StreamLimits
from sipcore.errors import TransportError
from sipcore.sim import ScriptedDns
from sipcore.stack import Stack

FOLDER = Path(__file__).parent / "tls"


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
    return context


@contextlib.asynccontextmanager
async def both(limits: StreamLimits | None = None) -> AsyncIterator[tuple[Stack, Stack, int]]:
    """A TLS server, and a client to whom DNS says that two names are there."""
    server = Stack()
    listener = await server.listen("tls", "127.0.0.1:0", ssl=server_context(), limits=limits)
    names = ScriptedDns({(name, "A"): ["127.0.0.1"] for name in ("sip.example.com", "other.example.com")})
    client = Stack(env=AsyncioEnv(resolver=names))
    client.ua.tls_context = ssl.create_default_context(cafile=FOLDER / "ca.pem")
    try:
        yield server, client, listener.port
    finally:
        await asyncio.gather(server.close(timeout=2), client.close(timeout=2))


@pytest.mark.parametrize(
    "uri", ["sip:sip.example.com:{};transport=tls", "sips:sip.example.com:{}", "sips:127.0.0.1:{}"]
)
def test_a_request_over_tls_is_answered(uri: str) -> None:
    async def main() -> tuple[int, str]:
        async with both() as (_, client, port):
            transaction = client.request("OPTIONS", uri.format(port))
            response = await transaction
            assert transaction.request is not None
            return response.status_code, transaction.request["Via"]

    status_code, via = run(main())
    assert status_code == 200
    assert via.startswith("SIP/2.0/TLS ")


def test_a_certificate_of_another_name_is_refused() -> None:
    async def main() -> None:
        async with both() as (_, client, port):
            with pytest.raises(TransportError, match=r"other\.example\.com"):
                await client.request("OPTIONS", f"sips:other.example.com:{port}")

    run(main())


def test_a_connection_verified_for_one_name_is_not_used_for_another() -> None:
    """RFC 5923: a second name on the same address gets its own handshake, which fails."""

    async def main() -> int:
        async with both() as (_, client, port):
            response = await client.request("OPTIONS", f"sips:sip.example.com:{port}")
            with pytest.raises(TransportError):
                await client.request("OPTIONS", f"sips:other.example.com:{port}")
            return response.status_code

    assert run(main()) == 200


def test_an_unknown_authority_is_refused() -> None:
    async def main() -> None:
        async with both() as (_, client, port):
            client.ua.tls_context = None
            with pytest.raises(TransportError, match="verify failed"):
                await client.request("OPTIONS", f"sips:sip.example.com:{port}")

    run(main())


def test_plain_sip_and_silence_on_the_tls_port_are_closed_and_others_are_served() -> None:
    """FAULTS 16."""

    async def main() -> tuple[int, list[bytes]]:
        async with both(StreamLimits(connect_timeout=0.5)) as (_, client, port):
            loop = asyncio.get_running_loop()
            sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
            for sock in sockets:
                sock.setblocking(False)
            await loop.sock_sendall(sockets[0], request_octets(transport="TLS"))
            response = await client.request("OPTIONS", f"sips:sip.example.com:{port}")
            ends = []
            for sock in sockets:
                with contextlib.suppress(ConnectionError):
                    while octets := await asyncio.wait_for(loop.sock_recv(sock, 4_096), 5):
                        ends.append(octets)
                sock.close()
            return response.status_code, ends

    status_code, ends = run(main())
    assert status_code == 200
    assert not any(b"SIP/2.0" in octets for octets in ends)


def test_tls_is_never_listened_to_without_a_certificate() -> None:
    async def main() -> None:
        async with Stack() as stack:
            with pytest.raises(TransportError, match="TLS context"):
                await stack.listen("tls", "127.0.0.1:0")

    run(main())
