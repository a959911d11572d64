"""What the engine's tests share: an engine with recording ends, and messages to feed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sipcore._message as message_room
from sipcore._engine import Engine
from sipcore._message import Request, Response

KEY = bytes(range(16))
LOCAL = ("192.0.2.1", 5060)
PEER = ("192.0.2.9", 5070)


class Sent(list[tuple[bytes, str, int]]):
    """A DatagramSender that keeps what was sent."""

    __hash__ = object.__hash__

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None:
        self.extend(datagrams)

    def take(self) -> list[bytes]:
        """The octets sent since the last call."""
        octets = [datagram[0] for datagram in self]
        self.clear()
        return octets

    def statuses(self) -> list[int]:
        return [status_of(octets) for octets in self.take()]


class Stream:
    """A StreamWriter that keeps what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.is_full = False

    def write(self, octets: bytes) -> bool:
        if self.is_full:
            return False
        self.written.append(octets)
        return True

    def close(self) -> None:
        self.closed = True

    def take(self) -> list[bytes]:
        written, self.written = self.written, []
        return written


class Events:
    """A user agent that records what it hears and answers as told."""

    def __init__(self, answer: Callable[[Request], Any] | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.cancelled: list[Request] = []
        self.unacknowledged: list[Request] = []
        self.stray: list[Response] = []

    def on_request(self, request: Request) -> None:
        self.requests.append(request)
        if self.answer is not None:
            self.answer(request)

    def on_cancel(self, request: Request) -> None:
        self.cancelled.append(request)

    def on_ack_timeout(self, request: Request) -> None:
        self.unacknowledged.append(request)

    def on_stray_response(self, response: Response) -> None:
        self.stray.append(response)


class Receiver:
    """A ResponseReceiver that records."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.timeouts = 0
        self.errors: list[str] = []

    def on_response(self, response: Response) -> None:
        self.responses.append(response)

    def on_timeout(self) -> None:
        self.timeouts += 1

    def on_transport_error(self, reason: str) -> None:
        self.errors.append(reason)

    @property
    def statuses(self) -> list[int]:
        return [response.status_code for response in self.responses]


class Bench:
    """One engine, one user agent, one UDP local address, one peer, and a clock that only moves when told."""

    def __init__(self, answer: Callable[[Request], Any] | None = None, *, events: Any = None) -> None:
        self.now = 1000.0
        self.events = events if events is not None else Events(answer)
        self.engine = Engine(key=KEY, now=self.now, clock=lambda: self.now)
        self.agent = self.engine.add_user_agent(self.events)
        self.sent = Sent()
        self.local = self.engine.add_local("udp", *LOCAL, user_agent=self.agent, sender=self.sent)
        self.flow = self.engine.datagram_flow(self.local, *PEER)

    def receive(self, data: bytes | str, flow: int | None = None) -> None:
        octets = data.encode() if isinstance(data, str) else data
        self.engine.receive(octets, self.flow if flow is None else flow, self.now)

    def connect(self, *, host: str = PEER[0], port: int = 6000) -> tuple[int, Stream]:
        """A TCP connection of the same user agent."""
        local = self.engine.add_local("tcp", *LOCAL, user_agent=self.agent, sender=None)
        writer = Stream()
        return self.engine.add_connection(local, "tcp", LOCAL, (host, port), writer), writer

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer fires when it is due."""
        end = self.now + seconds
        while (due := self.engine.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.engine.handle_timers(self.now)
        self.now = end
        self.engine.handle_timers(end)

    def live(self) -> int:
        """Everything that is kept: transactions and timers."""
        stats = self.engine.stats()
        return stats["server_transactions"] + stats["client_transactions"] + stats["timers"]

    def request(self, method: str = "OPTIONS", **fields: Any) -> Request:
        """A request of ours, with a branch of its own."""
        fields.setdefault("branch", self.engine.new_branch())
        fields.setdefault("sent_by", self.engine.local_sent_by(self.local))
        parsed = message_room.parse(request(method, **fields).encode())
        assert isinstance(parsed, Request)
        return parsed

    def send(self, method: str = "OPTIONS", *, flow: int | None = None, **fields: Any) -> tuple[int, Receiver, bytes]:
        """Send a request; its handle, its receiver and its octets."""
        receiver = Receiver()
        message = self.request(method, **fields)
        handle = self.engine.send_request(message, self.flow if flow is None else flow, receiver, self.now)
        self.engine.flush()
        return handle, receiver, bytes(message)


def request(
    method: str = "OPTIONS",
    *,
    branch: str | None = "z9hG4bKabc1",
    sent_by: str = "192.0.2.9:5070",
    via: str | None = None,
    uri: str = "sip:service@192.0.2.1",
    from_tag: str = "from1",
    to_tag: str = "",
    call_id: str = "call1",
    number: int = 1,
    cseq_method: str | None = None,
    headers: str = "",
    transport: str = "UDP",
    body: str = "",
) -> str:
    via = via or f"SIP/2.0/{transport} {sent_by}{f';branch={branch}' if branch is not None else ''}"
    return (
        f"{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:caller@192.0.2.9>;tag={from_tag}\r\n"
        f"To: <{uri}>{';tag=' + to_tag if to_tag else ''}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {number} {cseq_method or method}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
    )


def response_to(octets: bytes, status_code: int, *, to_tag: str = "to1", headers: str = "") -> str:
    """The response of a peer to a request of ours."""
    message = message_room.parse(octets)
    to = message["To"]
    if to_tag and "tag=" not in to:
        to += f";tag={to_tag}"
    return (
        f"SIP/2.0 {status_code} Words\r\nVia: {message['Via']}\r\nFrom: {message['From']}\r\nTo: {to}\r\n"
        f"Call-ID: {message['Call-ID']}\r\nCSeq: {message['CSeq']}\r\n{headers}Content-Length: 0\r\n\r\n"
    )


def status_of(octets: bytes) -> int:
    """The status code of a response; 0 for a request."""
    return int(octets[8:11]) if octets.startswith(b"SIP/2.0 ") else 0


def method_of(octets: bytes) -> str:
    return octets.split(b" ", 1)[0].decode()


def header(octets: bytes, name: str) -> str:
    return message_room.parse(octets)[name]


def cancel_of(invite: str) -> str:
    """The CANCEL of an INVITE made by `request`."""
    return invite.replace("INVITE sip", "CANCEL sip", 1).replace("1 INVITE", "1 CANCEL")
