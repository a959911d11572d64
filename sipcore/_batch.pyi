"""System calls: many datagrams each, many messages of a stream each.  Knows descriptors and addresses; no SIP."""

from typing import final

@final
class ReceiveArena:
    """Memory to receive into; sockets that are read by one engine share one."""

    def __new__(cls) -> ReceiveArena: ...

@final
class DatagramSocket:
    """Datagrams of one bound UDP descriptor, IPv4, IPv6 or both; the descriptor stays the caller's."""

    arena: ReceiveArena
    wants_reports: bool
    """Requests are sent from here: `report` should be called, by whoever can wait for errors of the descriptor."""

    def __new__(
        cls,
        fd: int,
        *,
        arena: ReceiveArena | None = None,
        one_at_a_time: bool = False,
        segment: bool = False,
        coalesce: bool = False,
    ) -> DatagramSocket:
        """TransportError when `fd` is not a bound IP socket."""
    def fileno(self) -> int: ...
    @property
    def blocked(self) -> bool:
        """The kernel takes no more: call flush when the descriptor is writable."""
    @property
    def segments(self) -> bool:
        """Whether UDP_SEGMENT is in use."""
    @property
    def coalesces(self) -> bool:
        """Whether UDP_GRO is in use."""
    @property
    def reports(self) -> bool:
        """Whether undelivered datagrams are reported: errors are then events of the descriptor."""
    def report(self) -> bool:
        """Have what is not delivered reported from now on; False where the system cannot tell."""
    @property
    def failures(self) -> int:
        """Undelivered datagrams that wait to be taken by a receive."""
    def detach(self) -> None:
        """Forget the descriptor, before its owner closes it; what still waits is sent now, or dropped and counted."""
    def receive(self) -> list[tuple[bytes, str, int]]:
        """Up to 64 datagrams that wait, more with UDP_GRO."""
    def arrivals(self, count: int) -> list[str]:
        """The addresses that the first `count` datagrams of the last receive were sent to; "" where not known."""
    def send_batch(self, datagrams: list[tuple[bytes, str, int]], source: str | None = None) -> None:
        """Send to numeric addresses, from the address `source` of the host if it is given."""
    def flush(self) -> int:
        """Send what waits; how many datagrams still do."""
    def stats(self) -> dict[str, int]:
        """Totals by name, and `queued`, which wait now."""

@final
class StreamSocket:
    """One connected, non-blocking stream descriptor, which it owns and closes."""

    error: int
    """The errno that broke it, 0."""
    waiting: int
    """Octets that the kernel has not taken yet."""

    def __new__(cls, fd: int) -> StreamSocket: ...
    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
    def close(self) -> None:
        """Close the descriptor; what waits is lost.  Closing twice is harmless."""
    def receive(self, room: int) -> bytes | None:
        """Up to `room` octets; b"" when the far side closed, None when nothing waits.  OSError: broken."""
    def send(self, octets: bytes) -> bool:
        """Send, or keep what the kernel does not take; True when nothing waits.  OSError: broken."""
    def flush(self) -> bool:
        """Send what waits; True when nothing does any more.  OSError: broken."""
