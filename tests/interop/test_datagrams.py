"""A plain Stack on UDP against real peers: SIPp calls it, it calls SIPp, Kamailio stands between them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sipcore.aio import run
from sipcore.call import IncomingCall
from sipcore.stack import Stack

from .capture import Capture
from .conftest import Peers
from .kamailio import OutboundProxy
from .processes import free_port
from .sipp import Sipp

pytestmark = pytest.mark.interop

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n"
CALLS = 500


def checked(main: Callable[[Stack], Awaitable[None]], port: int) -> None:
    """Run `main` with a stack that answers calls on `port`; afterwards nothing is left and nothing has failed."""

    async def whole() -> None:
        async with Stack() as stack:
            await stack.listen("udp", f"127.0.0.1:{port}")

            @stack.on_invite
            async def inbound(call: IncomingCall) -> None:
                await call.progress(180)
                await asyncio.sleep(0.05)  # two processes of Kamailio swap what comes at the same moment
                await call.answer(SDP)
                await call.ended()

            await main(stack)
            stats = stack.engine.stats()
            for name in ("internal_errors", "callback_errors", "malformed_requests", "malformed_responses"):
                assert stats[name] == 0, name
            for name in ("missing_acks", "stray_responses", "timeouts", "refused_requests"):
                assert stats[name] == 0, name
            assert not stack.ua.calls

    run(whole())


def check(capture: Capture, messages: int) -> None:
    """Wireshark saw as many messages and found none malformed."""
    assert capture.sip_packets() >= messages
    assert capture.malformed() == []


@pytest.mark.parametrize("through_kamailio", [False, True])
def test_sipp_calls_over_udp_are_taken(peers: Peers, tmp_path: Path, through_kamailio: bool) -> None:
    port = free_port()
    proxy = peers.start(OutboundProxy(tmp_path, registrar=port)) if through_kamailio else None
    capture = peers.start(Capture(tmp_path, [port]))

    async def main(stack: Stack) -> None:
        caller = Sipp(tmp_path, "caller", target=proxy.port if proxy else port, calls=CALLS, rate=100)
        seen = await asyncio.to_thread(caller.run)
        assert seen.calls == CALLS
        assert seen.is_clean, (seen, caller.errors())
        assert stack.engine.stats()["request_retransmissions"] == 0

    checked(main, port)
    check(capture, 6 * CALLS)


@pytest.mark.parametrize("through_kamailio", [False, True])
def test_calls_over_udp_are_placed_at_sipp(peers: Peers, tmp_path: Path, through_kamailio: bool) -> None:
    port = free_port()
    proxy = peers.start(OutboundProxy(tmp_path, registrar=port)) if through_kamailio else None
    routes = [f"<sip:127.0.0.1:{proxy.port};lr>"] if proxy else []
    answerer = peers.start(Sipp(tmp_path, "answerer"))
    capture = peers.start(Capture(tmp_path, [port]))

    async def main(stack: Stack) -> None:
        for _ in range(CALLS // 10):
            calls = [stack.dial(f"sip:a@127.0.0.1:{answerer.port}", body=SDP, routes=routes) for _ in range(10)]
            await asyncio.gather(*(call.answered() for call in calls))
            for call in calls:
                await call.bye()
        assert stack.engine.stats()["request_repeats"] == 0

    checked(main, port)
    seen = answerer.finish_calls()
    assert seen.calls == CALLS
    assert seen.is_clean, (seen, answerer.errors())
    check(capture, 6 * CALLS)
