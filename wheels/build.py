"""Build the wheels: every architecture and CPython from one x86-64 machine, without containers.

    python wheels/build.py [--architecture A ...] [--python V ...] [--out FOLDER]

The compiled rooms are translated to C once; zig, a C compiler that carries every
target's libc, compiles them against the headers of Debian's CPython for that
target with glibc 2.17 as the baseline (manylinux2014) and links them into one
shared object, which `sipcore.loading` loads them from.  Nothing here runs the
target's interpreter.  Files are written in one order with one time stamp, so
that two builds of one commit are the same octets; SHA256SUMS says which.

Debian has no CPython 3.12; its wheel is built for x86_64 where a python3.12 with
headers is on the PATH or among pyenv's.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from setuptools import Distribution, Extension
from setuptools.build_meta import build_sdist, prepare_metadata_for_build_wheel
from wheel.wheelfile import WheelFile
from zopfli.zlib import compress as zlib_stream

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build"
GLIBC = "2.17"
TRANSLATED = BUILD / "wheel-cython"
DEFLATED = BUILD / "deflated"
COUNTS = ROOT / "benches" / "instructions.json"
COSTLY = ("parse", "transaction answered", "transaction of a call")
"""Operations whose counts tell what the stable ABI costs."""

SHIPPED = (".py", ".pyi", ".sip", ".typed")
OPTIMISATION = ["-O2", "-fwrapv", "-DNDEBUG"]
COMPILING = [
    "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
    "-g0", "-fPIC", "-fvisibility=hidden",
]  # fmt: skip
LINKING = ["-shared", "-s", "-Wl,--gc-sections", "-Wl,--build-id=none"]
"""Nothing that nobody calls, and no tables for exceptions, which C has none of."""

SMALL = {"_client", "_connections", "_fields", "_framing", "_group", "_locals", "_overload", "_serialize", "_uri"}
"""Rooms off the path of a request that is served, compiled for size."""

SUITES = {"3.11": "bookworm", "3.13": "trixie sid"}
"""The Debian releases that carry a CPython, the first at hand taken; its headers are what is compiled against."""

NATIVE_ONLY = "3.12"
"""In no Debian release: compiled against the headers of an interpreter at hand, for this machine's architecture."""


@dataclass(frozen=True)
class Architecture:
    """One machine type, by the names that wheels, Debian, compilers and CPython give it."""

    wheel: str
    debian: str
    triple: str
    flags: tuple[str, ...] = ()

    @property
    def platform_tag(self) -> str:
        """The manylinux tag of the glibc baseline (PEP 600) with its older spelling (PEP 599)."""
        return f"manylinux2014_{self.wheel}.manylinux_{GLIBC.replace('.', '_')}_{self.wheel}"


ARCHITECTURES = {
    one.wheel: one
    for one in (
        Architecture("x86_64", "amd64", "x86_64-linux-gnu"),
        Architecture("aarch64", "arm64", "aarch64-linux-gnu"),
        Architecture("armv7l", "armhf", "arm-linux-gnueabihf", ("-mcpu=generic+v7a+vfp3d16",)),
    )
}


@dataclass(frozen=True)
class Target:
    """One wheel: an architecture, a CPython, and whether it is bound to that version or to the stable ABI."""

    architecture: Architecture
    python: str
    stable_abi: bool = False

    @property
    def interpreter_tag(self) -> str:
        return "cp" + self.python.replace(".", "")

    @property
    def tag(self) -> str:
        abi = "abi3" if self.stable_abi else self.interpreter_tag
        return f"{self.interpreter_tag}-{abi}-{self.architecture.platform_tag}"

    @property
    def file(self) -> str:
        """The shared object with the compiled rooms, in the package's folder."""
        if self.stable_abi:
            return "_rooms.abi3.so"
        return f"_rooms.cpython-{self.python.replace('.', '')}-{self.architecture.triple}.so"

    @property
    def macros(self) -> list[str]:
        if not self.stable_abi:
            return []
        major, minor = map(int, self.python.split("."))
        return [f"-DPy_LIMITED_API=0x{major:02X}{minor:02X}0000", "-DCYTHON_LIMITED_API=1"]

    @property
    def included(self) -> list[str]:
        """What is included before each translated room."""
        return ["-include", str(HERE / "stable_abi.h")] if self.stable_abi else []


