"""Check finished wheels: what is in them, and that they work where they will be installed.

    python wheels/check.py WHEEL [WHEEL ...] [--tests PYTEST-ARGUMENT ...]

Each wheel is looked into (size, machine, symbol versions, stable ABI) and then
unpacked into an empty folder with its dependencies, where the project's tests
run against it from outside the source tree: natively on x86-64, under qemu-user
with Debian's CPython of that architecture elsewhere.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import parse_wheel_filename

from build import ARCHITECTURES, BUILD, HERE, ROOT, SUITES, Architecture

SIZE_LIMIT = 1 << 20
QEMU = {"aarch64": "qemu-aarch64-static", "armv7l": "qemu-arm-static"}
LOADERS = {"x86_64": "lib64/ld-linux-x86-64.so.2"}
TEST_TOOLS = ("pytest", "hypothesis", "dnspython")
DEFAULT_TESTS = ("-m", "not slow and not interop", "tests")


class Rejected(Exception):
    """A wheel that must not be published, and why."""


class Wheel:
    """A wheel by its file name (PEP 427)."""

    def __init__(self, path: Path) -> None:
        _, _, _, tags = parse_wheel_filename(path.name)
        tag = sorted(tags, key=str)[0]
        self.path = path.resolve()
        self.interpreter = tag.interpreter
        self.stable_abi = tag.abi == "abi3"
        self.architecture: Architecture = next(a for a in ARCHITECTURES.values() if tag.platform.endswith(a.wheel))

    @property
    def pythons(self) -> list[str]:
        """The CPython versions to run it on: its own, or every one at hand for the stable ABI."""
        if self.stable_abi:
            return list(SUITES)
        return [f"{self.interpreter[2]}.{self.interpreter[3:]}"]


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


def install(wheel: Wheel, python: str, folder: Path) -> None:
    """The wheel and what its tests need, unpacked into `folder` for the target, not for this interpreter."""
    platforms = [f"manylinux{tag}_{wheel.architecture.wheel}" for tag in ("2014", "_2_17", "_2_28", "_2_31")]
    options = [f"--platform={one}" for one in platforms] + ["--only-binary=:all:", f"--python-version={python}"]
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *options]
    run([*command, "--no-deps", str(wheel.path)])
    run([*command, *TEST_TOOLS])


def interpreter(wheel: Wheel, python: str, site: Path) -> list[str]:
    """The command that starts the target's CPython with `site` on its path."""
    root = BUILD / "roots" / f"{wheel.architecture.debian}-{python}"
    run([str(HERE / "fetch_root.sh"), SUITES[python], python, wheel.architecture.debian, str(root)])
    program = str(root / f"usr/bin/python{python}")
    if wheel.architecture.wheel in QEMU:
        emulator = shutil.which(QEMU[wheel.architecture.wheel])
        if emulator is None:
            raise Rejected(f"{wheel.path.name}: cannot be run without {QEMU[wheel.architecture.wheel]}")
        return [emulator, "-L", str(root), "-E", f"PYTHONPATH={site}", "-E", f"PYTHONHOME={root}/usr", program]
    libraries = f"{root}/usr/lib/{wheel.architecture.triple}:{root}/lib/{wheel.architecture.triple}"
    start = ["env", f"PYTHONPATH={site}", f"PYTHONHOME={root}/usr"]
    return [*start, str(root / LOADERS[platform.machine()]), "--library-path", libraries, program]


def check_running(wheel: Wheel, tests: list[str]) -> None:
    """Import, unit tests and the demo's registrations, on every CPython that the wheel is for."""
    for python in wheel.pythons:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            site = folder / "site"
            install(wheel, python, site)
            for name in ("tests", "pyproject.toml"):
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
                copy(ROOT / name, folder / name)
            start = interpreter(wheel, python, site)
            print(f"{wheel.path.name} on CPython {python}:", flush=True)
            run([*start, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=folder)
            run([*start, "-P", "-m", "sipcore", "demo", "--once"], cwd=folder)


def run(command: list[str], *, cwd: Path | None = None, capture: bool = False) -> str:
    """Run a command to its end; what it printed, or Rejected with it."""
    done = subprocess.run(
        command, cwd=cwd, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE if capture else None, stderr=subprocess.STDOUT if capture else None,
    )  # fmt: skip
    if done.returncode:
        raise Rejected(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--tests", nargs=argparse.REMAINDER, default=list(DEFAULT_TESTS), help="what pytest is given")
    arguments = parser.parse_args()
    rejected = 0
    for path in arguments.wheels:
        try:
            wheel = Wheel(path)
            check_contents(wheel)
            check_running(wheel, arguments.tests)
        except Rejected as why:
            print(f"rejected: {why}", file=sys.stderr)
            rejected += 1
    return 1 if rejected else 0


if __name__ == "__main__":
    sys.exit(main())
