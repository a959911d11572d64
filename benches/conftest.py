"""What all benches share: each stored run says on what it was measured.

A bench never fails on wall-clock time; figures that are published are ratios
against a yardstick that ran interleaved with them (docs/performance.md).
"""

import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest


def cpu_model() -> str:
    """The processor's name as the kernel gives it; ARM boards name the board instead."""
    for path, key in (("/proc/cpuinfo", "model name"), ("/proc/device-tree/model", "")):
        if Path(path).exists():
            text = Path(path).read_text(errors="replace").strip("\0\n")
            lines = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(key)]
            if lines:
                return lines[0] if key else text
    return platform.machine()


def commit() -> str:
    """The commit that is measured, with "-dirty" when the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


@pytest.hookimpl
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Beside what pytest-benchmark stores of itself."""
    machine_info |= {"cpu_model": cpu_model(), "commit": commit(), "interpreter": platform.python_version()}
