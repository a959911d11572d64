"""What messages cost as a multiple of sofia-sip's parser, measured in turn with it.

    python benches/yardstick_message.py --sofia ./parse_sofia --bench-h ./bench.h [--rounds 15] [--json]

The yardstick is a program that prints, with BENCH_MIX=1 and the message files as arguments, the nanoseconds of parsing
all of them once (`name mix octets minimum - median median -`), and without it a line a file with parse and print times.
Rounds of the yardstick and of sipcore take turns, so that what else the machine does hits both; a ratio is that of the
medians over the rounds, the one after it that of the minima.  Each figure is the time of one message of the mix.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sipcore._message import Request, instruction_sets, parse
from sipcore._serialize import serialize_request

ROOT = Path(__file__).parents[1]
TYPICAL = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")
FILES = [ROOT / "tests" / "corpus" / f"{name}.sip" for name in TYPICAL]
MESSAGES = [path.read_bytes() for path in FILES]
REPEATS = 300
VIA = "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-0123456789abcdef"
GOALS = {"parse": 0.15, "parse and touch": 0.45, "serialise": 0.6, "forward": 0.05, "return": 0.05, "C index": 0.08}


def parse_all() -> None:
    for data in MESSAGES:
        parse(data)


def parse_and_touch_all() -> None:
    """Parse and read the top Via branch, From tag, To tag, Call-ID, CSeq and Contact URI."""
    for data in MESSAGES:
        message = parse(data)
        message.top_via.branch  # type: ignore[union-attr]  # noqa: B018
        message.from_.tag  # type: ignore[union-attr]  # noqa: B018
        message.to.tag  # type: ignore[union-attr]  # noqa: B018
        message.call_id  # noqa: B018
        message.cseq  # noqa: B018
        contacts = message.contacts
        if contacts:
            contacts[0].uri  # noqa: B018


def requests_of_the_mix() -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    """What `serialize_request` is given for the requests of the mix."""
    messages = [message for message in map(parse, MESSAGES) if isinstance(message, Request)]
    return [(message.method, str(message.request_uri), message.headers, message.body) for message in messages]


PARTS = requests_of_the_mix()


def serialise_all() -> None:
    for method, uri, headers, body in PARTS:
        serialize_request(method, uri, headers, body)


RECEIVED = [message for message in map(parse, MESSAGES) if isinstance(message, Request)]


def forward_all() -> None:
    """With a Via on top, as a proxy sends a request on."""
    for message in RECEIVED:
        message.with_via(VIA)


def return_all() -> None:
    """Without the top Via, as a proxy sends a response back."""
    for message in RECEIVED:
        message.without_via()


def nanoseconds(work: Callable[[], None], count: int) -> float:
    """Of one of `count` messages, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter_ns()
        for _ in range(REPEATS):
            work()
        best = min(best, (time.perf_counter_ns() - begin) / REPEATS / count)
    return best


def run(program: Path, *, mix: bool, **environment: str) -> list[list[str]]:
    """The lines that a yardstick prints, in words."""
    settings = {"BENCH_RUNS": "5", "BENCH_US": "2000", **environment} | ({"BENCH_MIX": "1"} if mix else {})
    output = subprocess.run(
        [program, *FILES], env=os.environ | settings, capture_output=True, text=True, check=True
    ).stdout
    return [line.split() for line in output.splitlines()]


def yardstick_parse(program: Path) -> float:
    return float(run(program, mix=True)[0][3]) / len(FILES)


def yardstick_print(program: Path) -> float:
    """Of the requests of the mix, as `serialise_all` writes them."""
    lines = [line for line in run(program, mix=False) if not line[1].startswith("resp")]
    return statistics.fmean(float(line[4]) for line in lines)


def build_index_bench(bench_h: Path, folder: str) -> Path:
    """The C index alone, compiled with the yardstick's own timing."""
    source = Path(folder) / "index.c"
    source.write_text(
        f'#include "{ROOT}/src_pyx/sipcore/c/scan.c"\n#include "{bench_h.resolve()}"\n'
        "static sip_line lines[64];\nstatic sip_index index_of;\n"
        "static int index_one(const char *octets, size_t size)\n{\n"
        '    size_t start;\n    memset(&index_of, 0, sizeof index_of);\n    if (getenv("WHOLE_SCAN"))\n'
        "        return sip_scan(octets, size, &sip_default_limits, lines, 64, &index_of) != 0;\n"
        "    return !best_instruction_set()->lines(octets, size, &start, &sip_default_limits, lines, 64,\n"
        "                                          &index_of);\n}\n"
        'int main(int count, char **files)\n{\n    struct bench_ops ops = {"index", index_one, 0, 0, 0};\n'
        "    return bench_main(&ops, count, files);\n}\n"
    )
    program = Path(folder) / "index"
    subprocess.run(["cc", "-O3", "-o", program, source], check=True)
    return program


def measure(sofia: Path, rounds: int, bench_h: Path | None) -> dict[str, dict[str, list[float]]]:
    """Operation -> {"ours": one figure a round, "sofia": likewise}."""
    found: dict[str, dict[str, list[float]]] = {name: {"ours": [], "sofia": []} for name in GOALS}
    with tempfile.TemporaryDirectory() as folder:
        index = build_index_bench(bench_h, folder) if bench_h else None
        for _ in range(rounds):
            parsed = yardstick_parse(sofia)
            for name, work in (("parse", parse_all), ("parse and touch", parse_and_touch_all)):
                found[name]["ours"].append(nanoseconds(work, len(MESSAGES)))
                found[name]["sofia"].append(parsed)
            if index:
                found["C index"]["ours"].append(float(run(index, mix=True)[0][3]) / len(FILES))
                found["C index"]["sofia"].append(parsed)
            printed = yardstick_print(sofia)
            for name, work in (("serialise", serialise_all), ("forward", forward_all), ("return", return_all)):
                found[name]["sofia"].append(printed)
                found[name]["ours"].append(nanoseconds(work, len(PARTS)))
    return {name: figures for name, figures in found.items() if figures["ours"]}


def ratios(figures: dict[str, list[float]]) -> dict[str, float]:
    ours, sofia = statistics.median(figures["ours"]), statistics.median(figures["sofia"])
    return {
        "nanoseconds": round(ours),
        "sofia": round(sofia),
        "ratio": round(ours / sofia, 3),
        "ratio_of_minima": round(min(figures["ours"]) / min(figures["sofia"]), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sofia", type=Path, required=True, help="the yardstick's program")
    parser.add_argument("--bench-h", type=Path, help="its timing header: measures the C index too")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table = {
        name: ratios(figures)
        for name, figures in measure(arguments.sofia.resolve(), arguments.rounds, arguments.bench_h).items()
    }
    machine = {"python": platform.python_version(), "machine": platform.machine(), "sets": instruction_sets()}
    if arguments.json:
        json.dump({"machine": machine, "operations": table}, sys.stdout, indent=2)
        return 0
    print(machine)
    for name, row in table.items():
        print(
            f"{name:16} {row['nanoseconds']:6} ns  sofia {row['sofia']:6} ns  ratio {row['ratio']:.3f} "
            f"(minima {row['ratio_of_minima']:.3f})  goal {GOALS[name]}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
