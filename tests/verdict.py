"""What every case of FAULTS has to hold, on real sockets: the common verdict at the head of that list.

    with Subject(APPLICATION) as subject:
        attacker = Attacker(subject.port)
        stand(subject, lambda: attacker.flood(...))

The process lives; an OPTIONS from another address is answered within 100 ms at
the 99th percentile while it lasts; transactions, calls, timers, connections,
descriptors and tasks are back at what they were within 64*T1 + 5 s; after three
repeats the memory is within 5 % of what it was after the first round, which
makes the plateau (tables grow once).

The subject, the prober and the attacker are three processes.  `make soak` sets
SIPCORE_SOAK: full numbers, the exact 100 ms, and real waiting, on a machine that
does nothing else.  Elsewhere two busy cores are shared by other tests: fewer, a
second, and the subject's clock is put forward instead, half a second at a time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Self

from sipcore._batch import DatagramSocket

SOAK = os.environ.get("SIPCORE_SOAK") == "1"
PROBE_P99 = 0.1 if SOAK else 1.0  # seconds
SETTLED = 64 * 0.5 + 5.0  # seconds
GROWTH = 1.05
STEP = 128  # datagrams between two signs of life

SUBJECT = """
import asyncio, gc, json, os, sys, time
import sipcore.aio

class Loop(asyncio.SelectorEventLoop):
    ahead = 0.0

    def time(self):
        return super().time() + self.ahead

def report(stack):
    gc.collect()
    stats = stack.engine.stats()
    pages = int(open("/proc/self/statm").read().split()[1])
    return {
        "live": {
            "transactions": stats["server_transactions"] + stats["client_transactions"],
            "timers": stats["timers"], "connections": stats["connections"],
            "calls": sum(len(agent.calls) for agent in stack.user_agents),
            "descriptors": len(os.listdir("/proc/self/fd")), "tasks": len(asyncio.all_tasks()),
        },
        "stats": stats, "resident": pages * os.sysconf("SC_PAGE_SIZE"),
    }

async def forward(seconds):
    loop = asyncio.get_running_loop()
    for _ in range(int(seconds * 2)):
        loop.ahead += 0.5
        await asyncio.sleep(0)
        await asyncio.sleep(0)

async def main():
    stack = sipcore.Stack()
    application(stack)
    udp = await stack.listen("udp", "127.0.0.1:0")
    await stack.listen("tcp", f"127.0.0.1:{udp.port}")
    print(udp.port, flush=True)
    ask = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    while (line := await ask()).strip() not in ("", "close"):
        word, _, argument = line.strip().partition(" ")
        if word == "forward":
            await forward(float(argument))
        print(json.dumps(time.process_time() if word == "cpu" else report(stack)), flush=True)
    started = time.monotonic()
    await stack.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    took = time.monotonic() - started
    print(json.dumps({"took": took, "tasks": len(asyncio.all_tasks()) - 1}), flush=True)

with asyncio.Runner(loop_factory=Loop if sys.argv[1] == "forward" else sipcore.aio.loop_factory()) as runner:
    runner.run(main())
"""

PROBER = """
import json, select, socket, sys, time

port, number, times = int(sys.argv[1]), 0, []
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.2", 0))
sock.connect(("127.0.0.1", port))
own = sock.getsockname()[1]
print("ready", flush=True)
while not number or not select.select([sys.stdin], [], [], 0.01)[0]:
    number += 1
    name = b"probe-%d" % number
    started = time.perf_counter()
    sock.send(
        b"OPTIONS sip:x@127.0.0.1 SIP/2.0\\r\\nVia: SIP/2.0/UDP 127.0.0.2:%d;branch=z9hG4bK%b\\r\\n"
        b"Max-Forwards: 70\\r\\n"
        b"From: <sip:p@127.0.0.2>;tag=1\\r\\nTo: <sip:x@127.0.0.1>\\r\\nCall-ID: %b\\r\\nCSeq: 1 OPTIONS\\r\\n"
        b"Content-Length: 0\\r\\n\\r\\n" % (own, name, name))
    took, answered = 0.0, False
    while not answered and took < 8:
        if select.select([sock], [], [], 8 - took)[0]:
            octets = sock.recv(65536)
            answered = octets.startswith(b"SIP/2.0 200 ") and b"Call-ID: %b\\r\\n" % name in octets
        took = time.perf_counter() - started
    times.append(took)
