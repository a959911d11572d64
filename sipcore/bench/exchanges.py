"""What a message costs in the engine: octets in by `receive`, octets out to nobody; no sockets, no kernel.

The user agent is as small as it can be.  Transactions are followed to their
end: the time that the engine is told jumps to after Timer J, so that what a
finished transaction costs later is counted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sipcore._engine import Engine
from sipcore._message import Request, Response, parse
from sipcore.bench.operations import Operation, Work

HERE, THERE = "192.0.2.1", "192.0.2.9"
PORT = 5060
LONG_AFTER = 100.0  # no transaction lives as long
SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4002 RTP/AVP 0\r\n"


def exchanges() -> list[Operation]:
    """Every operation of the engine; its name begins with "transaction" where one is made."""
    return [
        Operation("request answered statelessly", "an OPTIONS", _served(["OPTIONS"], stateless=True)),
        Operation("transaction answered", "an OPTIONS, to its end", _served(["OPTIONS"])),
        Operation("transaction of a call", "INVITE, ACK, BYE, to the end", _served(["INVITE", "ACK", "BYE"])),
        Operation("transaction refused", "INVITE, 486, ACK, to the end", _served(["INVITE", "ACK"], status_code=486)),
        Operation("request refused at the limit", "a 503", _served(["OPTIONS"], admission_limit=0)),
        Operation("retransmission absorbed", "an OPTIONS", _repeated),
        Operation("transaction sent and answered", "an OPTIONS, to its end", _sent),
    ]


def request(method: str, number: int, to_tag: str = "") -> bytes:
    """A small request; those of one `number` belong to one dialog, where they say the tag of its far side."""
    cseq = 2 if method == "BYE" else 1
    to = f";tag={to_tag}".encode() if to_tag else b""
    return (
        b"%s sip:service@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK%016d%d;rport\r\n"
        b"Max-Forwards: 70\r\nFrom: <sip:caller@192.0.2.9>;tag=%016d\r\nTo: <sip:service@192.0.2.1>%s\r\n"
        b"Call-ID: %016d@192.0.2.9\r\nCSeq: %d %s\r\nContact: <sip:caller@192.0.2.9:5060>\r\n"
        b"User-Agent: bench\r\nContent-Length: 0\r\n\r\n"
    ) % (method.encode(), number, cseq, number, to, number, cseq, method.encode())


class Nowhere:
    """Takes what is sent."""

    def send_batch(self, datagrams: list[tuple[bytes, str, int]], /) -> None: ...


class Answers:
    """A user agent that answers at once; the receiver of what is sent, too."""

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code

    def on_request(self, request: Request, /) -> None:
        if request.method == "INVITE" and self.status_code == 200:
            request.reply(200, headers=[("Contact", "<sip:bench@192.0.2.1>")], body=SDP)
        elif request.method != "ACK":
            request.reply(self.status_code)

    def on_cancel(self, request: Request, /) -> None: ...
    def on_ack_timeout(self, request: Request, /) -> None: ...
    def on_stray_response(self, response: Response, /) -> None: ...
    def on_response(self, response: Response, /) -> None: ...
    def on_timeout(self) -> None: ...
    def on_transport_error(self, reason: str, /) -> None: ...


class World:
    """An engine with one user agent and one flow; its time is what it is told."""

    def __init__(self, *, status_code: int = 200, stateless: bool = False, admission_limit: int | None = None) -> None:
        self.engine = Engine(key=bytes(16), now=1.0)
        self.now = 1.0
        self.answers = Answers(status_code)
        agent = self.engine.add_user_agent(self.answers)
        if stateless:
            self.engine.set_stateless_methods(agent, ["OPTIONS"])
        if admission_limit is not None:
            self.engine.overload.admission_limit = admission_limit
        local = self.engine.add_local("udp", HERE, PORT, user_agent=agent, sender=Nowhere())
        self.flow = self.engine.datagram_flow(local, THERE, PORT)

    def dialog(self, methods: list[str], number: int) -> Iterator[bytes]:
        """Requests of one caller, one after the other; those that follow the first carry the tag of its answer."""
        first = request(methods[0], number)
        yield first
        message = parse(first)
        assert isinstance(message, Request)
        to_tag = self.engine.to_tag(message)
        yield from (request(method, number, to_tag) for method in methods[1:])

    def receive(self, datagrams: Sequence[bytes]) -> None:
        receive, flow, now = self.engine.receive, self.flow, self.now
        for octets in datagrams:
            receive(octets, flow, now)

    def pass_by(self) -> None:
        """Let every transaction end."""
        self.now += LONG_AFTER
        while (due := self.engine.next_timer()) is not None and due <= self.now:
            self.engine.handle_timers(self.now)


def _served(
    methods: list[str], *, status_code: int = 200, stateless: bool = False, admission_limit: int | None = None
) -> Callable[[int], Work]:
    """Requests of these methods, one after the other, `count` times."""

    def prepare(count: int) -> Work:
        world = World(status_code=status_code, stateless=stateless, admission_limit=admission_limit)
        datagrams = [octets for number in range(count) for octets in world.dialog(methods, number)]

        def work() -> int:
            world.receive(datagrams)
            world.pass_by()
            return count

        return work

    return prepare


def _repeated(count: int) -> Work:
    """A request that was answered before."""
    world = World()
    datagrams = [request("OPTIONS", number) for number in range(count)]
    world.receive(datagrams)

    def work() -> int:
        world.receive(datagrams)
        return count

    return work


def _sent(count: int) -> Work:
    """A request sent, its 200 taken."""
    world = World()
    octets = [request("OPTIONS", number) for number in range(count)]
    requests = [message for message in map(parse, octets) if isinstance(message, Request)]
    responses = [b"SIP/2.0 200 OK\r\n" + one.partition(b"\r\n")[2] for one in octets]

    def work() -> int:
        send, engine, now = world.engine.send_request, world.engine, world.now
        for message, response in zip(requests, responses, strict=True):
            send(message, world.flow, world.answers, now)
            engine.receive(response, world.flow, now)
        world.pass_by()
        return count

    return work
