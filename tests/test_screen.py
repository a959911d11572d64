"""What a person sees: plain lines for what changed, a table where rich is installed (SPEC F1, D9)."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from sipcore.cli.screen import PlainScreen, Step, details, open_screen, reason
from sipcore.status import RegistrationReport, ServiceStatus

FIRST = ServiceStatus(
    1,
    "Registered (server=192.0.2.10:5060; expire in 34s)",
    registered=True,
    server="192.0.2.10",
    port=5060,
    expires_in=34,
    decisions=("REGISTER sip:a -> 192.0.2.10:5060 udp: because (SPEC D2.1)", "registered for 60s (SPEC B2)"),
)
LOST = replace(
    FIRST,
    status="Backing Off (29): refused",
    registered=False,
    expires_in=None,
    retry_in=29,
    connection="Backing Off (29): refused",
    decisions=(*FIRST.decisions, "connection to OutboundProxy edge: refused; try 5 follows (SPEC C6)"),
)


def shown(*pictures: list[ServiceStatus], steps: tuple[Step, ...] = ()) -> list[str]:
    stream = io.StringIO()
    screen = PlainScreen("title", stream)
    for at, services in enumerate(pictures):
        screen.show(float(at), services, steps)
    screen.close()
    return stream.getvalue().splitlines()


def test_a_countdown_is_no_news() -> None:
    later = replace(FIRST, status=FIRST.status.replace("34s", "33s"), expires_in=33)
    words = "Backing Off (28): refused"
    lines = shown([FIRST], [later], [LOST], [replace(LOST, status=words, connection=words, retry_in=28)])
    assert [line.split("s  ", 1)[0].strip() for line in lines if "  SP1  " in line] == ["0.00", "2.00"]


def test_an_equal_reason_is_told_once() -> None:
    lines = shown([FIRST, replace(FIRST, sp=2)])
    assert lines[0] == "title"
    assert lines[2].strip() == FIRST.decisions[0]
    assert lines[4].strip() == "as SP1"


def test_the_reason_is_the_last_destination_or_while_waiting_the_last_event() -> None:
    assert reason(FIRST) == FIRST.decisions[0]
    assert reason(LOST) == LOST.decisions[-1]
    assert reason(replace(LOST, status="Stopped")) == ""


BEHIND_TWO = replace(
    FIRST,
    connection="connected to 192.0.2.10:5060 tls from 192.0.2.1:49152",
    candidates=("192.0.2.10:5060 tls (holds the registration)", "192.0.2.11:5060 tls (passed over for 29s)"),
    secondary=RegistrationReport(
        "Registered (server=192.0.2.12:5060; expire in 40s)",
        "192.0.2.12:5060",
        "connected to 192.0.2.12:5060 tls from 192.0.2.1:49153",
        ("192.0.2.11:5060 tls", "192.0.2.12:5060 tls (holds the registration)"),
    ),
    warnings=("TLS without a configured port uses 5060 unless DNS has an SRV record (SPEC D3)",),
)
DETAILS = [
    "warning: TLS without a configured port uses 5060 unless DNS has an SRV record (SPEC D3)",
    "servers: 192.0.2.10:5060 tls (holds the registration); 192.0.2.11:5060 tls (passed over for 29s)",
    "secondary: Registered (server=192.0.2.12:5060; expire in 40s), connected to 192.0.2.12:5060 tls"
    " from 192.0.2.1:49153",
    "secondary's servers: 192.0.2.11:5060 tls; 192.0.2.12:5060 tls (holds the registration)",
]


def test_servers_secondary_and_warnings_are_shown_once_and_again_when_they_change() -> None:
    """SPEC D3, F1: primary and secondary server, fallback lists, outbound connection state."""
    later = replace(BEHIND_TWO, candidates=(BEHIND_TWO.candidates[0], "192.0.2.11:5060 tls (passed over for 28s)"))
    back = replace(BEHIND_TWO, candidates=(BEHIND_TWO.candidates[0], "192.0.2.11:5060 tls"))
    lines = [line.strip() for line in shown([BEHIND_TWO], [later], [back])]
    assert f"{FIRST.status}, {BEHIND_TWO.connection}" in lines[1]
    assert lines[2:6] == DETAILS
    assert lines[7:] == ["servers: 192.0.2.10:5060 tls (holds the registration); 192.0.2.11:5060 tls"]


def test_nothing_more_is_said_of_a_service_that_stopped() -> None:
    assert details(replace(BEHIND_TWO, status="Stopped")) == []


def test_the_table_shows_servers_secondary_and_warnings() -> None:
    """SPEC F1."""
    console_room = pytest.importorskip("rich.console")
    live = pytest.importorskip("sipcore.cli.live")
    console = console_room.Console(file=io.StringIO(), width=400, record=True)
    console.print(live.draw("title", [BEHIND_TWO], []))
    text = console.export_text()
    for expected in (*DETAILS, BEHIND_TWO.connection):
        assert expected in text


def test_a_step_is_told_when_it_begins_and_when_it_ends() -> None:
    stream = io.StringIO()
    screen = PlainScreen("title", stream)
    for step in (Step("all registered"), Step("all registered", "running"), Step("all registered", "done", "8 of 8")):
        screen.show(1.0, [], (step,))
        screen.show(1.0, [], (step,))
    assert stream.getvalue().splitlines()[1:] == [
        "  1.00s  now    all registered",
        "  1.00s  done   all registered: 8 of 8",
    ]


def test_without_a_terminal_there_are_lines() -> None:
    assert isinstance(open_screen("title", stream=io.StringIO()), PlainScreen)


def test_the_table_holds_every_service_and_step() -> None:
    console_room = pytest.importorskip("rich.console")
    live = pytest.importorskip("sipcore.cli.live")
    console = console_room.Console(file=io.StringIO(), width=130, record=True)
    console.print(
        live.draw("title", [FIRST, replace(FIRST, sp=2), replace(LOST, sp=3)], [Step("calls", "done", "one")])
    )
    text = console.export_text()
    for expected in (FIRST.status, "as SP1", "Backing Off (29): refused", "✓ calls"):
        assert expected in text
    assert text.count("Backing Off (29)") == 1
    assert "as SP4" not in text
