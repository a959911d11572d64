"""The fixture for users' own tests: a seed from the command line, shown when a test fails."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TEST = """
import asyncio

def test_it(sip_sim):
    async def main(network):
        await asyncio.sleep(86400)
        return network.random.random()

    assert sip_sim(main) == sip_sim(main)
    assert sip_sim.seed {}
"""


@pytest.fixture
def users_tests(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["sipcore.pytest_plugin"]')
    return pytester


def test_a_day_passes_and_the_seed_is_zero(users_tests: pytest.Pytester) -> None:
    users_tests.makepyfile(TEST.format("== 0"))
    users_tests.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_seed_is_given_and_shown_where_a_test_fails(users_tests: pytest.Pytester) -> None:
    users_tests.makepyfile(TEST.format("== 0"))
    result = users_tests.runpytest_inprocess("-p", "no:cacheprovider", "--sip-seed", "77")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*seed 77: replay it with --sip-seed 77*"])


def test_a_seed_by_chance(users_tests: pytest.Pytester) -> None:
    users_tests.makepyfile(TEST.format("!= 0"))
    users_tests.runpytest_inprocess("-p", "no:cacheprovider", "--sip-seed", "random").assert_outcomes(passed=1)