print(json.dumps(times))
"""


def often(soak: int, otherwise: int) -> int:
    """How often: what FAULTS says in a soak, less elsewhere."""
    return soak if SOAK else otherwise


class Subject:
    """A stack in a process of its own, with `application(stack)` from the source given."""

    def __init__(self, application: str, *, real_time: bool = SOAK, options: tuple[str, ...] = ()) -> None:
        source = textwrap.dedent(application) + SUBJECT
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when it ends
        self.real_time = real_time
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", source, "real" if real_time else "forward"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        line = self._line()
        assert line.strip().isdigit(), self.said()
        self.port = int(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.said())
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.log.close()

    def cpu(self) -> float:
        """Seconds of the processor that it has had."""
        self.tell("cpu")
        return float(self._line())

    def ask(self, command: str = "report") -> dict[str, Any]:
        self.tell(command)
        line = self._line()
        assert line, self.said()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to what it was told."""
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def stand_still(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def settle(self, live: dict[str, int], *, also: int = 0) -> dict[str, Any]:
        """Wait until everything is back at `live`, 64*T1 + 5 s at most; its report.

        `also`: a descriptor that comes to stay (a socket that sent a request is watched for errors from then on).
        """
        if not self.real_time:
            self.ask(f"forward {SETTLED}")
        deadline = time.monotonic() + (SETTLED if self.real_time else 10.0)
        wanted = [live | {"descriptors": live["descriptors"] + more} for more in range(also + 1)]
        while (told := self.ask())["live"] not in wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        assert told["live"] in wanted, (told["live"], wanted)
        return told

    def said(self) -> str:
        """What it wrote to its log."""
        self.log.seek(0)
        return self.log.read()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


class Prober:
    """Asks a subject for its OPTIONS from 127.0.0.2, a hundred times a second, in a process of its own."""

    def __init__(self, port: int) -> None:
        self.times: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROBER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self.process.communicate("\n", timeout=60)
        self.times = json.loads(told)


def p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def stand(
    subject: Subject, attack: Callable[[], object], *, repeats: int = 3, warm_up: int = 1, errors: int = 0
) -> list[float]:
    """The common verdict over `repeats` of `attack`; how long the probes took.

    `warm_up`: rounds that make the plateau.  `errors`: handlers that may fail.
    """
    live = subject.ask()["live"]
    for _ in range(warm_up):
        attack()
        first = subject.settle(live, also=1)
    plateau, live = first["resident"], first["live"]
    times: list[float] = []
    for _ in range(repeats):
        with Prober(subject.port) as prober:
            attack()
        times += prober.times
        told = subject.settle(live)
    assert subject.process.poll() is None
    assert told["resident"] <= GROWTH * plateau, (told["resident"], plateau)
    assert p99(times) <= PROBE_P99, sorted(times)[-5:]
    assert told["stats"]["internal_errors"] == 0
    assert told["stats"]["callback_errors"] <= errors
    return times


class Attacker:
    """Sends datagrams as fast as they are taken, never more than STEP ahead of the answers; counts what comes back."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.target = ("127.0.0.1", port)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.host, self.port = self.sock.getsockname()
        self.datagrams = DatagramSocket(self.sock.fileno())
        self.steps = 0
        self.sent = self.sent_octets = self.heard_octets = 0
        self.heard: Counter[int] = Counter()
        self.last = b""
        self.tags: dict[str, str] = {}  # of final responses to INVITE, by Call-ID

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.datagrams.detach()
        self.sock.close()

    def flood(self, octets: Iterable[bytes]) -> None:
        waiting = iter(octets)
        while batch := list(islice(waiting, STEP)):
            self.datagrams.send_batch([(one, *self.target) for one in batch])
            self.sent += len(batch)
            self.sent_octets += sum(map(len, batch))
            self.keep_in_step()

    def keep_in_step(self, *, seconds: float = 1.0) -> bool:
        """Ask for OPTIONS and wait until that is answered: all before it has been read.  Whether it was."""
        self.steps += 1
        name = b"step-%d-%d" % (self.port, self.steps)
        self.datagrams.send_batch([(self.message("OPTIONS", name.decode()), *self.target)])
        return self.take(seconds, until=b"Call-ID: %b\r\n" % name)

    def take(self, seconds: float, *, until: bytes = b"") -> bool:
        """Count what comes, for so long or until something comes that holds `until`, which is not counted."""
        end, reached = time.monotonic() + seconds, False
        while not reached and (left := end - time.monotonic()) > 0:
            if not select.select([self.sock], [], [], left)[0]:
                break
            while batch := self.datagrams.receive():
                for octets, _, _ in batch:
                    if until and until in octets:
                        reached = True
                    elif b"Call-ID: step-" not in octets:
                        self.heard[int(octets[8:11]) if octets.startswith(b"SIP/2.0 ") else 0] += 1
                        self.heard_octets += len(octets)
                        self.last = octets
                        if b" INVITE\r\n" in octets and octets[8:9] > b"1":
                            self.tags[_between(octets, b"\r\nCall-ID: ")] = _between(octets, b"\r\nTo: ").partition(
                                "="
                            )[2]
        return reached

    def message(
        self, method: str, name: str, *, to_tag: str = "", branch: str = "", headers: str = "", number: int = 1
    ) -> bytes:
        """A request of its own; its branch and Call-ID are made of `name`."""
        via = f"SIP/2.0/UDP {self.host}:{self.port};branch={branch or 'z9hG4bK' + name}"
        to = "<sip:x@127.0.0.1>" + (f";tag={to_tag}" if to_tag else "")
        return (
            f"{method} sip:x@127.0.0.1 SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: <sip:a@{self.host}>;tag=1\r\n"
            f"To: {to}\r\nCall-ID: {name}\r\nCSeq: {number} {method}\r\n{headers}Content-Length: 0\r\n\r\n"
        ).encode()


def _between(octets: bytes, start: bytes) -> str:
    return octets.partition(start)[2].partition(b"\r\n")[0].decode()
