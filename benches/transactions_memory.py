"""What a finished server transaction keeps: resident octets of a bare engine that has answered many OPTIONS.

    python benches/transactions_memory.py --count 200000

The growth of the process for each, and the octets of the response that is among
them.  One JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json

from registrations import resident
from serve import Answers, Nowhere, fill

from sipcore._engine import Engine

WARM_UP = 1_000


class Scales(Nowhere):
    """Knows how long the last response was."""

    octets = 0

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None:
        self.octets = len(datagrams[-1][0])


def filled(count: int, sender: Nowhere) -> Engine:
    """An engine that holds `count` finished transactions."""
    engine = Engine(key=bytes(16), now=0.0, clock=lambda: 0.0)
    fill(engine, count, 0.0, Answers(5060, stateless=False), sender)
    return engine


def measure(count: int) -> dict[str, float]:
    """Octets of each of `count` finished transactions; what the first engine brings about is left out."""
    scales = Scales()
    filled(WARM_UP, scales)
    before = resident()
    engine = filled(count, scales)
    stats = engine.stats()
    return {
        "transactions": stats["server_transactions"],
        "resident_octets_each": round((resident() - before) / count),
        "response_octets": scales.octets,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a finished server transaction keeps.")
    parser.add_argument("--count", type=int, default=200_000, help="transactions (200000)")
    print(json.dumps(measure(parser.parse_args().count)))


if __name__ == "__main__":
    main()
