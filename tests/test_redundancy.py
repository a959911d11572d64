"""Redundancy of a whole device on the simulated network: two registrars named by SRV (SPEC B9, B12, D8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from provider import DEVICE_HOST, DOMAIN, USERS, configure, make_device

from sipcore import sim
from sipcore.device import Device
from sipcore.errors import CallBusy
from sipcore.policy.questions import Srv
from sipcore.registrar import Registrar
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

FIRST, SECOND = "192.0.2.11", "192.0.2.12"


@dataclass
class Twin:
    """One of two registrars with bindings of its own."""

    stack: Stack
    registrar: Registrar

    @classmethod
    async def start(cls, network: SimNetwork, host: str) -> Twin:
        stack = Stack(env=network.env(host))
        agent = stack.user_agent("home", is_proxy=True)
        await agent.listen("udp", f"{host}:5060")
        return cls(stack, Registrar(agent, domains=[DOMAIN], users=USERS))

    def is_bound(self) -> bool:
        return bool(self.contacts())

    def contacts(self) -> list[str]:
        bindings = self.registrar.location.bindings(f"sip:user1@{DOMAIN}", self.stack.env.now())
        return [binding.contact for binding in bindings]


Story = Callable[[SimNetwork, Twin, Twin, Device], Awaitable[None]]


def play(story: Story) -> None:
    async def main(network: SimNetwork) -> None:
        network.dns.script |= {
            (DOMAIN, "SRV"): [Srv(10, 0, 5060, "a.example.com"), Srv(20, 0, 5060, "b.example.com")],
            ("a.example.com", "A"): [FIRST],
            ("b.example.com", "A"): [SECOND],
        }
        first, second = await Twin.start(network, FIRST), await Twin.start(network, SECOND)
        async with make_device(network, configure(X_ProxyServerRedundancy=True)) as device:
            await story(network, first, second, device)
        await first.stack.close()
        await second.stack.close()

    sim.run(main)


def test_the_first_candidate_is_used_while_it_answers():
    """SPEC B12."""

    async def story(network: SimNetwork, first: Twin, second: Twin, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        await asyncio.sleep(600)
        assert device.sp[1].status.startswith(f"Registered (server={FIRST}:5060;")
        assert first.is_bound()
        assert not second.is_bound()

    play(story)


def test_a_dead_primary_is_left_and_taken_back_when_it_lives_again():
    """SPEC B12: the old binding is removed after the fallback."""

    async def story(network: SimNetwork, first: Twin, second: Twin, device: Device) -> None:
        network.unplug(FIRST)
        await device.sp[1].registered(timeout=40)
        assert device.sp[1].status.startswith(f"Registered (server={SECOND}:5060;")
        network.plug(FIRST)
        await asyncio.sleep(70)
        assert device.sp[1].status.startswith(f"Registered (server={FIRST}:5060;")
        assert first.is_bound()
        assert not second.is_bound()

    play(story)


def test_a_primary_that_dies_later_is_left_at_the_next_refresh():
    """SPEC B9, B12."""

    async def story(network: SimNetwork, first: Twin, second: Twin, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        network.unplug(FIRST)
        await asyncio.sleep(100)
        assert device.sp[1].status.startswith(f"Registered (server={SECOND}:5060;")

    play(story)


def test_calls_go_to_the_server_that_holds_the_registration():
    """SPEC B12: INVITE goes to the server registered with."""

    async def story(network: SimNetwork, first: Twin, second: Twin, device: Device) -> None:
        network.unplug(FIRST)
        await device.sp[1].registered(timeout=40)
        second.registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2", timeout=10)

    play(story)


def test_the_contact_is_the_devices_own():
    """SPEC A2."""

    async def story(network: SimNetwork, first: Twin, second: Twin, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        assert first.contacts() == [f"sip:user1@{DEVICE_HOST}:5060"]

    play(story)
