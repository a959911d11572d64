"""What idle connections cost a server in memory, by `benches/idle_connections.py` in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "benches" / "idle_connections.py"
MOST = {"tcp": 4 * 1024, "tls": 30 * 1024, "ws": 4 * 1024, "wss": 30 * 1024}


@pytest.mark.slow
@pytest.mark.parametrize("loop", [(), ("--asyncio",)], ids=["uvloop", "asyncio"])
def test_an_idle_connection_costs_no_more_than_it_may(loop: tuple[str, ...]) -> None:
    command = [sys.executable, str(BENCH), "--tcp", "2000", "--tls", "500", "--ws", "2000", "--wss", "500", *loop]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["transport"] for one in measured] == list(MOST)
    for one in measured:
        assert 0 < one["octets_a_connection"] <= MOST[one["transport"]], one
