"""WebSocket as a framing of stream connections (RFC 6455, RFC 7118), on the `websockets` library without its I/O.

What a handshake says, what a frame is and which close code a fault has is the
library's business.  Here its limits are kept, messages put together and handed
on, and nothing of it is held for a connection between two messages.  Knows no
socket and no SIP.  Imported where WebSocket is asked for, never before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from sipcore.streams import CLOSED_HERE, CLOSED_THERE, NO_SIP, Framing, StreamConnection

if TYPE_CHECKING:
    from sipcore.secure import Handshakes

SUBPROTOCOL = Subprotocol("sip")
HEAD_SIZE = 16_384  # octets that one side of the opening handshake may have
HEAD_END = b"\r\n\r\n"
PING, PONG = b"\r\n\r\n", b"\r\n"  # RFC 5626 section 3.5.1; the engine knows no frames
NOTHING = b""  # what tells the engine that the connection is in use

# What the far side is told where this side ends the connection (RFC 6455 section 7.4.1).
CLOSE_CODES = {CLOSED_HERE: CloseCode.GOING_AWAY, NO_SIP: CloseCode.POLICY_VIOLATION}

logger = logging.getLogger("sipcore.websocket")
# The library tells of each connection that opens and ends, which is no news here.
library_logger = logging.getLogger("sipcore.websocket.library")
library_logger.setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """What the opening handshakes of WebSocket connections say and want (RFC 7118 section 4).

    `origins`: the Origins of web pages whose browsers may connect, None among them
    for what is no browser; without it anybody may.  Connections from here ask for
    `path` and say `headers` besides.
    """

    origins: Collection[str | None] | None = None
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()


class Codecs:
    """The decoders of one side of WebSocket connections: one lies ready for whoever is between messages."""

    def __init__(self, *, is_client: bool, max_size: int) -> None:
        self.is_client = is_client
        self.max_size = max_size
        self._spare: Protocol | None = None

    def take(self) -> Protocol:
        """A decoder at the beginning of a frame, outside of any message."""
        codec, self._spare = self._spare, None
        if codec is None:
            side = CLIENT if self.is_client else SERVER
            codec = Protocol(side, max_size=self.max_size, logger=library_logger)
        return codec

    def give(self, codec: Protocol) -> None:
        """It is again as `take` gave it."""
        self._spare = codec


class WebSocket(Framing):
    """The messages of one connection: shakes hands, then joins frames to messages (`streams.Framing`).

    `opened(reason)` is called once: with "" when the handshake is done, else with why it will not be.
    """

    __slots__ = ("_close_code", "_codec", "_codecs", "_connection", "_fed", "_handshake", "_is_text", "_parts")

    def __init__(self, connection: StreamConnection, codecs: Codecs, handshake: Handshake) -> None:
        self._connection = connection
        self._codecs = codecs
        self._handshake: Handshake | None = handshake
        self._codec: Protocol | None = None
        self._fed = 0
        self._parts: bytearray | None = None
        self._is_text = False
        self._close_code = 0

    # the framing of a connection

    def received(self, data: bytes) -> None:
        """A chunk came in."""
        handshake = self._handshake
        if handshake is None:
            self._decode(data)
            return
        rest = handshake.received(self._connection, data)
        if rest is None or self._connection.reason:
            return
        self._handshake = None
        handshake.opened("")
        if rest and not self._connection.reason:
            self._decode(rest)

    def frame(self, message: bytes) -> bytes:
        """A message as one frame: text where it is UTF-8, else binary (RFC 7118 section 5); a ping is one of theirs."""
        if message == PING:
            return self._serialize(Opcode.PING, b"")
        return self._serialize(Opcode.TEXT if is_utf8(message) else Opcode.BINARY, message)

    def farewell(self, reason: str, *, abort: bool) -> bytes:
        """A Close frame, unless the far side knows already."""
        if self._handshake is not None or self._close_code:
            return b""
        usual = CloseCode.POLICY_VIOLATION if abort else CloseCode.NORMAL_CLOSURE
        self._close_code = CLOSE_CODES.get(reason, usual)
        return self._serialize(Opcode.CLOSE, Close(self._close_code, "").serialize())

    def lost(self, reason: str) -> None:
        """The connection has ended."""
        self._codec = self._parts = None
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.opened(reason)

    # frames

    def _serialize(self, opcode: Opcode, data: bytes) -> bytes:
        return Frame(opcode, data).serialize(mask=self._codecs.is_client)

    def _decode(self, data: bytes) -> None:
        codec = self._codec or self._codecs.take()
        self._codec = codec
        self._fed += len(data)
        codec.receive_data(data)
        messages: list[bytes] = []
        for event in codec.events_received():
            if isinstance(event, Frame) and not self._take(event, messages):
                break
        connection = self._connection
        if messages:
            connection.take(messages)
        if connection.reason:
            return
        self._answer(codec)
        if not connection.reason:
            self._rest(codec, is_next=bool(messages))

    def _rest(self, codec: Protocol, *, is_next: bool) -> None:
        """Keep the decoder only while it holds something: what was read of frames is all that it was fed."""
        is_part = self._fed != 0 or self._parts is not None
        if not is_part:
            self._codec = None
            self._codecs.give(codec)
        self._connection.note_part(is_part=is_part, is_next=is_next)

    def _take(self, frame: Frame, messages: list[bytes]) -> bool:
        """One frame; False when nothing behind it counts."""
        self._fed -= size_of(frame, is_masked=not self._codecs.is_client)
        if frame.opcode is Opcode.PING:
            messages.append(NOTHING)
        elif frame.opcode is Opcode.PONG:
            messages.append(PONG)
        elif frame.opcode is Opcode.CLOSE:
            return False
        elif frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                return self._whole(bytes(frame.data), messages)
            self._parts = bytearray(frame.data)
        elif self._parts is not None:
            self._parts += frame.data
            if frame.fin:
                message, self._parts = bytes(self._parts), None
                return self._whole(message, messages)
        return True

    def _whole(self, message: bytes, messages: list[bytes]) -> bool:
        if self._is_text and not is_utf8(message):
            self._close_code = CloseCode.INVALID_DATA
            return False
        messages.append(message)
        return True

    def _answer(self, codec: Protocol) -> None:
        """Send what the library wants sent: pongs, and the Close frame that a fault or the far side's own asks for."""
        connection = self._connection
        octets = b"".join(codec.data_to_send())
        if self._close_code:
            octets = self._serialize(Opcode.CLOSE, Close(self._close_code, "text that is no UTF-8").serialize())
        if octets and not connection.write(octets):
            connection.end("its write queue is full")
        elif self._close_code:
            self._end(f"WebSocket {self._close_code:d}: text that is no UTF-8")
        elif codec.parser_exc is not None and codec.close_sent is not None:
            self._end(f"WebSocket {codec.close_sent.code}: {codec.close_sent.reason}")
        elif codec.close_rcvd is not None:
            self._end(f"{CLOSED_THERE}, WebSocket {codec.close_rcvd.code} {codec.close_rcvd.reason}".rstrip())

    def _end(self, reason: str) -> None:
        self._close_code = self._close_code or CloseCode.NORMAL_CLOSURE
        self._connection.end(reason, abort=False)


