"""The operations between marks, for a tool that counts instructions: `python -m sipcore.bench.counted [NAME ...]`.

A mark is a call of getppid(2), which nothing else here makes: callgrind can be
told to begin a new count at each (`--dump-before=getppid`), an emulator's
plug-in sees the system call.  The first line of the output says what counts
depend on (`machine.build_identity`), each further one, in turn, to which
operation the next count belongs: its name, how many pieces its work was and
what a piece is, separated by tabs.  What lies before the first of its two
marks belongs to nobody.
"""

from __future__ import annotations

import gc
import os
import sys

from sipcore.bench import machine
from sipcore.bench.exchanges import exchanges
from sipcore.bench.operations import Operation, operations

TURNS = 300
REPEATS = 2


def main(names: list[str]) -> None:
    """Run each operation (those of `names`, or all) REPEATS times between marks."""
    gc.disable()
    print(machine.build_identity(), flush=True)
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
