"""The vectors of another processor: c/scan.c for 64-bit ARM, its NEON scan against the portable and the plain one."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

TESTS = Path(__file__).parents[1]
ROOMS = TESTS.parent / "src_pyx" / "sipcore" / "c"


def test_neon_agrees_with_the_portable_scan(tmp_path: Path) -> None:
    """Compiled by Debian's cross compiler, run by an emulator: results count here, times do not."""
    program = tmp_path / "instruction_sets"
    sources = [TESTS / "instruction_sets.c", ROOMS / "scan.c"]
    subprocess.run(
        ["aarch64-linux-gnu-gcc", "-O2", "-Wall", "-Werror", "-static", f"-I{ROOMS}", "-o", program, *sources],
        check=True,
    )
    files = [path for folder in ("corpus", "torture") for path in (TESTS / folder).rglob("*.*")]
    done = subprocess.run(
        ["qemu-aarch64-static", program, "10", *files], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[:3] == ["neon", "portable", "scalar"]
