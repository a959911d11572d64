"""The listening sockets of a program of several workers: one for each worker, open as long as the program runs.

Because the supervisor holds them, a port goes on while its worker is replaced:
what comes meanwhile waits in the socket, and the kernel goes on to give each
peer's datagrams to the same one.  Knows sockets; no processes and no SIP.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping

from sipcore.errors import TransportError
from sipcore.handover import SCHEME, open_socket, take_all_inherited

PortKey = tuple[int, str, int]  # SOCK_DGRAM or SOCK_STREAM, host or fd://NAME, port
INHERITED_MAX = 256


class SharedPorts:
    """Sockets by what was asked for, `count` workers to share each address."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._sockets: dict[PortKey, list[socket.socket]] = {}

    def __iter__(self) -> Iterator[tuple[PortKey, list[socket.socket]]]:
        return iter(self._sockets.items())

    def adopt(self, sockets: Mapping[PortKey, list[socket.socket]]) -> None:
        """Take over sockets that another process has opened."""
        self._sockets.update(sockets)

    def sockets(self, kind: int, host: str, port: int, index: int) -> list[socket.socket]:
        """What the worker at `index` (0 to count - 1) reads; TransportError when the address is not to be had.

        More than one where there are more sockets than workers; streams share a
        listening socket where there are less.
        """
        found = self._all(kind, host, port)
        if len(found) < self.count:
            return [found[index % len(found)]]
        return found[index :: self.count]

    def close(self) -> None:
        """Let go of all of them."""
        for sockets in self._sockets.values():
            for one in sockets:
                one.close()
        self._sockets.clear()

    def _all(self, kind: int, host: str, port: int) -> list[socket.socket]:
        key = (kind, host, port)
        found = self._sockets.get(key)
        if found is None:
            found = self._inherited(kind, host) if host.startswith(SCHEME) else self._bound(kind, host, port)
            self._sockets[key] = found
        if len(found) < self.count and kind == socket.SOCK_DGRAM:
            self._add(found, key)
        return found

    def _inherited(self, kind: int, host: str) -> list[socket.socket]:
        name = host.removeprefix(SCHEME)
        found = take_all_inherited(name, kind, INHERITED_MAX)
        if not found:
            raise TransportError(f"no socket named {name!r} of this kind was passed to this process")
        return found

    def _bound(self, kind: int, host: str, port: int) -> list[socket.socket]:
        """One for each worker, after a look whether another program has the port: sharing would hide that."""
        open_socket(kind, host, port).close()
        return [open_socket(kind, host, port, shared=True) for _ in range(self.count)]

    def _add(self, found: list[socket.socket], key: PortKey) -> None:
        """Open as many beside the first one as there are workers without a socket of their own."""
        host, port = found[0].getsockname()[:2]
        try:
            found[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(found) < self.count:
                found.append(open_socket(key[0], host, port, shared=True))
        except (OSError, TransportError) as error:
            raise TransportError(
                f"{self.count} workers cannot share the {len(found)} socket(s) that were passed for {key[1]}"
                f" ({error}); pass one for each worker, with ReusePort=yes"
            ) from error
