"""`sipcore demo --once` as a newcomer runs it: a process, no set-up, one verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.native

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "sipcore", "demo"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False, env=environment
    )


@pytest.mark.slow
def test_the_story_comes_true_and_is_told_as_one_object() -> None:
    done = run("--once", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["passed"] is True
    assert told["seconds"] < 15
    assert [step["state"] for step in told["steps"]] == ["done"] * 6
    services = told["services"]
    assert [service["sp"] for service in services] == list(range(1, 9))
    assert all(service["status"].startswith("Registered (server=127.0.0.1:") for service in services)
    assert len({service["port"] for service in services[:4]}) == 1
    assert all("connected to" in service["connection"] for service in services[4:])
    assert any("A record" in text for text in services[0]["decisions"])
    assert any("SRV record" in text for text in services[4]["decisions"])


@pytest.mark.slow
def test_the_story_reads_well_without_a_terminal() -> None:
    done = run("--once")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for title in ("all registered", "all refreshed", "connections lost", "connections back", "all de-registered"):
        assert sum(f"done   {title}" in line for line in lines) == 1, title
    assert any("SP1  Registered (server=127.0.0.1:" in line for line in lines)
    assert lines[-1].startswith("every step came true")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_interrupted_demo_is_cleaned_up_and_no_success() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*COMMAND, "--once"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "done   all registered" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 1, out + err
    assert "Traceback" not in err
    assert "done   all de-registered: no binding left" in out
