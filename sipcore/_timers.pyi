"""Which timers are due: a hierarchical wheel.  Instants are microseconds of one monotonic clock."""

from typing import final

@final
class TimerWheel:
    def __new__(cls, now_us: int = 0) -> TimerWheel: ...
    def __len__(self) -> int: ...
    @property
    def octets(self) -> int:
        """Octets of memory that the timers hold."""
    def start(self, due_us: int, tag: int) -> int:
        """Start a timer that hands out `tag`; its handle, > 0."""
    def cancel(self, timer: int) -> bool:
        """False when the timer was taken or cancelled before, or never was."""
    def restart(self, timer: int, due_us: int) -> bool:
        """Give a live timer another instant; it keeps handle and tag."""
    def take(self, now_us: int) -> list[int]:
        """Take all timers that are due: their tags, by due tick (1 ms) and then by start."""
    def next_due_us(self) -> int:
        """No timer is due before this instant (a lower bound); -1 without timers."""
