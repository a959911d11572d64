"""Many registrations against a real registrar: Kamailio with digest, all from one process, refreshed again and again.

    python benches/registrations_kamailio.py --count 20000 --period 60 --periods 3

Starts a Kamailio on loopback (Debian's, as `make interop` installs it), registers,
stays registered for so many periods, takes everything back, and prints one JSON
object.  Memory is what this process grew by (RSS) from before the first registration to the end,
CPU what it used from the last registration's success on.  Exit code 1 if a
registration was lost, or anything was left on the registrar.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sipcore
from sipcore import RegistrationState

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from interop.kamailio import Kamailio

DOMAIN, PASSWORD = "example.test", "some password"
WARM_UP = 200


class ManyUsers(Kamailio):
    """A registrar that knows every user by one password."""

    name = "registrar-many"
    template = "registrar-many.cfg"
    shared_memory = 512

    def settings(self) -> dict[str, object]:
        return super().settings() | {"DOMAIN": DOMAIN, "PASSWORD": PASSWORD}

    def binding_count(self) -> int:
        found = re.search(r"location_contacts = (\d+)", self.ask("stats.get_statistics", "all"))
        return int(found.group(1)) if found else -1


def resident() -> int:
    """This process's memory, octets."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def settle(registrations: sipcore.Registrations, seconds: float) -> int:
    """Wait; the least number that was registered at any look."""
    end, least = time.monotonic() + seconds, len(registrations)
    while time.monotonic() < end:
        await asyncio.sleep(0.25)
        least = min(least, registrations.counts()[RegistrationState.REGISTERED])
    return least


async def measure(server: ManyUsers, options: argparse.Namespace) -> dict[str, Any]:
    stack = sipcore.Stack()
    await stack.listen("udp", "127.0.0.1:0")
    registrations = sipcore.Registrations(
        stack,
        f"sip:{DOMAIN}",
        outbound_proxy=f"sip:127.0.0.1:{server.port}",
        period=options.period,
        spread=options.spread,
    )
    for number in range(WARM_UP):
        registrations.add(f"warm{number}", password=PASSWORD)
    await registrations.registered(timeout=60)
    gc.collect()
    before, started = resident(), time.monotonic()
    for number in range(options.count):
        registrations.add(f"user{number:06d}", password=PASSWORD)
    await registrations.registered(timeout=120 + 2 * options.spread)
    up_after = time.monotonic() - started
    gc.collect()
    sent, cpu = stack.engine.stats(), time.process_time()
    least = await settle(registrations, options.period * options.periods)
    cpu, end = time.process_time() - cpu, stack.engine.stats()
    gc.collect()
    held = resident() - before
    registers = end["requests_sent"] - sent["requests_sent"]
    result = {
        "count": len(registrations),
        "all_up_after_s": round(up_after, 1),
        "registered_throughout": least,
        "bindings_on_registrar": server.binding_count(),
        "registers_each": round(registers / len(registrations), 2),
        "retransmissions": end["request_repeats"] - sent["request_repeats"],
        "resident_octets_each": round(held / options.count),
        "cpu_share": round(cpu / (options.period * options.periods), 4),
        "cpu_us_a_register": round(cpu / max(1, registers) * 1e6, 1),
        "tasks": len(asyncio.all_tasks()) - 1,
    }
    await registrations.stop(timeout=60)
    result["left_on_registrar"] = server.binding_count()
    await stack.close(timeout=1)
    return result


def main() -> int:
    """Run it against a Kamailio of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--period", type=int, default=60)
    parser.add_argument("--periods", type=float, default=3)
    parser.add_argument("--spread", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ManyUsers(Path(folder)) as server:
        result = sipcore.run(measure(server, options))
    print(json.dumps(result))
    lost = result["registered_throughout"] < result["count"] or result["bindings_on_registrar"] < result["count"]
    return int(lost or result["left_on_registrar"] > 0)


if __name__ == "__main__":
    sys.exit(main())
