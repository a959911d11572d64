"""Sockets that come from elsewhere: from systemd (sd_listen_fds(3)), or over a Unix socket from another process.

Knows descriptors and their names; nothing of SIP, engines or event loops.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sipcore.errors import TransportError, UsageError

FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
SCHEME = "fd://"  # an address that names an inherited socket
KINDS = {"udp": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
MESSAGE_MAX = 65_536
SOCKETS_OF_A_MESSAGE = 250  # the kernel takes 253
SOCKET_BUFFER = 4 * 1024 * 1024  # octets asked for; the kernel gives what it allows

_inherited: list[Inherited] | None = None


@dataclass(frozen=True, slots=True)
class Inherited:
    """A socket that this process was started with, and the name that it was given."""

    name: str
    socket: socket.socket


def split_address(text: str) -> tuple[str, int]:
    """HOST:PORT, [IPv6]:PORT, or HOST alone (port 0); what names a passed socket is a host alone."""
    if text.startswith(SCHEME):
        return text, 0
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, "0"
    if not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"no port: {text!r}")
    return host.strip("[]"), int(port)


def inherited_sockets() -> list[Inherited]:
    """The sockets that systemd opened for this process and that nobody has taken yet; empty when there are none.

    They are read once; the variables that describe them are taken out of the
    environment, so that a child does not believe that they are its own.
    """
    global _inherited
    if _inherited is None:
        _inherited = _read_environment(os.environ, os.getpid())
    return _inherited


def take_inherited(name: str, kind: int) -> socket.socket:
    """The first socket of that name and kind (SOCK_DGRAM, SOCK_STREAM); TransportError when there is none."""
    found = take_all_inherited(name, kind, 1)
    if not found:
        raise TransportError(f"no {_kind_name(kind)} socket named {name!r} was passed to this process")
    return found[0]


def take_all_inherited(name: str, kind: int, at_most: int) -> list[socket.socket]:
    """Up to `at_most` sockets of that name and kind."""
    waiting = inherited_sockets()
    found = [one for one in waiting if one.name == name and one.socket.type == kind][:at_most]
    for one in found:
        waiting.remove(one)
    return [one.socket for one in found]


def _read_environment(environment: Any, pid: int) -> list[Inherited]:
    count, wanted = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for variable in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        environment.pop(variable, None)
    if not count.isdecimal() or wanted != str(pid):
        return []
    found = []
    for at in range(int(count)):
        descriptor = FIRST_INHERITED + at
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        found.append(Inherited(names[at] if at < len(names) and names[at] else "unknown", sock))
    return found


def notify_systemd(state: str) -> None:
    """Tell the service manager (sd_notify(3)), if one asked to be told; nothing else happens when it did not."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode(), address)


def family_of(host: str) -> socket.AddressFamily:
    """The address family of an address literal."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def open_socket(kind: int, host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A non-blocking socket bound to a local address; `shared` with others of ours (SO_REUSEPORT).

    TransportError when the address is not to be had.
    """
    sock = socket.socket(family_of(host), kind | socket.SOCK_CLOEXEC)
    try:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            widen(sock)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise unavailable(host, port, error) from error
    return sock


def widen(sock: socket.socket) -> None:
    """Ask for room for many datagrams in both directions."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)


def unavailable(host: str, port: int, error: OSError) -> TransportError:
    """An address that cannot be had, in the words of the operating system."""
    code = error.errno
    if code is not None and code in errno.errorcode:
        return TransportError(f"{host}:{port} is not to be had: {os.strerror(code)}")
    return TransportError(f"{host}:{port} is not to be had: {error or type(error).__name__}")


def _kind_name(kind: int) -> str:
    return "datagram" if kind == socket.SOCK_DGRAM else "stream"


# messages with descriptors between processes (SCM_RIGHTS), on a socket that keeps message boundaries


def send_message(channel: socket.socket, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
    """Send one message and copies of some sockets; OSError when the other side is gone."""
    import json  # noqa: PLC0415  (for processes that hand sockets on alone)

    octets = json.dumps(message).encode()
    descriptors = array.array("i", [one.fileno() for one in sockets])
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if sockets else []
    channel.sendmsg([octets], ancillary)


def receive_message(channel: socket.socket) -> tuple[dict[str, Any], list[socket.socket]] | None:
    """One message and the sockets that came with it; None when the other side has closed."""
    room = socket.CMSG_SPACE(SOCKETS_OF_A_MESSAGE * array.array("i").itemsize)
    octets, ancillary, flags, _ = channel.recvmsg(MESSAGE_MAX, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if not octets:
        return None
    if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
        for one in sockets:
            one.close()
        raise TransportError("a message between processes was cut off")
    import json  # noqa: PLC0415

    message = json.loads(octets)
    if not isinstance(message, dict):
        raise TransportError("a message between processes is no object")
    return message, sockets
