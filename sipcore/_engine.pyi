"""The engine: transactions, timers and flows in the order they are called.

It reads no clock, opens no socket and knows no policy: datagrams and messages
come in through `receive`, time through `now` (seconds, monotonic), and octets
leave through the senders given to `add_local` and the writers given to
`add_connection`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, final

from sipcore._batch import DatagramSocket, StreamSocket
from sipcore._group import Group
from sipcore._message import Request, Response
from sipcore._overload import Overload
from sipcore._transactions import TransactionTable
from sipcore.limits import Limits

class DatagramSender(Protocol):
    """Carries datagrams of one local address; `_batch.DatagramSocket` is the fast one, the simulator has its own."""

    def send_batch(self, datagrams: list[tuple[bytes, str, int]], /) -> object: ...

class StreamWriter(Protocol):
    """Carries octets of one connection."""

    def write(self, octets: bytes, /) -> bool:
        """False when its bounded queue is full.  Not called where the connection has a socket of its own."""
    def write_messages(self, messages: list[bytes], /) -> bool:
        """The same, where the connection keeps the bounds of messages."""
    def close(self) -> None:
        """The connection is to be closed: it takes no more."""

READ_WHOLE: int
"""How a read of `receive_socket` ended: no message has begun that did not end."""
READ_PART: int
READ_NEXT: int
"""A message ended, and another has begun that did not."""
READ_NOTHING: int
READ_NO_SIP: int
READ_ENDED: int
READ_BROKEN: int

class UserAgentEvents(Protocol):
    """What one user agent (RFC 3261 section 6) hears of; called inside a batch, must not block.

    Further attributes are optional and read by `add_user_agent`:
    `stateless_methods` (an iterable of methods whose requests create no
    transaction), `is_proxy` (True: requests that took two ways are no merged
    requests, RFC 3261 section 8.2.2.2, and 2xx are not retransmitted), and
    `on_pong(flow)` (the CRLF that answers a keep-alive, RFC 5626 section 4.4.1).
    """

    def on_request(self, request: Request, /) -> None:
        """A new request, also the ACK to a 2xx.  Answer it with `request.reply(...)`, now or later.

        An exception is logged and answered 500; the batch goes on.  A 401 or
        407 to an INVITE without credentials leaves no transaction behind (RFC
        3261 section 8.2.7): a repeated INVITE comes up again.
        """
    def on_cancel(self, request: Request, /) -> None:
        """The INVITE `request` was cancelled; the engine has answered the CANCEL itself.  Answer 487."""
    def on_ack_timeout(self, request: Request, /) -> None:
        """A 2xx to the INVITE `request` got no ACK within 64*T1 (RFC 3261 section 13.3.1.4)."""
    def on_stray_response(self, response: Response, /) -> None:
        """A 2xx to INVITE that matches no transaction any more."""

class ResponseReceiver(Protocol):
    """Who waits for the responses of one client transaction."""

    def on_response(self, response: Response, /) -> None:
        """A provisional or final response; after a 2xx to INVITE each further 2xx too, until Timer M."""
    def on_timeout(self) -> None:
        """Timer B or F: no final response came."""
    def on_transport_error(self, reason: str, /) -> None:
        """The connection ended before a final response came."""

@final
class Engine:
    """One engine drives any number of local addresses, connections and user agents.

    `receive`, `receive_stream`, `receive_batch`, `handle_timers` and
    `remove_connection` are batches: callbacks run inside, what they send
    leaves at the end, and calling one of them from a callback is a UsageError
    (`remove_connection` is then done at the end of the batch instead).
    """

    max_client_transactions: int
    """Above it `send_request` raises TransportError."""

    @property
    def overload(self) -> Overload:
        """The bounds of server transactions, to be set at any time."""
    @property
    def max_message_size(self) -> int:
        """Octets that a message which comes in may have."""
    @property
    def server_transactions(self) -> TransactionTable:
        """To be watched: how many there are, and the state of one (`request.transaction`)."""
    @property
    def client_transactions(self) -> TransactionTable: ...
    @property
    def workers(self) -> Group:
        """The workers that share this engine's addresses; of one that stands alone nothing else is used."""
    @property
    def in_batch(self) -> bool: ...
    @property
    def now(self) -> float:
        """Seconds; the `now` of the last batch."""

    def __new__(
        cls,
        *,
        key: bytes,
        now: float,
        on_wake: Callable[[], None] | None = None,
        clock: Callable[[], float] | None = None,
        limits: Limits | None = None,
    ) -> Engine:
        """`key`: 16 random octets for hashes, branches and tags.  `limits`: of messages that come in.

        `on_wake` is called when something was queued or an earlier timer was
        started outside of a batch, so that the driver calls `flush` and
        `next_timer` soon; never more than once until the next `flush`.
        `clock` is asked for the time where a reply is made outside of a batch;
        without it such a reply counts its timers from the last `now`.
        """

    # who hears
    def add_user_agent(self, events: UserAgentEvents) -> int: ...
    def remove_user_agent(self, user_agent: int) -> None: ...
    def set_stateless_methods(self, user_agent: int, methods: Iterable[str]) -> None:
        """Requests of these methods (not INVITE, ACK, CANCEL) create no transaction; retransmissions come up again."""
    def set_source_filter(self, user_agent: int, accepts: Callable[[str], bool] | None) -> None:
        """Drop datagrams with a request, before they are parsed, where `accepts(remote_host)` is false (SPEC E3)."""

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
    def remove_local(self, local: int) -> list[int]:
        """Returns the flows of its connections, which live on until they are removed."""
    def local_sent_by(self, local: int) -> str:
        """The host[:port] that a Via or Contact says for this local address."""
    def flow_sent_by(self, flow: int) -> str:
        """The host[:port] that a Via or Contact says on this flow; TransportError when it has ended."""
    def datagram_flow(self, local: int, host: str, port: int) -> int:
        """TransportError for what must not be sent to: broadcast, multicast, unspecified, port 0, ourselves."""
    def add_connection(
        self,
        local: int,
        transport: str,
        local_address: tuple[str, int],
        remote_address: tuple[str, int],
        writer: StreamWriter,
        *,
        accepted: bool = True,
        socket: StreamSocket | None = None,
        shared: bool = False,
        identity: str = "",
        message_based: bool = False,
    ) -> int:
        """`accepted`: the far side opened it, and it counts against the limit of its address; others are never idle.

        With `socket` the engine reads and writes it itself; `writer.blocked(waiting)` then hears that the kernel
        takes no more and says whether that many octets may wait.  `message_based`: it keeps their bounds.
        `shared`, `identity`: see `share_connection`.  TransportError when a limit refuses it.
        """
    def share_connection(self, flow: int, identity: str = "", *, may_alias: bool = False) -> None:
        """From now on `find_connection` gives this connection to its user agent, for the name that the far side
        proved (TLS), else "".  `may_alias`: the far side may offer it for its own port too (RFC 5923)."""
    def find_connection(self, transport: str, user_agent: int, host: str, port: int, identity: str = "") -> int:
        """The flow of a shared connection to an address, or one that was offered for it; 0: none."""
    def admit_connection(self, host: str, idle_before: float, *, in_all: int, per_address: int) -> tuple[bool, int]:
        """Whether a connection may be accepted, and the flow to close for it first (0: none): the idlest that
        nobody holds, if it carried nothing since `idle_before`."""
    def connection(self, flow: int) -> Any:
        """The writer of a connection, None when it has ended."""
    def connections(self, locals: Collection[int] | None = None) -> list[Any]:
        """The writers of all connections, or of those of some local addresses."""
    def connection_used(self, flow: int) -> float:
        """When it carried something last; TransportError when it has ended."""
    def remove_connection(self, flow: int, reason: str, now: float) -> None:
        """The connection ended: its client transactions hear `on_transport_error` at once (SPEC C6: but an
        INVITE in Proceeding runs on), later sends to the flow raise TransportError."""
    def flow_info(self, flow: int) -> tuple[str, str, int, str, int]:
        """(transport, local host, local port, remote host, remote port); TransportError for a flow that ended."""
    def flow_local(self, flow: int) -> int:
        """The local address of a flow; TransportError for a flow that ended."""

    # in
    def receive(self, data: bytes, flow: int, now: float) -> None:
        """One datagram, or one framed message of a stream.  Never raises for what the far side sent."""
    def receive_batch(self, socket: DatagramSocket, local: int, now: float) -> bool:
        """What waits on a socket whose address is `local`, at most 4 x 64 datagrams; True when more may wait."""
    def receive_failure(self, data: bytes, local: int, host: str, port: int, reason: str, now: float) -> None:
        """The network could not deliver a datagram to (host, port); `data` is the beginning of it, as far as known.

        The client transaction whose branch it carries hears `on_transport_error`
        at once, unless the far side has answered (RFC 3261 sections 8.1.3.1 and
        18.4); whatever does not name one of ours is counted and ignored.
        `receive_batch` does the same with what its socket reports.
        """
    def receive_stream(self, data: bytes, flow: int, now: float) -> bool:
        """A chunk of a stream; False when the stream must be closed (what was to be said has been written)."""
    def receive_messages(self, messages: list[bytes], flow: int, now: float) -> bool:
        """What came on a connection that keeps the bounds of messages (RFC 7118 section 5), as one batch.

        Each has to be one SIP message, whole and alone, or a keep-alive (RFC 5626 section 3.5.1).  A request that
        has more or less is refused with 400, such a response is dropped.  False: one was no SIP at all, and those
        behind it are not looked at.
        """
    def receive_socket(self, flow: int, now: float) -> int:
        """Read once from the socket of a connection; what became of it: READ_...  TransportError: it has ended."""
    def receive_letters(self, letters: list[bytes], now: float) -> None:
        """A batch of what other workers sent (see `_group`): their writers' octets, unchanged."""
    def stream_pending(self, flow: int) -> int:
        """READ_PART or READ_NEXT where a message of the stream has begun and not ended, else READ_WHOLE, which is 0."""
    def handle_timers(self, now: float) -> None:
        """What is due at `now`, at most some thousand timers; `next_timer` says when more are left."""
    def next_timer(self) -> float | None:
        """When `handle_timers` is to be called: never late, at most some milliseconds early."""
    def flush(self) -> None: ...

    # out
    def new_branch(self) -> str: ...
    def new_tag(self) -> str: ...
    def new_call_id(self) -> str: ...
    def to_tag(self, request: Request) -> str:
        """The tag that responses to `request` carry on To: its own, or the one that the engine gives it."""
    def send_request(self, request: Request, flow: int, receiver: ResponseReceiver, now: float) -> int:
        """Start a client transaction (RFC 3261 section 17.1); the request's top Via carries its branch.

        TransportError: the flow has ended or must not be sent to; UsageError:
        an ACK, a request without branch, or a branch that is in use.
        """
    def send_response(self, request: Request, response: Response) -> None:
        """Answer `request` with a response that came from elsewhere, octet for octet (RFC 3261 section 16.7)."""
    def refuse(self, request: Request, status_code: int, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse a request before anybody looked at it, in one datagram (FAULTS 22, 26): it leaves no transaction (RFC
        3261 section 8.2.7), which would repeat the refusal of an INVITE to whomever a forged one names."""
    def cancel(self, transaction: int, now: float, *, headers: Sequence[tuple[str, str]] = ()) -> bool:
        """CANCEL an INVITE client transaction (RFC 3261 section 9.1): at once when a provisional was seen, else when
        one arrives.  False when it already had its final response, or is no INVITE: only an INVITE is cancelled."""
    def forget(self, transaction: int) -> None:
        """The receiver of a client transaction no longer listens; the transaction runs on by itself."""
    def send(self, octets: bytes, flow: int) -> None:
        """Send without a transaction: an ACK to a 2xx, a keep-alive.  TransportError for a flow that ended."""

    # timers of policy live in the engine's wheel (never in call_later)
    def start_timer(self, due: float, callback: Callable[[], None]) -> int: ...
    def cancel_timer(self, timer: int) -> bool: ...
    def stats(self) -> dict[str, int]:
        """Counters since the start (what came in, what became of it) and gauges (what lives)."""
    def close(self) -> None:
        """Forget transactions and timers without telling anybody."""
