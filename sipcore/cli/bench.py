"""`sipcore bench`: the installed package measures itself on this machine.

Prints ratios to a yardstick in C that was measured in turn; a figure whose run
was invalid is not printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sipcore.bench import machine, rooms, servers
from sipcore.bench.figures import Figure, figure, table
from sipcore.cli.output import BAD_INPUT, DONE, FAILED, print_result, say, say_error


def command(options: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for; 1 when a figure was invalid."""
    old: dict[str, Any] | None = None
    if options.compare:
        try:
            old = json.loads(Path(options.compare).read_text())
        except (OSError, ValueError) as error:
            say_error(f"{options.compare}: not a result of sipcore bench: {error}", as_json=options.json)
            return BAD_INPUT
    before = machine.describe()
    figures = _measure(options)
    if fault := _fault(before):
        figures = [figure(one.name, one.what, one.yardstick, invalid=fault) for one in figures]
    result: dict[str, object] = {"machine": before, "figures": [one.as_dict() for one in figures]}
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n")
    lines = [*_heading(before), *table(figures, old), *_unlike(before, old)]
    print_result(result, lines, as_json=options.json)
    return FAILED if any(one.invalid for one in figures) else DONE


def _fault(before: dict[str, Any]) -> str:
    """What makes every figure of the run invalid."""
    if before["emulated"]:
        return "times under an emulator say nothing of a processor"
    return "the machine slowed down" if machine.throttled() != before["throttled"] else ""


def _measure(options: argparse.Namespace) -> list[Figure]:
    figures = []
    for part in (rooms, servers):
        for one in part.measure(options.rounds):
            say(f"measured {one.name}")
            figures.append(one)
    return figures


def _heading(told: dict[str, Any]) -> list[str]:
    build = told["build"]
    return [
        f"sipcore {told['sipcore'] or 'not installed'} ({build['tag']}, commit {build['commit'] or 'unknown'})",
        *([f"built for the stable ABI, which costs: {build['cost']}"] if build.get("cost") else []),
        f"{told['cpu']}, {told['cores']} cores, {told['kernel']}",
        f"{told['interpreter']}, {told['event_loop']}, governor {told['governor'] or 'unknown'}",
        "",
    ]


def _unlike(told: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    """What the two machines of a comparison differ in: then it says less, or nothing."""
    if old is None:
        return []
    before = old.get("machine", {})
    names = ("cpu", "cores", "architecture", "interpreter", "event_loop", "governor")
    return ["", *(f"{name} was {before.get(name)}" for name in names if before.get(name) != told[name])]
