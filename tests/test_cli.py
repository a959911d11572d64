"""The command line: its grammar, its exit codes, what goes to stdout and what to stderr (DESIGN "Command line")."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipcore.cli import main
from sipcore.cli.arguments import build_parser, parse_arguments


def test_a_call_target_is_a_service_and_a_uri() -> None:
    options = parse_arguments(
        ["run", "device.toml", "--call", "1=sip:bob@example.com", "--call", "8=sip:a@b", "--calls", "3"]
    )
    assert options.targets == [(1, "sip:bob@example.com"), (8, "sip:a@b")]
    assert options.calls == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "device.toml", "--call", "9=sip:bob@example.com"],
        ["run", "device.toml", "--call", "sip:bob@example.com"],
        ["run", "device.toml", "--for", "-1"],
        ["run", "device.toml", "--calls", "0"],
        ["explain", "device.toml", "INVITE", "sip:bob@example.com"],
        ["explain", "device.toml", "--sp", "0", "INVITE", "sip:bob@example.com"],
        ["resolve", "example.com", "--port", "65536"],
        ["resolve", "example.com", "--order", "random"],
    ],
)
def test_wrong_use_ends_with_two_and_a_usage_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: sipcore")


def test_every_command_knows_json() -> None:
    commands = build_parser()._subparsers
    assert commands is not None
    choices = commands._group_actions[0].choices
    assert isinstance(choices, dict)
    assert set(choices) >= {"demo", "run", "explain", "resolve", "parse"}
    for parser in choices.values():
        assert "--json" in parser.format_help()


OPTIONS = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: one\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def test_parse_prints_what_a_message_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.sip"
    file.write_bytes(OPTIONS)
    assert main(["parse", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("OPTIONS sip:bob@example.com")
    assert "Max-Forwards: 70" in printed


def test_parse_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "options.sip"
    file.write_bytes(OPTIONS)
    assert main(["parse", "--json", str(file)]) == 0
    message = json.loads(capsys.readouterr().out)
    assert message["method"] == "OPTIONS"
    assert message["cseq"] == "1 OPTIONS"
    assert ["Max-Forwards", "70"] in message["headers"]


def test_parse_says_where_a_message_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.sip"
    file.write_bytes(OPTIONS.replace(b"CSeq: 1 OPTIONS", b"CSeq: one OPTIONS"))
    assert main(["parse", "--json", str(file)]) == 2
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["status_hint"] == 400
    assert OPTIONS.index(b"CSeq") <= answer["at"] <= OPTIONS.index(b"CSeq") + len(b"CSeq: one")
    assert captured.err.startswith("sipcore: ")


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.sip"
    assert main(["parse", str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err


DEVICE = """\
[itsp.A]
ProxyServer = "192.0.2.10"
OutboundProxy = "192.0.2.20"
OutboundProxyTransport = "TCP"
[itsp.B]
ProxyServer = "192.0.2.10"
OutboundProxy = "192.0.2.20"
X_BypassOutboundProxyInCall = true
[sp.1]
AuthUserName = "alice"
[sp.2]
AuthUserName = "bob"
[sp.3]
"""


@pytest.fixture
def device(tmp_path: Path) -> str:
    file = tmp_path / "device.toml"
    file.write_text(DEVICE)
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "address", "rule"),
    [
        (["1", "register"], "192.0.2.20", "SPEC C1"),
        (["1", "INVITE", "1234"], "192.0.2.20", "SPEC C1"),
        (["1", "BYE", "sip:x@192.0.2.77", "--in-dialog"], "192.0.2.20", "SPEC C1"),
        (["2", "INVITE", "1234"], "192.0.2.20", "SPEC C1"),
        (["2", "BYE", "sip:x@192.0.2.77", "--in-dialog"], "192.0.2.77", "SPEC C8"),
        (["2", "BYE", "sip:x@192.0.2.77", "--in-dialog", "--route", "<sip:192.0.2.88;lr>"], "192.0.2.88", "SPEC C8"),
    ],
)
def test_explain_says_where_a_request_would_go(
    arguments: list[str], address: str, rule: str, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SPEC C1, C8, C9, D9."""
    assert main(["explain", "--json", device, "--sp", *arguments]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert decision["address"] == address
    assert decision["rule"].startswith(rule)
    assert decision["sp"] == int(arguments[0])


def test_explain_reads_as_an_answer(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", device, "--sp", "2", "BYE", "sip:x@192.0.2.77", "--in-dialog"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "SP2: BYE sip:x@192.0.2.77"
    assert "goes to     192.0.2.77:5060 udp" in lines[1]
    assert any(line.strip().startswith("passed over OutboundProxy 192.0.2.20") for line in lines)


@pytest.mark.parametrize("arguments", [["3", "INVITE", "1234"], ["4", "INVITE", "1234"], ["1", "INVITE"]])
def test_explain_needs_a_configured_service_and_a_uri(
    arguments: list[str], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", device, "--sp", *arguments]) == 2
    assert capsys.readouterr().err.startswith("sipcore: ")


def test_check_says_what_would_run_and_starts_nothing(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", device, "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("SP1: sip:alice@192.0.2.10 on local port 5060") for line in lines)
    assert any(line.startswith("SP3: Service Not Configured") for line in lines)


@pytest.mark.parametrize("arguments", [[], ["--check"], ["--check", "--json"]])
def test_a_wrong_configuration_names_file_line_and_key(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SPEC head: exit code 2, nothing is started."""
    file = tmp_path / "wrong.toml"
    file.write_text(DEVICE.replace('OutboundProxyTransport = "TCP"', 'OutboundProxyTransport = "SCTP"'))
    assert main(["run", str(file), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sipcore: {file}:4: itsp.A.OutboundProxyTransport: ")
    if "--json" in arguments:
        error = json.loads(captured.out)
        assert (error["file"], error["line"], error["key"]) == (str(file), 4, "itsp.A.OutboundProxyTransport")
