"""The stream connections of one user agent's requests: one for concurrent senders, found again in the engine's table.

Knows no DNS and no policy; who closes and reopens a supervised connection is decided elsewhere (SPEC C5-C7).
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable
from typing import TYPE_CHECKING

from sipcore.env import StreamLimits
from sipcore.errors import TransportError

if TYPE_CHECKING:
    from sipcore.pinging import Pinger
    from sipcore.stack import UserAgent

# Transport, remote host, remote port, verified name: a reused connection serves only the name it was verified for.
ConnectionKey = tuple[str, str, int, str]


class Connector:
    """Opens connections for one user agent and shares them among its requests."""

    def __init__(self, user_agent: UserAgent) -> None:
        self._user_agent = user_agent
        self._opening: dict[ConnectionKey, asyncio.Task[int]] = {}
        self._locals: dict[tuple[str, str], int] = {}
        self._pinger: Pinger | None = None

    def find(self, key: ConnectionKey) -> int:
        """The flow of a live shared connection, or 0.  TLS: only one that was verified for the name of `key`.

        What the far side opened counts if the user agent wants it (`reuses_accepted`), and for TLS if its certificate
        proved the name (RFC 5922, RFC 5923 section 9).
        """
        transport, host, port, name = key
        user_agent = self._user_agent
        engine = user_agent.engine
        flow = engine.find_connection(transport, user_agent.id, host, port, name)
        if flow or not name or not user_agent.reuses_accepted:
            return flow
        flow = engine.find_connection(transport, user_agent.id, host, port)
        return flow if flow and name.lower() in engine.connection(flow).proved else 0

    async def share(self, key: ConnectionKey) -> int:
        """The flow of the one connection to `key`, opened if need be; concurrent senders wait for the same one."""
        flow = self.find(key)
        if flow:
            return flow
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = self._user_agent.env.loop.create_task(self._open_shared(key))
            opening.add_done_callback(lambda task: self._opened(key, task))
        try:
            return await asyncio.shield(opening)
        except TransportError as error:
            raise TransportError(str(error)) from error

    async def open(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        bind: tuple[str, int] | None = None,
        server_name: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        on_lost: Callable[[int, str], None] | None = None,
        limits: StreamLimits | None = None,
    ) -> int:
        """Open a connection; TransportError when it cannot be had."""
        user_agent = self._user_agent
        return await user_agent.env.connect(
            user_agent.driver,
            transport,
            host,
            port,
            local=self._local(transport, host),
            bind=bind,
            server_name=server_name,
            ssl=ssl or user_agent.tls_context,
            on_lost=on_lost,
            limits=limits or user_agent.limits,
            websocket=user_agent.websocket,
        )

    def keep_alive(self, flow: int, seconds: float) -> None:
        """Ping a stream flow, opened or accepted, at least every `seconds` (see `pinging.Pinger.keep`)."""
        if self._pinger is None:
            from sipcore.pinging import Pinger  # noqa: PLC0415 - only where it is asked for

            self._pinger = Pinger(self._user_agent)
        self._pinger.keep(flow, seconds)

    def on_pong(self, flow: int) -> None:
        """A CRLF came, or a pong of WebSocket."""
        if self._pinger is not None:
            self._pinger.on_pong(flow)

    def locals(self) -> set[int]:
        """The engine's local addresses that were made for connections from here."""
        return set(self._locals.values())

    def close(self) -> None:
        """Stop what is being opened."""
        for task in self._opening.values():
            task.cancel()

    async def _open_shared(self, key: ConnectionKey) -> int:
        transport, host, port, name = key
        flow = await self.open(transport, host, port, server_name=name or None)
        self._user_agent.engine.share_connection(flow, name)
        if self._user_agent.keep_alive:
            self.keep_alive(flow, self._user_agent.keep_alive)
        return flow

    def _opened(self, key: ConnectionKey, task: asyncio.Task[int]) -> None:
        self._opening.pop(key, None)
        if not task.cancelled():
            task.exception()

    def _local(self, transport: str, remote_host: str) -> int:
        """The engine's local address that connections of `transport` speak for: the listener's, or one of their own."""
        user_agent = self._user_agent
        listener = user_agent.listener_for(transport, remote_host)
        if listener is not None:
            return listener.local
        source = user_agent.env.source_address(remote_host)
        local = self._locals.get((transport, source))
        if local is None:
            local = user_agent.engine.add_local(transport, source, 0, user_agent=user_agent.id, sender=None)
            self._locals[transport, source] = local
        return local
