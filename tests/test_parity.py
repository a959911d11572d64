"""The same capture gives the same events by every way in: `receive()`, the simulator, real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from kit import request_octets

from sipcore import Request, sim
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

Event = tuple[str, str, int, bytes]


def capture() -> list[bytes]:
    """Requests good, repeated, odd and bad, as one peer sends them."""
    octets = [
        request_octets("MESSAGE", branch=f"z9hG4bKm{number}", call_id=f"m{number}", body=b"x" * number)
        for number in range(20)
    ]
    good = octets[0]
    return [
        *octets,
        *octets[:10],
        b"",
        b"\r\n\r\n",
        b"\x00\x01\x02",
        good[: len(good) // 2],
        good.replace(b"SIP/2.0\r\n", b"SIP/7.0\r\n", 1).replace(b"z9hG4bKm0", b"z9hG4bKv"),
        good.replace(b"Content-Length: 0", b"Content-Length: -1").replace(b"z9hG4bKm0", b"z9hG4bKl"),
        request_octets("OPTIONS", branch="z9hG4bKo", call_id="o", headers=[("Subject", "a\r\n b")]),
        request_octets("FLY", branch="z9hG4bKf", call_id="f"),
        request_octets("ACK", branch="z9hG4bKa", call_id="a"),
        good + b"left over",
    ]


def watch(stack: Stack) -> list[Event]:
    events: list[Event] = []

    @stack.on("*")
    def every(request: Request) -> None:
        sequence = request.cseq.number if request.cseq is not None else -1
        events.append((request.method, request.call_id or "", sequence, request.body))
        if request.method != "ACK":
            request.reply(200)

    return events


def counts(stack: Stack) -> dict[str, int]:
    """The engine's totals, without what depends on how many datagrams came at once."""
    return {name: value for name, value in stack.engine.stats().items() if "batch" not in name}


def through_receive() -> tuple[list[Event], dict[str, int]]:
    async def main(network: SimNetwork) -> Any:
        stack = Stack(env=network.env("192.0.2.1"))
        listener = await stack.listen("udp", "192.0.2.1:5060")
        events = watch(stack)
        flow = stack.engine.datagram_flow(listener.local, "192.0.2.2", 5060)
        for octets in capture():
            stack.engine.receive(octets, flow, stack.env.now())
        stack.engine.flush()
        return events, counts(stack)

    return sim.run(main)


def through_simulator() -> tuple[list[Event], dict[str, int]]:
    async def main(network: SimNetwork) -> Any:
        stack = Stack(env=network.env("192.0.2.1"))
        await stack.listen("udp", "192.0.2.1:5060")
        events = watch(stack)
        peer = network.datagram_peer("192.0.2.2", 5060)
        for octets in capture():
            peer.send(octets, ("192.0.2.1", 5060))
        await asyncio.sleep(0.1)
        return events, counts(stack)

    return sim.run(main)


def through_sockets() -> tuple[list[Event], dict[str, int]]:
    async def main() -> Any:
        stack = Stack()
        listener = await stack.listen("udp", "127.0.0.1:0")
        events = watch(stack)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.connect(("127.0.0.1", listener.port))
            for octets in capture():
                peer.send(octets)
            await asyncio.sleep(0.2)
        totals = counts(stack)
        await stack.close()
        return events, totals

    return asyncio.run(main())


def test_a_capture_gives_the_same_events_whichever_way_it_comes_in() -> None:
    events, totals = through_receive()
    assert len(events) == 22  # the ACK belongs to nothing
    assert through_simulator() == (events, totals)
    assert through_sockets() == (events, totals)
