"""The bench's figures and its C yardstick; what they measure is measured elsewhere."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from sipcore._message import Request, parse
from sipcore._yardstick import generate, respond, split
from sipcore.bench import machine, rooms
from sipcore.bench.figures import figure, table
from sipcore.cli import main


@pytest.fixture
def yardstick() -> Iterator[socket.socket]:
    """A socket connected to a C responder."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=respond, args=(server.fileno(), 500))
        thread.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(server.getsockname())
            yield client
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["options", "call"])
def test_the_generator_and_the_responder_understand_each_other(yardstick, kind):
    counts = generate(yardstick.fileno(), kind, "bench", 8, 0.1)
    assert counts["operations"] > 8
    assert counts["refused"] == 0
    assert counts["elapsed_us"] >= 100_000


def test_the_responder_answers_what_a_sip_stack_accepts(yardstick):
    yardstick.settimeout(5)
    request = next(octets for octets in rooms.messages().values() if octets.startswith(b"OPTIONS"))
    yardstick.send(request)
    response = parse(yardstick.recv(2048))
    assert response.status_code == 200
    assert response.top_via == parse(request).top_via
    assert response.to.tag == "yardstick"


def test_the_responder_is_silent_to_an_ack(yardstick):
    yardstick.settimeout(0.1)
    yardstick.send(next(octets for octets in rooms.messages().values() if octets.startswith(b"ACK")))
    with pytest.raises(TimeoutError):
        yardstick.recv(2048)


def test_an_impossible_window_is_refused(yardstick):
    with pytest.raises(OSError, match="load generator"):
        generate(yardstick.fileno(), "options", "bench", 0, 0.1)


def test_the_split_finds_every_line_with_a_colon():
    mix = [parse(octets) for octets in rooms.messages().values()]
    start_lines = sum(isinstance(message, Request) for message in mix)  # their URIs have one
    assert split([bytes(message) for message in mix], 3) == 3 * (sum(len(m.headers) for m in mix) + start_lines)


def test_a_figure_is_the_median_beside_the_yardsticks():
    one = figure("parse", "a message", "a split in C", ours=[30, 10, 20], theirs=[5, 4, 6])
    assert (one.ns, one.yardstick_ns, one.ratio) == (20, 5, 4.0)


def test_an_invalid_figure_shows_no_time():
    one = figure("call", "a call", "C", ours=[10.0], theirs=[5.0], invalid="3 requests were lost and sent again")
    assert one.ratio is None
    assert one.ns is None
    assert table([one])[1].endswith("3 requests were lost and sent again")


def test_a_comparison_shows_how_the_ratio_changed():
    now = figure("parse", "a message", "C", ours=[22.0], theirs=[10.0])
    then = {"figures": [figure("parse", "a message", "C", ours=[20.0], theirs=[10.0]).as_dict()]}
    assert "+10.0%" in table([now], then)[1]


def test_the_columns_of_the_table_are_as_wide_as_their_words():
    names = ["transaction sent and answered", "parse"]
    figures = [figure(name, f"a piece of {name}", "a yardstick in C", ours=[20.0], theirs=[10.0]) for name in names]
    head, *rows = table(figures)
    assert {len(row) for row in rows} == {len(head)}
    assert all(f"{name} " in row and f" a piece of {name} " in row for name, row in zip(names, rows, strict=True))


def test_no_figure_is_printed_under_an_emulator(tmp_path, monkeypatch, capsys):
    """It is known by the host's processor, which an emulator shows to a program for another."""
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(rooms, "measure", lambda _: [figure("parse", "a message", "C", ours=[20.0], theirs=[10.0])])
    monkeypatch.setattr("sipcore.bench.servers.measure", lambda _: [])
    assert main(["bench", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["machine"]["emulated"]
    assert [(one["ns"], one["ratio"]) for one in told["figures"]] == [(None, None)]
    assert "emulator" in told["figures"][0]["invalid"]


def test_the_machine_tells_what_it_can():
    told = machine.describe()
    assert told["cores"] >= 1
    assert "CPython" in told["interpreter"]
    json.dumps(told)


def test_a_file_that_is_no_result_cannot_be_compared_with(tmp_path, capsys):
    wrong = tmp_path / "old.json"
    wrong.write_text("not JSON")
    assert main(["bench", "--compare", str(wrong)]) == 2
    assert "not a result of sipcore bench" in capsys.readouterr().err


@pytest.mark.slow
def test_every_room_is_measured():
    names = [one.name for one in rooms.measure(1) if not one.invalid]
    assert names[:4] == ["parse", "parse and touch", "frame", "serialise"]
    assert names[-1] == "datagrams"
    assert {"connection found", "timer cancelled", "transaction answered"} < set(names)
