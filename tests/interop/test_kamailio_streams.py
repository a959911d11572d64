"""Kamailio in front of a Stack and behind it, over TCP and TLS: SIPp's calls on the far side of it."""

import asyncio
import ssl
from pathlib import Path

import pytest

from sipcore.aio import run
from sipcore.call import IncomingCall
from sipcore.stack import Stack

from .conftest import Peers
from .kamailio import CERTIFICATES, Edge
from .processes import LOOPBACK, free_port
from .sipp import Counts, Sipp
from .test_streams import CALLS, SDP, place_calls, server_context

pytestmark = pytest.mark.interop

TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "tls"])


@TRANSPORTS
def test_calls_that_kamailio_brings_are_taken_on_its_connection(peers: Peers, tmp_path: Path, transport: str) -> None:
    """In front: SIPp over UDP, Kamailio, and one connection to the stack for everything."""

    async def main() -> tuple[Counts, str, int, dict[str, int]]:
        async with Stack() as stack:
            context = server_context() if transport == "tls" else None
            listener = await stack.listen(transport, "127.0.0.1:0", ssl=context)

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.progress(180)
                await call.answer(SDP)
                await call.ended()

            hop = f"sip:{LOOPBACK}:{listener.port};transport={transport}"
            tls_port = free_port() if transport == "tls" else None
            edge = await asyncio.to_thread(peers.start, Edge(tmp_path, next_hop=hop, tls_port=tls_port))
            caller = Sipp(tmp_path, "caller", target=edge.port, calls=CALLS, rate=100)
            seen = await asyncio.to_thread(caller.run)
            return seen, caller.errors(), len(stack.engine.connections()), stack.engine.stats()

    seen, errors, connections, stats = run(main())
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, errors)
    assert connections == 1
    assert stats["requests"] == 2 * CALLS, "INVITE and BYE of each call, none twice"


@TRANSPORTS
def test_calls_are_placed_through_kamailio_on_one_connection(peers: Peers, tmp_path: Path, transport: str) -> None:
    """Behind: the stack's one connection, verified for the address in the URI, Kamailio, and SIPp over UDP."""
    answerer = peers.start(Sipp(tmp_path, "answerer"))
    tls_port = free_port() if transport == "tls" else None
    edge = peers.start(Edge(tmp_path, next_hop=f"sip:{LOOPBACK}:{answerer.port}", tls_port=tls_port))

    async def main() -> tuple[int, int]:
        async with Stack() as stack:
            stack.ua.tls_context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
            context = server_context() if transport == "tls" else None
            await stack.listen(transport, "127.0.0.1:0", ssl=context)
            uri = f"sip:answerer@{LOOPBACK}:{tls_port or edge.port};transport={transport}"
            await place_calls(stack, uri)
            return len(stack.engine.connections()), stack.engine.stats()["timeouts"]

    assert run(main()) == (1, 0)
    seen = answerer.finish_calls()
    assert seen.successful == CALLS
    assert seen.is_clean, (seen, answerer.errors())
