"""The outbox: one queue for each datagram sender and each connection."""

from typing import final

from sipcore._connections import ConnectionTable

@final
class Outbox:
    sent: int
    """Messages handed on."""
    dropped: int
    """Messages whose flow has ended or may not be sent to."""

    def __new__(cls, connections: ConnectionTable) -> Outbox: ...
