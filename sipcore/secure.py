"""TLS connections on an asyncio loop (SPEC C10): handshakes in turn, sessions resumed, names proved.

`ssl.SSLSocket` reads and writes the descriptor, so that nothing is held for a
connection that OpenSSL does not need.  Knows no SIP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as socket_module
import ssl as ssl_module
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from sipcore.env import Driver, StreamLimits
from sipcore.errors import TransportError
from sipcore.sockets import LINGER, Address, reason_of
from sipcore.streams import CLOSED_THERE, OnLost, StreamConnection

CHUNK = 16_384  # octets of one read: a record
READS_OF_A_WAKE = 4
HANDSHAKE_SHARE = 0.005  # seconds of each turn of the loop that handshakes may take
HALF_OPEN = 1_024  # accepted handshakes at a time; the oldest gives way


class Handshakes:
    """TLS handshakes of one loop: they take a part of each turn, so that a storm of them delays nobody (FAULTS 16)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.dropped = 0
        self._loop = loop
        self._ready: deque[SecureConnection] = deque()
        self._half_open: OrderedDict[StreamConnection, None] = OrderedDict()
        self._is_running = False

    def __len__(self) -> int:
        """Accepted connections whose handshake is not done."""
        return len(self._half_open)

    def begin(self, connection: StreamConnection) -> None:
        """An accepted connection has yet to shake hands; where there are too many, the oldest gives way."""
        self._half_open[connection] = None
        if len(self._half_open) > HALF_OPEN:
            self.dropped += 1
            next(iter(self._half_open)).end("others wait for their handshake")

    def go_on(self, connection: SecureConnection) -> None:
        """`connection.shake` is to be called when its turn comes."""
        self._ready.append(connection)
        if not self._is_running:
            self._is_running = True
            self._loop.call_soon(self._run)

    def done(self, connection: StreamConnection) -> None:
        self._half_open.pop(connection, None)

    def _run(self) -> None:
        until = time.perf_counter() + HANDSHAKE_SHARE
        while self._ready:
            self._ready.popleft().shake()
            if time.perf_counter() >= until:
                break
        self._is_running = bool(self._ready)
        if self._is_running:
            self._loop.call_soon(self._run)


class Sessions:
    """TLS sessions to resume, the last of each name and context."""

    ROOM = 256

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[ssl_module.SSLContext, str, Address], ssl_module.SSLSession] = OrderedDict()

    def get(self, key: tuple[ssl_module.SSLContext, str, Address]) -> ssl_module.SSLSession | None:
        return self._kept.get(key)

    def keep(self, key: tuple[ssl_module.SSLContext, str, Address], session: ssl_module.SSLSession) -> None:
        self._kept[key] = session
        self._kept.move_to_end(key)
        if len(self._kept) > self.ROOM:
            self._kept.popitem(last=False)


