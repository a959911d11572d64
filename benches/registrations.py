"""What a registration costs: memory for each (tracemalloc and RSS), from a process that holds many of them.

    python benches/registrations.py --count 20000

On virtual time, against a registrar in the same process that keeps nothing; what
the process needs anyway is left out by measuring between two sizes.  One JSON
object on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import tracemalloc
from pathlib import Path

import sipcore
from sipcore import sim
from sipcore.sim import SimNetwork

SERVER, GATEWAY = "192.0.2.1", "192.0.2.2"
PASSWORD = "some password "


def resident() -> int:
    """This process's memory, octets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def answer_registers(network: SimNetwork) -> sipcore.Stack:
    """A registrar that challenges as Kamailio does, believes every answer, and keeps nothing."""
    stack = sipcore.Stack(env=network.env(SERVER))
    await stack.listen("udp", f"{SERVER}:5060")
    nonces = random.Random(1)

    @stack.on("REGISTER", stateless=True)
    def register(request: sipcore.Request) -> None:
        if request.get("Authorization"):
            request.reply(200, headers=[("Contact", request["Contact"])])
        else:
            nonce = f"{nonces.getrandbits(160):040x}"
            request.reply(
                401, headers=[("WWW-Authenticate", f'Digest realm="example.com", nonce="{nonce}", qop="auth"')]
            )

    return stack


async def register_many(network: SimNetwork, count: int, results: dict[str, float]) -> None:
    network.trace.clear()
    server = await answer_registers(network)
    gateway = sipcore.Stack(env=network.env(GATEWAY))
    await gateway.listen("udp", f"{GATEWAY}:5060")
    registrations = sipcore.Registrations(gateway, f"sip:{SERVER}", period=3600, spread=60.0)
    warm_up = max(1, count // 10)
    for number in range(warm_up):
        registrations.add(f"sip:warm{number}@example.com", password=f"{PASSWORD}{number}")
    await registrations.registered(timeout=300)
    await asyncio.sleep(200)
    network.trace.clear()
    gc.collect()
    traced, held = tracemalloc.get_traced_memory()[0], resident()
    for number in range(count):
        registrations.add(f"sip:user{number:06d}@example.com", password=f"{PASSWORD}{number}")
    await registrations.registered(timeout=300)
    await asyncio.sleep(200)
    network.trace.clear()
    gc.collect()
    results["registered"] = registrations.counts()[sipcore.RegistrationState.REGISTERED]
    results["traced_octets_each"] = round((tracemalloc.get_traced_memory()[0] - traced) / count)
    results["resident_octets_each"] = round((resident() - held) / count)
    results["policy_timers"] = gateway.engine.stats()["policy_timers"]
    results["tasks"] = len(asyncio.all_tasks())
    del server


def main() -> None:
    """Measure twice: with tracemalloc, and without it for the RSS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--resident", action="store_true", help="without tracemalloc, which takes memory of its own")
    options = parser.parse_args()
    results: dict[str, float] = {"count": options.count}
    if not options.resident:
        tracemalloc.start()
    sim.run(lambda network: register_many(network, options.count, results))
    if options.resident:
        del results["traced_octets_each"]
    else:
        del results["resident_octets_each"]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
