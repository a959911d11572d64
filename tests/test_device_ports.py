"""Whose requests a device takes, and on which ports (SPEC A3, E3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from provider import DEVICE_HOST, DOMAIN, HOME_HOST, Provider, configure, make_device
from test_device import answer, play, until

from sipcore import sim
from sipcore.device import Device
from sipcore.sim import SimNetwork
from sipcore.simpeers import SimRegistrar

OPTIONS = (
    b"OPTIONS sip:user1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bKone\r\n"
    b"From: <sip:x@192.0.2.66>;tag=1\r\nTo: <sip:user1@192.0.2.1>\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("keys", "host", "answered"),
    [
        ({}, "192.0.2.66", True),
        ({"accept_sip_from_registrar_only": True}, "192.0.2.66", False),
        ({"access_list": ("192.0.2.64/28",)}, "192.0.2.66", True),
        ({"access_list": ("192.0.2.64/28",)}, "192.0.2.96", False),
        ({"access_list": ("192.0.2.64/28",), "accept_sip_from_registrar_only": True}, "192.0.2.66", True),
    ],
)
def test_requests_from_elsewhere_are_dropped(keys: dict[str, Any], host: str, answered: bool) -> None:
    """SPEC E3; the registration goes on all the same."""
    config = configure()
    config = replace(config, services=(replace(config.services[0], **keys),))

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        peer = provider.network.datagram_peer(host, 5060)
        peer.send(OPTIONS, (DEVICE_HOST, 5060))
        await asyncio.sleep(5)
        assert bool(peer.received) is answered
        await asyncio.sleep(120)
        assert device.sp[1].is_registered

    play(config, story)


def test_the_registrar_may_call_where_nobody_else_may() -> None:
    """SPEC E3: registrar, proxies, and the next hops of live dialogs."""
    config = configure(2)
    services = tuple(replace(service, accept_sip_from_registrar_only=True) for service in config.services)

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        device.sp[2].on_invite(answer)
        async with device.sp[1].call("user2") as call:
            await call.answered()
            await asyncio.sleep(1)
        await until(lambda: all(status.calls == 0 for status in device.status()), 10)

    play(replace(config, services=services), story)


def test_alternative_ports_are_tried_until_something_answers() -> None:
    """SPEC A3: each attempt without an answer uses the next port; the old socket stays open for 32 s."""
    config = configure()
    config = replace(config, services=(replace(config.services[0], user_agent_ports=(6001, 6002)),))

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        async with make_device(network, config) as device:
            await until(lambda: any(packet.source == (DEVICE_HOST, 6001) for packet in network.trace), 400)
            provider = await Provider(network).start()
            await device.sp[1].registered(timeout=600)
            ((contact,),) = provider.bound().values()
            assert contact.rpartition(":")[2] in ("6001", "6002")
            port = int(contact.rpartition(":")[2])
            last = [packet for packet in network.trace if packet.octets.startswith(b"REGISTER ")][-1]
            assert last.source == (DEVICE_HOST, port)
            assert f"SIP/2.0/UDP {DEVICE_HOST}:{port};".encode() in last.octets
        await provider.close()

    sim.run(main)


def test_spec_a3_the_old_port_stays_open_for_32_seconds_and_an_answer_fixes_the_new_one() -> None:
    """SPEC A3: what is still on its way to the old port is taken; a refusal is an answer too."""
    config = configure()
    config = replace(config, services=(replace(config.services[0], user_agent_ports=(6001,)),))

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        peer = network.datagram_peer("192.0.2.66", 5060)

        async def answered(number: int) -> bool:
            seen = len(peer.received)
            peer.send(OPTIONS.replace(b"z9hG4bKone", b"z9hG4bK%d" % number), (DEVICE_HOST, 5060))
            await asyncio.sleep(1)
            return len(peer.received) > seen

        async with make_device(network, config) as device:
            await until(lambda: any(packet.source == (DEVICE_HOST, 6001) for packet in network.trace), 400)
            assert await answered(1)
            await asyncio.sleep(28)
            assert await answered(2)
            await asyncio.sleep(3)
            assert not await answered(3)
            home = await SimRegistrar(network, HOME_HOST, domain=DOMAIN, users={"user1": "another word"}).up()
            await until(lambda: "Register Failed: 401" in device.sp[1].status, 400)
            port = home.script.seen[-1].via[0].port
            await asyncio.sleep(1800)
            assert {request.via[0].port for request in home.script.seen} == {port}
        await home.down()

    sim.run(main)