class Handshake:
    """The opening handshake of one side, in at most HEAD_SIZE octets.  `opened` hears how it ended."""

    def __init__(self, opened: Callable[[str], None]) -> None:
        self.opened = opened
        self._head = bytearray()

    def received(self, connection: StreamConnection, data: bytes) -> bytes | None:
        """Octets that are no more of the handshake, once it is done well; None until then."""
        self._head += data
        end = self._head.find(HEAD_END)
        if end < 0 and len(self._head) <= HEAD_SIZE:
            return None
        if end < 0 or end > HEAD_SIZE:
            self._refuse_size(connection)
            return None
        end += len(HEAD_END)
        head, rest = bytes(self._head[:end]), bytes(self._head[end:])
        self._head.clear()
        return rest if self._judge(connection, head) else None

    def _judge(self, connection: StreamConnection, head: bytes) -> bool:
        raise NotImplementedError

    def _refuse_size(self, connection: StreamConnection) -> None:
        connection.end("its side of the WebSocket handshake is too long", abort=False)


class ServerHandshake(Handshake):
    """The accepting side: subprotocol `sip` or nothing (RFC 7118 section 4)."""

    def __init__(self, options: WebSocketOptions, opened: Callable[[str], None]) -> None:
        super().__init__(opened)
        self._origins = options.origins

    def _judge(self, connection: StreamConnection, head: bytes) -> bool:
        origins = None if self._origins is None else [None if one is None else Origin(one) for one in self._origins]
        protocol = ServerProtocol(origins=origins, subprotocols=[SUBPROTOCOL], logger=library_logger)
        protocol.receive_data(head)
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
        if protocol.handshake_exc is not None and not protocol.accept_called:
            protocol.writes.insert(0, protocol.reject(400, "This is a WebSocket server.\n").serialize())
        connection.write(b"".join(protocol.data_to_send()))
        if protocol.state is OPEN:
            return True
        connection.end(f"no WebSocket handshake: {protocol.handshake_exc}", abort=False)
        return False

    def _refuse_size(self, connection: StreamConnection) -> None:
        protocol = ServerProtocol(logger=library_logger)
        connection.write(protocol.reject(431, "The request is too large.\n").serialize())
        super()._refuse_size(connection)


