"""How every command speaks: results on stdout, everything else on stderr, one JSON object with `--json`."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

DONE = 0
FAILED = 1
BAD_INPUT = 2

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


@dataclass(slots=True)
class Lost:
    """Lines that a full or read-only disk did not take when they were due: a service goes on without (FAULTS 54)."""

    log: int = 0
    output: int = 0

    def as_dict(self) -> dict[str, int]:
        """What stands as `lost` in the JSON of a service."""
        return {"log": self.log, "output": self.output}


LOST = Lost()


def has_no_room(error: BaseException | None) -> bool:
    """Whether it is the disk that is full or cannot be written, rather than a reader that went away."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


class LogHandler(logging.StreamHandler[TextIO]):
    """The log on a stream; lines that cannot be written are counted."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Count what the disk did not take; anything else is a fault of the program."""
        if has_no_room(sys.exc_info()[1]):
            LOST.log += 1
        else:
            super().handleError(record)


def log_to_stderr(verbosity: int) -> None:
    """Send the log to stderr: warnings, with `-v` information, with `-vv` everything."""
    level = LOG_LEVELS[min(verbosity, len(LOG_LEVELS) - 1)]
    handlers = [LogHandler(sys.stderr)]
    logging.basicConfig(level=level, handlers=handlers, format="%(asctime)s %(name)s: %(message)s", force=True)


def print_object(value: object) -> None:
    """The one JSON object of `--json`."""
    print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)


def print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def show_lines(lines: Sequence[str], stream: TextIO | None = None) -> None:
    """What a running service shows, on stdout unless `stream` is given: it goes on where the disk is full."""
    stream = stream or sys.stdout
    for line in lines:
        try:
            stream.write(f"{line}\n")
            stream.flush()
        except OSError as error:
            if not has_no_room(error):
                raise
            LOST.output += 1


def say(text: str) -> None:
    """A remark to the person at the terminal; never part of the result."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError as error:
        if not has_no_room(error):
            raise
        LOST.log += 1


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