def targets(architectures: list[str], pythons: list[str]) -> list[Target]:
    """The wheels to build; the stable-ABI wheel is made against the oldest CPython."""
    found = []
    for name in architectures:
        found += [Target(ARCHITECTURES[name], python) for python in pythons if python in SUITES]
        if NATIVE_ONLY in pythons and name == "x86_64":
            found.append(Target(ARCHITECTURES[name], NATIVE_ONLY))
        found.append(Target(ARCHITECTURES[name], min(SUITES), stable_abi=True))
    return found


def headers_of(target: Target) -> list[str]:
    """Where the target's Python.h is; Debian's is unpacked on first use."""
    if target.python == NATIVE_ONLY:
        return [f"-I{native_headers(target.python)}"]
    folder = BUILD / "roots" / f"{target.architecture.debian}-{target.python}"
    command = [HERE / "fetch_root.sh", SUITES[target.python], target.python, target.architecture.debian, folder]
    subprocess.run(command, check=True)
    include = folder / "usr/include"
    return [f"-I{include / f'python{target.python}'}", f"-I{include}"]


def at_hand(python: str) -> str | None:
    """An interpreter of this version that runs: on the PATH, where a name alone may be a shim, or pyenv's newest."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(f"python{python}"), *sorted(versions.glob(f"{python}.*/bin/python{python}"))[::-1]):
        if candidate and not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return str(candidate)
    return None


def native_headers(python: str) -> Path | None:
    """Where Python.h of an interpreter at hand is; None where there is none."""
    found = at_hand(python)
    if found is None:
        return None
    code = "import sysconfig; print(sysconfig.get_path('include'))"
    told = subprocess.run([found, "-c", code], capture_output=True, text=True, check=True)
    folder = Path(told.stdout.strip())
    return folder if (folder / "Python.h").exists() else None


def translated_rooms() -> list[Extension]:
    """The extension modules of setup.py, their .pyx translated to C anew."""
    shutil.rmtree(TRANSLATED, ignore_errors=True)
    os.environ["SIPCORE_TRANSLATED"] = str(TRANSLATED.relative_to(ROOT))
    from distutils.core import run_setup  # noqa: PLC0415  (setuptools provides it once imported)

    distribution: Distribution = run_setup("setup.py", script_args=["-q"], stop_after="init")
    return list(distribution.ext_modules or [])


def compile_rooms(rooms: list[Extension], target: Target, headers: list[str], folder: Path) -> Path:
    """All rooms and the C sources that they share in one shared object for `target`."""
    sources = sorted({source for room in rooms for source in room.sources})
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{target.architecture.triple}.{GLIBC}"]
    include = [*headers, *sorted({f"-I{path}" for room in rooms for path in room.include_dirs})]
    common = [*COMPILING, *target.architecture.flags, *target.macros, *include]
    translated = {room.sources[0] for room in rooms}

    def compiled(source: str) -> Path:
        out = folder / f"{Path(source).stem}.o"
        included = target.included if source in translated else []
        flags = [*optimisation(source), *common, *included]
        subprocess.run([*compiler, *flags, "-c", source, "-o", out], check=True, cwd=ROOT)
        return out

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    linked = folder / target.file
    flags = [*OPTIMISATION, *LINKING, *target.architecture.flags]
    subprocess.run([*compiler, *flags, *objects, "-o", linked], check=True, cwd=ROOT)
    return linked


def optimisation(source: str) -> list[str]:
    """For speed where every message passes, else for size."""
    return ["-Oz" if Path(source).stem in SMALL and flag == "-O2" else flag for flag in OPTIMISATION]


def metadata(folder: Path) -> Path:
    """The .dist-info folder that the build backend makes of pyproject.toml."""
    return folder / prepare_metadata_for_build_wheel(str(folder))


def python_files() -> list[Path]:
    """What a wheel holds besides the compiled rooms: of the files that git knows, so that nobody's leftovers get in."""
    known = (ROOT / name for name in git("ls-files", "sipcore").splitlines())
    return sorted(path for path in known if path.suffix in SHIPPED)


