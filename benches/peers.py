"""Parse and print times next to those of other parsers, measured in turn in the same minutes.

    python benches/peers.py PROGRAM [PROGRAM ...] [--rounds 7]

A PROGRAM times one parser over the files that it is given.  With BENCH_MIX=1 in
its environment it parses them in turn in one loop and prints one line:

    NAME mix BYTES NS_PER_TURN NS_PER_PRINT median ...

(a number, or "-" for what the parser does not have).  Our own operations are
measured the same way, between the programs, round after round; printed are the
best and the median of the rounds, and the ratios of the bests.
"""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import sipcore
from sipcore._message import build_request

MIX = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")
CORPUS = Path(__file__).parent.parent / "tests" / "corpus"
RUNS, RUN_NS = 31, 4_000_000

Times = dict[str, list[float]]  # operation -> ns a message, one for each round


def best_of_runs(work: Callable[[], object]) -> float:
    """The fastest of RUNS runs of RUN_NS each: ns for one call of `work`."""
    started = time.perf_counter_ns()
    work()
    calls = max(1, RUN_NS // (time.perf_counter_ns() - started))
    best = float("inf")
    for _ in range(RUNS):
        started = time.perf_counter_ns()
        for _ in range(calls):
            work()
        best = min(best, (time.perf_counter_ns() - started) / calls)
    return best


def operations(mix: list[bytes]) -> dict[str, Callable[[], None]]:
    """What is measured, each over the whole mix once."""
    parse = sipcore.parse
    requests = [message for message in map(parse, mix) if isinstance(message, sipcore.Request)]
    values = [(message.method, str(message.request_uri), message.headers, message.body) for message in requests]

    def parse_all() -> None:
        for octets in mix:
            parse(octets)

    def parse_and_touch() -> None:
        for octets in mix:
            message = parse(octets)
            via = message.top_via
            via.branch, message.from_.tag, message.to.tag, message.call_id, message.cseq.number  # noqa: B018
            if contacts := message.contacts:
                contacts[0].uri  # noqa: B018

    def build_all() -> None:
        for method, uri, headers, body in values:
            bytes(build_request(method, uri, headers, body))

    return {"parse": parse_all, "parse, six values read": parse_and_touch, "build a request": build_all}


def messages_in(operation: str, mix: list[bytes]) -> int:
    """How many messages one call of an operation handles."""
    if operation != "build a request":
        return len(mix)
    return sum(not octets.startswith(b"SIP/2.0") for octets in mix)


def measure_program(program: str, files: list[str]) -> dict[str, float]:
    """ns a message for parsing and, where it can, printing."""
    done = subprocess.run(
        [program, *files], capture_output=True, text=True, check=True, env=os.environ | {"BENCH_MIX": "1"}
    )
    name, _, _, parsed, printed = done.stdout.split()[:5]
    times = {f"{name} parse": float(parsed) / len(files)}
    return times if printed == "-" else times | {f"{name} print": float(printed) / len(files)}


def measure(programs: list[str], rounds: int) -> Times:
    """Everything in turn, `rounds` times."""
    files = [CORPUS / f"{name}.sip" for name in MIX]
    mix = [path.read_bytes() for path in files]
    times: Times = {}
    for _ in range(rounds):
        for program in programs:
            for name, nanoseconds in measure_program(program, [str(path) for path in files]).items():
                times.setdefault(name, []).append(nanoseconds)
        for name, work in operations(mix).items():
            times.setdefault(name, []).append(best_of_runs(work) / messages_in(name, mix))
    return times


def report(times: Times) -> list[str]:
    """A Markdown table: a row for each operation of ours, a column for each yardstick."""
    yardsticks = [name for name in times if name.endswith((" parse", " print"))]
    lines = ["| operation | best ns | median ns | " + " | ".join(f"× {name}" for name in yardsticks) + " |"]
    lines += ["| --- | ---: | ---: |" + " ---: |" * len(yardsticks)]
    for name, rounds in times.items():
        ratios = [f"{min(rounds) / min(times[other]):.3f}" for other in yardsticks]
        lines.append(f"| {name} | {min(rounds):.0f} | {statistics.median(rounds):.0f} | " + " | ".join(ratios) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+", metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print("\n".join(report(measure(options.programs, options.rounds))))


if __name__ == "__main__":
    main()
