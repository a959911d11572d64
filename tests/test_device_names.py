"""Which names a device asks for, and that what belongs to a request follows it (SPEC A7, D1, D8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from provider import DEVICE_HOST, DOMAIN, EDGE, HOME_HOST, configure, make_device
from scripted import Scripted, say
from test_device import until

from sipcore import sim
from sipcore.device import Device
from sipcore.errors import CallCancelled, CallError
from sipcore.sim import SimNetwork

OTHER_HOST = "192.0.2.11"


@pytest.mark.parametrize(
    ("profile", "asked"),
    [
        ({}, {DOMAIN}),
        ({"RegistrarServer": "reg.example.org"}, {"reg.example.org", DOMAIN}),
        ({"RegistrarServerPort": 5099, "RegistrarServerTransport": "TCP"}, {DOMAIN}),
        ({"OutboundProxy": EDGE}, {EDGE}),
        ({"OutboundProxy": EDGE, "RegistrarServer": "reg.example.org"}, {EDGE}),
        ({"OutboundProxy": HOME_HOST, "RegistrarServer": "reg.example.org"}, set()),
    ],
)
def test_spec_d1_only_the_name_of_the_next_hop_is_resolved(profile: dict[str, Any], asked: set[str]) -> None:
    """SPEC A7, D1: when a request is to be sent; a literal asks nothing, the OutboundProxy stands for the others."""

    async def main(network: SimNetwork) -> None:
        for name in (DOMAIN, EDGE, "reg.example.org"):
            network.dns.script[name, "A"] = [HOME_HOST]
        server = await Scripted.start(network)
        server.script("INVITE", say(486))
        async with make_device(network, configure(**profile)) as device:
            await device.sp[1].registered(timeout=5)
            with pytest.raises(CallError):
                await device.sp[1].call("bob")
            assert {question.name for question in network.dns.asked} == asked
        await server.stack.close(timeout=0)

    sim.run(main)


def test_spec_d8_cancel_and_ack_go_exactly_where_their_request_went() -> None:
    """SPEC D8: DNS names another server meanwhile; new requests go there."""

    async def main(network: SimNetwork) -> None:
        network.dns.ttl = 1.0
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        old, new = [await Scripted.start(network, host) for host in (HOME_HOST, OTHER_HOST)]
        old.script("INVITE", say(180))
        async with Device(configure(RegistrationPeriod=3600), env=network.env(DEVICE_HOST)) as device:
            await device.sp[1].registered(timeout=5)
            call = device.sp[1].call("bob")
            ringing = asyncio.ensure_future(call.answered())
            await until(lambda: old.count("INVITE") == 1, 5)
            network.dns.script[DOMAIN, "A"] = [OTHER_HOST]
            await asyncio.sleep(5)
            call.cancel()
            with pytest.raises(CallCancelled):
                await ringing
            await asyncio.sleep(1)
            sent = [(packet.octets.split()[0], packet.destination[0]) for packet in network.trace]
            assert {host for method, host in sent if method in (b"CANCEL", b"ACK")} == {HOME_HOST}
            assert {method for method, _ in sent} >= {b"CANCEL", b"ACK"}
            new.script("INVITE", say(486))
            with pytest.raises(CallError):
                await device.sp[1].call("bob")
            assert (old.count("INVITE"), new.count("INVITE")) == (1, 1)
        for server in (old, new):
            await server.stack.close(timeout=0)

    sim.run(main)
