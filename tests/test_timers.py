"""The timer wheel against a sorted list, and what it promises about order, jumps and memory."""

from pathlib import Path

import pytest
from failing_memory import run_with_failing_memory
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sipcore._timers import TimerWheel

MS = 1_000
S = 1_000_000
YEAR = 31_557_600 * S


def test_an_empty_wheel_has_nothing_due() -> None:
    wheel = TimerWheel()
    assert wheel.next_due_us() == -1
    assert wheel.take(YEAR) == []
    assert len(wheel) == 0


def test_a_timer_is_never_early_and_at_most_a_tick_late() -> None:
    for due in (1, 999, 1_000, 1_001, 255_999, 256_001, 500_000, 32 * S + 1):
        wheel = TimerWheel()
        wheel.start(due, 7)
        assert wheel.take(due - 1) == []
        assert wheel.take(due + MS) == [7]


def test_timers_of_one_tick_are_taken_in_the_order_of_their_starts() -> None:
    wheel = TimerWheel()
    far = 300 * S
    for tag in range(10):
        wheel.start(far, tag)
    wheel.take(far - 100 * MS)
    for tag in range(10, 20):
        wheel.start(far, tag)
    assert wheel.take(far) == list(range(20))


def test_timers_are_taken_in_the_order_of_their_instants() -> None:
    wheel = TimerWheel()
    dues = [9 * S, 3, 70 * MS, YEAR, 4_096 * MS, 5 * MS, 262 * S]
    for due in dues:
        wheel.start(due, due)
    assert wheel.take(2 * YEAR) == sorted(dues)


def test_a_jump_of_years_takes_each_timer_once() -> None:
    wheel = TimerWheel()
    for tag in range(1_000):
        wheel.start(tag * 32 * MS, tag)
    assert wheel.take(100 * YEAR) == list(range(1_000))
    assert wheel.take(101 * YEAR) == []


def test_time_that_goes_back_takes_nothing() -> None:
    wheel = TimerWheel()
    assert wheel.take(10 * S) == []
    wheel.start(10 * S + 5 * MS, 1)
    assert wheel.take(0) == []
    assert wheel.take(-1) == []
    assert wheel.take(10 * S + 5 * MS) == [1]


def test_a_timer_for_the_past_is_due_at_the_next_tick() -> None:
    wheel = TimerWheel()
    wheel.take(10 * S)
    wheel.start(-5, 1)
    wheel.start(3 * S, 2)
    assert wheel.next_due_us() == 10 * S + MS
    assert wheel.take(10 * S) == []
    assert wheel.take(10 * S + MS) == [1, 2]


def test_the_largest_instants_are_kept() -> None:
    wheel = TimerWheel()
    last = 2**63 - 1
    wheel.start(last, 2**64 - 1)
    wheel.start(5 * S, 1)
    assert wheel.take(last - MS) == [1]
    assert 0 < wheel.next_due_us() <= last
    assert wheel.cancel(wheel.start(last, 3))
    assert len(wheel) == 1


def test_a_wheel_that_starts_late_counts_from_there() -> None:
    wheel = TimerWheel(3 * YEAR)
    wheel.start(3 * YEAR + 32 * S, 1)
    assert 3 * YEAR < wheel.next_due_us() <= 3 * YEAR + 32 * S
    assert wheel.take(3 * YEAR + 32 * S) == [1]


def test_a_handle_dies_with_its_timer() -> None:
    wheel = TimerWheel()
    cancelled, taken = wheel.start(S, 1), wheel.start(MS, 2)
    assert wheel.cancel(cancelled)
    assert wheel.take(MS) == [2]
    successors = [wheel.start(S, tag) for tag in (3, 4)]
    for stale in (cancelled, taken):
        assert stale not in successors
        assert not wheel.cancel(stale)
        assert not wheel.restart(stale, 0)
    assert wheel.take(S) == [3, 4]


def test_what_never_was_a_handle_is_refused() -> None:
    wheel = TimerWheel()
    live = wheel.start(S, 1)
    for handle in (0, -1, 1, live + 1, live + (1 << 24), -live, 2**63 - 1, -(2**63)):
        assert not wheel.cancel(handle)
        assert not wheel.restart(handle, 5)
    assert len(wheel) == 1


def test_a_restarted_timer_keeps_handle_and_tag() -> None:
    wheel = TimerWheel()
    timer = wheel.start(500 * MS, 5)
    for due in (S, 2 * S, 4 * S):
        assert wheel.restart(timer, due)
        assert wheel.take(due - 1) == []
    assert wheel.take(4 * S) == [5]
    assert not wheel.cancel(timer)


