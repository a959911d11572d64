"""Who is connected: local addresses, flows, connections (RFC 3261 section 18, RFC 5923, RFC 5626).

A flow is an integer, 0 is none.  Hosts are numeric text; instants are microseconds of one
monotonic clock.
"""

from collections.abc import Collection
from typing import Any, final

from sipcore._locals import Local

def keyed_hash(key: bytes, octets: bytes, /) -> int:
    """SipHash-1-3 of `octets` under a key of 16 octets, an unsigned 64-bit number."""

@final
class ConnectionTable:
    """Local addresses, flows and connections; says what to close and closes nothing."""

    max_connections: int
    max_per_address: int
    max_datagram_flows: int

    def __new__(
        cls,
        key: bytes,
        *,
        max_connections: int = 1_000_000,
        max_per_address: int = 1_000,
        max_datagram_flows: int = 65_536,
    ) -> ConnectionTable:
        """`key`: 16 random octets for the hashes and the flow tokens."""
    def __len__(self) -> int:
        """Connections."""

    # local addresses
    def add_local(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        user_agent: int,
        sender: object = None,
        advertise: tuple[str, int] | None = None,
    ) -> int:
        """Add a local address; its handle.  `advertise`: what Via and Contact say instead."""
    def remove_local(self, handle: int) -> list[int]:
        """Remove it; the flows of its connections, which live on until they are removed.  Its datagram flows end."""
    def local_at(self, handle: int) -> Local | None: ...
    def reached(self, handle: int, host: str) -> int:
        """The local address `host` on the wildcard datagram socket `handle`."""

    # flows
    def flow_to(self, local: int, host: str, port: int, now_us: int = 0) -> int:
        """The flow from a UDP local address; 0 when no row can be had for it (IPv6)."""
    def flow_info(self, flow: int) -> tuple[str, str, int, str, int]:
        """(transport, local host, local port, remote host, remote port); TransportError when it has ended."""
    def local_of(self, flow: int) -> Local:
        """TransportError when the flow has ended."""
    def writer(self, flow: int) -> Any:
        """The writer of a connection; None for a datagram flow or one that has ended."""
    def last_used_us(self, flow: int) -> int:
        """TransportError for a flow without a row."""

    # connections
    def add(
        self,
        local: int,
        local_address: tuple[str, int],
        remote_address: tuple[str, int],
        writer: object,
        *,
        identity: str = "",
        accepted: bool = True,
        shared: bool = True,
        now_us: int = 0,
    ) -> int:
        """Add a connection; its flow, or 0 when a limit refuses it.

        `identity`: the name that the far side proved, so that it is reused for that name alone.
        `shared`: `find` may give it to others, from the start.
        """
    def remove(self, flow: int) -> bool: ...
    def touch(self, flow: int, now_us: int) -> None:
        """The flow carried something: it becomes the newest in the idle order."""
    def hold(self, flow: int) -> bool:
        """Keep the flow out of the idle order until it was released as often; False when it has ended."""
    def release(self, flow: int, now_us: int) -> None: ...
    def idle(self, before_us: int, room: int = 64) -> list[int]:
        """Connections that nobody holds and that carried nothing since, the idlest first: close them."""
    def admit(self, host: str, idle_before_us: int, *, in_all: int = ..., per_address: int = ...) -> tuple[bool, int]:
        """Whether a connection may be accepted, and the flow to close for it first (0: none); refusals are counted."""
    def flows(self, locals: Collection[int] | None = None) -> list[int]:
        """The flows of all connections, or of those of some local addresses."""

    # reuse
    def share(self, flow: int, identity: str = "") -> bool:
        """From now on `find` gives this connection to its user agent, for `identity`; False when it has ended."""
    def find(self, transport: str, user_agent: int, host: str, port: int, identity: str = "") -> int:
        """The connection of a user agent to (host, port), or aliased to it, that came last; 0: none."""
    def set_alias(self, flow: int, port: int) -> bool:
        """Requests to `port` of the far side may use this connection too (RFC 5923); 0 takes it back."""
    def flow_token(self, flow: int) -> str:
        """22 characters that a Record-Route or Path user part may hold (RFC 5626 section 5.2)."""
    def flow_of_token(self, token: str) -> int:
        """The flow that a token names; 0 for one that is not ours or whose flow has ended."""

    # counters
    @property
    def octets(self) -> int:
        """Octets of memory that rows, counters of addresses and look-up hold."""
    def stats(self) -> dict[str, int]:
        """Live counts and totals, by name."""
