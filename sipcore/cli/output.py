"""How every command speaks: results on stdout, everything else on stderr, one JSON object with `--json`."""

from __future__ import annotations

import json
import logging
import sys

DONE = 0
FAILED = 1
BAD_INPUT = 2

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def log_to_stderr(verbosity: int) -> None:
    """Send the log to stderr: warnings, with `-v` information, with `-vv` everything."""
    level = LOG_LEVELS[min(verbosity, len(LOG_LEVELS) - 1)]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s", force=True)


def print_object(value: object) -> None:
    """The one JSON object of `--json`."""
    print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)


def print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def say(text: str) -> None:
    """A remark to the person at the terminal; never part of the result."""
    print(text, file=sys.stderr, flush=True)


def say_error(text: str, *, as_json: bool, **details: object) -> None:
    """One line on stderr; with `--json` also `{"error": …}` on stdout, so that a reader always gets its object."""
    say(f"sipcore: {text}")
    if as_json:
        print_object({"error": text, **details})


def print_result(value: dict[str, object], lines: list[str], *, as_json: bool) -> None:
    """The result of a command, for a machine or for a person."""
    if as_json:
        print_object(value)
    else:
        print_lines(lines)
