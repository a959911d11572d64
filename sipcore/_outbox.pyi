"""The outbox: one queue for each datagram sender and each connection."""

from typing import Any, final

from sipcore._batch import StreamSocket
from sipcore._connections import ConnectionTable

@final
class StreamEnd:
    """What the engine keeps of one connection, beside its row in the table."""

    def __new__(cls, writer: Any, socket: StreamSocket | None) -> StreamEnd: ...

@final
class Outbox:
    sent: int
    """Messages handed on."""
    dropped: int
    """Messages whose flow has ended or may not be sent to."""

    def __new__(cls, connections: ConnectionTable) -> Outbox: ...
