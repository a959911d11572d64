"""Transactions: their rows, keys and machines (RFC 3261 section 17, RFC 6026, RFC 4320)."""

from typing import final

from sipcore._timers import TimerWheel

def transition(machine: int, state: int, event: int) -> tuple[int, int] | None:
    """The packed cell of a machine: (next state, actions), or None where the event is ignored.

    Numbers are those of `sipcore.machines`: the position in MACHINES, State and Event.
    """

@final
class TransactionTable:
    """The client or the server transactions of one engine: what can be watched of them."""

    keyed_by_dialog: int
    """Rows that a merged request or an ACK to a 2xx can find."""
    started: int
    """Rows ever added."""
    unfinished: int
    """Rows that have no final response yet."""

    def __new__(cls, key: bytes, wheel: TimerWheel, wheel_tag: int) -> TransactionTable: ...
    def state(self, handle: int) -> int:
        """Where a transaction stands, a number of `sipcore.machines.State`; TERMINATED when it is over."""
    @property
    def live(self) -> int: ...
    @property
    def source_count(self) -> int:
        """How many addresses (IPv6: /64 networks) hold a transaction of this table."""
    @property
    def octets(self) -> int:
        """Memory of rows and buckets, without what rows refer to."""
    @property
    def source_octets(self) -> int:
        """Memory of the rows that count for sources."""
    def clear(self) -> None:
        """Forget every transaction without telling anybody."""
