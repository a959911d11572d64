"""Whole servers: a Stack with plain handlers in a process of its own, against the C responder, under one generator.

What counts is the server's CPU time an operation, which other programs on the
machine disturb least.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

from sipcore._yardstick import generate
from sipcore.bench.figures import Figure, figure

WINDOW = 64
ROUND_SECONDS = 0.5
BUSY_ENOUGH = 0.6  # a server that rests more than this is being measured waking up
Kind = Literal["options", "call"]

CASES: tuple[tuple[str, str, str, Kind], ...] = (
    ("OPTIONS, stateless", "an OPTIONS", "stateless", "options"),
    ("OPTIONS, stateful", "an OPTIONS", "stateful", "options"),
    ("call answered", "INVITE, ACK, BYE", "stateful", "call"),
)


class Peer:
    """A server process, on the last core where there are several."""

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sipcore.bench.peer", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        _pin(self.process.pid, -1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in tasks)


def measure(rounds: int) -> Iterator[Figure]:
    """A figure for each case; the yardstick answers the same load in turn."""
    if not Path("/proc/self/schedstat").exists():
        for name, what, _, _ in CASES:
            yield figure(name, what, "", invalid="this system does not tell a process's CPU time")
        return
    if fault := _cannot_start():
        for name, what, _, _ in CASES:
            yield figure(name, what, "", invalid=fault)
        return
    _pin(0, 0)
    with ExitStack() as peers:
        yardstick = peers.enter_context(Peer("yardstick"))
        servers = {kind: peers.enter_context(Peer(kind)) for kind in dict.fromkeys(case[2] for case in CASES)}
        for name, what, kind, load in CASES:
            yield _case(name, what, server=servers[kind], yardstick=yardstick, load=load, rounds=rounds)


def _cannot_start() -> str:
    """Why a server process cannot be started; an emulator that knows one program alone is such a case."""
    try:
        subprocess.run([sys.executable, "-c", ""], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a server cannot be started: {error}"
    return ""


def _case(name: str, what: str, *, server: Peer, yardstick: Peer, load: Kind, rounds: int) -> Figure:
    ours: list[float] = []
    theirs: list[float] = []
    invalid = ""
    for number in range(rounds + 1):
        for peer, costs in ((server, ours), (yardstick, theirs)):
            cost, fault = _round(peer, load, is_yardstick=peer is yardstick)
            if number:  # the first warms up
                costs.append(cost)
                invalid = invalid or fault
    return figure(name, what, "the C responder", ours=ours, theirs=theirs, invalid=invalid)


def _round(peer: Peer, load: Kind, *, is_yardstick: bool) -> tuple[float, str]:
    """Nanoseconds of CPU an operation, and what was wrong with the round."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        sock.connect(("127.0.0.1", peer.port))
        before = peer.cpu_ns()
        counts = generate(sock.fileno(), load, "bench", WINDOW, ROUND_SECONDS)
        spent = peer.cpu_ns() - before
    operations = counts["operations"]
    if not operations:
        return 0.0, "nothing was answered"
    busy = spent / 1000 / counts["elapsed_us"]
    return spent / operations, _fault(counts, busy, is_yardstick=is_yardstick)


def _fault(counts: dict[str, int], busy: float, *, is_yardstick: bool) -> str:
    if counts["retransmissions"]:
        return f"{counts['retransmissions']} requests were lost and sent again"
    if counts["refused"]:
        return f"{counts['refused']} requests were refused"
    if busy < BUSY_ENOUGH and not is_yardstick:
        return f"the generator was the limit: the server was busy {100 * busy:.0f} % of the time"
    return ""


def _pin(pid: int, core: int) -> None:
    """Keep generator (`core` 0) and servers (`core` -1) apart where the machine has two cores and lets us."""
    count = os.cpu_count() or 1
    if count < 2 or not hasattr(os, "sched_setaffinity"):
        return
    with suppress(OSError):
        os.sched_setaffinity(pid, {range(count)[core]})
