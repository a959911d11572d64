"""What a timer costs, from Python; a compiled caller saves the call (about 60 ns each)."""

from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore._timers import TimerWheel

S = 1_000_000
ROUND = 1_000


def wheel_with(live: int) -> TimerWheel:
    """Timers spread over 64*T1, as finished transactions leave them."""
    wheel = TimerWheel()
    for n in range(live):
        wheel.start(32 * S + n * 32 * S // live, n)
    return wheel


@pytest.mark.parametrize("live", [1_000, 1_000_000])
def bench_start_and_cancel(benchmark: BenchmarkFixture, live: int) -> None:
    wheel = wheel_with(live)

    def start_and_cancel() -> None:
        for n in range(ROUND):
            wheel.cancel(wheel.start(S, n))

    benchmark(start_and_cancel)
    benchmark.extra_info.update(operations=ROUND, octets_a_timer=wheel.octets / live)


@pytest.mark.parametrize("live", [1_000, 1_000_000])
def bench_restart(benchmark: BenchmarkFixture, live: int) -> None:
    wheel = wheel_with(live)
    timers = [wheel.start(S, n) for n in range(ROUND)]

    def restart() -> None:
        for timer in timers:
            wheel.restart(timer, 2 * S)

    benchmark(restart)
    benchmark.extra_info.update(operations=ROUND)


@pytest.mark.parametrize("live", [1_000, 1_000_000])
def bench_a_second_of_32_s_timers(benchmark: BenchmarkFixture, live: int) -> None:
    """A second in which as many timers of 64*T1 start as are taken, through all levels of the wheel."""
    wheel = TimerWheel()
    each = live // 32
    seconds = count(1)

    def second() -> None:
        now = next(seconds) * S
        wheel.take(now)
        for n in range(each):
            wheel.start(now + 32 * S + n * S // each, n)

    for _ in range(33):
        second()
    benchmark(second)
    benchmark.extra_info.update(operations=each)
