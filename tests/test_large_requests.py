"""Requests that are large for a datagram: X_UDPSwitchToTCP of a device profile (SPEC C3, RFC 3261 section 18.1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kit import SDP, SDP_TYPE
from provider import DEVICE_HOST, DOMAIN, HOME_HOST, configure, make_device
from scripted import Scripted

from sipcore import sim
from sipcore._message import Request
from sipcore.device import Device
from sipcore.sim import SimNetwork

LARGE_SDP = SDP + b"a=x:" + b"0" * 1_500 + b"\r\n"
Story = Callable[[Scripted, Device], Awaitable[None]]


def play(story: Story, *, tcp: bool = True, **profile: Any) -> None:
    """A device on UDP and a server that listens on UDP, and on TCP as well if `tcp`."""

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        server = await Scripted.start(network)
        if tcp:
            await server.stack.listen("tcp", f"{HOME_HOST}:5060")
        server.script("INVITE", answer)
        server.script("BYE", lambda request: request.reply(200))
        async with make_device(network, configure(**profile)) as device:
            await device.sp[1].registered(timeout=5)
            await story(server, device)
        await server.stack.close(timeout=0)

    sim.run(main)


def answer(request: Request) -> None:
    contact = f"<sip:bob@{HOME_HOST}:5060>"
    request.reply(200, headers=[*SDP_TYPE, ("Contact", contact)], body=SDP)


def vias(server: Scripted) -> list[tuple[str, str]]:
    """Method and transport of each request but REGISTER, as they came; a transaction's repeats are absorbed."""
    return [(request.method, request.via[0].transport) for request in server.seen if request.method != "REGISTER"]


async def call(device: Device, body: bytes = LARGE_SDP) -> None:
    async with device.sp[1].call("bob", body=body):
        await asyncio.sleep(1)
    await asyncio.sleep(1)


def test_a_large_request_goes_by_tcp_and_the_rest_by_udp():
    """SPEC C3, C4: Via names the transport really used, Contact the one that the service can be reached on."""

    async def story(server: Scripted, device: Device) -> None:
        await call(device)
        assert vias(server) == [("INVITE", "TCP"), ("ACK", "UDP"), ("BYE", "UDP")]
        assert server.last("INVITE")["Contact"] == f"<sip:user1@{DEVICE_HOST}:5060>"
        said = [text for text in device.sp[1].report().decisions if "INVITE" in text]
        assert "5060 tcp: " in said[0]
        assert "X_UDPSwitchToTCP is on" in said[0]
        await call(device, SDP)
        assert vias(server)[3] == ("INVITE", "UDP")

    play(story, X_UDPSwitchToTCP=True)


def test_by_default_the_configured_transport_stands():
    """SPEC C3."""

    async def story(server: Scripted, device: Device) -> None:
        await call(device)
        assert vias(server)[0] == ("INVITE", "UDP")
        assert server.stack.engine.connections() == []

    play(story)


@pytest.mark.parametrize("redundancy", [False, True])
def test_without_tcp_there_it_goes_by_udp_after_all(redundancy: bool):
    """RFC 3261 section 18.1.1; and no connection is tried for the next one."""

    async def story(server: Scripted, device: Device) -> None:
        for _ in range(2):
            await call(device)
        assert [via for via in vias(server) if via[0] == "INVITE"] == [("INVITE", "UDP")] * 2
        said = [text for text in device.sp[1].report().decisions if "INVITE" in text]
        assert ["no TCP there" in text for text in said] == [True, False]

    play(story, tcp=False, X_UDPSwitchToTCP=True, X_ProxyServerRedundancy=redundancy)
