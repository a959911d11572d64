"""An interpreter in which the Nth allocation of memory fails and all after it: only MemoryError may follow (FAULTS 55).

`run_with_failing_memory` runs a script there; the script calls `failing_at(n)` and `never_failing()`.
Python's small objects do not come from malloc and go on working; its large lists do not.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

int allocations_left = -1;      /* -1: none fails */

static int fails(void) { return allocations_left >= 0 && (allocations_left == 0 || !--allocations_left); }

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return fails() ? NULL : __libc_realloc(old, size); }
"""

PRELUDE = """
import ctypes

left = ctypes.c_int.in_dll(ctypes.CDLL(None), "allocations_left")

def failing_at(count):
    left.value = count

def never_failing():
    left.value = -1

"""


def build_shim(folder: Path) -> Path:
    """The shared object to preload."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux") or "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("memory can be made to fail on Linux with a C compiler, not under a sanitizer")
    (folder / "failing.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "failing.so", "failing.c"], cwd=folder, check=True)
    return folder / "failing.so"


def run_with_failing_memory(folder: Path, script: str) -> None:
    """Run `script` in an interpreter of its own; its asserts count, and so does a crash."""
    run = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        env={**os.environ, "LD_PRELOAD": str(build_shim(folder)), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, f"exit code {run.returncode}\n{run.stderr}"
