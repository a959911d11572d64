"""The operations between marks, for a tool that counts instructions: `python -m sipcore.bench.counted [NAME ...]`.

A mark is a call of getppid(2), which nothing else here makes: callgrind can be
told to begin a new count at each (`--dump-before=getppid`), an emulator's
plug-in sees the system call.  Counts of odd number (from 0 on: what lies
between the second mark and the third) are nobody's; each line of the output
names the operation of the next even one: its name, how many pieces its work
was, what a piece is, separated by tabs.
"""

from __future__ import annotations

import gc
import os
import sys

from sipcore.bench.exchanges import exchanges
from sipcore.bench.operations import Operation, operations

TURNS = 300
REPEATS = 2


def main(names: list[str]) -> None:
    """Run each operation (those of `names`, or all) REPEATS times between marks."""
    gc.disable()
    for operation in (*operations(), *exchanges()):
        if not names or operation.name in names:
            _count(operation)


def _count(operation: Operation) -> None:
    work = operation.prepare(TURNS)
    pieces = work()  # what is done once only, is done here
    for _ in range(REPEATS):
        os.getppid()
        work()
        os.getppid()
        print(operation.name, pieces, operation.what, sep="\t", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
