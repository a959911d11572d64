"""Redundancy of a whole device on the simulated network: two registrars named by SRV (SPEC B9, B12, C5, D8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from provider import DEVICE_HOST, DOMAIN, USERS, configure, make_device

from sipcore import sim
from sipcore._message import Request
from sipcore.device import Device
from sipcore.errors import CallBusy
from sipcore.policy.questions import Srv
from sipcore.registrar import Registrar
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

FIRST, SECOND, THIRD = "192.0.2.11", "192.0.2.12", "192.0.2.13"
HOSTS = (FIRST, SECOND, THIRD)
EVERY = pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
STREAMS = pytest.mark.parametrize("transport", ["TCP", "TLS"])


@dataclass
class Twin:
    """One of several registrars with bindings of its own; `refuses` answers every REGISTER with that status code."""

    network: SimNetwork
    host: str
    transport: str
    stack: Stack
    registrar: Registrar

    @classmethod
    async def start(cls, network: SimNetwork, host: str, transport: str) -> Twin:
        stack = Stack(env=network.env(host))
        agent = stack.user_agent("home", is_proxy=True)
        await agent.listen(transport.lower(), f"{host}:5060")
        return cls(network, host, transport, stack, Registrar(agent, domains=[DOMAIN], users=USERS))

    def refuse(self, status_code: int, **headers: str) -> Callable[[], None]:
        """Answer every REGISTER so from now on; call what it returns to end that."""
        agent = self.registrar.user_agent
        before = agent._handlers["REGISTER"]
        agent.on("REGISTER", lambda request: request.reply(status_code, headers=list(headers.items())))
        return lambda: agent.on("REGISTER", before) and None

    async def kill(self) -> Twin:
        """Its process ends, and another one starts with nothing in mind; returned stopped until `start`."""
        self.network.kill(self.host)
        await self.stack.close(timeout=0)
        return self

    async def again(self) -> Twin:
        return await Twin.start(self.network, self.host, self.transport)

    def is_bound(self) -> bool:
        return bool(self.contacts())

    def contacts(self) -> list[str]:
        bindings = self.registrar.location.bindings(f"sip:user1@{DOMAIN}", self.stack.env.now())
        return [binding.contact for binding in bindings]

    def connections(self) -> int:
        return self.network.streams_to(self.host, 5060)


Story = Callable[[SimNetwork, list[Twin], Device], Awaitable[None]]


def play(story: Story, transport: str = "UDP", *, servers: int = 2, **profile: Any) -> None:
    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "SRV"] = [
            Srv(10 * number, 0, 5060, f"{number}.example.com") for number in range(1, servers + 1)
        ]
        for number, host in enumerate(HOSTS, 1):
            network.dns.script[f"{number}.example.com", "A"] = [host]
        twins = [await Twin.start(network, host, transport) for host in HOSTS[:servers]]
        keys = {"X_ProxyServerRedundancy": True, "ProxyServerTransport": transport, **profile}
        async with make_device(network, configure(**keys)) as device:
            await story(network, twins, device)
        for twin in twins:
            await twin.stack.close(timeout=0)

    sim.run(main)


def lives_at(device: Device, host: str) -> bool:
    return device.sp[1].status.startswith(f"Registered (server={host}:5060;")


async def until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.05)


# Where the registration lives (SPEC B12)


@EVERY
def test_the_first_candidate_is_used_while_it_answers(transport: str) -> None:
    """SPEC B12, C5: one connection, to one server."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        await asyncio.sleep(600)
        assert lives_at(device, FIRST)
        assert [twin.is_bound() for twin in twins] == [True, False]
        assert [twin.connections() for twin in twins] == ([0, 0] if transport == "UDP" else [1, 0])

    play(story, transport)


@EVERY
def test_a_dead_primary_is_left_and_taken_back_when_it_lives_again(transport: str) -> None:
    """SPEC B12, C5: SIP moves over in one step; the old binding is removed, the old connection closed."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        network.unplug(FIRST)
        await device.sp[1].registered(timeout=40)
        assert lives_at(device, SECOND)
        network.plug(FIRST)
        await asyncio.sleep(70)
        assert lives_at(device, FIRST)
        assert [twin.is_bound() for twin in twins] == [True, False]
        assert [twin.connections() for twin in twins] == ([0, 0] if transport == "UDP" else [1, 0])

    play(story, transport)


@EVERY
def test_a_primary_that_dies_later_is_left(transport: str) -> None:
    """SPEC B9, B12."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        network.unplug(FIRST)
        await asyncio.sleep(150)
        assert lives_at(device, SECOND)

    play(story, transport)


@STREAMS
def test_a_killed_primary_costs_seconds_on_a_stream(transport: str) -> None:
    """SPEC C6, D8: its connection is lost, it refuses the next one, and the second candidate is connected to."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        await twins[0].kill()
        await until(twins[1].is_bound, 5)
        assert lives_at(device, SECOND)
        twins[0] = await twins[0].again()
        await until(twins[0].is_bound, 65)
        await asyncio.sleep(1)
        assert [twin.is_bound() for twin in twins] == [True, False]
        assert [twin.connections() for twin in twins] == [1, 0]

    play(story, transport)


@EVERY
def test_a_503_is_left_for_as_long_as_it_says(transport: str) -> None:
    """SPEC B9, C5: the next candidate is tried at once, on a stream over a second connection that then takes over."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        end = twins[0].refuse(503, **{"Retry-After": "200"})
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(0.1)
        assert lives_at(device, SECOND)
        assert [twin.connections() for twin in twins] == ([0, 0] if transport == "UDP" else [0, 1])
        shown = device.sp[1].report().candidates
        assert "passed over for 200s" in shown[0]
        assert "holds the registration" in shown[1]
        end()

    play(story, transport)