def test_waking_when_told_takes_every_timer_with_few_wakes() -> None:
    wheel = TimerWheel()
    due = 3_600 * S + 17 * MS
    wheel.start(due, 1)
    wakes, taken = 0, []
    while not taken:
        now = wheel.next_due_us()
        taken = wheel.take(now)
        wakes += 1
    assert now == due
    assert wakes <= 7


def test_memory_follows_the_live_timers_down_again() -> None:
    wheel = TimerWheel()
    empty = wheel.octets
    handles = [wheel.start(32 * S, tag) for tag in range(100_000)]
    assert wheel.octets - empty < 100_000 * 36
    for handle in handles[:50_000]:
        wheel.cancel(handle)
    assert len(wheel.take(32 * S)) == 50_000
    assert wheel.octets - empty < 100_000


def test_a_few_long_timers_do_not_hold_the_memory_of_many_short_ones() -> None:
    wheel = TimerWheel()
    empty = wheel.octets
    for round_ in range(20):
        for tag in range(20_000):
            wheel.start((round_ * 2 + 1) * S, tag)
        wheel.start(YEAR, 1)
        wheel.take((round_ * 2 + 2) * S)
    assert len(wheel) == 20
    assert wheel.octets - empty < 100_000 * 36


@pytest.mark.native
def test_memory_that_fails_costs_the_timer_not_the_wheel(tmp_path: Path) -> None:  # FAULTS 55
    run_with_failing_memory(
        tmp_path,
        """
        from sipcore._timers import TimerWheel

        counts = set()
        for nth in range(1, 12):
            wheel, handles = None, [0] * 5_000
            try:
                failing_at(nth)
                wheel = TimerWheel()
                for tag in range(5_000):
                    handles[tag] = wheel.start(tag * 1_000, tag)
            except MemoryError:
                pass
            never_failing()
            handles = [handle for handle in handles if handle]
            counts.add(len(handles))
            if wheel is not None:
                assert len(wheel) == len(handles)
                assert all(wheel.cancel(handle) for handle in handles[::2])
                assert wheel.take(10**9) == list(range(len(handles)))[1::2]
                wheel.start(2 * 10**9, 7)
                assert wheel.take(2 * 10**9) == [7]
        assert counts >= {0, 1_024, 2_048, 5_000}, counts
        """,
    )


class WheelModel(RuleBasedStateMachine):
    """A list sorted by (due tick, start) does the same."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = TimerWheel()
        self.now = 0
        self.starts = 0
        self.live: dict[int, tuple[int, int, int]] = {}  # handle -> (tick, start, tag)
        self.dead: list[int] = []

    def due(self, tick: int) -> int:
        return max(tick, self.now // MS + 1)

    def place(self, handle: int, due_us: int, tag: int) -> None:
        self.starts += 1
        self.live[handle] = (self.due(-(-max(due_us, 0) // MS)), self.starts, tag)

    @rule(
        delay=st.one_of(st.integers(-S, 300 * S), st.integers(0, 3 * YEAR), st.sampled_from([0, MS, 256 * MS])),
        tag=st.integers(0, 2**64 - 1),
    )
    def start(self, delay: int, tag: int) -> None:
        handle = self.wheel.start(self.now + delay, tag)
        assert handle > 0
        assert handle not in self.live
        self.place(handle, self.now + delay, tag)

    @rule(choice=st.integers(0, 10**6))
    def cancel(self, choice: int) -> None:
        if self.live:
            handle = sorted(self.live)[choice % len(self.live)]
            assert self.wheel.cancel(handle)
            del self.live[handle]
            self.dead.append(handle)

    @rule(choice=st.integers(0, 10**6), delay=st.integers(-S, 100 * S))
    def restart(self, choice: int, delay: int) -> None:
        if self.live:
            handle = sorted(self.live)[choice % len(self.live)]
            assert self.wheel.restart(handle, self.now + delay)
            self.place(handle, self.now + delay, self.live[handle][2])

    @rule(passed=st.one_of(st.integers(0, 100 * MS), st.integers(0, 400 * S), st.integers(0, 2 * YEAR)))
    def take(self, passed: int) -> None:
        self.now += passed
        due = sorted((entry, handle) for handle, entry in self.live.items() if entry[0] <= self.now // MS)
        assert self.wheel.take(self.now) == [entry[2] for entry, _ in due]
        for _, handle in due:
            del self.live[handle]
            self.dead.append(handle)

    @rule(choice=st.integers(0, 10**6))
    def use_a_dead_handle(self, choice: int) -> None:
        if self.dead:
            assert not self.wheel.cancel(self.dead[choice % len(self.dead)])

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.wheel) == len(self.live)
        bound = self.wheel.next_due_us()
        if not self.live:
            assert bound == -1
            return
        first = min(self.live.values())[0]
        assert self.now < bound <= first * MS
        if first // 256 == self.now // MS // 256:
            assert bound == first * MS


TestWheelModel = WheelModel.TestCase
TestWheelModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
