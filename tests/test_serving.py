"""Programs of several workers as real processes: nothing is lost between them, and none of them is missed for long."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit import response_octets
from worker_kit import ANSWERS, LOOPBACK, PREFACE, Load, Peer, Program, children_of, free_port, receive, wait_until

import sipcore

pytestmark = pytest.mark.slow


def answers(
    folder: Path, port: int, *, workers: int = 2, name: str = "program", stateless: bool = False, **serve: object
) -> Program:
    return Program(
        folder,
        ANSWERS,
        name=name,
        ADDRESS=f"{LOOPBACK}:{port}",
        STATELESS=stateless,
        SERVE={"workers": workers, **serve},
    )


def test_two_workers_share_a_port_and_lose_nothing(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as program, Load(program.serves() and port) as load:
        wait_until(lambda: load.answered > 2_000, 30, "2,000 answers")
        load.finish()
        assert (load.lost, load.refused) == (0, 0)
        assert len(load.workers) == 2, "both have served"


def test_requests_of_the_workers_to_one_peer_are_answered_though_their_answers_land_anywhere(tmp_path: Path) -> None:
    """Two workers, one peer, shared port: 0 lost transactions, in both directions."""
    port = free_port()
    reports = tmp_path / "report.json"
    text = ANSWERS.replace(
        "**SERVE", f"**SERVE, on_report=lambda report: open({str(reports)!r}, 'w').write(repr(report))"
    )
    program = Program(
        tmp_path, text, ADDRESS=f"{LOOPBACK}:{port}", STATELESS=False, SERVE={"workers": 2, "spread": "call"}
    )
    with program, Load(program.serves() and port, sockets=1, method="MESSAGE") as load:
        wait_until(lambda: load.answered > 1_000, 60, "1,000 answers")
        load.finish()
        assert (load.lost, load.refused, load.repeated) == (0, 0, 0)
        assert len(load.workers) == 2, "the Call-ID has spread the requests of one port"
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    counters = eval(reports.read_text())["counters"]  # what the program wrote
    assert counters["handed_over"] == counters["taken_over"] > 500
    assert counters["lost_letters"] == counters["stray_responses"] == counters["timeouts"] == 0
    assert counters["responses"] == load.answered


def test_a_call_goes_on_when_its_caller_moves_to_another_port(tmp_path: Path) -> None:
    """ACK, re-sent INVITE and BYE from a port that the kernel gives to another worker (a NAT that rebinds)."""
    port = free_port()
    with answers(tmp_path, port, workers=3) as program, Peer(program.serves() and port, sockets=8) as peer:
        for number in range(40):
            call = {"call_id": f"call{number}", "from_tag": f"f{number}"}
            invite, bye = number % 8, (number * 3 + 1) % 8
            answer = peer.ask("INVITE", invite, **call)
            assert answer is not None
            to = answer["To"]
            peer.sockets[bye].sendto(peer.octets("ACK", bye, to=to, **call), peer.remote)
            ended = peer.ask("BYE", bye, 5, to=to, sequence=2, **call)
            assert ended is not None
            assert ended.status_code == 200, (number, bytes(ended))


def test_faults_50_a_killed_worker_is_replaced_and_its_port_goes_on(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as program, Load(program.serves() and port) as load:
        wait_until(lambda: load.answered > 300, 30, "300 answers")
        before = children_of(program.pid)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(children_of(program.pid)) - set(before)) == 1, 2, "a new worker")
        answered = load.answered
        wait_until(lambda: load.answered > answered + 500, 30, "it goes on")
        load.finish()
        assert (load.lost, load.refused) == (0, 0)
        assert load.repeated <= 16, "what the dead worker had read is asked again, and nothing else"
        assert str(before[1]) in load.workers
        assert program.says("signal 9")


def test_peers_keep_their_worker_while_another_one_is_replaced(tmp_path: Path) -> None:
    """The supervisor holds the sockets: the kernel's choice does not change when a process dies."""
    port = free_port()
    with answers(tmp_path, port) as program, Peer(program.serves() and port, sockets=12) as peer:

        def who(index: int) -> str:
            answer = peer.ask("OPTIONS", index, 10)
            assert answer is not None
            return str(answer["X-Worker"])

        before = [who(index) for index in range(12)]
        victim = children_of(program.pid)[0]
        os.kill(victim, signal.SIGKILL)
        after = [who(index) for index in range(12)]
        moved = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
        assert all(one == str(victim) for one, _ in moved)
        assert len(moved) == before.count(str(victim))


