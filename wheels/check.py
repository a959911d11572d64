"""Check finished wheels: what is in them, and that they work where they will be installed.

    python wheels/check.py WHEEL [WHEEL ...] [--tests all|rooms]

Each wheel is looked into (size, machine, symbol versions, stable ABI) and then
installed into an empty environment, where the project's tests and the demo run
against it from outside the source tree: natively in a virtual environment of
each CPython at hand, with Debian's CPython where there is none, under
qemu-user where it is foreign.

"all" is every test but those that read the source tree (marked `tree`), take
long or need peers; an emulator also leaves out those that start an interpreter
or a compiler (`native`).  "rooms", the default for an emulator, are those of
the compiled rooms and the torture set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from build import ROOT, at_hand
from emulator import Rejected, Wheel, beside, emulated, install, run

SIZE_LIMIT = 1_000_000
TEST_TOOLS = ("pytest", "hypothesis", "websockets")
DEPENDENCIES = ("dnspython",)
NATIVELY = "not slow and not interop and not tree"
ROOMS = [
    "tests/test_batch.py", "tests/test_client.py", "tests/test_connections.py", "tests/test_engine.py",
    "tests/test_fields.py", "tests/test_framing.py", "tests/test_instruction_sets.py", "tests/test_message.py",
    "tests/test_names.py", "tests/test_serialize.py", "tests/test_server.py", "tests/test_siphash.py",
    "tests/test_small_boards.py", "tests/test_timers.py", "tests/test_torture.py", "tests/test_transactions.py",
    "tests/test_uri.py", "tests/machines",
]  # fmt: skip
NEON = "neon"
"""What the scan must use on aarch64: the processor always has it."""

LOOK = """
import json
import sipcore
from sipcore import __build__, _message
print(json.dumps([__build__.TAG, _message.__file__, _message.instruction_sets(), sipcore.parse is _message.parse]))
"""


def check_contents(wheel: Wheel) -> None:
    """Size, symbol versions and stable ABI, by the tools that the field uses for it."""
    size = wheel.path.stat().st_size
    if size > SIZE_LIMIT:
        raise Rejected(f"{wheel.path.name}: {size} octets, more than {SIZE_LIMIT}")
    told = run([sys.executable, "-m", "auditwheel", "show", str(wheel.path)], capture=True)
    wanted = f"manylinux_2_17_{wheel.architecture.wheel}"
    if f'"{wanted}"' not in told.replace("\n", " "):
        raise Rejected(f"{wheel.path.name}: not {wanted}:\n{told}")
    if wheel.stable_abi:
        run([sys.executable, "-m", "abi3audit", "--strict", str(wheel.path)])
    print(f"{wheel.path.name}: {size} octets, {wanted}{', abi3' if wheel.stable_abi else ''}", flush=True)


def interpreter(wheel: Wheel, python: str, folder: Path) -> list[str]:
    """The command that starts a CPython which has the wheel, its dependencies and the test tools in `folder`."""
    found = None if wheel.is_foreign else at_hand(python)
    if found is None:
        install(wheel, python, folder, *DEPENDENCIES, *TEST_TOOLS)
        return (emulated if wheel.is_foreign else beside)(wheel, python, folder)
    run([found, "-m", "venv", str(folder)])
    run([str(folder / "bin/python"), "-m", "pip", "install", "-q", str(wheel.path), *TEST_TOOLS])
    return [str(folder / "bin/python")]


def check_running(wheel: Wheel, python: str, tests: str) -> None:
    """Import, tests and the demo's registrations on one CPython."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        site = folder / "site"
        start = interpreter(wheel, python, site)
        copy_tests(folder)
        told = run([*start, "-P", "-c", LOOK], cwd=folder, capture=True)
        look_at(wheel, told, site)
        run([*start, "-P", "-m", "pytest", *pytest_arguments(wheel, tests)], cwd=folder)
        run([*start, "-P", "-m", "sipcore", "demo", "--once"], cwd=folder)
        print(f"{wheel.path.name}: passed on CPython {python}", flush=True)


def copy_tests(folder: Path) -> None:
    """The project without its package."""
    for name in run(["git", "-C", str(ROOT), "ls-files"], capture=True).splitlines():
        if not name.startswith("sipcore/") and (ROOT / name).suffix not in (".whl", ".gz"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def look_at(wheel: Wheel, told: str, site: Path) -> None:
    """That the wheel's own rooms were imported, and use the vectors that the processor has."""
    tag, file, sets, _ = json.loads(told)
    best = best_instruction_set(wheel)
    if tag not in wheel.path.name or not Path(file).is_relative_to(site.resolve()):
        raise Rejected(f"{wheel.path.name}: another sipcore was imported: {told}")
    if best and sets[0] != best:
        raise Rejected(f"{wheel.path.name}: does not use {best} but {sets[0]}")
    print(f"{wheel.path.name}: imported, instruction sets {', '.join(sets)}", flush=True)


def best_instruction_set(wheel: Wheel) -> str | None:
    """What the scan must use; None where any will do."""
    if wheel.architecture.wheel == "aarch64":
        return NEON
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx2" if wheel.architecture.wheel == "x86_64" and {"avx2", "bmi1"} <= set(flags) else None


def pytest_arguments(wheel: Wheel, tests: str) -> list[str]:
    """What pytest is given."""
    chosen = ["tests"] if tests == "all" else [name for name in ROOMS if (ROOT / name).exists()]
    which = f"{NATIVELY} and not native" if wheel.is_foreign else NATIVELY
    return ["-q", "-p", "no:cacheprovider", "-m", which, *chosen]


def checks(paths: list[Path], options: argparse.Namespace) -> list[tuple[Wheel, str, str]]:
    """Every (wheel, CPython, choice of tests) to run; the wheels have been looked into."""
    found = []
    for path in paths:
        wheel = Wheel(path)
        check_contents(wheel)
        tests = options.tests or ("rooms" if wheel.is_foreign else "all")
        found += [] if options.contents else [(wheel, python, tests) for python in wheel.pythons]
    return found


def outcome(check: tuple[Wheel, str, str]) -> str:
    """What is wrong with a wheel, "" for nothing."""
    try:
        check_running(*check)
    except Rejected as why:
        return f"rejected on CPython {check[1]}: {why}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--tests", choices=("all", "rooms"), help="default: all natively, rooms under an emulator")
    parser.add_argument("--contents", action="store_true", help="look into the wheels, run nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many at a time")
    options = parser.parse_args()
    try:
        todo = checks(options.wheels, options)
    except Rejected as why:
        print(f"rejected: {why}", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        faults = [fault for fault in pool.map(outcome, todo) if fault]
    print("\n".join(faults), file=sys.stderr)
    print(f"{len(todo) - len(faults)} checks passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