@STREAMS
def test_a_probe_that_loses_leaves_everything_as_it_was(transport: str) -> None:
    """SPEC B12, C5: a second connection for that probe alone, closed again."""
    most: list[int] = []

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        end = twins[0].refuse(503)
        await device.sp[1].registered(timeout=5)
        agent = twins[0].registrar.user_agent

        def probed(request: Request) -> None:
            most.append(twins[0].connections() + twins[1].connections())
            request.reply(503)

        agent.on("OPTIONS", probed)
        for _ in range(400):
            await asyncio.sleep(1)
            assert twins[0].connections() == 0
        assert most == [2] * 6
        assert lives_at(device, SECOND)
        assert device.sp[1].links["proxy"].opened == 2
        end()

    play(story, transport)


@EVERY
def test_candidates_are_renewed_when_their_ttl_ends(transport: str) -> None:
    """SPEC B12: what DNS no longer names is left, and its binding taken back."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        network.dns.script[DOMAIN, "SRV"] = [Srv(10, 0, 5060, "2.example.com")]
        await asyncio.sleep(130)
        assert lives_at(device, SECOND)
        assert [twin.is_bound() for twin in twins] == [False, True]
        assert [twin.connections() for twin in twins] == ([0, 0] if transport == "UDP" else [0, 1])

    play(story, transport)


@EVERY
def test_a_records_are_equal_candidates(transport: str) -> None:
    """SPEC B12: without priorities nobody is better, and whoever accepted is kept."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        network.dns.script[DOMAIN, "A"] = [FIRST, SECOND]
        await device.sp[1].registered(timeout=10)
        held = next(twin for twin in twins if twin.is_bound())
        other = next(twin for twin in twins if twin is not held)
        network.unplug(held.host)
        await asyncio.sleep(150)
        assert lives_at(device, other.host)
        network.plug(held.host)
        await asyncio.sleep(300)
        assert lives_at(device, other.host)

    play(story, transport)


@EVERY
def test_all_servers_dead_and_back(transport: str) -> None:
    """SPEC B11, C6: never given up."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        for host in (FIRST, SECOND):
            network.unplug(host)
        await asyncio.sleep(900)
        network.plug(SECOND)
        await until(lambda: lives_at(device, SECOND), 400)

    play(story, transport)


# Where requests go (SPEC B12, D8)


@EVERY
def test_calls_go_to_the_server_that_holds_the_registration(transport: str) -> None:
    """SPEC B12: INVITE goes to the server registered with."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        network.unplug(FIRST)
        await device.sp[1].registered(timeout=60)
        twins[1].registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2", timeout=10)

    play(story, transport)


@pytest.mark.parametrize("trouble", ["503", "silence"])
def test_a_request_goes_to_the_next_candidate_when_the_first_fails(trouble: str) -> None:
    """SPEC D8, FAULTS 40: a new transaction with a new branch, and the failed address is passed over."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        twins[0].registrar.user_agent.on("INVITE", lambda request: request.reply(503))
        twins[1].registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        if trouble == "silence":
            network.unplug(FIRST)
        began = network.loop.time()
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")
        assert network.loop.time() - began < 32
        branches = {
            line
            for packet in network.trace
            if packet.octets.startswith(b"INVITE ")
            for line in packet.octets.split(b"\r\n")
            if line.startswith(b"Via:")
        }
        assert len(branches) == 2
        assert any("SPEC D8" in text and SECOND in text for text in device.sp[1].report().decisions)
        assert "passed over" in device.sp[1].report().candidates[0]

    play(story)


def test_the_users_own_answer_is_final() -> None:
    """SPEC D8: 486 and 603 go nowhere else."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        twins[0].registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")
        assert not any(packet.destination[0] == SECOND for packet in network.trace)

    play(story)


@EVERY
def test_a_service_without_registration_uses_its_candidates_too(transport: str) -> None:
    """SPEC B1, D8: profiles with redundancy fail over, registered or not."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        network.unplug(FIRST)
        twins[1].registrar.user_agent.on("INVITE", lambda request: request.reply(486))
        await asyncio.sleep(20)
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")

    profile = {"X_ProxyServerRedundancy": True, "ProxyServerTransport": transport}
    play_unregistered(story, transport, profile)


def play_unregistered(story: Story, transport: str, profile: dict[str, Any]) -> None:
    async def main(network: SimNetwork) -> None:
        network.dns.script |= {
            (DOMAIN, "SRV"): [Srv(10, 0, 5060, "1.example.com"), Srv(20, 0, 5060, "2.example.com")],
            ("1.example.com", "A"): [FIRST],
            ("2.example.com", "A"): [SECOND],
        }
        twins = [await Twin.start(network, host, transport) for host in (FIRST, SECOND)]
        config = configure(**profile)
        config = replace(config, services=(replace(config.services[0], register_enable=False),))
        async with make_device(network, config) as device:
            await story(network, twins, device)
        for twin in twins:
            await twin.stack.close(timeout=0)

    sim.run(main)


def test_the_contact_is_the_devices_own() -> None:
    """SPEC A2."""

    async def story(network: SimNetwork, twins: list[Twin], device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        assert twins[0].contacts() == [f"sip:user1@{DEVICE_HOST}:5060"]

    play(story)
