#!/usr/bin/env python3
"""Run a target under the coverage-guided fuzzer: `FUZZ_TARGET=uri python fuzz.py [libFuzzer options] [corpus folders]`.

The target is no argument, and the file executable, because a merge of corpora starts it again with options of its own.
"""

import os
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

with atheris.instrument_imports(include=["sipcore", "dns", "websockets"]):
    import targets


def main() -> None:
    atheris.Setup(sys.argv, targets.TARGETS[os.environ["FUZZ_TARGET"]])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