class SecureConnection(StreamConnection):
    """A TLS connection: it shakes hands, then carries.  `established` is called once it stands."""

    __slots__ = (
        "_context",
        "_established",
        "_handshakes",
        "_is_closing",
        "_is_reading",
        "_is_up",
        "_is_writing",
        "_keep_session",
        "_loop",
        "_queue",
        "_server_name",
        "_socket",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        driver: Driver,
        limits: StreamLimits,
        on_lost: OnLost | None,
        sock: socket_module.socket,
        *,
        context: ssl_module.SSLContext,
        handshakes: Handshakes,
        server_name: str | None,
        established: Callable[[SecureConnection], None],
        keep_session: Callable[[ssl_module.SSLSession], None] | None = None,
    ) -> None:
        super().__init__(driver, limits, on_lost)
        self._loop = loop
        self._socket = sock
        self._context: ssl_module.SSLContext | None = context
        self._handshakes = handshakes
        self._server_name = server_name
        self._established: Callable[[SecureConnection], None] | None = established
        self._keep_session = keep_session
        self._queue = b""
        self._is_up = False
        self._is_reading = False
        self._is_writing = False
        self._is_closing = False

    # the handshake

    def accept(self, transport: str, local: int, addresses: tuple[Address, Address]) -> None:
        """The far side opened it: it counts at once, and has a deadline for its handshake."""
        is_framed = self.framing is not None
        self.flow = self._driver.engine.add_connection(local, transport, *addresses, self, message_based=is_framed)
        self._handshakes.begin(self)
        self.await_handshake()
        self._watch(self._first_octets)

    def connect(self, session: ssl_module.SSLSession | None) -> None:
        """This side opened it; `established` tells, or `lost`."""
        self._wrap(server_side=False)
        if session is not None:
            self._tls.session = session
        self._handshakes.go_on(self)

    def shake(self) -> None:
        """Go on with the handshake; only `Handshakes` calls this."""
        if self.reason:
            return
        try:
            self._tls.do_handshake()
        except ssl_module.SSLWantReadError:
            self._watch(self._go_on)
        except ssl_module.SSLWantWriteError:
            self._watch(self._go_on, writing=True)
        except (OSError, ValueError) as error:
            self.end(reason_of(error))
        else:
            self._up()

    def stand(self, transport: str, local: int, addresses: tuple[Address, Address]) -> int:
        """This side opened it and the handshake is done: the engine learns of it.  Returns the flow."""
        is_framed = self.framing is not None
        self.flow = self._driver.engine.add_connection(
            local, transport, *addresses, self, accepted=False, message_based=is_framed
        )
        self._watch(self._readable)
        self._loop.call_soon(self._readable)
        return self.flow

    def version(self) -> tuple[str, bool]:
        """The TLS version in use, and whether a session was resumed."""
        return self._tls.version() or "", bool(self._tls.session_reused)

    @property
    def _tls(self) -> ssl_module.SSLSocket:
        assert isinstance(self._socket, ssl_module.SSLSocket)
        return self._socket

    def _first_octets(self) -> None:
        """Nothing of TLS is held before the far side has begun to speak."""
        try:
            self._wrap(server_side=True)
        except (OSError, ValueError) as error:
            self.end(reason_of(error))
        else:
            self._go_on()

    def _wrap(self, *, server_side: bool) -> None:
        assert self._context is not None
        self._socket = self._context.wrap_socket(
            self._socket,
            server_side=server_side,
            server_hostname=self._server_name,
            do_handshake_on_connect=False,
        )
        self._context = None

    def _go_on(self) -> None:
        self._unwatch()
        self._handshakes.go_on(self)

    def _up(self) -> None:
        self._is_up = True
        if self.framing is None or not self.flow:
            self._handshakes.done(self)
            self.shook_hands()
        self.proved = certificate_names(self._tls)
        established, self._established = self._established, None
        if established is not None:
            established(self)
        if self.flow and not self.reason:
            self._watch(self._readable)
            self._readable()

    # octets

    def _readable(self) -> None:
        for _ in range(READS_OF_A_WAKE):
            if self.reason or self._is_writing:
                return
            try:
                data = self._tls.read(CHUNK)
            except ssl_module.SSLWantReadError:
                return
            except ssl_module.SSLWantWriteError:
                self._blocked()
                return
            except OSError as error:
                self.end(CLOSED_THERE if isinstance(error, ssl_module.SSLEOFError) else reason_of(error))
                return
            if not data:
                self.end(CLOSED_THERE, abort=False)
                return
            self.received(data)
        if not self.reason and self._tls.pending():
            self._loop.call_soon(self._readable)

    def _carry(self, octets: bytes) -> None:
        was_empty = not self._queue
        self._queue += octets
        if was_empty:
            self._send()

    def _waiting(self) -> int:
        return len(self._queue)

    def _send(self) -> None:
        """Send what waits.  A broken connection is noticed by its reader, outside of the batch."""
        while self._queue:
            try:
                sent = self._tls.send(self._queue)
            except (ssl_module.SSLWantReadError, ssl_module.SSLWantWriteError):
                self._blocked()
                return
            except OSError as error:
                self._queue = b""
                self._set("close", 0.0, reason_of(error))
                return
            self._queue = self._queue[sent:]
        if self._is_closing:
            self._close_socket()
        elif self._is_writing:
            self._watch(self._readable)
            self.drained()

    def _blocked(self) -> None:
        """The kernel takes no more: nothing is read until it does (FAULTS 14)."""
        if not self._is_writing:
            self._watch(self._send if self._queue else self._read_again, writing=True)
            self.stalled()

    def _read_again(self) -> None:
        self._watch(self._readable)
        self.drained()
        self._readable()

    # the descriptor

    def _watch(self, callback: Callable[[], None], *, writing: bool = False) -> None:
        self._unwatch()
        descriptor = self._socket.fileno()
        if writing:
            self._loop.add_writer(descriptor, callback)
        else:
            self._loop.add_reader(descriptor, callback)
        self._is_writing, self._is_reading = writing, not writing

    def _unwatch(self) -> None:
        descriptor = self._socket.fileno()
        if descriptor >= 0 and not self._loop.is_closed():
            if self._is_reading:
                self._loop.remove_reader(descriptor)
            if self._is_writing:
                self._loop.remove_writer(descriptor)
        self._is_reading = self._is_writing = False

    def lost(self, reason: str) -> None:
        self._handshakes.done(self)
        if self._is_up and self._keep_session is not None and (session := self._tls.session) is not None:
            self._keep_session(session)
        super().lost(reason)

    def _shut(self, *, abort: bool) -> None:
        if self._socket.fileno() < 0:
            return
        if not abort and self._queue and self._is_up and not self._is_closing:
            self._is_closing = True
            self._loop.call_later(LINGER, self._close_socket)
            return
        if not abort and self._is_up:
            with contextlib.suppress(OSError, ValueError):
                self._tls.unwrap()  # says that this side has ended; the answer is not waited for
        self._close_socket()

    def _close_socket(self) -> None:
        self._unwatch()
        self._socket.close()


def certificate_names(tls: ssl_module.SSLSocket) -> tuple[str, ...]:
    """The SIP domains that a verified certificate of the far side names (RFC 5922 section 7.1); nothing unverified."""
    certificate = tls.getpeercert() or {}
    names: list[tuple[str, str]] = [entry for entry in certificate.get("subjectAltName", ()) if len(entry) == 2]  # type: ignore[misc]
    uris = [value[4:] for kind, value in names if kind == "URI" and value.lower().startswith("sip:")]
    domains = [value for kind, value in names if kind in ("DNS", "IP Address")]
    return tuple(domain.lower() for domain in ([uri for uri in uris if "@" not in uri] if uris else domains))


def check_context(context: ssl_module.SSLContext) -> None:
    """TransportError where a context would speak what is older than TLS 1.2 (FAULTS 16)."""
    oldest = context.minimum_version
    if oldest == ssl_module.TLSVersion.MINIMUM_SUPPORTED or oldest < ssl_module.TLSVersion.TLSv1_2:
        raise TransportError("the TLS context allows what is older than TLS 1.2: set its minimum_version")
