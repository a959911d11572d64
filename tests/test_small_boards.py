"""What a small board has little of: memory, time to start, and bits in an offset."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

import sipcore
from sipcore import ParseError, StreamFramer, parse

ROOMS = [f"sipcore.{stub.stem}" for stub in sorted(Path(sipcore.__file__).parent.glob("_*.pyi"))]
MIB = 1 << 20
LISTENING = """
import json, resource, sys, time
started = time.process_time()
import asyncio
plain, plain_s = resident(), time.process_time() - started
import sipcore
async def main():
    await sipcore.Stack().listen("udp", "127.0.0.1:0")
    own_s = time.process_time() - started - plain_s
    print(json.dumps({"plain": plain, "resident": resident(), "plain_s": plain_s, "own_s": own_s,
                      "modules": sorted(sys.modules)}))
asyncio.run(main())
"""
RESIDENT = """
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))
"""
HEAVY = (
    "difflib", "dns", "email", "hashlib", "http", "ipaddress", "pathlib", "platform",
    "sipcore.headers", "sipcore.policy", "sipcore.sdp", "sipcore.workers", "tomllib", "urllib.parse", "uuid", "uvloop",
)  # fmt: skip


def run_python(code: str, cache: Path, **limits: int) -> str:
    """What a fresh interpreter prints that finds the package and its tools where this one does, byte code cached."""

    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = [str(Path(sipcore.__file__).parents[1]), sysconfig.get_path("purelib")]
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONPYCACHEPREFIX": str(cache)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        env=environment, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def listening(tmp_path_factory) -> list[dict]:
    """A stack that listens, started five times; the first, which compiles the byte code, is left out."""
    cache = tmp_path_factory.mktemp("cache")
    return [json.loads(run_python(RESIDENT + LISTENING, cache)) for _ in range(5)][1:]


@pytest.mark.native
def test_a_listening_stack_takes_25_mb(listening):
    """More only where the interpreter with asyncio has taken the most of it, as some do."""
    told = min(listening, key=lambda one: one["resident"])
    assert told["resident"] <= max(25 * MIB, told["plain"] + 5 * MIB), told


@pytest.mark.native
def test_starting_takes_no_longer_than_asyncio_twice_does(listening):
    """150 ms is what a desktop's core needs for much more than that; a busy machine keeps the proportion."""
    assert min(one["own_s"] / one["plain_s"] for one in listening) < 2


@pytest.mark.native
def test_what_a_listener_does_not_need_is_not_imported(listening):
    assert not set(HEAVY) & set(listening[0]["modules"])


@pytest.mark.native
@pytest.mark.slow
def test_20_000_transactions_and_2_000_calls_fit_into_64_mb_of_address_space(tmp_path):
    """Every transaction is kept for its 32 s; the address space holds the interpreter and its libraries, too."""
    code = """
import asyncio, sipcore
from sipcore.bench.exchanges import World
async def main():
    stack = sipcore.Stack()
    await stack.listen("udp", "127.0.0.1:0")
    world = World()
    world.receive([octets for n in range(20_000) for octets in world.dialog(["OPTIONS"], n)])
    world.receive([octets for n in range(20_000, 22_000) for octets in world.dialog(["INVITE", "ACK", "BYE"], n)])
    stats = world.engine.stats()
    print(stats["replies"], stats["server_transactions"], stats["forgotten_early"])
asyncio.run(main())
"""
    assert run_python(code, tmp_path, RLIMIT_AS=64 * MIB).split() == ["24000", "24000", "0"]


@pytest.mark.native
@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_demo_stays_within_64_mb_with_and_without_uvloop(tmp_path, loop):
    """Eight services, their servers and a name server in one process."""
    code = f"""
import sys
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
from sipcore.cli import main
code = main(["demo", "--once", "--json"])
with open("/proc/self/status") as file:  # ru_maxrss would count the parent in
    print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))
sys.exit(code)
"""
    assert int(run_python(code, tmp_path).splitlines()[-1]) < 64 * MIB


LENGTHS = [2**31 - 1, 2**31, 3_000_000_000, 2**32 - 1, 2**32, 2**32 + 4, 2**63, 2**64 + 4, 10**30]


def message_of_length(length: int) -> bytes:
    return (
        b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKlong\r\n"
        b"From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\nCall-ID: long\r\nCSeq: 1 OPTIONS\r\n"
        b"Content-Length: %d\r\n\r\nbody"
    ) % length


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_of_gigabytes_in_a_datagram_is_an_error(length):
    with pytest.raises(ParseError):
        parse(message_of_length(length))


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_of_gigabytes_in_a_stream_claims_no_memory(length):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    framer = StreamFramer()
    found = framer.feed(message_of_length(length))
    assert not any(hasattr(one, "method") for one in found)
    assert framer.failed is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024


def callables(module: ModuleType) -> list[tuple[str, object]]:
    """The public functions and methods of a compiled room."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    inside = [vars(one) for one in own if isinstance(one, type)]
    found = {value.__name__: value for value in own if callable(value) and not isinstance(value, type)}
    for names in inside:
        found |= {name: value for name, value in names.items() if callable(value) and not name.startswith("__")}
    return sorted(found.items())


@pytest.mark.parametrize("room", ROOMS)
def test_a_compiled_function_tells_its_signature(room):
    """`help()` needs it, and so does the check of the stubs."""
    for _, function in callables(importlib.import_module(room)):
        inspect.signature(function)
