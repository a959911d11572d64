"""Finds the compiled rooms where they are one shared object, as in a wheel: what Cython writes into each is there once.

In a build of the tree each room is a shared object of its own, which Python finds without help.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType


class OneFile:
    """An entry of `sys.meta_path`: `rooms` (dotted names) are initialised from the shared object `file`."""

    def __init__(self, file: str, rooms: Sequence[str]) -> None:
        self.file = file
        self.rooms = frozenset(rooms)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """PEP 451: where `name` is loaded from, None for what is not in the file."""
        if name not in self.rooms:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, self.file), origin=self.file)
        spec.has_location = True
        return spec


def find_compiled_rooms(folder: str) -> None:
    """Let Python find what the build record in the package's `folder` says to be in one file; nothing without one."""
    try:
        build = import_module("sipcore.__build__")
    except ModuleNotFoundError:
        return
    sys.meta_path.append(OneFile(f"{folder}/{build.FILE}", build.ROOMS))
