"""Bindings on disk: acknowledged means kept, and what cannot be kept is not acknowledged (FAULTS 44, 50, 54)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sipcore import AsyncioEnv, Registrations, RegistrationState, SipError, Stack, UsageError
from sipcore.binding_store import BindingStore
from sipcore.location import Binding

AOR = "sip:alice@example.com"


def binding(key: str, env: AsyncioEnv, *, seconds: float = 60.0, flow: int = 0) -> Binding:
    return Binding(key, f"sip:{key}@192.0.2.1", env.now() + seconds, "call", 7, 0.5, ("<sip:p;lr>",), "urn:x", 1, flow)


async def put(store: BindingStore, before: list[Binding], after: list[Binding]) -> tuple[bool, object]:
    done: asyncio.Future[tuple[bool, object]] = asyncio.get_running_loop().create_future()
    store.put(AOR, before, after, lambda well, bindings: done.set_result((well, bindings)))
    return await asyncio.wait_for(done, 10)


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path):
    async def main() -> None:
        env = AsyncioEnv()
        store = BindingStore(tmp_path / "store", env)
        one, two = binding("one", env), binding("two", env)
        ended, on_connection = binding("three", env, seconds=-1), binding("four", env, flow=9)
        assert await put(store, [], [one, two, ended, on_connection]) == (True, None)
        assert await put(store, [one, two], [two, on_connection]) == (True, None)
        store.close()
        again = BindingStore(tmp_path / "store", env)
        ((name, held),) = again.load().items()
        assert name == AOR and list(held) == ["two"]
        kept = held["two"]
        assert kept.expires_at == pytest.approx(two.expires_at, abs=0.5)
        assert (kept.path, kept.sequence, kept.q, kept.reg_id) == (two.path, 7, 0.5, 1)
        again.close()

    asyncio.run(main())


def test_many_writes_share_a_commit_and_each_is_told(tmp_path: Path):
    async def main() -> None:
        env = AsyncioEnv()
        store = BindingStore(tmp_path / "store", env)
        told: list[bool] = []
        for number in range(2000):
            store.put(f"sip:{number}", [], [binding("x", env)], lambda well, _: told.append(well))
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(told) == 2000:
                break
        assert told == [True] * 2000 and len(store.load()) == 2000
        store.close()

    asyncio.run(main())


def test_faults_54_what_cannot_be_written_is_taken_back(tmp_path: Path):
    async def main() -> None:
        env = AsyncioEnv()
        store = BindingStore(tmp_path / "store", env)
        one, two = binding("one", env), binding("two", env)
        assert await put(store, [], [one]) == (True, None)
        store._database.execute("PRAGMA query_only = 1")
        assert await put(store, [one], [one, two]) == (False, (one,))
        assert store.failures == 1
        store._database.execute("PRAGMA query_only = 0")
        assert await put(store, [one], [two]) == (True, None)
        store.close()

    asyncio.run(main())


def test_a_file_that_is_no_store_is_refused(tmp_path: Path):
    async def main() -> None:
        (tmp_path / "text").write_text("this is no database, whatever its name says" * 50)
        for path in (tmp_path / "text", tmp_path / "nowhere/store"):
            with pytest.raises(UsageError, match="cannot keep bindings"):
                BindingStore(path, AsyncioEnv())

    asyncio.run(main())


# `sipcore registrar --store` as a process


class Served:
    """A registrar process on a port of its own."""

    def __init__(self, store: Path, most_octets: int | None = None) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.store = store
        self.most_octets = most_octets
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "sipcore", "registrar", "--json", "--listen", f"127.0.0.1:{self.port}"]
        command += ["--domain", "example.com", "--store", str(self.store)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.most_octets is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (self.most_octets, self.most_octets))

    def cpu_seconds(self) -> float:
        """What the process has used of the processor until now."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None


@contextlib.asynccontextmanager
async def registering(served: Served) -> AsyncIterator[tuple[Stack, Registrations]]:
    """A gateway, once the registrar answers."""
    served.start()
    stack = Stack()
    await stack.listen("udp", "127.0.0.1:0")
    try:
        await answers(stack, served)
        yield stack, Registrations(stack, "sip:example.com", outbound_proxy=f"sip:127.0.0.1:{served.port}")
    finally:
        served.end(signal.SIGKILL)
        await stack.close(timeout=0)


async def answers(stack: Stack, served: Served) -> float:
    """Seconds until the registrar answers an OPTIONS."""
    began = time.monotonic()
    while time.monotonic() - began < 60:
        with contextlib.suppress(SipError):
            await stack.request("OPTIONS", f"sip:127.0.0.1:{served.port}", timeout=0.3)
            return time.monotonic() - began
    raise AssertionError("the registrar does not answer")


async def contacts_of(stack: Stack, served: Served, user: str) -> list[str]:
    response = await stack.request("REGISTER", f"sip:127.0.0.1:{served.port}", to=f"<sip:{user}@example.com>")
    assert response.status_code == 200
    return [str(contact.uri) for contact in response.contacts]


def test_faults_50_44_killed_under_load_it_is_back_soon_and_has_lost_nothing_that_it_acknowledged(tmp_path: Path):
    async def main() -> None:
        served = Served(tmp_path / "store")
        async with registering(served) as (stack, registrations):
            for number in range(1500):
                registrations.add(f"user{number}")
            async for _ in registrations.changes():
                if registrations.counts()[RegistrationState.REGISTERED] >= 200:
                    break
            served.end(signal.SIGKILL)
            acknowledged = [one.address_of_record for one in registrations if one.is_registered]
            registrations.close()
            assert len(acknowledged) >= 200
            check = sqlite3.connect(served.store)
            assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            check.close()
            served.start()  # on the same port
            assert await answers(stack, served) < 10
            assert served.cpu_seconds() < 2  # what it takes on a machine with nothing else to do
            for name in acknowledged[::10]:
                user = name.partition(":")[2].partition("@")[0]
                assert await contacts_of(stack, served, user), f"{name} was acknowledged and is lost"

    asyncio.run(main())


def test_faults_54_on_a_full_disk_register_gets_500_and_signalling_goes_on(tmp_path: Path):
    async def main() -> None:
        served = Served(tmp_path / "store", most_octets=100_000)
        async with registering(served) as (stack, registrations):
            for number in range(1000):
                registrations.add(f"user{number}", contact=f"sip:user{number}@192.0.2.1;x={'y' * 200}")
            for _ in range(600):
                await asyncio.sleep(0.05)
                if all(one.is_registered or "500" in one.status for one in registrations):
                    break
            refused = [one for one in registrations if "500" in one.status]
            assert refused and all("Bindings Cannot Be Kept" in one.status for one in refused)
            assert await answers(stack, served) < 10
            user = refused[0].address_of_record.partition(":")[2].partition("@")[0]
            assert await contacts_of(stack, served, user) == []
            registrations.close()

    asyncio.run(main())


def test_a_store_is_one_processs_own(tmp_path: Path):
    command = [sys.executable, "-m", "sipcore", "registrar", "--domain", "example.com", "--workers", "2"]
    done = subprocess.run([*command, "--store", str(tmp_path / "s")], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and b"--store" in done.stderr
