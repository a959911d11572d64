"""What makes a device ask DNS, and what never does (FAULTS 37, 40, 41; SPEC D1, D6, D7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from kit import request_octets
from provider import DEVICE_HOST, DOMAIN, HOME_HOST, Provider, configure, make_device

from sipcore import sim
from sipcore.device import Device
from sipcore.errors import CallRejected, SipError
from sipcore.sim import SimNetwork

STRANGER = "198.51.100.7"
Story = Callable[[SimNetwork, Device], Awaitable[None]]


def play(story: Story, **profile: object) -> None:
    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        async with make_device(network, configure(**profile)) as device:
            await story(network, device)
        await provider.close()

    sim.run(main)


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "MESSAGE", "SUBSCRIBE", "REGISTER", "BYE", "NOTIFY"])
def test_faults_41_no_name_in_a_strangers_request_is_ever_looked_up(method: str):
    """FAULTS 41: Via, Contact, Route, Record-Route, Reply-To and Request-URI may say what they like."""

    async def story(network: SimNetwork, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        before = len(network.dns.asked)
        peer = network.datagram_peer(STRANGER, 5060)
        names = [("Record-Route", "<sip:rr.evil.example;lr>"), ("Contact", "<sip:c.evil.example>")]
        for number in range(5):
            octets = request_octets(
                method,
                f"sip:user1@target{number}.evil.example",
                host=f"via{number}.evil.example",
                branch=f"z9hG4bKx{number}",
                call_id=f"call-{number}",
                headers=names,
            )
            peer.send(octets, (DEVICE_HOST, 5060))
        await asyncio.sleep(5)
        assert len(network.dns.asked) == before

    play(story)


def test_faults_37_with_dns_down_calls_fail_in_bounded_time_and_literals_go_on():
    """FAULTS 37: and it recovers within five seconds."""

    async def story(network: SimNetwork, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        network.dns.script[DOMAIN, "A"] = "timeout"
        await asyncio.sleep(400)
        started = asyncio.get_running_loop().time()
        with pytest.raises(SipError):
            await device.sp[1].call("nobody", timeout=60)
        assert asyncio.get_running_loop().time() - started <= 32.0
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        with pytest.raises(CallRejected):
            await device.sp[1].call("nobody", timeout=5)

    play(story)
