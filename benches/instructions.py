"""Instructions that the main operations take, counted by callgrind and held against the stored counts.

    python benches/instructions.py [--store] [--markdown] [--wheel WHEEL ...] [OPERATION ...]

The figure that doesn't drift: on one machine two runs agree to a fraction of a per cent, however busy it is.  A count
says nothing of memory and of the kernel, and it depends on compiler, interpreter and instruction set: counts are stored
by those (instructions.json) and compared with like ones only.  A wheel for another architecture is counted under QEMU
by a plug-in (count_instructions.c).

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
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / "benches" / "instructions.json"
REASONS = ROOT / "docs" / "performance.md"
LIMIT = 0.03
PLUGIN = ROOT / "benches" / "count_instructions.c"
PROGRAM = ["-P", "-m", "sipcore.bench.counted"]

Counts = dict[str, int]  # operation -> instructions for one piece of it
Run = tuple[str, Counts]  # what the counts depend on, and they


class Rise(NamedTuple):
    """A row of the table of rises: `operation` went from `before` to `after` instructions, for a reason."""

    operation: str
    before: int
    after: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="store what may be stored, then compare")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    parser.add_argument("--wheel", type=Path, action="append", default=[], help="count these instead of the tree")
    parser.add_argument("operations", nargs="*", help="only these; compares nothing")
    options = parser.parse_args()
    runs = [count_wheel(wheel, options.operations) for wheel in options.wheel]
    runs = runs or [count_by_callgrind([sys.executable], options.operations)]
    stored = json.loads(STORE.read_text()) if STORE.exists() else {}
    reasons = rises(REASONS.read_text())
    if options.store and not options.operations:
        stored |= {identity: merge(stored.get(identity, {}), counts, reasons) for identity, counts in runs}
        STORE.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    if options.markdown:
        print("\n".join(markdown(runs)))
        return 0
    failed = 0
    for identity, counts in runs:
        print(identity)
        print("\n".join(table(counts, stored.get(identity, {}))))
        failed += 0 if options.operations else verdict(identity, counts, stored, reasons)
    return 1 if failed else 0


def count_by_callgrind(start: list[str], names: list[str], **environment: str) -> Run:
    """On this machine's architecture; `start` is the command of the interpreter."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}", *start]
        told = run([*command, *PROGRAM, *names], PYTHONHASHSEED="0", **environment)
        return told[0], per_piece(told[1:], [total(Path(f"{out}.{n}")) for n in range(1, 2 * len(told) - 1)])


def count_by_emulator(start: list[str], names: list[str], marks: Path) -> Run:
    """On another architecture, by the plug-in that `start` names to the emulator; it writes `marks`."""
    told = run([*start, *PROGRAM, *names])
    return told[0], per_piece(told[1:], [int(line) for line in marks.read_text().split()])


def count_wheel(path: Path, names: list[str]) -> Run:
    """A wheel instead of the tree, on a CPython that it is for."""
    sys.path.insert(0, str(ROOT / "wheels"))
    from build import at_hand  # noqa: PLC0415  (needs the tools of wheels/)
    from emulator import Wheel, emulated, install  # noqa: PLC0415

    wheel = Wheel(path)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        install(wheel, wheel.python, folder / "site")
        if not wheel.is_foreign:
            return count_by_callgrind([at_hand(wheel.python) or "python3"], names, PYTHONPATH=str(folder / "site"))
        run(["cc", "-O2", "-shared", "-fPIC", "-o", str(folder / "count.so"), str(PLUGIN)])
        plugin = f"{folder / 'count.so'},marks={folder / 'marks'}"
        return count_by_emulator(
            emulated(wheel, wheel.python, folder / "site", "-plugin", plugin), names, folder / "marks"
        )


def run(command: list[str], **environment: str) -> list[str]:
    """The lines that a command prints."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.splitlines()


def total(dump: Path) -> int:
    """All instructions of one of callgrind's dumps."""
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{dump} has no total: this valgrind writes another format")
    return int(found.group(1))


def per_piece(told: list[str], parts: list[int]) -> Counts:
    """For one piece of each operation, the smallest of its repeats; every second part is one, from the second on.

    Repeats agree but for what the allocator happened to do.
    """
    counts: Counts = {}
    for line, instructions in zip(told, parts[1::2], strict=True):
        name, pieces, _ = line.split("\t")
        one = round(instructions / int(pieces))
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


def table(counts: Counts, stored: Counts) -> list[str]:
    """A line an operation."""
    return [f"{count:8,}  {_change(count, stored.get(name))}  {name}" for name, count in counts.items()]


def markdown(runs: list[Run]) -> list[str]:
    """A column a run, a row an operation."""
    head = ["| operation |" + "".join(f" {identity} |" for identity, _ in runs), "| --- |" + " ---: |" * len(runs)]
    return head + [f"| {name} |" + "".join(f" {counts[name]:,} |" for _, counts in runs) for name in runs[0][1]]


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
