"""A loop that stands still is told of, with the place where it does (FAULTS 56)."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from sipcore import Stack
from sipcore.aio import run
from sipcore.watchdog import Watchdog, share


def watchdogs() -> int:
    return sum(thread.name == "sipcore watchdog" for thread in threading.enumerate())


def gone() -> bool:
    deadline = time.monotonic() + 10
    while watchdogs() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not watchdogs()


def a_handler_that_blocks(seconds: float) -> None:
    time.sleep(seconds)


def test_a_callback_that_blocks_is_named_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[str]:
        watchdog = Watchdog(asyncio.get_running_loop(), 0.1)
        await asyncio.sleep(0.3)
        before = len(caplog.records)
        a_handler_that_blocks(1.0)
        for _ in range(200):
            if len(caplog.records) < before + 2:
                await asyncio.sleep(0.05)
        watchdog.close()
        return [record.getMessage() for record in caplog.records[before : before + 2]]

    with caplog.at_level(logging.ERROR, "sipcore.watchdog"):
        stands, goes_on = run(main())
    assert "stood still" in stands and "a_handler_that_blocks" in stands
    assert goes_on.endswith("and goes on")
    assert gone()


def test_a_loop_that_runs_or_is_not_run_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "sipcore.watchdog"), asyncio.Runner() as runner:
        watchdog = Watchdog(runner.get_loop(), 0.5)
        runner.run(asyncio.sleep(0.2))
        time.sleep(1.5)
        watchdog.close()
    assert not caplog.records
    assert gone()


def test_stacks_on_one_loop_share_a_thread_which_ends_with_the_last_of_them() -> None:
    assert gone(), "those of other tests end with their loops"

    async def main() -> None:
        first, second, third = Stack(), Stack(), Stack(watchdog=0)
        await third.listen("udp", "127.0.0.1:0")
        assert watchdogs() == 0
        for stack in (first, first, second):
            await stack.listen("udp", "127.0.0.1:0")
        assert watchdogs() == 1
        await first.close()
        assert watchdogs() == 1
        await asyncio.gather(second.close(), third.close())

    run(main())
    assert gone()


def test_a_loop_that_was_closed_is_watched_no_more() -> None:
    async def main() -> None:
        share(asyncio.get_running_loop(), 0.05)

    run(main())
    assert gone()
