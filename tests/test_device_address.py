"""How a device is seen from outside, and how its path is kept open (SPEC B14, B15)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit import parsed_request, response_octets
from provider import DEVICE_HOST, DOMAIN, HOME_HOST, USERS, configure
from scripted import change
from test_device import until

from sipcore import sim
from sipcore.device import Device
from sipcore.errors import CallBusy, TransportError
from sipcore.local_address import pick_local_address
from sipcore.sim import SimEnv, SimNetwork
from sipcore.simpeers import SimRegistrar

PUBLIC = "203.0.113.5"


@dataclass
class Nat:
    """A registrar that sees the device at another address: `seen` is (host, port), `registers` what came."""

    network: SimNetwork
    seen: tuple[str, int] = (PUBLIC, 40_000)
    registers: list[bytes] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)

    async def run(self) -> None:
        peer = self.network.datagram_peer(HOME_HOST, 5060)
        while True:
            octets, source = await peer.receive()
            if not octets.startswith(b"REGISTER "):
                self.others.append(octets)
                for reply in self.replies:
                    peer.send(reply, source)
                continue
            self.registers.append(octets)
            request = parsed_request(octets)
            contact = request.get_all("Contact")[0].rpartition(";expires")[0]
            answer = response_octets(octets, 200, headers=[f"Contact: {contact};expires={request['Expires']}"])
            host, port = self.seen
            peer.send(answer.replace(b";rport", f";rport={port};received={host}".encode(), 1), source)

    def contacts(self) -> list[str]:
        """Those of the last REGISTER."""
        return parsed_request(self.registers[-1]).get_all("Contact")


Story = Callable[[Nat, Device], Awaitable[None]]


def play(story: Story, *, service: dict[str, Any] | None = None, **profile: Any) -> None:
    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        nat = Nat(network)
        task = asyncio.create_task(nat.run())
        config = change(configure(**profile), **(service or {}))
        async with Device(config, env=network.env(DEVICE_HOST)) as device:
            await story(nat, device)
        task.cancel()

    sim.run(main)


def test_spec_b14_the_public_address_takes_the_place_of_the_local_contact() -> None:
    """SPEC B14: at once, and the old contact is removed with it."""

    async def story(nat: Nat, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(1)
        assert len(nat.registers) == 2
        new, old = nat.contacts()
        assert new.startswith(f"<sip:user1@{PUBLIC}:40000>;expires=60") or f"{PUBLIC}:40000" in new
        assert old == f"<sip:user1@{DEVICE_HOST}:5060>;expires=0"
        await asyncio.sleep(200)
        assert all(f"{PUBLIC}:40000" in contact for contact in nat.contacts())

    play(story, X_DiscoverPublicAddress=True)


def test_spec_b14_a_second_change_within_a_minute_is_told_and_not_followed() -> None:
    """SPEC B14: a NAT that gives another port for each packet makes no storm."""

    async def story(nat: Nat, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(1)
        nat.seen = (PUBLIC, 40_001)
        await asyncio.sleep(57)
        assert "not followed" in " ".join(device.sp[1].report().decisions)
        assert f"{PUBLIC}:40000" in nat.contacts()[0]
        await asyncio.sleep(120)
        assert f"{PUBLIC}:40001" in nat.contacts()[0]

    play(story, X_DiscoverPublicAddress=True)


def test_spec_b14_without_being_asked_for_nothing_is_discovered() -> None:
    """SPEC B14."""

    async def story(nat: Nat, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(200)
        assert nat.contacts() == [f"<sip:user1@{DEVICE_HOST}:5060>;expires=60"] or DEVICE_HOST in nat.contacts()[0]
        assert PUBLIC not in str(nat.contacts())

    play(story)


STUN_REQUEST = bytes.fromhex("000100002112a442")
BINDING_SUCCESS = bytes.fromhex("0101000c2112a442") + bytes(12) + bytes.fromhex("002000080001a1472112a643")
CUSTOM = "NOTIFY sip:x SIP/2.0\r\n\r\n"


@pytest.mark.parametrize(
    ("kind", "looks_right"),
    [
        ("keep-alive", lambda octets: octets == b"keep-alive"),
        ("empty", lambda octets: octets == b""),
        ("stun", lambda octets: octets.startswith(STUN_REQUEST) and len(octets) == 20),
        ("custom", lambda octets: octets == CUSTOM.encode()),
        ("options", lambda octets: octets.startswith(b"OPTIONS sip:")),
    ],
)
def test_spec_b15_every_kind_of_keep_alive_goes_where_register_goes(
    kind: str, looks_right: Callable[[bytes], bool]
) -> None:
    """SPEC B15: every 15 s, and whatever comes back does no harm."""

    async def story(nat: Nat, device: Device) -> None:
        nat.replies = [BINDING_SUCCESS, b"keep-alive", b"\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"\x00"]
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(44)
        wanted = [octets for octets in nat.others if looks_right(octets)]
        assert len(wanted) == len(nat.others)
        assert len({bytes(octets) for octets in wanted}) >= (1 if kind in ("keep-alive", "empty", "custom") else 2)
        if kind != "options":  # that one is retransmitted, as any request is that gets no answer
            assert 2 <= len(wanted) <= 3
        await asyncio.sleep(120)
        assert device.sp[1].is_registered

    keys = {"keep_alive_enable": True, "keep_alive_message_type": kind, "keep_alive_custom_message": CUSTOM}
    play(story, service=keys)


@pytest.mark.parametrize("kind", ["keep-alive", "empty", "stun"])
def test_spec_b15_a_server_of_their_own(kind: str) -> None:
    """SPEC B15: X_KeepAliveServer and its port, for these three."""

    async def story(nat: Nat, device: Device) -> None:
        peer = nat.network.datagram_peer("192.0.2.88", 3478)
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(50)
        assert len(peer.received) == 3
        assert nat.others == []

    keys = {"keep_alive_server": "192.0.2.88", "keep_alive_server_port": 3478}
    play(story, service={"keep_alive_enable": True, "keep_alive_message_type": kind, **keys})


def test_spec_a3_no_other_port_while_a_call_is_up() -> None:
    """SPEC A3: the port stays, whatever REGISTER gets, until the call has ended."""

    async def story(nat: Nat, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        agent = device.sp[1].user_agent
        assert agent is not None
        agent.calls.add(object())  # type: ignore[arg-type]
        nat.network.unplug(HOME_HOST)
        await until(lambda: "900" in device.sp[1].status, 200)
        await asyncio.sleep(250)
        assert all(packet.source[1] == 5060 for packet in nat.network.trace if packet.source[0] == DEVICE_HOST)
        agent.calls.clear()
        await until(lambda: any(packet.source == (DEVICE_HOST, 6001) for packet in nat.network.trace), 300)

    play(story, service={"user_agent_ports": (6001, 6002)})


# From IPv4 to IPv6 and back (SPEC A1, D2)

HOME_V6, DEVICE_V6 = "2001:db8::10", "2001:db8::1"


def on_both(story: Callable[[SimNetwork, list[SimRegistrar], SimEnv, Device], Awaitable[None]], **profile: Any) -> None:
    """A device with two services, and a registrar at an address of each kind."""

    async def main(network: SimNetwork) -> None:
        network.dns.script |= {(DOMAIN, "A"): [HOME_HOST], (DOMAIN, "AAAA"): [HOME_V6]}
        homes = [await SimRegistrar(network, host, domain=DOMAIN, users=USERS).up() for host in (HOME_HOST, HOME_V6)]
        env = network.env(DEVICE_HOST)
        async with Device(configure(2, **profile), env=env) as device:
            await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
            await story(network, homes, env, device)
        for home in homes:
            await home.down()

    sim.run(main)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("redundancy", [False, True])
def test_spec_a1_a_device_that_loses_ipv4_registers_again_over_ipv6_once_and_back(transport: str, redundancy: bool):
    """SPEC A1, D2: the other kind of address is asked for; the contact that is gone is taken back."""

    async def story(network: SimNetwork, homes: list[SimRegistrar], env: SimEnv, device: Device) -> None:
        new = homes[1]
        granted = [service.registrations for service in device.sp.values()]
        env.move(DEVICE_V6)
        await until(lambda: len(new.bindings()) == 2, 5)
        await asyncio.sleep(10)
        assert [service.registrations for service in device.sp.values()] == [count + 1 for count in granted]
        assert {status.server for status in device.status()} == {HOME_V6}
        contacts = " ".join(new.script.seen_of("REGISTER")[0].get_all("Contact"))
        assert f"@[{DEVICE_V6}]:506" in contacts
        assert f"@{DEVICE_HOST}:506" in contacts
        assert contacts.count("expires=0") == 1
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")
        env.move(DEVICE_HOST)
        await until(lambda: {status.server for status in device.status()} == {HOME_HOST}, 5)
        await until(lambda: all(service.is_registered for service in device.sp.values()), 5)

    on_both(story, ProxyServerTransport=transport, X_ProxyServerRedundancy=redundancy)


def test_spec_a1_auto_takes_ipv6_only_where_ipv4_leads_nowhere():
    """SPEC A1: IPv4 if there is one; a server that only the other kind leads to makes no device that waits."""

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "AAAA"] = [HOME_V6]
        env = network.env(DEVICE_V6)
        assert await pick_local_address(configure(), env) == DEVICE_V6
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        assert await pick_local_address(configure(), network.env(DEVICE_HOST)) == DEVICE_HOST
        assert await pick_local_address(configure(), env) == DEVICE_V6
        del network.dns.script[DOMAIN, "AAAA"]
        with pytest.raises(TransportError, match=f"no route to {HOME_HOST}"):
            await pick_local_address(configure(), env)
        network.dns.script[DOMAIN, "A"] = "SERVFAIL"
        assert await pick_local_address(configure(), network.env(DEVICE_HOST)) == DEVICE_HOST

    sim.run(main)
