"""Real servers as child processes: started on free ports, probed until they answer, ended by their id.

It knows nothing of SIP or DNS; each peer's own file says how it is configured
and how it shows that it is ready.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"


def find_program(name: str) -> str | None:
    """Path of an installed program, also where only root's PATH looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


BELOW_EPHEMERAL = range(10_000, 32_768)  # the kernel gives these to nobody who connects (ip_local_port_range)


def free_port(*, host: str = LOOPBACK) -> int:
    """A port that is free on UDP and TCP at this moment, and stays so until somebody asks for it by its number."""
    for port in random.sample(BELOW_EPHEMERAL, 100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            try:
                stream.bind((host, port))
                datagrams.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError("no port is free on both UDP and TCP")


def free_ports(count: int, *, host: str = LOOPBACK) -> list[int]:
    """That many different ports, each free on UDP and TCP at this moment."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port(host=host))
    return sorted(ports)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as `condition()` is true; fail with `what` when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class Server:
    """A program that runs until it is stopped, in a process group of its own, its output in a log file."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / f"{self.name}-{id(self):x}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def start(self, *, within: float = 15.0) -> Self:
        """Start it and wait until it answers."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self.has_ended() or self.is_ready(), within, f"{self.name} answers")
            assert not self.has_ended(), f"{self.name} ended at once"
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log_tail()}") from None
        return self

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would: no word to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; after five seconds it is ended."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
        self.process = None

    def log_tail(self, *, lines: int = 60) -> str:
        """The end of what it printed."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return f"--- {self.name} ({self.log_path}) ---\n" + "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