class ClientHandshake(Handshake):
    """The connecting side (RFC 7118 section 4)."""

    def __init__(
        self, host: str, port: int, *, is_secure: bool, options: WebSocketOptions, opened: Callable[[str], None]
    ) -> None:
        super().__init__(opened)
        uri = WebSocketURI(is_secure, host, port, options.path, "")
        self._protocol = ClientProtocol(uri, subprotocols=[SUBPROTOCOL], logger=library_logger)
        self._headers = Headers(options.headers)

    def request(self) -> bytes:
        """What the far side is asked."""
        request = self._protocol.connect()
        request.headers.update(self._headers)
        self._protocol.send_request(request)
        return b"".join(self._protocol.data_to_send())

    def _judge(self, connection: StreamConnection, head: bytes) -> bool:
        protocol = self._protocol
        protocol.receive_data(head)
        if protocol.state is OPEN and protocol.subprotocol == SUBPROTOCOL:
            return True
        said = head.partition(b"\r\n")[0][:80].decode("ascii", "replace")
        why = protocol.handshake_exc if isinstance(protocol.handshake_exc, InvalidHandshake) else None
        connection.end(f"no WebSocket for SIP: {why or 'the subprotocol sip is not spoken'} ({said})", abort=False)
        return False


class Server:
    """Makes the framing of connections that one listener accepts; their handshakes are bounded like those of TLS."""

    def __init__(self, options: WebSocketOptions | None, handshakes: Handshakes, max_size: int) -> None:
        self._options = options or WebSocketOptions()
        self._handshakes = handshakes
        self._codecs = Codecs(is_client=False, max_size=max_size)

    def attach(self, connection: StreamConnection, stands: Callable[[], None]) -> None:
        """Before the connection starts; `stands()` is called once it may be used."""

        def opened(reason: str) -> None:
            self._handshakes.done(connection)
            connection.shook_hands()
            if not reason:
                stands()

        connection.framing = WebSocket(connection, self._codecs, ServerHandshake(self._options, opened))

    def begin(self, connection: StreamConnection) -> None:
        """The connection has started."""
        self._handshakes.begin(connection)
        connection.await_handshake()


class Client:
    """Makes the framing of one connection from here."""

    def __init__(
        self, host: str, port: int, *, is_secure: bool, options: WebSocketOptions | None, codecs: Codecs
    ) -> None:
        self._codecs = codecs
        self._handshake = ClientHandshake(
            host, port, is_secure=is_secure, options=options or WebSocketOptions(), opened=self._opened
        )
        self._done: Callable[[str], None] = self._too_early

    def attach(self, connection: StreamConnection) -> None:
        """Before the connection starts."""
        connection.framing = WebSocket(connection, self._codecs, self._handshake)

    def begin(self, connection: StreamConnection, done: Callable[[str], None]) -> None:
        """Ask for it; `done(reason)` is called once, with "" when messages may be sent."""
        self._done = done
        connection.write(self._handshake.request())

    def _opened(self, reason: str) -> None:
        self._done(reason)

    def _too_early(self, reason: str) -> None:
        logger.debug("a connection ended before its WebSocket handshake: %s", reason)


def size_of(frame: Frame, *, is_masked: bool) -> int:
    """The octets that a frame took (RFC 6455 section 5.2)."""
    size = len(frame.data)
    return size + (2 if size < 126 else 4 if size < 65_536 else 10) + (4 if is_masked else 0)


def is_utf8(octets: bytes) -> bool:
    """Whether octets may go as text."""
    if octets.isascii():
        return True
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
