"""Sockets that come from elsewhere: what systemd passes, and what travels between processes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sipcore import handover
from sipcore.errors import TransportError
from sipcore.handover import (
    Inherited,
    notify_systemd,
    open_socket,
    receive_message,
    send_message,
    take_all_inherited,
    take_inherited,
)


def test_variables_meant_for_another_process_mean_nothing() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "OTHER": "x"}
    assert handover._read_environment(environment, 2) == []
    assert environment == {"OTHER": "x"}, "a child must not take them for its own"


@pytest.mark.parametrize("count", ["", "0", "-1", "three", "3.5"])
def test_a_wrong_count_is_none(count: str) -> None:
    assert handover._read_environment({"LISTEN_PID": "5", "LISTEN_FDS": count}, 5) == []


def test_descriptors_get_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
        first = max(one.fileno(), other.fileno()) + 20
        for at, sock in enumerate((one, other)):
            os.dup2(sock.fileno(), first + at, inheritable=True)
        monkeypatch.setattr(handover, "FIRST_INHERITED", first)
        found = handover._read_environment({"LISTEN_PID": "5", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "sip"}, 5)
    assert [(each.name, each.socket.type) for each in found] == [
        ("sip", socket.SOCK_DGRAM),
        ("unknown", socket.SOCK_STREAM),
    ]
    assert not any(os.get_inheritable(each.socket.fileno()) for each in found)
    for each in found:
        each.socket.close()


def test_each_socket_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)
    sockets = [socket.socket(socket.AF_INET, kind) for kind in kinds]
    monkeypatch.setattr(handover, "_inherited", [Inherited("sip", one) for one in sockets])
    assert take_inherited("sip", socket.SOCK_STREAM) is sockets[1]
    assert take_all_inherited("sip", socket.SOCK_DGRAM, 5) == [sockets[0], sockets[2]]
    with pytest.raises(TransportError, match="no datagram socket named 'sip'"):
        take_inherited("sip", socket.SOCK_DGRAM)
    for one in sockets:
        one.close()


def test_sockets_travel_with_their_message() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bound = open_socket(socket.SOCK_DGRAM, "127.0.0.1", 0)
    with here, there, bound:
        send_message(here, {"port": ["udp", 5060]}, [bound, bound])
        send_message(here, {"end": True})
        received = receive_message(there)
        assert received is not None
        message, sockets = received
        assert message == {"port": ["udp", 5060]}
        assert [one.getsockname() for one in sockets] == [bound.getsockname()] * 2
        assert not any(os.get_inheritable(one.fileno()) for one in sockets)
        for one in sockets:
            one.close()
        assert receive_message(there) == ({"end": True}, [])
        here.close()
        assert receive_message(there) is None


def test_a_message_that_is_no_object_is_refused() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.send(b"[1]")
        with pytest.raises(TransportError, match="no object"):
            receive_message(there)


def test_a_cut_message_is_refused_and_its_sockets_are_closed() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, open_socket(socket.SOCK_DGRAM, "127.0.0.1", 0) as bound:
        before = len(list(Path("/proc/self/fd").iterdir()))
        send_message(here, {"long": "x" * 70_000}, [bound])
        with pytest.raises(TransportError, match="cut off"):
            receive_message(there)
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_shared_sockets_have_one_address_and_others_are_kept_out() -> None:
    with open_socket(socket.SOCK_DGRAM, "127.0.0.1", 0, shared=True) as one:
        port = one.getsockname()[1]
        with open_socket(socket.SOCK_DGRAM, "127.0.0.1", port, shared=True) as other:
            assert other.getsockname() == one.getsockname()
        with pytest.raises(TransportError, match="in use"):
            open_socket(socket.SOCK_DGRAM, "127.0.0.1", port)


def test_the_service_manager_hears_what_it_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify_systemd("READY=1\nMAINPID=7")
        assert manager.recv(100) == b"READY=1\nMAINPID=7"
    notify_systemd("STOPPING=1")
