"""The compiled rooms: one extension module for each .pyx under src_pyx/sipcore."""

import copy
import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOMS = Path("src_pyx/sipcore")
TRANSLATED = Path(os.environ.get("SIPCORE_TRANSLATED", "build/cython"))
DEBUG = os.environ.get("SIPCORE_DEBUG") == "1"
TRACE = os.environ.get("SIPCORE_TRACE") == "1"  # lines tell when they run, for tests/coverage.sh

DIRECTIVES = {
    "language_level": 3,
    "auto_pickle": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": not DEBUG,
    "binding": False,  # plain methods: called faster and a tenth smaller; their signatures are embedded instead
    "linetrace": TRACE,
    "profile": TRACE,
}


def extension(room: Path) -> Extension:
    """One module; C sources beside it are named by a `# distutils:` line in the .pyx."""
    return Extension(
        f"sipcore.{room.stem}",
        [str(room)],
        include_dirs=[str(ROOMS / "c")],
        depends=[str(path) for path in (*ROOMS.glob("*.pxd"), *ROOMS.glob("c/*"))],
        extra_compile_args=["-O1", "-g"] if DEBUG else ["-O3"],
    )


class BuildRooms(build_ext):
    """Compiles rooms at the same time, each in a folder of its own: several share a C source, so one object file."""

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = str(Path(self.build_temp) / ext.name)
        super(BuildRooms, own).build_extension(ext)


def directives_changed() -> bool:
    """Whether this file is newer than what it translated; cythonize looks at the rooms alone."""
    changed = Path(__file__).stat().st_mtime
    return any(path.stat().st_mtime < changed for path in (TRANSLATED / ROOMS).glob("*.c"))


setup(
    ext_modules=cythonize(
        [extension(room) for room in sorted(ROOMS.glob("*.pyx"))],
        include_path=["src_pyx"],
        build_dir="." if TRACE else str(TRANSLATED),
        force=directives_changed(),
        compiler_directives=DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildRooms},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
