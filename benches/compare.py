"""A run of the benches beside the stored one of the same CPU and interpreter.

    python benches/compare.py bench-out/benchmark.json [--store]

Times drift with what else a machine does, by 30 % and more: nothing fails here.  What all benches have in common is
such drift, so each change is printed beside the middle one of all; what doesn't drift is instructions.py.  --store
makes this run the baseline of its CPU (benches/baselines).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

BASELINES = Path(__file__).resolve().parent / "baselines"

Medians = dict[str, float]  # bench -> seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    if not options.run.exists() or not options.run.stat().st_size:
        print("nothing to compare: no bench was timed")
        return
    told = json.loads(options.run.read_text())
    machine, medians = told["machine_info"], medians_of(told)
    path = BASELINES / f"{name_of(machine)}.json"
    if options.store:
        BASELINES.mkdir(exist_ok=True)
        kept = {name: machine.get(name) for name in ("cpu_model", "interpreter", "commit")} | {"seconds": medians}
        path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        print(f"stored as {path.name}")
    elif path.exists():
        print("\n".join(comparison(medians, json.loads(path.read_text()))))
    else:
        print(f"no baseline of {machine['cpu_model']}, CPython {machine['interpreter']}; --store makes this run one")


def name_of(machine: dict[str, Any]) -> str:
    """The file name of a CPU and an interpreter."""
    return re.sub(r"[^a-z0-9.]+", "-", f"{machine['cpu_model']} cpython {machine['interpreter']}".lower()).strip("-")


def medians_of(told: dict[str, Any]) -> Medians:
    """Of the benches that were timed; a run with --benchmark-disable has none."""
    return {bench["name"]: float(f"{bench['stats']['median']:.3g}") for bench in told["benchmarks"]}


def comparison(medians: Medians, stored: dict[str, Any]) -> list[str]:
    """A line a bench, those that changed most first."""
    changes = {name: medians[name] / before for name, before in stored["seconds"].items() if name in medians}
    if not changes:
        return ["nothing to compare: no bench was timed"]
    middle = statistics.median(changes.values())
    lines = [
        f"against commit {stored['commit']}: all benches together {100 * (middle - 1):+.0f} % (drift), beyond that"
    ]
    for name, change in sorted(changes.items(), key=lambda item: -abs(item[1] / middle - 1)):
        lines.append(f"{100 * (change / middle - 1):+7.1f} %  {name}")
    return lines + [f"   gone     {name}" for name in stored["seconds"].keys() - medians.keys()]


if __name__ == "__main__":
    main()
