"""Interpreters to run a wheel on: those at hand, and Debian's, under qemu-user where they are foreign."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.utils import parse_wheel_filename

from build import ARCHITECTURES, BUILD, HERE, SUITES, Architecture, at_hand

QEMU = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
LOADER = "lib64/ld-linux-x86-64.so.2"


class Rejected(Exception):
    """A wheel that must not be published, and why."""


class Wheel:
    """A wheel by its file name (PEP 427)."""

    def __init__(self, path: Path) -> None:
        _, _, _, tags = parse_wheel_filename(path.name)
        tag = sorted(tags, key=str)[0]
        self.path = path.resolve()
        self.stable_abi = tag.abi == "abi3"
        self.architecture: Architecture = next(a for a in ARCHITECTURES.values() if tag.platform.endswith(a.wheel))
        self.python = f"{tag.interpreter[2]}.{tag.interpreter[3:]}"

    @property
    def is_foreign(self) -> bool:
        """Whether it needs an emulator here."""
        return self.architecture.wheel in QEMU

    @property
    def pythons(self) -> list[str]:
        """The CPython versions to run it on: its own, or every one at hand for the stable ABI."""
        if not self.stable_abi:
            return [self.python]
        native = [] if self.is_foreign else [python for python in ("3.12", "3.14") if at_hand(python)]
        return [*SUITES, *native]


def install(wheel: Wheel, python: str, folder: Path, *packages: str) -> None:
    """The wheel and these packages unpacked into `folder`, for the target and not for this interpreter."""
    platforms = [f"manylinux{tag}_{wheel.architecture.wheel}" for tag in ("2014", "_2_17", "_2_28", "_2_31")]
    options = [f"--platform={one}" for one in platforms] + ["--only-binary=:all:", f"--python-version={python}"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *options]
    run([*command, "--no-deps", str(wheel.path)])
    if packages:
        run([*command, *packages])


def debian_root(wheel: Wheel, python: str) -> Path:
    """Where Debian's CPython of the wheel's architecture is, unpacked on first use."""
    root = BUILD / "roots" / f"{wheel.architecture.debian}-{python}"
    run([str(HERE / "fetch_root.sh"), SUITES[python], python, wheel.architecture.debian, str(root)])
    return root


def beside(wheel: Wheel, python: str, site: Path) -> list[str]:
    """The command that starts Debian's CPython of this architecture with its own C library and `site` on its path."""
    root = debian_root(wheel, python)
    libraries = f"{root}/usr/lib/{wheel.architecture.triple}:{root}/lib/{wheel.architecture.triple}"
    start = ["env", f"PYTHONPATH={site}", f"PYTHONHOME={root}/usr", str(root / LOADER)]
    return [*start, "--library-path", libraries, str(root / f"usr/bin/python{python}")]


def emulated(wheel: Wheel, python: str, site: Path, *options: str) -> list[str]:
    """The command that starts Debian's CPython of the wheel's architecture with `site` on its path."""
    emulator = shutil.which(QEMU[wheel.architecture.wheel]) or shutil.which(QEMU[wheel.architecture.wheel] + "-static")
    if emulator is None:
        raise Rejected(f"{wheel.path.name}: cannot be run without {QEMU[wheel.architecture.wheel]}")
    root = debian_root(wheel, python)
    variables = {"PYTHONPATH": str(site), "PYTHONHOME": f"{root}/usr", "PYTHONHASHSEED": "0"}
    settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
    return [emulator, *options, "-L", str(root), *settings, str(root / f"usr/bin/python{python}")]


def run(command: list[str], *, cwd: Path | None = None, capture: bool = False) -> str:
    """Run a command to its end; what it printed, or Rejected with it."""
    done = subprocess.run(
        command, cwd=cwd, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE if capture else None, stderr=subprocess.STDOUT if capture else None,
    )  # fmt: skip
    if done.returncode:
        raise Rejected(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""
