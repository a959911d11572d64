"""A pytest fixture that runs a test on virtual time: `pytest_plugins = ["sipcore.pytest_plugin"]` in a conftest.py.

    def test_a_registration_survives_an_outage(sip_sim):
        async def main(network):
            ...
        sip_sim(main)

The run follows from its seed.  `--sip-seed N` gives another one, `--sip-seed random`
one by chance; the report of a test that failed says which it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sipcore import sim

Main = Callable[[sim.SimNetwork], Coroutine[Any, Any, Any]]


class Simulation:
    """Runs a test's coroutine; `seed` is what it all follows from."""

    def __init__(self, seed: int, report: Callable[[str], None]) -> None:
        self.seed = seed
        self._report = report

    def __call__(self, main: Main, *, limit: float = 7 * 86_400.0) -> Any:
        """Run `main(network)` to its end on virtual time, at most `limit` seconds of it, and return its result."""
        self._report(f"seed {self.seed}: replay it with --sip-seed {self.seed}")
        return sim.run(main, seed=self.seed, limit=limit)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--sip-seed`."""
    group = parser.getgroup("sipcore")
    group.addoption("--sip-seed", default="0", help="seed of simulated runs: a number, or 'random' (default: 0)")


@pytest.fixture
def sip_sim(request: pytest.FixtureRequest) -> Simulation:
    """Call it with a coroutine function that takes a `sipcore.sim.SimNetwork`."""
    wanted = str(request.config.getoption("--sip-seed"))
    seed = random.SystemRandom().getrandbits(32) if wanted == "random" else int(wanted)
    return Simulation(seed, lambda text: request.node.add_report_section("call", "simulation", text))
