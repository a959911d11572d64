"""What machine this is, as far as it tells, and whether it slowed itself down meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPU = Path("/sys/devices/system/cpu")
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
        "throttled": throttled(),
    }


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
        return {"tag": "source tree", "flags": sysconfig.get_config_var("CFLAGS")}
    return {name.lower(): getattr(build, name) for name in ("COMMIT", "TAG", "COMPILER", "FLAGS", "STABLE_ABI")}


def _cpu_model() -> str | None:
    told = _text(Path("/proc/cpuinfo")) or ""
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
