"""A device as its operator runs it: `sipcore run FILE` in a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .processes import LOOPBACK, Server, find_program, wait_until

COMMAND = [sys.executable, "-c", "import sys; from sipcore.cli import main; sys.exit(main())"]
ROOT = Path(__file__).parent.parent.parent


@dataclass
class Configuration:
    """A device's TOML file in the making: `profiles` by letter, `services` by number."""

    device: dict[str, object] = field(default_factory=dict)
    profiles: dict[str, dict[str, object]] = field(default_factory=dict)
    services: dict[int, dict[str, object]] = field(default_factory=dict)

    def as_toml(self) -> str:
        """The file's text; JSON's scalars and lists are TOML's."""
        tables = [("device", {"local_ip": LOOPBACK, **self.device})]
        tables += [(f"itsp.{letter}", profile) for letter, profile in self.profiles.items()]
        tables += [(f"sp.{number}", service) for number, service in self.services.items()]
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for name, table in tables
        )

    @property
    def ports(self) -> list[int]:
        """The contact port of each service."""
        return [int(str(service["X_UserAgentPort"])) for service in self.services.values()]


def run_sipcore(*arguments: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=seconds, check=False, env=environment()
    )


def environment() -> dict[str, str]:
    """The environment in which this very tree is imported."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Device(Server):
    """One device process; `finish` ends it and gives the JSON object that it printed."""

    name = "device"

    def __init__(self, folder: Path, configuration: Configuration, *arguments: str) -> None:
        super().__init__(folder)
        self.configuration = configuration
        self.arguments = arguments
        self.path = folder / f"device-{id(self):x}.toml"
        self.output_path = folder / f"device-{id(self):x}.json"

    def command(self) -> list[str]:
        self.path.write_text(self.configuration.as_toml())
        words = [*COMMAND, "run", str(self.path), "--json", *self.arguments]
        return ["env", f"PYTHONPATH={ROOT}", "sh", "-c", f'exec "$@" > {self.output_path}', "sh", *words]

    def is_ready(self) -> bool:
        return self.log_path.stat().st_size > 0

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.kill(self.pid, signal.SIGINT)

    def finish(self, *, within: float = 20.0) -> tuple[int, dict[str, Any]]:
        """Press Ctrl-C unless it has ended; its exit code and the object that it printed."""
        assert self.process is not None
        if self.process.poll() is None:
            self.interrupt()
        return self.wait(within=within)

    def wait(self, *, within: float) -> tuple[int, dict[str, Any]]:
        """Wait for its own end; its exit code and the object that it printed."""
        assert self.process is not None
        code = self.process.wait(within)
        return code, json.loads(self.output_path.read_text())

    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, pattern: str, *, within: float = 15.0) -> str:
        """Wait until a line of its log matches, whatever the case; that line."""
        wait_until(
            lambda: re.search(pattern, self.log(), re.I), within, f"the device says {pattern!r}\n{self.log_tail()}"
        )
        found = re.search(f".*(?:{pattern}).*", self.log(), re.I)
        return found.group() if found else ""

    def established(self) -> list[int]:
        """The far ports of its established TCP connections, as the kernel knows them."""
        return [int(remote.rpartition(":")[2]) for remote in self._sockets("-tn", state="established")]

    def _sockets(self, kind: str, *, state: str) -> list[str]:
        program = find_program("ss") or "ss"
        done = subprocess.run(
            [program, "-H", "-p", kind, "state", state], capture_output=True, text=True, timeout=10, check=True
        )
        return [line.split()[3] for line in done.stdout.splitlines() if f"pid={self.pid}," in line]


def exchange(data: bytes, port: int, *, transport: str = "UDP", seconds: float = 2.0) -> bytes:
    """Send octets to a loopback port and return what comes back: one datagram, or a stream until it is closed."""
    kind = socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as peer:
        peer.settimeout(seconds)
        peer.connect((LOOPBACK, port))
        peer.sendall(data)
        received = b""
        try:
            while chunk := peer.recv(65536):
                received += chunk
                if transport == "UDP":
                    break
        except TimeoutError:
            pass
        return received
