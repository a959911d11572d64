"""What a second worker brings: operations for each second of CPU, one worker against two, in turn.

    python benches/workers.py [--rounds 5] [--seconds 1.0]

The generator and two workers do not fit on two processors, so the generator is
counted out: a worker's own CPU time says how many operations it would do if it
had its processor for itself.  N workers that spend C seconds of CPU in all on O
operations do O / (C / N) operations a second where each has a processor and the
generator is elsewhere; the gain of two workers is the ratio of theirs to that of
one, so that all they spend on being two is in it: handing over, and the caches
that they lose to each other and to the generator, which runs on the same two
processors at the same time.  How unevenly the load fell on them is printed beside
it.  CPU times are those of all threads, from /proc/PID/task/*/schedstat.

Two ways in which requests come: from as many ports as fall to each worker
alike, where nothing is handed over; and from a single port, spread by Call-ID,
where half of all requests go from one worker to the other.
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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sipcore
from sipcore._yardstick import generate

HOST = "127.0.0.1"
SDP = (
    b"v=0\r\no=serve 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\n"
)
WINDOW = 32  # operations in flight for each port
PORTS_OF_A_WORKER = 2


def application(port: int, *, stateless: bool):  # type: ignore[no-untyped-def]
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
    """A program of `count` workers, forked from here."""

    def __init__(self, count: int, *, stateless: bool, spread: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        self.count = count
        self.pid = os.fork()
        if not self.pid:
            what = application(self.port, stateless=stateless)
            os._exit(sipcore.serve(what, workers=count, spread=spread, grace=0.5))
        self.workers = self._wait()
        for number, worker in enumerate(self.workers):
            pin(worker, number % (os.cpu_count() or 1))

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

    def sockets(self) -> list[socket.socket]:
        """PORTS_OF_A_WORKER ports that fall to each worker."""
        found: dict[str, list[socket.socket]] = {}
        while sum(map(len, found.values())) < PORTS_OF_A_WORKER * self.count:
            sock = self.socket()
            mine = found.setdefault(who_answers(sock) or "", [])
            if len(mine) < PORTS_OF_A_WORKER:
                mine.append(sock)
            else:
                sock.close()
        return [sock for mine in found.values() for sock in mine]

    def cpu_ns(self) -> list[int]:
        """CPU time of each worker so far."""
        return [
            sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{worker}/task").glob("*/schedstat"))
            for worker in self.workers
        ]


def who_answers(sock: socket.socket) -> str | None:
    """The number of the worker that the datagrams of this port fall to; None when nobody answers."""
    sock.settimeout(0.5)
    host, port = sock.getsockname()
    try:
        sock.send(
            f"INFO sip:{HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{os.urandom(8).hex()}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:a@{HOST}>;tag=1\r\nTo: <sip:b@{HOST}>\r\nCall-ID: {os.urandom(8).hex()}\r\n"
            "CSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n".encode()
        )
        answer = sock.recv(65_536)
    except OSError:
        return None
    finally:
        sock.setblocking(False)
    return sipcore.parse(answer).get("X-Worker")


def pin(pid: int, core: int) -> None:
    os.sched_setaffinity(pid, {core})


@dataclass
class Round:
    """What one program did in one round."""

    operations: int
    busiest_ns: int
    all_ns: int
    elapsed_us: int
    faults: int


def run_round(program: Program, sockets: list[socket.socket], load: str, seconds: float) -> Round:
    """Load from all sockets at once, a thread for each."""
    counts: list[dict[str, int]] = []
    threads = [
        threading.Thread(
            target=lambda sock=sock: counts.append(generate(sock.fileno(), load, "bench", WINDOW, seconds))
        )
        for sock in sockets
    ]
    before = program.cpu_ns()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = [after - earlier for after, earlier in zip(program.cpu_ns(), before, strict=True)]
    return Round(
        operations=sum(one["operations"] for one in counts),
        busiest_ns=max(spent),
        all_ns=sum(spent),
        elapsed_us=max(one["elapsed_us"] for one in counts),
        faults=sum(one["retransmissions"] + one["refused"] for one in counts),
    )


def measure(
    one: Program, two: Program, load: str, rounds: int, seconds: float, *, single_port: bool
) -> dict[str, object]:
    """The gain of two workers over one: medians of rounds that were run in turn."""
    with ExitStack() as stack:
        ports = {
            program.count: [
                stack.enter_context(sock) for sock in ([program.socket()] if single_port else program.sockets())
            ]
            for program in (one, two)
        }
        taken: dict[int, list[Round]] = {1: [], 2: []}
        for number in range(rounds + 1):
            for program in (one, two):
                result = run_round(program, ports[program.count], load, seconds)
                if number:  # the first warms up
                    taken[program.count].append(result)
    capacity = {
        count: [result.operations / (result.all_ns / count) * 1e9 for result in results]
        for count, results in taken.items()
    }
    gains = [second / first for first, second in zip(capacity[1], capacity[2], strict=True)]
    cpu = {count: statistics.median(r.all_ns / r.operations / 1e3 for r in taken[count]) for count in taken}
    return {
        "gain": round(statistics.median(gains), 2),
        "gains": [round(gain, 2) for gain in gains],
        "cpu_us_one": round(cpu[1], 2),
        "cpu_us_two": round(cpu[2], 2),
        "busiest_share": round(statistics.median(r.busiest_ns / r.all_ns for r in taken[2]), 3),
        "busy_one": round(statistics.median(r.busiest_ns / 1e3 / r.elapsed_us for r in taken[1]), 2),
        "operations": {count: sum(r.operations for r in results) for count, results in taken.items()},
        "faults": sum(r.faults for results in taken.values() for r in results),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    arguments = parser.parse_args()
    cases = (
        ("OPTIONS, stateless, many ports", "options", True, False),
        ("OPTIONS, with a transaction, many ports", "options", False, False),
        ("call answered, many ports", "call", False, False),
        ("OPTIONS, with a transaction, one port, spread by Call-ID", "options", False, True),
        ("call answered, one port, spread by Call-ID", "call", False, True),
    )
    for name, load, stateless, single_port in cases:
        spread = "call" if single_port else "address"
        with (
            Program(1, stateless=stateless, spread=spread) as one,
            Program(2, stateless=stateless, spread=spread) as two,
        ):
            print(
                json.dumps(
                    {
                        "case": name,
                        **measure(one, two, load, arguments.rounds, arguments.seconds, single_port=single_port),
                    }
                )
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
