"""The contact port of one service: bound in every transport that it speaks, moved when need be (SPEC A1 to A3).

Knows sockets through the user agent, no registration and no connection that the
service opens.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence

from sipcore.env import Listener
from sipcore.errors import TransportError
from sipcore.policy.backoff import BackOff
from sipcore.policy.settings import Service
from sipcore.routing import server_sites
from sipcore.tls import make_client_context, make_server_context
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")

OLD_PORT_LIFE = 32.0  # seconds that a socket that was moved away from stays open (SPEC A3)


class ContactPort:
    """Where one service listens, on the address that `local_host` says; `refuse(why, wait)` hears that it cannot now.

    `transports` are those of the service's servers, each once; `client_tls` is the
    context of the connections that the service opens, None where it speaks no TLS.
    """

    def __init__(
        self,
        service: Service,
        user_agent: UserAgent,
        local_host: Callable[[], str],
        refuse: Callable[[str, float], None],
    ) -> None:
        sites = server_sites(service.profile, ("A",)).values()
        self.transports = list(dict.fromkeys(site.transport or "udp" for site in sites))
        self.client_tls: ssl.SSLContext | None = None
        self._service = service
        self._user_agent = user_agent
        self._local_host = local_host
        self._refuse = refuse
        self._back_off = BackOff(user_agent.env.random)

    @property
    def number(self) -> int:
        """The port that is really bound."""
        listeners: Sequence[Listener] = self._user_agent.listeners
        return listeners[0].port if listeners else self._service.user_agent_port

    async def open(self) -> None:
        """Bind it; a port in use is tried again until it is free (SPEC A2)."""
        while True:
            try:
                await self._listen(self._local_host())
            except TransportError as error:
                self._close_all()
                wait = self._back_off.next_wait()
                self._refuse(str(error), wait)
                await asyncio.sleep(wait)
            else:
                self._back_off.reset()
                return

    async def move(self) -> None:
        """The host has another address (SPEC A1)."""
        self._close_all()
        await self.open()

    def use(self, port: int) -> None:
        """Move the UDP socket to another port, keeping the old one for what is still on its way (SPEC A3)."""
        user_agent = self._user_agent
        old = tuple(listener for listener in user_agent.listeners if listener.transport == "udp")
        try:
            moved = user_agent.env.open_datagrams(user_agent.driver, self._local_host(), port, user_agent=user_agent.id)
        except TransportError as error:
            logger.info("SP%d: stays on its port: %s", self._service.number, error)
            return
        user_agent.listeners[:0] = [moved]

        def close_old() -> None:
            for listener in old:
                listener.close()
                if listener in user_agent.listeners:
                    user_agent.listeners.remove(listener)

        user_agent.engine.start_timer(user_agent.env.now() + OLD_PORT_LIFE, close_old)

    async def _listen(self, host: str) -> None:
        """In every transport; TLS only with a certificate of our own (SPEC A2, C10)."""
        address = f"{_bracketed(host)}:{self._service.user_agent_port}"
        profile = self._service.profile
        for transport in self.transports:
            server_tls = None
            if transport == "tls":
                self.client_tls, server_tls = make_client_context(profile), make_server_context(profile)
            if transport != "tls" or server_tls is not None:
                await self._user_agent.listen(transport, address, ssl=server_tls)

    def _close_all(self) -> None:
        for listener in self._user_agent.listeners:
            listener.close()
        self._user_agent.listeners.clear()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
