"""An upgrade without a gap, as far as sockets go: a new program takes the ports of the one that runs (SCM_RIGHTS).

The old one sends its secret, the way to its workers, and its listening sockets;
the new one starts its workers on them, which read nothing yet.  When all are
ready, the old workers stop reading and say so, then the new ones begin: what
comes in between waits in the sockets.  The old workers end when what they began
has ended; until then the new ones hand them what is theirs.

Knows the order of these steps; the supervisor knows processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipcore.errors import TransportError
from sipcore.handover import receive_message, send_message
from sipcore.ports import PortKey

if TYPE_CHECKING:
    from sipcore.serving import Supervisor

logger = logging.getLogger("sipcore.serving")

PATIENCE = 10.0  # seconds for one step
ASKED_FIRST = 33.0  # seconds; 64*T1 and one: a request may be repeated that long


@dataclass
class Predecessor:
    """The program that runs: what it hands over, and the channel to it."""

    channel: socket.socket
    secret: bytes = b""
    boxes: dict[int, socket.socket] = field(default_factory=dict)
    sockets: dict[PortKey, list[socket.socket]] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of it; the sockets are somebody else's by now."""
        for one in (self.channel, *self.boxes.values()):
            one.close()


class Succession:
    """Both ends of an upgrade: towards the program that ran before, and towards the one that comes next."""

    def __init__(self, supervisor: Supervisor, path: str) -> None:
        self.due: float | None = None  # when the predecessor no longer has to be asked first
        self.is_live = False
        self._supervisor = supervisor
        self._path = path
        self._listener: socket.socket | None = None
        self._successor: socket.socket | None = None
        self._awaited: set[int] = set()
        self._then: dict[str, Any] = {}

    # the new program

    def take_over(self) -> Predecessor | None:
        """What the program that listens on the path hands over; None when there is none."""
        if not self._path:
            return None
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.settimeout(PATIENCE)
        try:
            channel.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            return None
        predecessor = Predecessor(channel)
        send_message(channel, {"do": "hand over"})
        while True:
            message, sockets = _expect(channel)
            if "end" in message:
                logger.info("taking over from process %d", message["pid"])
                return predecessor
            if "secret" in message:
                predecessor.secret = bytes.fromhex(message["secret"])
                predecessor.boxes = dict(zip(message["workers"], sockets, strict=True))
            else:
                kind, host, port = message["port"]
                predecessor.sockets.setdefault((kind, host, port), []).extend(sockets)

    def introduce(self, predecessor: Predecessor, boxes: dict[int, socket.socket]) -> None:
        """Show the old workers the way to the new ones; returns when all of them know it."""
        send_message(predecessor.channel, {"do": "meet", "workers": list(boxes)}, list(boxes.values()))
        _expect(predecessor.channel)

    def begin(self, predecessor: Predecessor | None) -> None:
        """Our workers are ready: the old ones stop reading, then ours begin, and we are the one to take over from."""
        if predecessor is not None:
            try:
                send_message(predecessor.channel, {"do": "retire"})
                _expect(predecessor.channel)
            except (OSError, TransportError) as error:
                logger.error("the program that ran before has ended in the middle of it: %s", error)
            self._supervisor.selector.register(predecessor.channel, selectors.EVENT_READ, self._predecessor_ended)
            self.due = time.monotonic() + ASKED_FIRST
        self.is_live = True
        self._supervisor.tell_all({"do": "begin"})
        if self._path:
            self._listen()

    def turn(self, now: float) -> None:
        """The predecessor is no longer asked about everything once nothing that it answered can be repeated."""
        if self.due is not None and now >= self.due:
            self.due = None
            self._tell_who_is_there()

    def _predecessor_ended(self) -> None:
        predecessor = self._supervisor.predecessor
        assert predecessor is not None
        self._supervisor.selector.unregister(predecessor.channel)
        self._supervisor.predecessor, self.due = None, None
        for number in predecessor.boxes:
            self._supervisor.tell_all({"do": "forget", "worker": number})
        self._tell_who_is_there()
        predecessor.close()
        logger.info("the program that ran before has ended")

    def _tell_who_is_there(self) -> None:
        supervisor = self._supervisor
        before = list(supervisor.predecessor.boxes) if supervisor.predecessor is not None else []
        workers = [slot.number for slot in supervisor.slots]
        supervisor.tell_all(
            {"do": "know", "workers": workers, "predecessors": before, "asked_first": self.due is not None}
        )

    def _listen(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            Path(self._path).unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            listener.bind(self._path)
        finally:
            os.umask(before)
        listener.listen(1)
        self._listener = listener
        self._supervisor.selector.register(listener, selectors.EVENT_READ, self._accept)

    # the old program

    def _accept(self) -> None:
        assert self._listener is not None
        channel, _ = self._listener.accept()
        if self._successor is not None or self._supervisor.retired:
            channel.close()
            return
        channel.settimeout(PATIENCE)
        self._successor = channel
        self._supervisor.selector.register(channel, selectors.EVENT_READ, self._hear_successor)

    def _hear_successor(self) -> None:
        channel = self._successor
        assert channel is not None
        try:
            received = receive_message(channel)
            if received is None:
                self._drop_successor()
                return
            message, sockets = received
            if message["do"] == "hand over":
                self._hand_over(channel)
            elif message["do"] == "meet":
                self._ask_workers({"do": "meet", "workers": message["workers"]}, sockets)
            elif message["do"] == "retire":
                self._stop_listening(unlink=False)
                self._supervisor.retire()
                self._ask_workers({"do": "retire"}, [])
        except OSError as error:
            logger.error("the hand-over failed: %s", error)
            self._drop_successor()

    def _hand_over(self, channel: socket.socket) -> None:
        supervisor = self._supervisor
        numbers = [slot.number for slot in supervisor.slots]
        boxes = [slot.box for slot in supervisor.slots]
        send_message(channel, {"secret": supervisor.secret.hex(), "workers": numbers}, boxes)
        for key, sockets in supervisor.ports:
            send_message(channel, {"port": key}, sockets)
        send_message(channel, {"end": True, "pid": os.getpid()})

    def _ask_workers(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        """Tell all workers; the successor hears of it when each has said that it is done."""
        self._awaited = {slot.number for slot in self._supervisor.slots if slot.control is not None}
        self._supervisor.tell_all(message, sockets)
        for one in sockets:
            one.close()
        self._tell_successor()

    def heard(self, number: int) -> None:
        """A worker has done what `_ask_workers` asked of it, or is gone."""
        if number in self._awaited:
            self._awaited.discard(number)
            self._tell_successor()

    def _tell_successor(self) -> None:
        if not self._awaited and self._successor is not None:
            with contextlib.suppress(OSError):
                send_message(self._successor, {"done": True})

    def _drop_successor(self) -> None:
        """The new program is gone; if it had not begun, all goes on as before."""
        if self._successor is not None:
            self._supervisor.selector.unregister(self._successor)
            self._successor.close()
            self._successor = None

    def _stop_listening(self, *, unlink: bool) -> None:
        if self._listener is not None:
            with contextlib.suppress(KeyError):
                self._supervisor.selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            if unlink:
                with contextlib.suppress(FileNotFoundError):
                    Path(self._path).unlink()

    def close(self) -> None:
        """The program ends."""
        self._stop_listening(unlink=True)
        if self._successor is not None:
            self._successor.close()
        if self._supervisor.predecessor is not None:
            self._supervisor.predecessor.close()

    def forked(self) -> None:
        """In a worker: these descriptors are the supervisor's."""
        for one in (self._listener, self._successor):
            if one is not None:
                one.close()
        if self._supervisor.predecessor is not None:
            self._supervisor.predecessor.channel.close()


def _expect(channel: socket.socket) -> tuple[dict[str, Any], list[socket.socket]]:
    try:
        received = receive_message(channel)
    except OSError as error:
        raise TransportError(f"the program that runs does not hand over: {error}") from error
    if received is None:
        raise TransportError("the program that runs does not hand over its sockets now")
    return received
