"""A full or read-only disk takes no log, output or store: signalling goes on, loss is counted (FAULTS 54)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sipcore import SipError, Stack
from sipcore.cli.output import LOST, LogHandler, show_lines

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def full_disk() -> Iterator[BinaryIO]:
    """A file that takes nothing."""
    with FULL.open("wb") as full:
        yield full


class Running:
    """A command of sipcore as a process; `finish` ends it by SIGTERM and gives what stood on its stdout."""

    def __init__(self, *arguments: str, stdout: Any = subprocess.PIPE, stderr: Any) -> None:
        command = [sys.executable, "-m", "sipcore", *arguments]
        self.process = subprocess.Popen(command, stdout=stdout, stderr=stderr)

    async def finish(self) -> tuple[int, Any]:
        self.process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(self.process.communicate, None, 30)
        return self.process.returncode, json.loads(said) if said else None


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[Stack]:
    stack = Stack()
    await stack.listen("udp", "127.0.0.1:0")
    yield stack
    await stack.close(timeout=0)


async def register(stack: Stack, port: int, user: str = "alice") -> int:
    """The status code of one REGISTER, once somebody answers."""
    end = time.monotonic() + 20
    headers = [("Contact", f"<sip:{user}@192.0.2.1;x={'y' * 200}>"), ("Expires", "600")]
    while time.monotonic() < end:
        with contextlib.suppress(SipError):
            request = stack.request(
                "REGISTER", f"sip:127.0.0.1:{port}", to=f"<sip:{user}@example.com>", headers=headers, timeout=1
            )
            return (await request).status_code
    raise AssertionError("nobody answers")


def registrar(port: int, *more: str) -> tuple[str, ...]:
    return ("registrar", "-vv", "--listen", f"127.0.0.1:{port}", "--domain", "example.com", *more)


def test_faults_54_a_full_disk_for_the_log_is_counted_and_signalling_goes_on():
    async def main() -> None:
        port = free_port()
        with full_disk() as full:
            served = Running(*registrar(port, "--json"), stderr=full)
        async with client() as stack:
            assert [await register(stack, port, f"user{number}") for number in range(5)] == [200] * 5
        code, said = await served.finish()
        assert code == 0 and said["accepted"] == 5
        assert said["lost"]["log"] > 0 and said["lost"]["store"] == 0

    asyncio.run(main())


def test_faults_54_a_full_disk_for_everything_that_is_shown_stops_nothing():
    async def main() -> None:
        port = free_port()
        with full_disk() as full:
            served = Running(*registrar(port), stdout=full, stderr=full)
        async with client() as stack:
            assert await register(stack, port) == 200
            await asyncio.sleep(1)  # in which the binding is shown, or is not
            assert await register(stack, port, "bob") == 200
        assert (await served.finish())[0] == 0

    asyncio.run(main())


def test_faults_54_a_device_stays_registered_without_a_place_for_its_words(tmp_path: Path):
    async def main() -> None:
        port = free_port()
        served = Running(*registrar(port, "--json"), stderr=subprocess.DEVNULL)
        async with client() as stack:
            assert await register(stack, port) == 200
        files = [tmp_path / "one.toml", tmp_path / "two.toml"]
        for file in files:
            file.write_text(
                f'[device]\nlocal_ip = "127.0.0.1"\n[itsp.A]\nProxyServer = "127.0.0.1"\nProxyServerPort = {port}\n'
                f'UserAgentDomain = "example.com"\n[sp.1]\nAuthUserName = "{file.stem}"\nAuthPassword = "x"\n'
                f"X_UserAgentPort = {free_port()}\n"
            )
        with full_disk() as full:
            shown = Running("run", "-vv", str(files[0]), "--for", "3", stdout=full, stderr=full)
            reported = Running("run", "-vv", str(files[1]), "--for", "3", "--json", stderr=full)
            said, _ = await asyncio.to_thread(reported.process.communicate, None, 60)
            assert await asyncio.to_thread(shown.process.wait, 60) == 0
        result = json.loads(said)
        assert result["services"][0]["registered"], result["services"][0]["status"]
        assert result["lost"]["log"] > 0
        await served.finish()

    asyncio.run(main())


def test_faults_54_what_the_store_could_not_keep_is_refused_counted_and_shown(tmp_path: Path):
    async def main() -> None:
        port = free_port()
        served = Running(*registrar(port, "--json", "--store", str(tmp_path / "store")), stderr=subprocess.DEVNULL)
        async with client() as stack:
            assert await register(stack, port) == 200
            resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (60_000, 60_000))
            codes = [await register(stack, port, f"user{number}") for number in range(60)]
            assert set(codes) == {200, 500}
        code, said = await served.finish()
        assert code == 0
        assert said["lost"]["store"] == codes.count(500)

    asyncio.run(main())


def test_faults_54_lines_are_counted_when_the_disk_is_full_and_raised_when_the_reader_is_gone():
    class Broken(io.StringIO):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def flush(self) -> None:
            raise OSError(self.number, "no")

    before = (LOST.log, LOST.output)
    show_lines(["one", "two"], Broken(28))  # ENOSPC
    LogHandler(Broken(30)).handle(logging.makeLogRecord({"msg": "x"}))  # EROFS
    assert (LOST.log, LOST.output) == (before[0] + 1, before[1] + 2)
    with pytest.raises(BrokenPipeError):
        show_lines(["one"], Broken(32))
