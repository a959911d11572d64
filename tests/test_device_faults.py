"""Faults of the host, the network and the clock, on a whole device (FAULTS 37, 40, 51 to 53)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from dns_server import serve, zone
from provider import DEVICE_HOST, DOMAIN, HOME_HOST, Provider, configure
from scripted import Scripted, play
from test_device import until

from sipcore import sim
from sipcore.device import Device
from sipcore.dns_exchange import Reply
from sipcore.errors import CallError, SipError
from sipcore.finding import Finder
from sipcore.policy.locate import Site
from sipcore.policy.questions import LookupFailed, Question
from sipcore.resolver import DnsResolver
from sipcore.sim import SimNetwork

EACH = pytest.mark.parametrize("transport", ["UDP", "TCP"])


# The resolver (FAULTS 37, 40, 53)


def test_faults_37_a_silent_resolver_for_five_minutes_leaves_literal_addresses_alone() -> None:
    """FAULTS 37: the service of a name waits with a clear cause, that of an address misses nothing."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        network.dns.script[DOMAIN, "A"] = "timeout"
        by_name = configure(UserAgentDomain=DOMAIN, device=f'local_ip = "{DEVICE_HOST}"')
        by_address = configure(ProxyServer=HOME_HOST, UserAgentDomain=DOMAIN)
        async with (
            Device(by_name, env=network.env(DEVICE_HOST)) as first,
            Device(by_address, env=network.env("192.0.2.2")) as second,
        ):
            await second.sp[1].registered(timeout=5)
            await until(lambda: first.sp[1].user_agent is not None)
            end = network.loop.time() + 300
            calls = 0
            while network.loop.time() < end:
                began = network.loop.time()
                with pytest.raises(CallError, match=r"4[08][04]"):
                    await second.sp[1].call("nobody")
                assert network.loop.time() - began < 1
                with pytest.raises(SipError, match=r"SPEC D6|whole lookup|timeout"):
                    await first.sp[1].call("nobody")
                assert network.loop.time() - began <= 32
                calls += 1
            assert calls > 20
            assert "Register Failed: 901" in first.sp[1].status
            assert second.sp[1].is_registered
            network.dns.script[DOMAIN, "A"] = [HOME_HOST]
            with pytest.raises(CallError, match=r"4[08][047]"):
                await asyncio.wait_for(first.sp[1].call("nobody").answered(), 5)
            await first.sp[1].registered(timeout=210)
        await provider.close()

    sim.run(main)


def test_faults_40_ten_thousand_requests_to_one_name_are_one_query() -> None:
    """FAULTS 40, SPEC D7."""
    asked: list[Question] = []

    async def exchange(question: Question, server: Any, **_: Any) -> Reply:
        asked.append(question)
        await asyncio.sleep(1)
        return Reply(("192.0.2.7",), 60.0)

    async def main(network: SimNetwork) -> None:
        env = network.env(DEVICE_HOST, resolver=DnsResolver([("192.0.2.53", 53)], exchange=exchange))
        finder = Finder(env)
        found = await asyncio.gather(*(finder.find(Site("edge.example.net")) for _ in range(10_000)))
        assert {each.target.address for each in found} == {"192.0.2.7"}
        assert asked == [Question("edge.example.net", "A")]

    sim.run(main)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_faults_53_without_descriptors_a_lookup_fails_as_an_error_and_recovers() -> None:
    """FAULTS 53: no socket for the question is a failure with its reason, not an exception out of the loop."""

    async def main() -> None:
        async with serve(zone("edge.example 60 A 192.0.2.7")) as server:
            resolver = DnsResolver([server.address])
            await resolver.query(Question("edge.example", "A"))
            resolver.flush()
            hoard: list[socket.socket] = []
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 4, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        hoard.append(socket.socket())
                with pytest.raises(LookupFailed, match=os.strerror(errno.EMFILE)):
                    await resolver.query(Question("edge.example", "A"))
            finally:
                for sock in hoard:
                    sock.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (await resolver.query(Question("edge.example", "A"))).records == ("192.0.2.7",)

    asyncio.run(main())


# The network (FAULTS 51)


@EACH
def test_faults_51_an_interface_that_is_down_for_a_minute_is_outlived(transport: str) -> None:
    """FAULTS 51, SPEC C6: what is sent fails as an error, and it registers again by itself."""

    async def story(server: Scripted, device: Device) -> None:
        network = server.network
        await device.sp[1].registered(timeout=5)
        network.unplug(DEVICE_HOST)
        if transport == "TCP":
            for connection in tuple(device._stack.engine.connections()):  # type: ignore[union-attr]
                connection.end("network is unreachable")
        await asyncio.sleep(60)
        with pytest.raises(SipError):
            await device.sp[1].call("bob", timeout=5)
        network.plug(DEVICE_HOST)
        granted = device.sp[1].registrations
        await until(lambda: device.sp[1].registrations > granted, 260 if transport == "UDP" else 75)
        assert len(device._stack.engine.connections()) == (0 if transport == "UDP" else 1)  # type: ignore[union-attr]

    play(story, transport=transport)


# The clock (FAULTS 52)


@EACH
@pytest.mark.parametrize("jump", [3600, -3600, 315_360_000, -315_360_000])
def test_faults_52_the_time_of_day_may_jump(transport: str, jump: int) -> None:
    """FAULTS 52: timers are monotonic: nothing expires early, nothing is sent twice."""

    async def story(server: Scripted, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        env = device._env
        assert env is not None
        wall = env.wall_time()
        env.wall_time = lambda: wall + jump  # type: ignore[method-assign]
        before = server.count("REGISTER")
        await asyncio.sleep(600)
        assert 10 <= server.count("REGISTER") - before <= 20
        assert device.sp[1].is_registered

    play(story, transport=transport)


@EACH
def test_faults_52_a_device_that_was_stopped_for_half_a_minute_sends_no_burst(transport: str) -> None:
    """FAULTS 52: SIGSTOP for 30 s: each thing that fell due is done once."""

    async def story(server: Scripted, device: Device) -> None:
        await device.sp[1].registered(timeout=5)
        for _ in range(10):
            before = server.count("REGISTER")
            server.network.loop.stall(30)  # type: ignore[attr-defined]
            await asyncio.sleep(1)
            assert server.count("REGISTER") - before <= 2
            await asyncio.sleep(20)
        assert device.sp[1].is_registered

    play(story, transport=transport)
