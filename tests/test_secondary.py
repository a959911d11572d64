"""The secondary registration of a whole device on the simulated network (SPEC B13)."""

from __future__ import annotations

import asyncio

import pytest
from test_redundancy import EVERY, FIRST, SECOND, THIRD, Twin, lives_at, play, until

from sipcore.device import Device
from sipcore.errors import CallBusy
from sipcore.policy.questions import Srv
from sipcore.sim import SimNetwork

WITH = {"X_SecondaryRegistration": True}


def bound(twins: list[Twin]) -> list[bool]:
    return [twin.is_bound() for twin in twins]


def connections(twins: list[Twin], transport: str) -> list[int]:
    """How many there are at each; with datagrams what there would be: one for each binding."""
    return [int(twin.is_bound()) if transport == "UDP" else twin.connections() for twin in twins]


async def both_up(twins: list[Twin], device: Device) -> None:
    await device.sp[1].registered(timeout=10)
    await until(lambda: sum(bound(twins)) == 2, 5)
    await asyncio.sleep(0.1)


@EVERY
def test_there_are_two_registrations_on_two_servers(transport: str) -> None:
    """SPEC B4, B13, C5, F1: the secondary has a server and, on a stream, a connection of its own."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        await asyncio.sleep(300)
        assert bound(twins) == [True, True, False]
        assert connections(twins, transport) == [1, 1, 0]
        report = device.sp[1].report()
        assert lives_at(device, FIRST)
        assert report.secondary is not None
        assert report.secondary.status.startswith(f"Registered (server={SECOND}:5060;")
        assert report.secondary.candidates[0].endswith("(holds the registration)")
        assert len(report.candidates) == 3
        call_ids = {
            line
            for packet in network.trace
            if packet.octets.startswith(b"REGISTER ")
            for line in packet.octets.split(b"\r\n")
            if line.startswith(b"Call-ID:")
        }
        assert len(call_ids) == 2

    play(story, transport, servers=3, **WITH)


@EVERY
def test_the_secondary_is_promoted_at_once_when_the_primary_dies(transport: str) -> None:
    """SPEC B13: calls go to it, and a new secondary is sought at a lower candidate."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        for twin in twins[1:]:
            twin.registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        await twins[0].kill()
        if transport == "UDP":
            network.unplug(FIRST)
        await until(lambda: lives_at(device, SECOND), 1 if transport != "UDP" else 95)
        await until(twins[2].is_bound, 10)
        assert bound(twins[1:]) == [True, True]
        assert connections(twins[1:], transport) == [1, 1]
        before = len(network.trace)
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")
        invites = [packet for packet in list(network.trace)[before:] if packet.octets.startswith(b"INVITE ")]
        assert {packet.destination[0] for packet in invites} == {SECOND}
        assert any("is the primary now (SPEC B13)" in text for text in device.sp[1].report().decisions)

    play(story, transport, servers=3, **WITH)


@EVERY
def test_the_promoted_one_goes_back_to_a_better_server_that_lives_again(transport: str) -> None:
    """SPEC B12, B13: then the secondary moves up to what it left."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        await twins[0].kill()
        network.unplug(FIRST)
        await until(lambda: lives_at(device, SECOND), 95)
        twins[0] = await twins[0].again()
        network.plug(FIRST)
        await until(lambda: lives_at(device, FIRST), 100)
        await asyncio.sleep(200)
        assert bound(twins) == [True, True, False]
        assert connections(twins, transport) == [1, 1, 0]

    play(story, transport, servers=3, **WITH)


@EVERY
def test_two_servers_change_roles_and_back(transport: str) -> None:
    """SPEC B13: with two candidates there is no secondary while one of them is dead."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        await twins[0].kill()
        network.unplug(FIRST)
        await until(lambda: lives_at(device, SECOND), 95)
        assert device.sp[1].report().secondary is None
        twins[0] = await twins[0].again()
        network.plug(FIRST)
        await until(lambda: lives_at(device, FIRST) and sum(bound(twins)) == 2, 100)
        await asyncio.sleep(60)
        assert connections(twins, transport) == [1, 1]

    play(story, transport, **WITH)


@EVERY
def test_a_secondary_that_dies_leaves_the_primary_alone(transport: str) -> None:
    """SPEC B13: it goes on to the next candidate by itself."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        granted = device.sp[1].registrations
        await twins[1].kill()
        network.unplug(SECOND)
        await until(twins[2].is_bound, 100)
        assert lives_at(device, FIRST)
        assert device.sp[1].registrations - granted <= 4
        report = device.sp[1].report().secondary
        assert report is not None
        assert report.status.startswith(f"Registered (server={THIRD}:5060;")

    play(story, transport, servers=3, **WITH)


@EVERY
def test_stopping_takes_both_bindings_back(transport: str) -> None:
    """SPEC B16."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        began = network.loop.time()
        await device.stop()
        assert network.loop.time() - began < 2
        assert bound(twins) == [False, False]
        assert device.sp[1].report().secondary is None

    play(story, transport, **WITH)


@EVERY
def test_a_new_address_moves_both_and_promotes_nobody(transport: str) -> None:
    """SPEC A1, B13."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        device._env.move("192.0.2.99")  # type: ignore[union-attr]
        await until(lambda: all("192.0.2.99" in str(twin.contacts()) for twin in twins), 5)
        assert lives_at(device, FIRST)
        assert not any("is the primary now" in text for text in device.sp[1].report().decisions)
        await asyncio.sleep(1)
        assert device._stack is not None
        assert len(device._stack.engine.connections()) == (0 if transport == "UDP" else 2)

    play(story, transport, device='local_ip = "auto"', **WITH)


@EVERY
def test_a_better_rank_in_dns_makes_the_two_change_places(transport: str) -> None:
    """SPEC B12, B13."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await both_up(twins, device)
        network.dns.script["example.com", "SRV"] = [
            Srv(10, 0, 5060, "2.example.com"),
            Srv(20, 0, 5060, "1.example.com"),
        ]
        await asyncio.sleep(130)
        assert lives_at(device, SECOND)
        assert bound(twins) == [True, True]
        assert connections(twins, transport) == [1, 1]

    play(story, transport, **WITH)
