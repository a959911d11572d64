"""One service's keep-alives on the wire: `policy.keepalive` joined to a user agent (SPEC B15).

What is sent, and when, is decided there; where REGISTER goes, the owner says.
"""

from __future__ import annotations

import logging
from typing import Protocol

from sipcore.errors import SipError, TransportError
from sipcore.finding import Finder
from sipcore.policy.actions import CancelTimer, StartTimer
from sipcore.policy.keepalive import (
    Action,
    ClosePath,
    KeepAlive,
    SendCustom,
    SendOctets,
    SendOptions,
)
from sipcore.policy.locate import Site
from sipcore.policy.settings import Server
from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.device")


class KeeperOwner(Protocol):
    """The service whose path is kept open."""

    def keep_alive_flow(self) -> int:
        """Where REGISTER goes now; 0 while that is not known or not up."""
        ...

    def keep_alive_uri(self) -> str:
        """The Request-URI of an OPTIONS that keeps the path open."""
        ...


class Keeper:
    """Carries out what `machine` wants; `stop` ends it."""

    def __init__(self, owner: KeeperOwner, user_agent: UserAgent, finder: Finder, machine: KeepAlive) -> None:
        self._owner = owner
        self._user_agent = user_agent
        self._finder = finder
        self._machine = machine
        self._timers: dict[str, int] = {}

    def start(self) -> None:
        """The path is there, or there anew."""
        self._carry_out(self._machine.on_start(self._user_agent.env.now()))

    def stop(self) -> None:
        """Nothing more is sent."""
        self._carry_out(self._machine.on_stop())

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendOctets(octets, None):
                    self._send(octets, self._owner.keep_alive_flow())
                case SendOctets(octets, server) if server is not None:
                    self._user_agent.start_task(self._send_to(octets, server))
                case SendOptions():
                    self._user_agent.start_task(self._ask_options())
                case SendCustom(message):
                    self._send(message.encode("utf-8", "surrogateescape"), self._owner.keep_alive_flow())
                case StartTimer(name, due):
                    self._start_timer(name, due)
                case CancelTimer(name):
                    self._cancel_timer(name)
                case ClosePath(why):
                    logger.info("keep-alive: %s", why)
                    self._user_agent.disconnect(self._owner.keep_alive_flow())

    def _send(self, octets: bytes, flow: int) -> None:
        """Once, without a transaction; what cannot be sent now is left to the next time."""
        if not flow:
            return
        try:
            self._user_agent.engine.send(octets, flow)
        except TransportError as error:
            logger.debug("keep-alive not sent: %s", error)

    async def _send_to(self, octets: bytes, server: Server) -> None:
        """To a server of its own (X_KeepAliveServer), found as any other name is."""
        try:
            found = await self._finder.find(Site(server.host, server.port))
        except SipError as error:
            logger.debug("keep-alive not sent: %s", error)
            return
        self._send(octets, self._user_agent.datagram_flow(found.target.address, found.target.port))

    async def _ask_options(self) -> None:
        try:
            await self._user_agent.request("OPTIONS", self._owner.keep_alive_uri())
        except SipError as error:
            logger.debug("keep-alive OPTIONS: %s", error)

    def _start_timer(self, name: str, due: float) -> None:
        self._cancel_timer(name)

        def fire() -> None:
            self._timers.pop(name, None)
            self._carry_out(self._machine.on_timer(self._user_agent.env.now(), name))

        self._timers[name] = self._user_agent.engine.start_timer(due, fire)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, 0)
        if timer:
            self._user_agent.engine.cancel_timer(timer)