def stable_abi_cost() -> str:
    """What the stable ABI costs: the worst of the stored counts, beside those of the wheel for one version."""
    stored = json.loads(COUNTS.read_text())
    pairs = [
        (counts, stored[other])
        for identity, counts in stored.items()
        if "-abi3," in identity and (other := identity.replace("-abi3,", "-cp311,")) in stored
    ]
    if not pairs:
        return "not measured"
    costs = [f"{name} {max(slow[name] / fast[name] for slow, fast in pairs):.2f}" for name in COSTLY]
    return f"instructions as a multiple of those of the wheel for CPython 3.11: {', '.join(costs)}"


def build_record(target: Target, commit: str, rooms: list[str]) -> str:
    """The text of sipcore/__build__.py in this wheel."""
    return (
        '"""How this installation was built."""\n\n'
        f"COMMIT = {commit!r}\n"
        f"TAG = {target.tag!r}\n"
        f"COMPILER = {compiler_version()!r}\n"
        f"FLAGS = {' '.join([*OPTIMISATION, *target.architecture.flags, *target.macros])!r}\n"
        f"STABLE_ABI = {target.stable_abi!r}\n"
        f"COST = {stable_abi_cost() if target.stable_abi else ''!r}\n"
        f"FILE = {target.file!r}\n"
        f"ROOMS = {tuple(sorted(rooms))!r}\n"
    )


def compiler_version() -> str:
    """What compiled the rooms."""
    told = subprocess.run([sys.executable, "-m", "ziglang", "version"], check=True, capture_output=True, text=True)
    return f"zig cc {told.stdout.strip()}"


def write_wheel(target: Target, compiled: Path, record: str, *, info: Path, out: Path) -> Path:
    """Put one wheel together: Python files, compiled rooms, build record, metadata."""
    name = info.name.removesuffix(".dist-info")
    path = out / f"{name}-{target.tag}.whl"
    path.unlink(missing_ok=True)
    with WheelFile(path, "w") as wheel:
        for file in python_files():
            wheel.writestr(file.relative_to(ROOT).as_posix(), file.read_bytes())
        wheel.writestr("sipcore/__build__.py", record)
        wheel.writestr(f"sipcore/{compiled.name}", compiled.read_bytes())
        wheel.writestr(f"{info.name}/WHEEL", wheel_metadata(target))
        for file in sorted(info.rglob("*")):
            if file.is_file() and file.name not in ("WHEEL", "RECORD"):
                wheel.writestr(f"{info.name}/{file.relative_to(info).as_posix()}", file.read_bytes())
    recompress(path)
    return path


