"""The peers of one test: started on demand, ended with it, their logs shown when it fails."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from .processes import Server, find_program

PACKAGES = {
    "kamailio": "kamailio",
    "kamcmd": "kamailio",
    "sipp": "sip-tester",
    "knotd": "knot",
    "dig": "bind9-dnsutils",
    "tshark": "tshark",
    "ss": "iproute2",
    "openssl": "openssl",
    "stunnel": "stunnel4",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    "qemu-aarch64-static": "qemu-user-static",
    "dnsmasq": "dnsmasq-base",
    "busybox": "busybox",
    "nft": "nftables",
}
MISSING = sorted({package for program, package in PACKAGES.items() if find_program(program) is None})
S = TypeVar("S", bound=Server)
REQUIRED = os.environ.get("SIPCORE_PEERS") == "required" or os.environ.get("CI") == "true"
TOLD = f"real peers are missing: install the Debian packages {' '.join(MISSING)}"


@pytest.fixture(autouse=True)
def peers_are_installed() -> None:
    """Skip where a peer is missing; fail where peers are required."""
    if MISSING and REQUIRED:
        pytest.fail(TOLD, pytrace=False)
    if MISSING:
        pytest.skip(TOLD)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more, where nobody can miss it, that peers were missing."""
    if MISSING:
        terminalreporter.section("NOT TESTED AGAINST REAL PEERS", red=True, bold=True)
        terminalreporter.line(TOLD)


class Peers:
    """Starts servers and ends them in reverse order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Server] = []

    def start(self, server: S) -> S:
        """Start a server that lives until the test ends."""
        self._started.append(server)
        return server.start()

    def stop(self) -> None:
        """End all that runs, and print the logs for a test that failed."""
        for server in reversed(self._started):
            server.stop()
            print(server.log_tail())


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """The servers of this test."""
    started = Peers(tmp_path)
    yield started
    started.stop()
