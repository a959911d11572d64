"""What machine this is, as far as it tells, and whether it slowed itself down meanwhile."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPU = Path("/sys/devices/system/cpu")
CPU_INFO = Path("/proc/cpuinfo")
ZONES = Path("/sys/class/thermal")
THROTTLE_COUNTS = "cpu*/thermal_throttle/*_throttle_count"
BOARD_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def describe() -> dict[str, Any]:
    """CPU, kernel, interpreter and build; None for what cannot be read here."""
    return {
        "sipcore": _version("sipcore"),
        "build": _build(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "interpreter": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "event_loop": _event_loop(),
        "governor": _text(CPU / "cpu0/cpufreq/scaling_governor"),
        "temperature": _temperature(),
        "throttled": throttled(),
        "emulated": is_emulated(),
    }


def build_identity() -> str:
    """Architecture, instruction set, compiler, Cython and interpreter: what a count of instructions depends on."""
    from sipcore import _message  # noqa: PLC0415  (the rest of this room needs no compiled one)

    interpreter = f"CPython {platform.python_version()} built by {platform.python_compiler()}"
    return f"{platform.machine()} {_message.instruction_sets()[0]}, {_compiler(Path(_message.__file__))}, {interpreter}"


def _compiler(compiled: Path) -> str:
    """What translated and compiled the rooms; a wheel says it, a build in the tree left its traces."""
    build = _build()
    if "compiler" in build:
        return f"{build['compiler']} {build['tag'].partition('-manylinux')[0]}"
    told = re.search(rb"(GCC): \([^)]*\) ([0-9.]+)|(clang) version ([0-9.]+)", compiled.read_bytes())
    words = b" ".join(word for word in told.groups() if word).decode() if told else "an unknown compiler"
    return f"{words}, Cython {_version('Cython')}"


def is_emulated() -> bool:
    """Whether an emulator runs this for another architecture: the processor that the kernel tells of is an x86 one."""
    told = _text(CPU_INFO) or ""
    return "vendor_id" in told and not platform.machine().startswith(("x86", "i386", "i686", "s390"))


def throttled() -> int | None:
    """A number that grows, or changes, when the machine slows itself down for heat or voltage; None if unreadable."""
    board = _text(BOARD_THROTTLED)
    if board is not None:
        return int(board, 16)
    counts = [text for path in CPU.glob(THROTTLE_COUNTS) if (text := _text(path)) is not None]
    return sum(int(text) for text in counts) if counts else None


def _build() -> dict[str, Any]:
    try:
        build = import_module("sipcore.__build__")
    except ModuleNotFoundError:
        return {"commit": _commit(), "tag": "source tree", "flags": sysconfig.get_config_var("CFLAGS")}
    return {name.lower(): getattr(build, name) for name in ("COMMIT", "TAG", "COMPILER", "FLAGS", "STABLE_ABI", "COST")}


def _commit() -> str | None:
    """Of the tree that this package is used from, "-dirty" when it differs; None without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return told.stdout.strip() or None


def _temperature() -> float | None:
    """Degrees Celsius of the hottest zone."""
    told = [text for path in ZONES.glob("thermal_zone*/temp") if (text := _text(path)) is not None]
    return max((int(text) / 1000 for text in told), default=None)


def _cpu_model() -> str | None:
    told = _text(CPU_INFO) or ""
    for wanted in ("model name", "Model", "Hardware", "CPU part"):
        for line in told.splitlines():
            name, _, value = line.partition(":")
            if name.strip() == wanted:
                return value.strip()
    return _text(Path("/proc/device-tree/model"))


def _event_loop() -> str:
    uvloop = _version("uvloop")
    return f"uvloop {uvloop}" if uvloop else f"asyncio of {sys.version_info.major}.{sys.version_info.minor}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip().strip("\0")
    except OSError:
        return None
