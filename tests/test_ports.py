"""The listening sockets of several workers: one for each, held by the one that lives longest."""

from __future__ import annotations

import socket

import pytest

from sipcore import handover
from sipcore.errors import TransportError
from sipcore.handover import Inherited, open_socket
from sipcore.ports import SharedPorts

LOOPBACK = "127.0.0.1"


def free_port(kind: int) -> int:
    with open_socket(kind, LOOPBACK, 0) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_each_worker_has_a_socket_of_its_own_and_gets_the_same_one_again(kind: int) -> None:
    ports, port = SharedPorts(3), free_port(kind)
    found = [ports.sockets(kind, LOOPBACK, port, index) for index in range(3)]
    assert [len(sockets) for sockets in found] == [1, 1, 1]
    assert len({sockets[0].fileno() for sockets in found}) == 3
    assert {sockets[0].getsockname()[1] for sockets in found} == {port}
    assert [ports.sockets(kind, LOOPBACK, port, index) for index in range(3)] == found
    ports.close()


def test_a_port_that_somebody_shares_already_is_in_use() -> None:
    """SO_REUSEPORT would hide that another program of the same user has it."""
    with open_socket(socket.SOCK_DGRAM, LOOPBACK, 0, shared=True) as other:
        ports = SharedPorts(2)
        with pytest.raises(TransportError, match="in use"):
            ports.sockets(socket.SOCK_DGRAM, LOOPBACK, other.getsockname()[1], 0)


def test_more_sockets_than_workers_are_all_read_and_fewer_are_added_to() -> None:
    kind, port = socket.SOCK_DGRAM, free_port(socket.SOCK_DGRAM)
    former = [open_socket(kind, LOOPBACK, port, shared=True) for _ in range(3)]
    less, more = SharedPorts(2), SharedPorts(4)
    less.adopt({(kind, LOOPBACK, port): list(former)})
    assert less.sockets(kind, LOOPBACK, port, 0) == [former[0], former[2]]
    assert less.sockets(kind, LOOPBACK, port, 1) == [former[1]]
    more.adopt({(kind, LOOPBACK, port): list(former)})
    found = [ports for index in range(4) for ports in more.sockets(kind, LOOPBACK, port, index)]
    assert len({one.fileno() for one in found}) == 4
    more.close()


def test_workers_share_a_listening_stream_socket_that_was_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((LOOPBACK, 0)) as passed:
        monkeypatch.setattr(handover, "_inherited", [Inherited("sip", passed)])
        ports = SharedPorts(2)
        assert ports.sockets(socket.SOCK_STREAM, "fd://sip", 0, 0) == [passed]
        assert ports.sockets(socket.SOCK_STREAM, "fd://sip", 0, 1) == [passed]
        with pytest.raises(TransportError, match="no socket named 'other'"):
            ports.sockets(socket.SOCK_STREAM, "fd://other", 0, 0)


def test_a_passed_datagram_socket_that_cannot_be_shared_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise TransportError("of another user")

    with open_socket(socket.SOCK_DGRAM, LOOPBACK, 0) as passed:
        monkeypatch.setattr(handover, "_inherited", [Inherited("sip", passed)])
        monkeypatch.setattr("sipcore.ports.open_socket", refuse)
        with pytest.raises(TransportError, match="ReusePort=yes"):
            SharedPorts(2).sockets(socket.SOCK_DGRAM, "fd://sip", 0, 0)