def test_faults_50_a_killed_supervisor_leaves_no_worker_and_no_port_behind(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as program:
        program.serves()
        workers = children_of(program.pid)
        program.signal(signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 4, "the workers end")
    started = time.monotonic()
    with answers(tmp_path, port, name="next") as program, Peer(port) as peer:
        assert peer.ask("OPTIONS", seconds=10) is not None
        assert time.monotonic() - started < 10


def test_the_end_is_graceful_and_tells_what_was_done(tmp_path: Path) -> None:
    """FAULTS 57: a signal to the whole group, as a service manager sends it, is no reason for haste."""
    text = PREFACE + (
        "async def application(stack):\n"
        "    await stack.listen('udp', ADDRESS)\n"
        "    @stack.on('OPTIONS')\n"
        "    async def slow(request):\n"
        "        await asyncio.sleep(1.5)\n"
        "        request.reply(200)\n"
        "    yield\n"
        "    print('cleared away', flush=True)\n"
        "def tell(report):\n"
        "    print('replies', report['counters']['replies'])\n"
        "sys.exit(sipcore.serve(application, workers=2, on_report=tell))\n"
    )
    port = free_port()
    with Program(tmp_path, text, ADDRESS=f"{LOOPBACK}:{port}") as program, Peer(program.serves() and port) as peer:
        peer.sockets[0].sendto(peer.octets("OPTIONS"), peer.remote)
        time.sleep(0.3)
        os.killpg(program.pid, signal.SIGTERM)
        peer.sockets[0].setblocking(True)
        peer.sockets[0].settimeout(10)
        assert peer.sockets[0].recv(65_536).startswith(b"SIP/2.0 200")
        assert program.wait() == 0
        assert program.log.read_text().count("cleared away") == 2
        assert program.says("replies 1")


def test_an_application_that_does_not_start_ends_the_program(tmp_path: Path) -> None:
    text = PREFACE + (
        "async def application(stack):\n    raise RuntimeError('no database')\n"
        "sys.exit(sipcore.serve(application, workers=2))\n"
    )
    with Program(tmp_path, text) as program:
        assert program.wait() == 1
        assert program.says("no database")
        assert program.says("nothing is served")


def test_a_port_that_another_program_has_is_not_shared_with_it(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as first:
        first.serves()
        with answers(tmp_path, port, name="second") as second:
            assert second.wait() == 1
            assert second.says("Address already in use")
        assert not first.has_ended()


def test_a_worker_that_keeps_dying_is_not_restarted_in_a_storm(tmp_path: Path) -> None:
    text = PREFACE + (
        "async def application(stack):\n"
        "    if stack.workers.number == 1:\n"
        "        asyncio.get_running_loop().call_later(0.1, os._exit, 7)\n"
        "sys.exit(sipcore.serve(application, workers=2))\n"
    )
    with Program(tmp_path, text) as program:
        program.serves()
        time.sleep(4)
        assert 2 <= program.log.read_text().count("exit code 7") <= 5
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_an_application_may_end_by_itself(tmp_path: Path) -> None:
    text = PREFACE + (
        "async def application(stack):\n"
        "    asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(stack.close()))\n"
        "sys.exit(sipcore.serve(application, workers=2))\n"
    )
    with Program(tmp_path, text) as program:
        assert program.wait() == 0


def test_a_worker_that_dies_with_a_process_of_its_own_behind_it_is_replaced(tmp_path: Path) -> None:
    """The child of a worker keeps its descriptors open; the supervisor does not wait for them."""
    text = PREFACE + (
        "import time\n"
        "async def application(stack):\n"
        "    if not os.path.exists(MARK):\n"
        "        open(MARK, 'w').close()\n"
        "        if not os.fork():\n"
        "            time.sleep(5)\n"
        "            os._exit(0)\n"
        "        asyncio.get_running_loop().call_later(0.5, os._exit, 7)\n"
        "    await stack.listen('udp', ADDRESS)\n"
        "sys.exit(sipcore.serve(application, workers=1))\n"
    )
    port = free_port()
    with Program(tmp_path, text, MARK=str(tmp_path / "mark"), ADDRESS=f"{LOOPBACK}:{port}") as program:
        program.serves()
        wait_until(lambda: program.says("exit code 7"), 5, "it dies")
        wait_until(lambda: children_of(program.pid), 3, "it is replaced")
        with Peer(port) as peer:
            assert peer.ask("OPTIONS", seconds=5) is not None


def test_all_workers_may_be_killed_at_once_again_and_again(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port, workers=3) as program, Peer(program.serves() and port) as peer:
        for _ in range(5):
            for pid in children_of(program.pid):
                os.kill(pid, signal.SIGKILL)
            assert peer.ask("OPTIONS", seconds=20) is not None
        assert not program.has_ended()


def test_a_reload_reaches_every_worker(tmp_path: Path) -> None:
    text = PREFACE + (
        "async def application(stack):\n"
        "    @stack.workers.on_reload\n"
        "    async def reload():\n"
        "        print('read again by', stack.workers.number, flush=True)\n"
        "sys.exit(sipcore.serve(application, workers=2))\n"
    )
    with Program(tmp_path, text) as program:
        program.serves().signal(signal.SIGHUP)
        for number in range(2):
            wait_until(lambda number=number: program.says(f"read again by {number}"), 5, f"worker {number} reloads")


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    text = PREFACE + (
        "import time\n"
        "async def application(stack):\n"
        "    if not os.path.exists(MARK):\n"
        "        open(MARK, 'w').close()\n"
        "        asyncio.get_running_loop().call_later(0.2, time.sleep, 60)\n"
        "sys.exit(sipcore.serve(application, workers=1, watchdog=4.0))\n"
    )
    with Program(tmp_path, text, MARK=str(tmp_path / "mark")) as program:
        before = children_of(program.serves().pid)
        wait_until(lambda: program.says("said nothing"), 12, "it is noticed")
        wait_until(lambda: children_of(program.pid) not in ([], before), 5, "it is replaced")
        time.sleep(5)
        assert program.log.read_text().count("said nothing") == 1, "one that answers is left alone"


def test_sigusr1_writes_what_all_have_counted_to_the_log(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as program, Peer(program.serves() and port, sockets=8) as peer:
        for index in range(8):
            assert peer.ask("OPTIONS", index) is not None
        program.signal(signal.SIGUSR1)
        wait_until(lambda: program.says("all workers: "), 5, "the sum")
        whole = json.loads(program.log.read_text().partition("all workers: ")[2].splitlines()[0])
        assert whole["counters"]["requests"] == 8


def test_connections_are_served_by_the_worker_that_accepted_them(tmp_path: Path) -> None:
    port = free_port()
    with answers(tmp_path, port) as program, Peer(program.serves() and port) as peer:
        seen = set()
        for _ in range(24):
            with socket.create_connection((LOOPBACK, port), 5) as stream:
                stream.settimeout(5)
                for _ in range(2):
                    stream.sendall(peer.octets("OPTIONS", transport="TCP"))
                    seen.add((stream.getsockname()[1], stream.recv(65_536).partition(b"X-Worker: ")[2].split()[0]))
        assert len(seen) == 24, "both requests of a connection were answered by one worker"
        assert len({worker for _, worker in seen}) == 2


def test_a_call_goes_on_over_a_connection_to_another_worker(tmp_path: Path) -> None:
    """BYE on a new connection: whoever accepts it, the call's worker answers through it."""
    port = free_port()
    with answers(tmp_path, port) as program, Peer(program.serves() and port) as peer:
        for number in range(8):
            call = {"call_id": f"call{number}", "transport": "TCP"}
            with socket.create_connection((LOOPBACK, port), 5) as first:
                first.settimeout(5)
                first.sendall(peer.octets("INVITE", **call))
                answer = b""
                while b"SIP/2.0 200" not in answer:
                    answer = first.recv(65_536)
                to = answer.partition(b"\r\nTo: ")[2].partition(b"\r\n")[0].decode()
                first.sendall(peer.octets("ACK", to=to, **call))
                with socket.create_connection((LOOPBACK, port), 5) as second:
                    second.settimeout(5)
                    second.sendall(peer.octets("BYE", to=to, sequence=2, **call))
                    assert second.recv(65_536).startswith(b"SIP/2.0 200")


def test_the_program_on_the_how_to_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs/how-to/workers.md").read_text()
    port = free_port()
    text = page.partition("```python\n")[2].partition("```")[0].replace("5060", str(port))
    with Program(tmp_path, PREFACE + text) as program, Peer(program.serves() and port) as peer:
        answer = peer.ask("OPTIONS")
        assert answer is not None
        assert answer.status_code == 200
        program.signal(signal.SIGINT)
        assert program.wait() == 0


def test_a_device_is_refused_among_workers(tmp_path: Path) -> None:
    configuration = tmp_path / "device.toml"
    configuration.write_text(
        '[itsp.A]\nProxyServer = "127.0.0.1"\n[sp.1]\nAuthUserName = "alice"\nAuthPassword = "x"\n'
    )
    text = PREFACE + (
        "async def application(stack):\n"
        "    await sipcore.Device.from_toml(CONFIGURATION).start()\n"
        "sys.exit(sipcore.serve(application, workers=2))\n"
    )
    with Program(tmp_path, text, CONFIGURATION=str(configuration)) as program:
        assert program.wait() == 1
        assert program.says("a Device runs in one process, and this is one of 2 workers")


# sockets from elsewhere


def with_sockets(program: Program, sockets: list[socket.socket], names: str) -> Program:
    """Start a program as systemd would: with sockets from descriptor 3 on, and variables that describe them."""
    redirected = " ".join(f"{3 + at}<&{one.fileno()}" for at, one in enumerate(sockets))
    variables = f"LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names} LISTEN_PID=$$"
    script = f"{variables} exec {sys.executable} {program.path} {redirected}"
    return program.start(["/bin/bash", "-c", script], pass_fds=[one.fileno() for one in sockets])


def passed_socket(kind: int, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((LOOPBACK, port))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    for descriptor in range(20, 40):  # out of the way of those that it will become
        if not Path(f"/proc/self/fd/{descriptor}").exists():
            os.dup2(sock.fileno(), descriptor)
            sock.close()
            return socket.socket(fileno=descriptor)
    raise OSError("no descriptor is free")


@pytest.mark.parametrize("shared", [1, 2], ids=["one socket", "one socket for each worker"])
def test_sockets_of_the_service_manager_are_served(tmp_path: Path, shared: int) -> None:
    port = free_port()
    datagrams = [passed_socket(socket.SOCK_DGRAM, port, shared=shared > 1) for _ in range(shared)]
    stream = passed_socket(socket.SOCK_STREAM, port, shared=False)
    program = Program(tmp_path, ANSWERS, ADDRESS="fd://sip", STATELESS=False, SERVE={"workers": 2})
    try:
        with Load(port, sockets=8) as load:  # it asks before anybody serves: what comes waits in the socket
            with_sockets(program, [*datagrams, stream], ":".join(["sip"] * (shared + 1)))
            program.serves()
            wait_until(lambda: load.answered > 300, 30, "300 answers")
            load.finish()
            assert (load.lost, load.refused) == (0, 0)
            assert len(load.workers) == 2
        with socket.create_connection((LOOPBACK, port), 5) as client, Peer(port) as peer:
            client.settimeout(5)
            client.sendall(peer.octets("OPTIONS", transport="TCP"))
            assert client.recv(65_536).startswith(b"SIP/2.0 200")
    finally:
        program.end()
        for one in (*datagrams, stream):
            one.close()


def test_one_process_takes_sockets_of_the_service_manager_too(tmp_path: Path) -> None:
    port = free_port()
    sock = passed_socket(socket.SOCK_DGRAM, port, shared=False)
    text = PREFACE + (
        "async def main():\n"
        "    stack = sipcore.Stack()\n"
        "    await stack.listen('udp', 'fd://sip')\n"
        "    try:\n"
        "        await stack.listen('udp', 'fd://other')\n"
        "    except sipcore.TransportError as error:\n"
        "        print(error, flush=True)\n"
        "    await asyncio.sleep(20)\n"
        "sipcore.run(main())\n"
    )
    program = Program(tmp_path, text)
    try:
        with_sockets(program, [sock], "sip")
        with Peer(port) as peer:
            answer = peer.ask("OPTIONS", seconds=10)
            assert answer is not None
            assert answer.status_code == 200
        assert program.says("no datagram socket named 'other' was passed to this process")
    finally:
        program.end()
        sock.close()


def test_an_upgrade_under_load_loses_nothing(tmp_path: Path) -> None:
    """The old program ends the call that it has; the new one takes what is new, and hands it what is old."""
    port, path = free_port(), str(tmp_path / "handover")
    with answers(tmp_path, port, handover=path) as old, Load(old.serves() and port) as load, Peer(port, 4) as peer:
        wait_until(lambda: load.answered > 300, 30, "300 answers")
        answer = peer.ask("INVITE", 0)
        assert answer is not None
        peer.sockets[0].sendto(peer.octets("ACK", to=answer["To"], call_id=answer["Call-ID"]), peer.remote)
        before = {str(pid) for pid in children_of(old.pid)}
        with answers(tmp_path, port, name="new", handover=path) as new:
            new.serves()
            answered = load.answered
            wait_until(lambda: load.answered > answered + 500, 30, "it goes on")
            load.workers.clear()
            answered = load.answered
            wait_until(lambda: load.answered > answered + 500, 30, "it goes on")
            load.finish()
            assert (load.lost, load.refused, load.repeated) == (0, 0, 0)
            assert not load.workers & before, "the new program alone takes what is new"
            assert not old.has_ended()
            for index in (1, 2, 3, 0):
                ended = peer.ask("BYE", index, 5, to=answer["To"], call_id=answer["Call-ID"], sequence=2 + index)
                assert ended is not None
                assert ended.status_code == (200 if index == 1 else 481), "the old program knows the call"
            old.signal(signal.SIGTERM)
            assert old.wait() == 0
            assert peer.ask("OPTIONS", 0, 5) is not None


def test_the_old_program_of_an_upgrade_ends_when_it_has_nothing_left_to_do(tmp_path: Path) -> None:
    port, path = free_port(), str(tmp_path / "handover")
    with answers(tmp_path, port, handover=path, stateless=True) as old, Load(old.serves() and port) as load:
        wait_until(lambda: load.answered > 100, 30, "100 answers")
        with answers(tmp_path, port, name="new", workers=3, handover=path, stateless=True) as new:
            new.serves()
            assert old.wait(10) == 0
            answered = load.answered
            wait_until(lambda: load.answered > answered + 300, 30, "it goes on")
            load.finish()
            assert (load.lost, load.refused) == (0, 0)
            with answers(tmp_path, port, name="third", workers=1, handover=path, stateless=True) as third:
                third.serves()
                assert new.wait(10) == 0
                with Peer(port, 12) as peer:
                    assert all(peer.ask("OPTIONS", index, 5) for index in range(12)), "one worker reads all sockets"


def test_a_new_program_that_does_not_start_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    port, path = free_port(), str(tmp_path / "handover")
    with answers(tmp_path, port, handover=path) as old, Load(old.serves() and port) as load:
        broken = ANSWERS.replace("    held = {}", "    raise RuntimeError('broken')")
        serve = {"workers": 2, "handover": path}
        with Program(tmp_path, broken, name="new", ADDRESS=f"{LOOPBACK}:{port}", STATELESS=False, SERVE=serve) as new:
            assert new.wait() == 1
        answered = load.answered
        wait_until(lambda: load.answered > answered + 300, 30, "it goes on")
        load.finish()
        assert (load.lost, load.refused) == (0, 0)
        with answers(tmp_path, port, name="third", handover=path) as third:
            third.serves()
            assert old.says("taking over") is False


def test_a_stack_knows_its_place(tmp_path: Path) -> None:
    text = PREFACE + (
        "async def application(stack):\n"
        "    try:\n"
        "        sipcore.Stack(workers=3)\n"
        "    except sipcore.UsageError as error:\n"
        "        print(error, flush=True)\n"
        "    print('worker', stack.workers.number, 'of', stack.workers.count, flush=True)\n"
        "sys.exit(sipcore.serve(application, workers=2, seconds=0.5))\n"
    )
    with Program(tmp_path, text) as program:
        assert program.wait() == 0
        for line in ("worker 0 of 2", "worker 1 of 2", "this program has 2 workers, not 3"):
            assert program.says(line)


# the registrar


def register(peer: Peer, index: int, user: str) -> sipcore.Response:
    answer: sipcore.Response | None = peer.ask(
        "REGISTER", index, 10, to=f"<sip:{user}@example.com>", headers=[("Expires", "600")]
    )
    assert answer is not None
    assert answer.status_code == 200
    return answer


@pytest.fixture
def registrar(tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """A registrar of three workers, and its port."""
    port = free_port()
    options = ["--listen", f"{LOOPBACK}:{port}", "--domain", "example.com", "--workers", "3", "--json", "-v"]
    program = Program(tmp_path, "", name="registrar")
    program.start([sys.executable, "-m", "sipcore", "registrar", *options])
    try:
        yield program.serves(), port
    finally:
        program.end()


def test_each_address_of_record_is_kept_by_one_worker_and_found_from_all(registrar: tuple[Program, int]) -> None:
    program, port = registrar
    with Peer(port, 12) as peer:
        for number in range(48):
            for index in (number % 12, (number + 5) % 12):
                answer = register(peer, index, f"user{number}")
            assert len(answer.get_all("Contact")) == 2, "from two ports, at one worker"
        for number in range(48):
            caller = peer.sockets[(number + 2) % 12]
            caller.sendto(peer.octets("MESSAGE", (number + 2) % 12, uri=f"sip:user{number}@example.com"), peer.remote)
            for index in (number % 12, (number + 5) % 12):
                message = expect(peer.sockets[index], b"MESSAGE")
                peer.sockets[index].sendto(response_octets(message, 200), peer.remote)
            expect(caller, b"SIP/2.0 200")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    text = program.log.read_text()
    report = json.loads(text[text.index("{\n") :])
    assert report["accepted"] == 96
    assert len(report["bindings"]) == 48
    assert {len(contacts) for contacts in report["bindings"].values()} == {2}, "no address of record is kept twice"


def test_a_client_is_reached_over_its_connection_whichever_worker_holds_it(registrar: tuple[Program, int]) -> None:
    _, port = registrar
    with Peer(port, 6) as peer:
        for number in range(6):
            with socket.create_connection((LOOPBACK, port), 5) as stream:
                stream.settimeout(5)
                user = f"<sip:tcp{number}@example.com>"
                stream.sendall(peer.octets("REGISTER", to=user, transport="TCP", headers=[("Expires", "600")]))
                assert stream.recv(65_536).startswith(b"SIP/2.0 200")
                for index in range(6):
                    octets = peer.octets("MESSAGE", index, uri=f"sip:tcp{number}@example.com")
                    peer.sockets[index].sendto(octets, peer.remote)
                    message = stream.recv(65_536)
                    assert message.startswith(b"MESSAGE sip:alice@"), message
                    stream.sendall(response_octets(message, 200))
                    answer = receive(peer.sockets[index], time.monotonic() + 5)
                    assert answer is not None
                    assert answer[0].startswith(b"SIP/2.0 200")


def test_a_call_through_the_proxy_can_be_cancelled_whichever_worker_keeps_the_callee(
    registrar: tuple[Program, int],
) -> None:
    _, port = registrar
    with Peer(port, 2) as peer:
        callee, caller = peer.sockets
        for number in range(12):
            user = f"callee{number}"
            register(peer, 0, user)
            call = {"call_id": f"call{number}", "branch": f"z9hG4bKcall{number}", "uri": f"sip:{user}@example.com"}
            caller.sendto(peer.octets("INVITE", 1, **call), peer.remote)
            invite = expect(callee, b"INVITE")
            callee.sendto(response_octets(invite, 180), peer.remote)
            expect(caller, b"SIP/2.0 180")
            caller.sendto(peer.octets("CANCEL", 1, **call), peer.remote)
            expect(callee, b"CANCEL")
            callee.sendto(response_octets(invite, 487), peer.remote)
            expect(callee, b"ACK")
            assert b"INVITE" in expect(caller, b"SIP/2.0 487")


def expect(sock: socket.socket, start: bytes) -> bytes:
    """The next datagram that begins so; others are passed over."""
    end = time.monotonic() + 5
    while (found := receive(sock, end)) is not None:
        if found[0].startswith(start):
            return found[0]
    raise AssertionError(f"{start!r} did not come")
