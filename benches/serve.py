"""A server for load measurements: one UDP socket, plain Python handlers, on the bare engine or on a Stack.

    python benches/serve.py --port 5971 [--stack [--tcp]] [--stateless] [--asyncio] [--live N] [--pending N] [--trunk]
    python benches/serve.py --port 5971 --registrar | --relay PORT

Answers OPTIONS 200 (with --stateless: without a transaction), REGISTER 200
with the Contact it came with, INVITE 200 with a session description, BYE 200.
With --live N it starts with N finished transactions, which live for 32 s; with
--pending N with N that still await their response.
With --registrar it is `sipcore.registrar`, which asks everybody for digest
credentials with the password "secret"; with --relay `sipcore.proxy` towards a port.
With --tcp the Stack listens on TCP.
With --trunk equal-sized datagrams of one peer share a send and a receive
(UDP_SEGMENT, UDP_GRO).
Prints the counters when it is told to end (SIGTERM, SIGINT).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from typing import Any

from sipcore._batch import DatagramSocket
from sipcore._engine import Engine
from sipcore._message import Request, Response
from sipcore.proxy import Proxy, Target
from sipcore.registrar import Registrar
from sipcore.stack import Stack

SDP = (
    b"v=0\r\no=serve 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)


class Answers:
    """A user agent that says yes."""

    def __init__(self, port: int, *, stateless: bool) -> None:
        self.stateless_methods = ("OPTIONS",) if stateless else ()
        self.answer = [("Contact", f"<sip:serve@127.0.0.1:{port}>"), ("Content-Type", "application/sdp")]

    def on_request(self, request: Request) -> None:
        method = request.method
        if method == "INVITE":
            self.invite(request)
        elif method == "REGISTER":
            self.register(request)
        elif method != "ACK":
            request.reply(200)

    def invite(self, request: Request) -> None:
        request.reply(200, headers=self.answer, body=SDP)

    def register(self, request: Request) -> None:
        request.reply(200, headers=[("Contact", request["Contact"]), ("Expires", "3600")])

    def on_cancel(self, request: Request) -> None:
        request.reply(487)

    def on_ack_timeout(self, request: Request) -> None:
        print("no ACK for", request.call_id, file=sys.stderr)

    def on_stray_response(self, response: Response) -> None: ...


class Server:
    """One socket under one engine on one loop; the shortest driver there is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, *, stateless: bool, trunk: bool) -> None:
        self.loop = loop
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        self.sock.bind(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.engine = Engine(key=os.urandom(16), now=loop.time(), clock=loop.time)
        self.datagrams = DatagramSocket(self.sock.fileno(), segment=trunk, coalesce=trunk)
        user_agent = self.engine.add_user_agent(Answers(port, stateless=stateless))
        self.local = self.engine.add_local("udp", "127.0.0.1", port, user_agent=user_agent, sender=self.datagrams)
        loop.add_reader(self.sock.fileno(), self.readable)
        self.ring()

    def readable(self) -> None:
        self.engine.receive_batch(self.datagrams, self.local, self.loop.time())

    def ring(self) -> None:
        self.engine.handle_timers(self.loop.time())
        self.loop.call_later(0.05, self.ring)


class Nowhere:
    """Takes what is sent to the clients that never were."""

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None: ...


class Silent(Answers):
    """Takes every request and answers none."""

    def on_request(self, request: Request) -> None: ...


class Passwords(dict[str, str]):
    """Every user has the same password."""

    def __missing__(self, user: str) -> str:
        return "secret"

    def get(self, user: str, default: Any = None) -> Any:
        return self[user]

    def __contains__(self, user: object) -> bool:
        return True


def fill(engine: Engine, count: int, now: float, answers: Answers, sender: Nowhere | None = None) -> None:
    """Bring about `count` transactions that `answers` finishes or not; `sender` takes the responses."""
    if not count:
        return
    overload = engine.overload
    overload.max_transactions = max(overload.max_transactions, 4 * count)
    overload.admission_limit = max(overload.admission_limit, 4 * count)
    overload.source_share = 1.0
    user_agent = engine.add_user_agent(answers)
    local = engine.add_local("udp", "127.0.0.9", 5060, user_agent=user_agent, sender=sender or Nowhere())
    flow = engine.datagram_flow(local, "127.0.0.8", 5060)
    for number in range(count):
        engine.receive(
            b"OPTIONS sip:service@127.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.8:5060;branch=z9hG4bKlive%012d\r\n"
            b"Max-Forwards: 70\r\nFrom: <sip:live@127.0.0.8>;tag=live%012d\r\nTo: <sip:service@127.0.0.9>\r\n"
            b"Call-ID: live%012d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n" % (number, number, number),
            flow,
            now,
        )


def yes(request: Request) -> None:
    request.reply(200)


def nothing(request: Request) -> None:
    pass


async def stack_engine(port: int, transport: str, *, stateless: bool) -> Engine:
    """The same answers from the handlers of a Stack."""
    stack = Stack()
    answers = Answers(port, stateless=stateless)
    stack.on("OPTIONS", yes, stateless=stateless)
    for method, handler in (("INVITE", answers.invite), ("REGISTER", answers.register), ("BYE", yes), ("ACK", nothing)):
        stack.on(method, handler)
    await stack.listen(transport, f"127.0.0.1:{port}")
    return stack.engine


async def registrar_engine(port: int) -> Engine:
    stack = Stack()
    agent = stack.user_agent(is_proxy=True)
    Registrar(agent, domains=["127.0.0.1"], users=Passwords(), realm="bench")
    await stack.listen("udp", f"127.0.0.1:{port}", user_agent=agent)
    return stack.engine


async def relay_engine(port: int, target: int) -> Engine:
    stack = Stack()
    agent = stack.user_agent(is_proxy=True)
    where = [Target(f"sip:service@127.0.0.1:{target}")]
    Proxy(agent, targets=lambda request: where)
    await stack.listen("udp", f"127.0.0.1:{port}", user_agent=agent)
    return stack.engine


async def start(arguments: argparse.Namespace) -> Engine:
    port, stateless = arguments.port, arguments.stateless
    if arguments.registrar:
        return await registrar_engine(port)
    if arguments.relay:
        return await relay_engine(port, arguments.relay)
    if arguments.stack:
        return await stack_engine(port, "tcp" if arguments.tcp else "udp", stateless=stateless)
    return Server(asyncio.get_running_loop(), port, stateless=stateless, trunk=arguments.trunk).engine


async def serve(arguments: argparse.Namespace) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    engine = await start(arguments)
    fill(engine, arguments.live, loop.time(), Answers(5060, stateless=False))
    fill(engine, arguments.pending, loop.time(), Silent(5060, stateless=False))
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    await over.wait()
    return engine.stats()


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stateless", action="store_true", help="OPTIONS without transactions")
    parser.add_argument("--stack", action="store_true", help="on a Stack in place of the bare engine")
    parser.add_argument("--tcp", action="store_true", help="TCP in place of UDP (on a Stack)")
    parser.add_argument("--trunk", action="store_true", help="UDP_SEGMENT and UDP_GRO (bare engine)")
    parser.add_argument("--live", type=int, default=0, help="finished transactions to start with")
    parser.add_argument("--pending", type=int, default=0, help="transactions without a response to start with")
    parser.add_argument("--registrar", action="store_true", help="REGISTER with digest, bindings kept")
    parser.add_argument("--relay", type=int, default=0, metavar="PORT", help="a proxy towards a port of this host")
    parser.add_argument("--asyncio", action="store_true", help="the standard event loop in place of uvloop")
    arguments = parser.parse_args()
    if arguments.asyncio:
        runner = asyncio.run
    else:
        import uvloop  # noqa: PLC0415

        runner = uvloop.run
    print(json.dumps(runner(serve(arguments))))
    return 0


if __name__ == "__main__":
    sys.exit(run())
