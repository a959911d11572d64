"""Overload: which requests may have a transaction, and which get a 503 or nothing (FAULTS 45 to 49)."""

from typing import final

from sipcore._connections import ConnectionTable
from sipcore._transactions import TransactionTable

@final
class Overload:
    """The bounds of what an engine takes upon itself; set them at any time.

    A new request outside of dialogs beyond a bound gets a stateless 503 with
    Retry-After.  Responses, ACKs, CANCELs and retransmissions are not bounded;
    requests inside dialogs by `max_transactions` alone, and an eighth more.
    """

    admission_limit: int
    """Server transactions without a final response at most."""
    max_transactions: int
    """Server transactions at most, those included that only wait for retransmissions; above it the oldest finished
    ones are forgotten early, if they are old enough to be of no use."""
    source_share: float
    """How much of each bound one source (an IPv4 address, an IPv6 /64) may fill alone, 0 to 1.  Several that are
    greedy share what a single one might have; who holds little always finds room.  1: one may have everything."""
    patience: float
    """Seconds for which more may come in on a datagram socket than is answered; then those who ask most are refused,
    after twice as long all, unless most of it comes from those few, who after four times as long get no answer."""
    retry_after: int
    """Seconds that a 503 tells to wait at least; from one to the next it says up to twice as much."""

    def __new__(cls, table: TransactionTable, connections: ConnectionTable) -> Overload: ...
    @property
    def sources(self) -> int:
        """How many sources hold a transaction now."""
    @property
    def forgotten(self) -> int:
        """Finished transactions that were forgotten to make room."""
    @property
    def over_share(self) -> int:
        """Requests refused because their source had its share, while there was room for others."""
    @property
    def overdue(self) -> int:
        """Requests refused because of `patience`."""
    @property
    def dropped(self) -> int:
        """Requests that were not even answered."""
