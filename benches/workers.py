"""What a second worker brings: one worker on one processor against two on two, in turn, the generator counted out.

    python benches/workers.py [--rounds 5] [--seconds 1.0] [--case TEXT]

On a machine of two processors the generator has to run beside the workers.  So
that it takes the same from both sides, each worker shares its processor with one
thread of it, whose port falls to that worker: one worker and one thread on the
first processor, then two of each on both.  Printed are

- `gain`: operations a second of two workers over those of one;
- `gain_cpu`: the same for the CPU time of the workers alone, as if the generator
  were elsewhere: N workers that spend C seconds on O operations would do
  O / (C / N) operations a second if each had its processor for itself.  CPU times
  are those of all threads, from /proc/PID/task/*/schedstat.

"one port" is a peer that sends everything from one port, spread by Call-ID: half
of what comes is handed from one worker to the other.  One thread cannot take the
same from both sides, so `gain_cpu` alone counts there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sipcore
from sipcore._yardstick import generate

HOST = "127.0.0.1"
SDP = (
    b"v=0\r\no=serve 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)
WINDOW = 64  # operations in flight for each thread of the generator

CASES = (
    ("OPTIONS, stateless", "options", True, False),
    ("OPTIONS, with a transaction", "options", False, False),
    ("call answered", "call", False, False),
    ("OPTIONS, with a transaction, one port", "options", False, True),
    ("call answered, one port", "call", False, True),
)


def application(port: int, *, stateless: bool) -> Callable[[sipcore.Stack], Coroutine[Any, Any, None]]:
    """The handlers of `serve.py`, and INFO, which says who answers."""

    async def set_up(stack: sipcore.Stack) -> None:
        assert stack.workers is not None
        answer = [("Contact", f"<sip:serve@{HOST}:{port}>"), ("Content-Type", "application/sdp")]
        who = [("X-Worker", str(stack.workers.number))]
        stack.on("OPTIONS", lambda request: request.reply(200), stateless=stateless)
        stack.on("INFO", lambda request: request.reply(200, headers=who))
        stack.on("INVITE", lambda request: request.reply(200, headers=answer, body=SDP))
        stack.on("ACK", lambda request: None)
        stack.on("BYE", lambda request: request.reply(200))
        await stack.listen("udp", f"{HOST}:{port}")

    return set_up


class Program:
    """A program of `count` workers, forked from here, each on a processor of its own."""

    def __init__(self, count: int, *, stateless: bool, one_port: bool) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        self.count = count
        self.one_port = one_port
        self.pid = os.fork()
        if not self.pid:
            what = application(self.port, stateless=stateless)
            os._exit(sipcore.serve(what, workers=count, spread="call" if one_port else "address", grace=0.5))
        self.workers = self._wait()
        for core, worker in enumerate(self.workers):
            os.sched_setaffinity(worker, {core})

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)

    def _wait(self) -> list[int]:
        for _ in range(200):
            workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            with self.socket() as sock:
                if len(workers) == self.count and who_answers(sock) is not None:
                    return [int(worker) for worker in workers]
            time.sleep(0.05)
        raise RuntimeError("the workers do not start")

    def socket(self) -> socket.socket:
        """A UDP port that talks to the program."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        sock.connect((HOST, self.port))
        return sock

    def ports(self) -> list[tuple[socket.socket, int]]:
        """The generator's ports and the processor of each: one that falls to each worker, or a single one."""
        if self.one_port:
            return [(self.socket(), self.count - 1)]
        found: list[tuple[socket.socket, int]] = []
        while len(found) < self.count:
            sock = self.socket()
            if who_answers(sock) == str(len(found)):
                found.append((sock, len(found)))
            else:
                sock.close()
        return found

    def cpu_ns(self) -> list[int]:
        """CPU time of each worker so far."""
        return [
            sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{worker}/task").glob("*/schedstat"))
            for worker in self.workers
        ]


def who_answers(sock: socket.socket) -> str | None:
    """The number of the worker that answers INFO from this port; None when nobody does."""
    sock.settimeout(0.5)
    host, port = sock.getsockname()
    lines = (
        f"INFO sip:{HOST} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{os.urandom(8).hex()}",
        f"Max-Forwards: 70\r\nFrom: <sip:a@{HOST}>;tag=1\r\nTo: <sip:b@{HOST}>",
        f"Call-ID: {os.urandom(8).hex()}\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n",
    )
    try:
        sock.send("\r\n".join(lines).encode())
        answer = sock.recv(65_536)
    except OSError:
        return None
    finally:
        sock.setblocking(False)
    return sipcore.parse(answer).get("X-Worker")


@dataclass
class Round:
    """What one program did in one round."""

    operations: int
    elapsed_us: int
    cpu_ns: list[int]
    faults: int


def run_round(program: Program, ports: list[tuple[socket.socket, int]], load: str, seconds: float) -> Round:
    """Load from all ports at once, a thread for each."""
    counts: list[dict[str, int]] = []

    def work(sock: socket.socket, core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        counts.append(generate(sock.fileno(), load, "bench", WINDOW, seconds))

    threads = [threading.Thread(target=work, args=port) for port in ports]
    before = program.cpu_ns()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Round(
        operations=sum(one["operations"] for one in counts),
        elapsed_us=max(one["elapsed_us"] for one in counts),
        cpu_ns=[after - earlier for after, earlier in zip(program.cpu_ns(), before, strict=True)],
        faults=sum(one["retransmissions"] + one["refused"] for one in counts),
    )


def measure(programs: tuple[Program, Program], load: str, rounds: int, seconds: float) -> dict[str, object]:
    """The gain of two workers over one: medians of rounds that were run in turn."""
    taken: dict[int, list[Round]] = {program.count: [] for program in programs}
    with ExitStack() as stack:
        ports = {program.count: program.ports() for program in programs}
        for sock, _ in (port for some in ports.values() for port in some):
            stack.enter_context(sock)
        for number in range(rounds + 1):
            for program in programs:
                result = run_round(program, ports[program.count], load, seconds)
                if number:  # the first warms up
                    taken[program.count].append(result)
    return summary(taken)


def summary(taken: dict[int, list[Round]]) -> dict[str, object]:
    """Medians of the rounds of one and of two workers."""
    rate = {count: [r.operations / r.elapsed_us for r in results] for count, results in taken.items()}
    cost = {count: [sum(r.cpu_ns) / r.operations / 1e3 for r in results] for count, results in taken.items()}
    gains = [two / one for one, two in zip(rate[1], rate[2], strict=True)]
    by_cpu = [2 * one / two for one, two in zip(cost[1], cost[2], strict=True)]
    return {
        "gain": round(statistics.median(gains), 2),
        "gain_cpu": round(statistics.median(by_cpu), 2),
        "gains": [round(gain, 2) for gain in gains],
        "gains_cpu": [round(gain, 2) for gain in by_cpu],
        "cpu_us": {count: round(statistics.median(values), 2) for count, values in cost.items()},
        "operations": {count: sum(r.operations for r in results) for count, results in taken.items()},
        "faults": sum(r.faults for results in taken.values() for r in results),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    arguments = parser.parse_args()
    for name, load, stateless, one_port in CASES:
        if arguments.case not in name:
            continue
        with (
            Program(1, stateless=stateless, one_port=one_port) as one,
            Program(2, stateless=stateless, one_port=one_port) as two,
        ):
            result = measure((one, two), load, arguments.rounds, arguments.seconds)
        print(json.dumps({"case": name, **result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
