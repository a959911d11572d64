"""Instructions that the main operations take, counted by callgrind and held against the stored counts.

    python benches/instructions.py [--store] [--markdown]

The figure that doesn't drift: on one machine two runs agree to a fraction of a per cent, however busy it is.  A count
says nothing of memory and of the kernel, and it depends on compiler, interpreter and instruction set: counts are stored
by those (instructions.json) and compared with like ones only.

A count that rose by more than LIMIT fails, unless docs/performance.md gives the reason in its table of rises.  --store
stores this run: counts that fell, new ones and rises that have their reason; a smaller rise is not stored, so that
small ones add up until they need a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / "benches" / "instructions.json"
REASONS = ROOT / "docs" / "performance.md"
LIMIT = 0.03
PROGRAM = ["-m", "sipcore.bench.counted"]

Counts = dict[str, int]  # operation -> instructions for one piece of it


class Rise(NamedTuple):
    """A row of the table of rises: `operation` went from `before` to `after` instructions, for a reason."""

    operation: str
    before: int
    after: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="store what may be stored, then compare")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    parser.add_argument("operations", nargs="*", help="only these; compares nothing")
    options = parser.parse_args()
    identity = describe()
    counts = count_by_callgrind(options.operations)
    stored = json.loads(STORE.read_text()) if STORE.exists() else {}
    reasons = rises(REASONS.read_text())
    if options.operations:
        print("\n".join(f"{count:8}  {name}" for name, count in counts.items()))
        return 0
    if options.store:
        stored[identity] = merge(stored.get(identity, {}), counts, reasons)
        STORE.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    print(identity)
    print("\n".join(table(counts, stored.get(identity, {}), markdown=options.markdown)))
    return verdict(identity, counts, stored, reasons)


def describe() -> str:
    """What counts depend on, in one line: the key of the store."""
    from sipcore import _message  # noqa: PLC0415  (the gate's own tests need no compiled room)

    told = re.search(rb"GCC: \([^)]*\) [0-9.]+|clang version [0-9.]+", Path(_message.__file__).read_bytes())
    compiler = told.group().decode() if told else "an unknown compiler"
    interpreter = sys.version.replace("\n", "").split(" [")
    return (
        f"{os.uname().machine} {_message.instruction_sets()[0]}, {compiler}, Cython {version('Cython')}, "
        f"CPython {interpreter[0].split()[0]} built by {interpreter[1].rstrip(']')}"
    )


def count_by_callgrind(names: list[str]) -> Counts:
    """Instructions for one piece of each operation."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        done = subprocess.run(
            [*command, sys.executable, "-P", *PROGRAM, *names],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"valgrind ended with {done.returncode}:\n{done.stderr}")
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        parts = [total(Path(f"{out}.{number}")) for number in range(2, 2 * len(lines) + 1, 2)]
    return per_piece([(name, int(pieces), part) for (name, pieces, _), part in zip(lines, parts, strict=True)])


def total(dump: Path) -> int:
    """All instructions of one of callgrind's dumps."""
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{dump} has no total: this valgrind writes another format")
    return int(found.group(1))


def per_piece(parts: list[tuple[str, int, int]]) -> Counts:
    """The smallest of each operation's repeats, which agree but for what the allocator happened to do."""
    counts: Counts = {}
    for name, pieces, instructions in parts:
        one = round(instructions / pieces)
        counts[name] = min(one, counts.get(name, one))
    return counts


def rises(text: str) -> list[Rise]:
    """The rows `| operation | before | after | reason |` below "Rises with their reason", each with a reason."""
    _, _, below = text.partition("Rises with their reason")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in below.splitlines() if "|" in line]
    return [
        Rise(row[0], int(row[1].replace(",", "")), int(row[2].replace(",", "")))
        for row in rows
        if len(row) == 4 and row[3] and re.fullmatch(r"[\d,]+", row[1]) and re.fullmatch(r"[\d,]+", row[2])
    ]


def too_many(before: int, after: int) -> bool:
    """Whether a rise needs its reason."""
    return after > before * (1 + LIMIT)


def has_reason(name: str, before: int, after: int, reasons: list[Rise]) -> bool:
    """Whether a row speaks of this rise: from the stored count, up to about this one."""
    return any(row.operation == name and row.before == before and not too_many(row.after, after) for row in reasons)


def merge(stored: Counts, counts: Counts, reasons: list[Rise]) -> Counts:
    """What is stored after this run: see the head of this file."""
    merged = dict(counts)
    for name, before in stored.items():
        after = counts.get(name, before)
        if after > before and not (too_many(before, after) and has_reason(name, before, after, reasons)):
            merged[name] = before
    return merged


def table(counts: Counts, stored: Counts, *, markdown: bool) -> list[str]:
    """A line an operation."""
    if markdown:
        rows = [f"| {name} | {count:,} |" for name, count in counts.items()]
        return ["| operation | instructions |", "| --- | ---: |", *rows]
    return [f"{count:8,}  {_change(count, stored.get(name))}  {name}" for name, count in counts.items()]


def _change(count: int, before: int | None) -> str:
    return f"{100 * (count / before - 1):+6.1f} %" if before else "     new"


def faults(counts: Counts, stored: Counts, reasons: list[Rise]) -> Iterator[str]:
    """What forbids taking the change."""
    for name, before in stored.items():
        after = counts.get(name)
        if after is None:
            yield f"{name}: is counted no more, and names are fixed"
        elif too_many(before, after) and not has_reason(name, before, after, reasons):
            rise = _change(after, before).strip()
            yield f"{name}: {before:,} -> {after:,} ({rise}), without a reason in {REASONS.name}"


def verdict(identity: str, counts: Counts, stored: dict[str, Counts], reasons: list[Rise]) -> int:
    """Print how the run compares; the exit code."""
    if identity not in stored:
        print("nothing was compared: no counts are stored for this compiler, interpreter and instruction set")
        return 0
    found = list(faults(counts, stored[identity], reasons))
    for fault in found:
        print(f"FAILED {fault}")
    if not found:
        print(f"no operation needs more than {100 * LIMIT:.0f} % above its stored count without a reason")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
