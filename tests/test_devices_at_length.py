"""A day of whole devices with outages of everything, on the real engine and virtual time, from one seed (SPEC B11)."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import AsyncExitStack

import pytest
from policy_world import Outage, draw_outages
from provider import DOMAIN, EDGE, EDGE_HOST, EDGE_PORT, HOME_HOST, Provider, configure

from sipcore import sim
from sipcore.device import Device
from sipcore.sim import SimNetwork

HOUR, DAY = 3600.0, 86_400.0
SETTLED = 600.0  # seconds after the last outage: the longest default wait is 200 s
NAMES = ((DOMAIN, "A"), (EDGE, "SRV"), ("host.carrier.net", "A"))
Trace = list[tuple[str, int]]


async def suffer(network: SimNetwork, provider: Provider, outage: Outage) -> None:
    """One outage of one part, from its start to its end."""
    await asyncio.sleep(outage.start)
    length = outage.end - outage.start
    if outage.part == "dns":
        trouble = "SERVFAIL" if outage.start % 2 < 1 else "timeout"
        before = {key: value for key, value in network.dns.script.items() if key in NAMES and isinstance(value, list)}
        network.dns.script |= dict.fromkeys(before, trouble)
        await asyncio.sleep(length)
        network.dns.script |= before
    elif outage.part == "proxy":
        await provider.edge.down()
        await asyncio.sleep(length)
        await provider.edge.up()
    elif outage.part == "registrar":
        provider.core.script.answer("REGISTER", 503, headers=[("Retry-After", "20")])
        await asyncio.sleep(length)
        provider.core.script.clear()
    else:
        host = EDGE_HOST if outage.start % 2 < 1 else HOME_HOST
        network.unplug(host)
        await asyncio.sleep(length)
        network.plug(host)


def devices(network: SimNetwork, services: int, period: int) -> list[Device]:
    """So many services on devices of at most eight: UDP, TCP and through the outbound proxy in turn."""
    through = {"OutboundProxy": EDGE, "OutboundProxyPort": EDGE_PORT}
    profiles = [{}, {"ProxyServerTransport": "TCP"}, through, through | {"OutboundProxyTransport": "TCP"}]
    made = []
    for number, first in enumerate(range(0, services, 8)):
        host = f"192.0.2.{100 + number}"
        profile = {"RegistrationPeriod": period, **profiles[number % len(profiles)]}
        config = configure(min(8, services - first), device=f'local_ip = "{host}"', **profile)
        made.append(Device(config, env=network.env(host)))
    return made


def live(seed: int, *, services: int, period: int, length: float, outages: int) -> Trace:
    """The statuses in the end and how often each was registered; all must be registered."""

    async def main(network: SimNetwork) -> Trace:
        network.trace = deque(maxlen=100)
        provider = await Provider(network).start()
        drawn = draw_outages(random.Random(seed), length - SETTLED - period, outages)
        async with AsyncExitStack() as stack:
            running = [await stack.enter_async_context(device) for device in devices(network, services, period)]
            troubles = [asyncio.ensure_future(suffer(network, provider, outage)) for outage in drawn]
            await asyncio.sleep(length)
            await asyncio.gather(*troubles)
            ends = [(sp.status, sp.registrations) for device in running for sp in device.sp.values()]
            assert len(ends) == services
            assert all(status.startswith("Registered") for status, _ in ends), ends
        await provider.close()
        return ends

    ends: Trace = sim.run(main, seed=seed)
    return ends


def test_spec_b11_an_hour_of_trouble_end_registered_and_are_replayed_from_the_seed() -> None:
    first = live(5, services=10, period=60, length=HOUR, outages=6)
    assert first == live(5, services=10, period=60, length=HOUR, outages=6)
    assert first != live(6, services=10, period=60, length=HOUR, outages=6)


@pytest.mark.slow
def test_spec_b11_a_day_of_fifty_services_at_sixty_seconds_ends_registered() -> None:
    live(1, services=50, period=60, length=DAY, outages=60)
