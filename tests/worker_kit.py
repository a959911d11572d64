"""Programs of several workers as real processes, and a closed-loop peer that counts what is lost."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from kit import parsed_response, request_octets

LOOPBACK = "127.0.0.1"
T1 = 0.5
GIVE_UP = 32.0

PREFACE = """
import asyncio, logging, os, sys
logging.basicConfig(level=logging.INFO, format="%(processName)s %(message)s")
import sipcore
"""

ANSWERS = (
    PREFACE
    + """
async def application(stack):
    for transport in ("udp", "tcp"):
        await stack.listen(transport, ADDRESS)
    held = {}

    @stack.on("OPTIONS", stateless=STATELESS)
    def options(request):
        request.reply(200, headers=[("X-Worker", str(os.getpid()))])

    @stack.on("MESSAGE")
    async def message(request):
        response = await stack.request("INFO", "sip:peer@127.0.0.1", flow=request.flow)
        request.reply(response.status_code, headers=[("X-Worker", str(os.getpid()))])

    @stack.on_invite
    async def invite(call):
        await call.answer(b"v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\n"
                          b"m=audio 4000 RTP/AVP 0\\r\\n")
        await call.ended()

if __name__ == "__main__":
    sys.exit(sipcore.serve(application, **SERVE))
"""
)


def free_port() -> int:
    """A port that is free on UDP and TCP at this moment."""
    for _ in range(100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind((LOOPBACK, 0))
            port = int(stream.getsockname()[1])
            try:
                datagrams.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise OSError("no port is free on both UDP and TCP")


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as `condition()` is true; fail with `what` when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class Program:
    """A Python program in a process group of its own, with a log; ended by its id when the block ends."""

    def __init__(self, folder: Path, text: str, *arguments: str, name: str = "program", **names: object) -> None:
        self.path = folder / f"{name}.py"
        self.log = folder / f"{name}.log"
        settings = "".join(f"{key} = {value!r}\n" for key, value in names.items())
        self.path.write_text(settings + text)
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, command: list[str] | None = None, **arguments: object) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command or [sys.executable, str(self.path), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **arguments,  # type: ignore[call-overload]
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        """Nothing of the program is left."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(5)

    def says(self, text: str) -> bool:
        return text in self.log.read_text()

    def serves(self, seconds: float = 20.0) -> Self:
        """Wait until all workers are ready."""
        wait_until(
            lambda: self.says("workers serve") or self.has_ended(), seconds, f"it serves: {self.log.read_text()}"
        )
        assert not self.has_ended(), self.log.read_text()
        return self

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


def children_of(pid: int) -> list[int]:
    """The processes that `pid` has started and that run."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(int(word) for word in text.split())


class Peer:
    """Some UDP ports of one host; `ask` sends a request and repeats it until its final response (Timers E and F)."""

    def __init__(self, port: int, sockets: int = 1) -> None:
        self.remote = (LOOPBACK, port)
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
        for one in self.sockets:
            one.bind((LOOPBACK, 0))
            one.setblocking(False)
        self.asked = 0

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def octets(self, method: str, socket_index: int = 0, **fields: object) -> bytes:
        self.asked += 1
        fields.setdefault("branch", f"z9hG4bK{os.getpid()}.{id(self)}.{self.asked}")
        fields.setdefault("call_id", f"{os.getpid()}.{id(self)}.{self.asked}")
        fields.setdefault("uri", f"sip:service@{LOOPBACK}")
        port = self.sockets[socket_index].getsockname()[1]
        return request_octets(method, host=LOOPBACK, port=port, **fields)  # type: ignore[arg-type]

    def ask(self, method: str, socket_index: int = 0, seconds: float = GIVE_UP, **fields: object):  # type: ignore[no-untyped-def]
        """The final response, or None; requests that come meanwhile are answered 200."""
        octets = self.octets(method, socket_index, **fields)
        branch = octets.partition(b"branch=")[2].partition(b"\r\n")[0]
        sock = self.sockets[socket_index]
        end, wait = time.monotonic() + seconds, T1
        while time.monotonic() < end:
            sock.sendto(octets, self.remote)
            again = min(end, time.monotonic() + wait)
            while (found := receive(sock, again)) is not None:
                if answer_request(sock, *found):
                    continue
                if branch in found[0] and not found[0].startswith(b"SIP/2.0 1"):
                    return parsed_response(found[0])
            wait = min(2 * wait, 4.0)
        return None


def receive(sock: socket.socket, until: float) -> tuple[bytes, tuple[str, int]] | None:
    """A datagram, or None when none came in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        if not selector.select(max(0.0, until - time.monotonic())):
            return None
    found: tuple[bytes, tuple[str, int]] = sock.recvfrom(65_536)
    return found