class Deflated:
    """What zipfile takes for a compressor: Zopfli, whose output any inflate reads, 5 % smaller than zlib's."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def compress(self, octets: bytes) -> bytes:
        self.parts.append(octets)
        return b""

    def flush(self) -> bytes:
        return deflate(b"".join(self.parts))


def deflate(octets: bytes) -> bytes:
    """A raw deflate stream; slow to make, so it is kept by what it is of."""
    kept = DEFLATED / hashlib.sha256(octets).hexdigest()
    if not kept.exists():
        DEFLATED.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_bytes(zlib_stream(octets, numiterations=1)[2:-4])
        written.rename(kept)
    return kept.read_bytes()


def recompress(path: Path) -> None:
    """Write a finished wheel again with smaller streams; names, times and contents stay."""
    smaller = path.with_suffix(".new")
    with ZipFile(path) as built, ZipFile(smaller, "w", ZIP_DEFLATED) as written:
        entries = built.infolist()
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(deflate, [built.read(one) for one in entries]))
        for one in entries:
            entry = ZipInfo(one.filename, one.date_time)
            entry.external_attr, entry.compress_type = one.external_attr, ZIP_DEFLATED
            with written.open(entry, "w") as file:
                file._compressor = Deflated()  # type: ignore[attr-defined]
                file.write(built.read(one))
    smaller.rename(path)


def wheel_metadata(target: Target) -> str:
    """The WHEEL file (PEP 427)."""
    interpreter, abi, platforms = target.tag.split("-")
    tags = "".join(f"Tag: {interpreter}-{abi}-{platform}\n" for platform in platforms.split("."))
    return f"Wheel-Version: 1.0\nGenerator: sipcore wheels/build.py\nRoot-Is-Purelib: false\n{tags}"


def build_wheel(target: Target, rooms: list[Extension], info: Path, out: Path, commit: str) -> Path:
    """One wheel, from translated C to the finished file."""
    with tempfile.TemporaryDirectory() as temporary:
        compiled = compile_rooms(rooms, target, headers_of(target), Path(temporary))
        record = build_record(target, commit, [room.name for room in rooms])
        return write_wheel(target, compiled, record, info=info, out=out)


def source_distribution(out: Path, time: int) -> Path:
    """The sdist of the build backend, written again in one order, with one time stamp and no owner."""
    path = out / build_sdist(str(out))
    with tarfile.open(path) as built:
        members = sorted((one for one in built.getmembers() if one.isfile()), key=lambda one: one.name)
        files = [(one, built.extractfile(one)) for one in members]
        octets = io.BytesIO()
        with tarfile.open(fileobj=octets, mode="w", format=tarfile.PAX_FORMAT) as written:
            for member, file in files:
                plain = tarfile.TarInfo(member.name)
                plain.size, plain.mtime = member.size, time
                plain.mode = 0o755 if member.mode & 0o100 else 0o644
                written.addfile(plain, file)
    path.write_bytes(gzip.compress(octets.getvalue(), mtime=0))
    return path


def git(*words: str) -> str:
    """What git says of this checkout."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def write_sums(out: Path) -> None:
    """SHA256SUMS over every wheel and source distribution in `out`."""
    files = sorted(path for path in out.iterdir() if path.suffix in (".whl", ".gz"))
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (out / "SHA256SUMS").write_text(sums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", choices=ARCHITECTURES, help="only these; default all")
    parser.add_argument(
        "--python", action="append", choices=[*SUITES, NATIVE_ONLY], help="only these; default all at hand"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where the wheels go (default: beside this file)")
    parser.add_argument("--no-sdist", action="store_true", help="wheels only")
    parser.add_argument("--no-wheels", action="store_true", help="the source distribution only")
    parser.add_argument("--no-abi3", action="store_true", help="no wheels for the stable ABI")
    arguments = parser.parse_args()

    os.chdir(ROOT)
    logging.disable(logging.WARNING)  # what the tools say of each file
    changed = git("status", "--porcelain", "--", "sipcore", "src_pyx", "setup.py", "pyproject.toml", "wheels/*.py")
    commit = git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    os.environ["SOURCE_DATE_EPOCH"] = git("log", "-1", "--format=%ct")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    pythons = arguments.python or [*SUITES, *([NATIVE_ONLY] if native_headers(NATIVE_ONLY) else [])]
    rooms = translated_rooms()
    with tempfile.TemporaryDirectory() as temporary:
        info = metadata(Path(temporary))
        for target in targets(arguments.architecture or list(ARCHITECTURES), pythons):
            if arguments.no_wheels or (arguments.no_abi3 and target.stable_abi):
                continue
            path = build_wheel(target, rooms, info, out, commit)
            print(f"{path.stat().st_size // 1024:5d} KiB  {path.name}", flush=True)
    if not arguments.no_sdist:
        path = source_distribution(out, int(os.environ["SOURCE_DATE_EPOCH"]))
        print(f"{path.stat().st_size // 1024:5d} KiB  {path.name}")
    write_sums(out)


if __name__ == "__main__":
    main()
