"""The demo's DNS server, asked by the real resolver over real UDP (SPEC D2, D6)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from sipcore.cli import main
from sipcore.cli.demo_dns import Table, TableDns

TABLE: Table = {
    ("a-only.example", "A"): ["192.0.2.1"],
    ("srv-only.example", "SRV"): ["10 0 5070 host.example."],
    ("_sip._udp.prefixed.example", "SRV"): ["0 0 5080 host.example."],
    ("host.example", "A"): ["192.0.2.2"],
    ("nobody.example", "SRV"): ["0 0 0 ."],
}


@pytest.fixture(scope="module")
def name_server() -> Iterator[str]:
    """The server on a thread of its own, because the command under test runs an event loop itself."""
    started: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        server = TableDns(TABLE)
        started.append(await server.start())
        ready.set()
        while not done.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(5)
    yield started[0]
    done.set()
    thread.join()


@pytest.mark.parametrize(
    ("name", "place", "rule"),
    [
        ("a-only.example", ("192.0.2.1", 5060), "SPEC D2.1"),
        ("srv-only.example", ("192.0.2.2", 5070), "SPEC D2.2"),
        ("prefixed.example", ("192.0.2.2", 5080), "SPEC D2.3"),
        ("192.0.2.9", ("192.0.2.9", 5060), "SPEC D1"),
    ],
)
def test_resolve_says_by_which_rule_a_name_was_found(
    name: str, place: tuple[str, int], rule: str, name_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resolve", "--json", name, "--nameserver", name_server]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["targets"][0]["address"], result["targets"][0]["port"]) == place
    assert result["rule"].startswith(rule)


@pytest.mark.parametrize("name", ["unknown.example", "nobody.example"])
def test_a_name_that_leads_nowhere_fails_with_its_reason(
    name: str, name_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resolve", name, "--nameserver", name_server]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"sipcore: {name} leads nowhere: ")


def test_resolve_for_a_person_shows_the_questions(name_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resolve", "prefixed.example", "--nameserver", name_server]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "prefixed.example"
    assert "192.0.2.2:5080 udp" in lines[1]
    assert any("SRV _sip._udp.prefixed.example" in line for line in lines)


def test_a_name_server_is_given_by_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resolve", "a-only.example", "--nameserver", "dns.example"]) == 2
    assert "--nameserver" in capsys.readouterr().err


def test_octets_that_are_no_query_get_no_answer() -> None:
    server = TableDns(TABLE)
    for octets in (b"", b"\x00" * 11, b"\xff" * 512, b"GET / HTTP/1.0\r\n\r\n"):
        assert server.answer(octets) is None