def answer_request(sock: socket.socket, octets: bytes, source: tuple[str, int]) -> bool:
    """Answer a request 200; False for a response."""
    if octets.startswith(b"SIP/2.0 "):
        return False
    head = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    kept = [line for line in head if line.lower().startswith((b"via:", b"from:", b"to:", b"call-id:", b"cseq:"))]
    kept = [line + b";tag=peer" if line.lower().startswith(b"to:") and b"tag=" not in line else line for line in kept]
    sock.sendto(b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""]), source)
    return True


class Load:
    """OPTIONS in a closed loop on each of some ports, in a thread; a request is repeated and, after 32 s, lost."""

    def __init__(self, port: int, sockets: int = 16, method: str = "OPTIONS") -> None:
        self.peer = Peer(port, sockets)
        self.method = method
        self.answered = 0
        self.refused = 0
        self.lost = 0
        self.repeated = 0
        self.workers: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        self.peer.close()

    def finish(self) -> None:
        """Start nothing new and wait for what runs."""
        self._stop.set()
        self._thread.join(GIVE_UP + 5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        waiting: dict[int, list[float]] = {}  # socket -> when it was sent first, when to repeat it, the wait
        octets: dict[int, bytes] = {}
        selector = selectors.DefaultSelector()
        for index, sock in enumerate(self.peer.sockets):
            selector.register(sock, selectors.EVENT_READ, index)
        while waiting or not self._stop.is_set():
            now = time.monotonic()
            for index, sock in enumerate(self.peer.sockets):
                if index not in waiting and not self._stop.is_set():
                    octets[index] = self.peer.octets(self.method, index)
                    waiting[index] = [now, now + T1, T1]
                    sock.sendto(octets[index], self.peer.remote)
                elif index in waiting and now >= waiting[index][1]:
                    self._again(index, sock, octets[index], waiting, now)
            for key, _ in selector.select(0.05):
                self._take(key.fileobj, key.data, octets, waiting)  # type: ignore[arg-type]
        selector.close()

    def _again(
        self, index: int, sock: socket.socket, octets: bytes, waiting: dict[int, list[float]], now: float
    ) -> None:
        first, _, wait = waiting[index]
        if now - first > GIVE_UP:
            self.lost += 1
            del waiting[index]
            return
        self.repeated += 1
        sock.sendto(octets, self.peer.remote)
        wait = min(2 * wait, 4.0)
        waiting[index] = [first, now + wait, wait]

    def _take(self, sock: socket.socket, index: int, octets: dict[int, bytes], waiting: dict[int, list[float]]) -> None:
        data, source = sock.recvfrom(65_536)
        if answer_request(sock, data, source):
            return
        branch = octets.get(index, b"").partition(b"branch=")[2].partition(b"\r\n")[0]
        if index not in waiting or not branch or branch not in data or data.startswith(b"SIP/2.0 1"):
            return
        del waiting[index]
        self.answered += data.startswith(b"SIP/2.0 200")
        self.refused += not data.startswith(b"SIP/2.0 200")
        self.workers.add(parsed_response(data).get("X-Worker") or "")
