"""`sipcore run` as a process: one JSON object, a bounded end, one clear line for what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sipcore.cli.demo_network import free_ports

pytestmark = pytest.mark.native

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "sipcore", "run"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device whose outbound proxy is a port where nobody listens."""
    port, nobody = free_ports(2)
    file = tmp_path / "device.toml"
    file.write_text(
        f'[device]\nlocal_ip = "127.0.0.1"\n[itsp.A]\nProxyServer = "example.com"\nOutboundProxy = "127.0.0.1"\n'
        f'OutboundProxyPort = {nobody}\nOutboundProxyTransport = "TCP"\n'
        f'[sp.1]\nAuthUserName = "alice"\nAuthPassword = "a secret word"\nX_UserAgentPort = {port}\n[sp.2]\n'
    )
    return file


def registrar_command(port: int, *arguments: str) -> list[str]:
    listen = ["--listen", f"127.0.0.1:{port}", "--domain", "example.com", "--minimum-expires", "5"]
    return [sys.executable, "-m", "sipcore", "registrar", *listen, *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False, env=ENVIRONMENT
    )


def test_a_proxy_that_is_not_there_is_told_and_the_end_is_clean(device: Path) -> None:
    done = run(str(device), "--for", "0.5", "--json", "-v")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["services"]
    assert set(first) == {
        "sp", "status", "registered", "server", "port", "expires_in", "retry_in", "calls", "connection",
        "candidates", "secondary", "warnings", "decisions",
    }  # fmt: skip
    assert first["status"].startswith("Backing Off (")
    assert "refused" in first["status"].lower()
    assert first["registered"] is False
    assert first["retry_in"] is not None
    assert second["status"] == "Service Not Configured"
    assert "Traceback" not in done.stderr
    assert "a secret word" not in done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_in_order(device: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, str(device)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Backing Off" in line:
                break
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, out + err
    assert time.monotonic() - began < 5
    assert "Traceback" not in err


def test_a_call_that_cannot_be_placed_is_a_failure(device: Path) -> None:
    done = run(str(device), "--for", "0.5", "--json", "--call", "8=sip:bob@example.com")
    assert done.returncode == 1, done.stderr
    calls = json.loads(done.stdout)["calls"]
    assert calls == {"answered": 0, "failed": 1, "failures": ["SP8: there is no such service"]}


def test_a_call_that_waits_for_its_registration_to_the_end_was_not_placed(device: Path) -> None:
    done = run(str(device), "--for", "0.5", "--json", "--call", "1=sip:bob@example.com")
    assert done.returncode == 1, done.stderr
    (failure,) = json.loads(done.stdout)["calls"]["failures"]
    assert failure.startswith("SP1 calls sip:bob@example.com: not placed: Backing Off (")


def test_a_device_registers_at_the_command_line_registrar(tmp_path: Path) -> None:
    """Two commands of a terminal each: `sipcore registrar` and `sipcore run`."""
    registrar_port, first, second = free_ports(3)
    file = tmp_path / "device.toml"
    file.write_text(
        f'[device]\nlocal_ip = "127.0.0.1"\nanswer = "answer"\n[itsp.A]\nProxyServer = "example.com"\n'
        f'OutboundProxy = "127.0.0.1"\nOutboundProxyPort = {registrar_port}\nRegistrationPeriod = 30\n'
        f'[sp.1]\nAuthUserName = "alice"\nAuthPassword = "one"\nX_UserAgentPort = {first}\n'
        f'[sp.2]\nX_ServProvProfile = "A"\nAuthUserName = "bob"\nAuthPassword = "two"\nX_UserAgentPort = {second}\n'
    )
    command = registrar_command(registrar_port, "--user", "alice=one", "--user", "bob=env:BOB", "--json")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | {"BOB": "two"}
    ) as registrar:
        assert registrar.stderr is not None
        assert "registrar of example.com" in registrar.stderr.readline()
        done = run(str(file), "--for", "2", "--json", "--call", "1=bob", "--calls", "2", "--talk", "0.1")
        registrar.send_signal(signal.SIGINT)
        out, err = registrar.communicate(timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [service["registered"] for service in told["services"]] == [True, True]
    assert told["calls"] == {"answered": 2, "failed": 0, "failures": []}
    assert registrar.returncode == 0, err
    assert json.loads(out)["bindings"] == {}
    assert json.loads(out)["accepted"] >= 4


@pytest.mark.parametrize("user", ["alice", "=word", "alice=env:NO_SUCH_VARIABLE", "alice=file:/no/such/file"])
def test_a_user_without_a_readable_password_is_wrong_use(user: str) -> None:
    done = subprocess.run(
        registrar_command(5060, "--user", user),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("sipcore: --user: ")
