"""The command `sipcore`: its door.  Each command is a room of its own, imported only when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sipcore.cli.arguments import parse_arguments
from sipcore.cli.output import BAD_INPUT, FAILED, LOST, has_no_room, log_to_stderr, say_error
from sipcore.errors import ConfigError, SipError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong use or bad input."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    log_to_stderr(options.verbose)
    try:
        done = int(options.command(options))
        if LOST.output:
            _silence_stdout()
        return done
    except ConfigError as error:
        say_error(str(error), as_json=options.json, file=error.file, line=error.line, key=error.key)
        return BAD_INPUT
    except OSError as error:
        say_error(_describe(error), as_json=options.json)
        return FAILED
    except SipError as error:
        say_error(str(error), as_json=options.json)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _describe(error: OSError) -> str:
    if isinstance(error, BrokenPipeError) or has_no_room(error):
        _silence_stdout()
    return str(error) or type(error).__name__


def _silence_stdout() -> None:
    """Nobody reads any more, or the disk is full: let the interpreter's last flush go nowhere, not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
