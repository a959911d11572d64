"""The engine: transactions, timers and flows in the order they are called.

It reads no clock, opens no socket and knows no policy: datagrams and messages
come in through `receive`, time through `now` (seconds, monotonic), and octets
leave through the senders given to `add_local` and the writers given to
`add_connection`.
"""

from collections.abc import Callable
from typing import Protocol, final

from sipcore._message import Request, Responder, Response

class DatagramSender(Protocol):
    """Carries datagrams of one local address; `_batch.DatagramSocket` is the fast one, the simulator has its own."""

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None: ...

class StreamWriter(Protocol):
    """Carries octets of one connection.  Returns False when its bounded queue is full."""

    def write(self, octets: bytes) -> bool: ...
    def close(self) -> None: ...

class UserAgentEvents(Protocol):
    """What one user agent (RFC 3261 section 6) hears of; called inside a batch, must not block."""

    def on_request(self, request: Request) -> None:
        """A new request, also the ACK to a 2xx.  Answer it with `request.reply(...)`, now or later."""
    def on_cancel(self, request: Request) -> None:
        """The INVITE `request` was cancelled; the engine has answered the CANCEL itself.  Answer 487."""
    def on_ack_timeout(self, request: Request) -> None:
        """A 2xx to the INVITE `request` got no ACK within 64*T1 (RFC 3261 section 13.3.1.4)."""
    def on_stray_response(self, response: Response) -> None:
        """A 2xx to INVITE that matches no transaction any more."""

class ResponseReceiver(Protocol):
    """Who waits for the responses of one client transaction."""

    def on_response(self, response: Response) -> None: ...
    def on_timeout(self) -> None: ...
    def on_transport_error(self, reason: str) -> None: ...

@final
class Engine(Responder):
    """One engine drives any number of local addresses, connections and user agents."""

    in_batch: bool

    def __new__(cls, *, key: bytes, now: float, on_wake: Callable[[], None] | None = None) -> Engine:
        """`key`: 16 random octets for hashes, branches and tags.

        `on_wake` is called when something was queued or an earlier timer was
        started outside of a batch, so that the driver calls `flush` and
        `next_timer` soon; never more than once until the next `flush`.
        """

    # who hears
    def add_user_agent(self, events: UserAgentEvents) -> int: ...
    def remove_user_agent(self, user_agent: int) -> None: ...

    # where octets come from and go to; a flow is an integer, 0 is none
    def add_local(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        user_agent: int,
        sender: DatagramSender | None,
        advertise: tuple[str, int] | None = None,
    ) -> int: ...
    def remove_local(self, local: int) -> None: ...
    def local_sent_by(self, local: int) -> str:
        """The host[:port] that a Via or Contact says for this local address."""
    def datagram_flow(self, local: int, host: str, port: int) -> int: ...
    def add_connection(
        self,
        local: int,
        transport: str,
        local_address: tuple[str, int],
        remote_address: tuple[str, int],
        writer: StreamWriter,
    ) -> int: ...
    def remove_connection(self, flow: int, reason: str, now: float) -> None:
        """The connection ended: its client transactions hear `on_transport_error` at once (SPEC C6: but an
        INVITE in Proceeding runs on), later sends to the flow raise TransportError."""
    def flow_info(self, flow: int) -> tuple[str, str, int, str, int]:
        """(transport, local host, local port, remote host, remote port); TransportError for a flow that ended."""

    # in
    def receive(self, data: bytes, flow: int, now: float) -> None:
        """One datagram, or one framed message of a stream.  Never raises for what the far side sent."""
    def receive_stream(self, data: bytes, flow: int, now: float) -> bool:
        """A chunk of a stream; False when the stream must be closed (what was to be said has been written)."""
    def handle_timers(self, now: float) -> None: ...
    def next_timer(self) -> float | None: ...
    def flush(self) -> None: ...

    # out
    def new_branch(self) -> str: ...
    def new_tag(self) -> str: ...
    def new_call_id(self) -> str: ...
    def send_request(self, request: Request, flow: int, receiver: ResponseReceiver, now: float) -> int:
        """Start a client transaction (RFC 3261 section 17.1); the request's top Via carries its branch."""
    def cancel(self, transaction: int, now: float, *, headers: list[tuple[str, str]] = []) -> bool:
        """CANCEL an INVITE client transaction (RFC 3261 section 9.1): at once when a provisional was seen, else when
        one arrives.  False when it already had its final response."""
    def forget(self, transaction: int) -> None:
        """The receiver of a client transaction no longer listens; the transaction runs on by itself."""
    def send(self, octets: bytes, flow: int) -> None:
        """Send without a transaction: an ACK to a 2xx, a keep-alive."""

    # timers of policy live in the engine's wheel (never in call_later)
    def start_timer(self, due: float, callback: Callable[[], None]) -> int: ...
    def cancel_timer(self, timer: int) -> bool: ...
    def stats(self) -> dict[str, int]: ...
