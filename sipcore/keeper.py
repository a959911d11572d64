"""Keep-alives of one service on the wire: the machine of `policy.keepalive` joined to a user agent (SPEC B15)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from sipcore.errors import LocateError, SipError, TransportError
from sipcore.finding import Finder
from sipcore.policy.actions import CancelTimer, StartTimer
from sipcore.policy.keepalive import Action, ClosePath, KeepAlive, SendCustom, SendOctets, SendOptions
from sipcore.policy.locate import Site
from sipcore.policy.settings import Server
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")


class KeeperOwner(Protocol):
    """The service whose path is kept open."""

    def keep_alive_flow(self) -> int:
        """The flow that REGISTER takes now, 0 while there is none."""
        ...

    def close_path(self, why: str) -> None:
        """The far end is dead: let go of the connection."""
        ...


def _by_address(server: Server) -> Site:
    return Site(server.host, server.port, "udp")


class Keeper:
    """Carries out what `machine` wants; `request_uri` is what an OPTIONS asks.

    `site` says how the server that keep-alives may have of their own is found.
    """

    def __init__(
        self,
        owner: KeeperOwner,
        user_agent: UserAgent,
        finder: Finder,
        machine: KeepAlive,
        request_uri: str,
        *,
        site: Callable[[Server], Site] = _by_address,
    ) -> None:
        self.sent = 0
        self._owner = owner
        self._user_agent = user_agent
        self._finder = finder
        self._machine = machine
        self._request_uri = request_uri
        self._site = site
        self._timers: dict[str, int] = {}

    def start(self) -> None:
        """The path is there."""
        self._carry_out(self._machine.on_start(self._user_agent.env.now()))

    def stop(self) -> None:
        """The path is gone."""
        self._carry_out(self._machine.on_stop())

    def agree(self, seconds: int | None) -> None:
        """What the answer to REGISTER said of keep-alives: None, or the most seconds between two, 0 for any."""
        if seconds is not None:
            self._carry_out(self._machine.on_agreed(self._user_agent.env.now(), seconds))

    def pong(self, flow: int) -> None:
        """A single CRLF came (RFC 5626 section 4.4.1)."""
        if flow == self._owner.keep_alive_flow():
            self._carry_out(self._machine.on_pong())

    # what the machine wants done

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendOctets(octets, server):
                    self._send_octets(octets, server)
                case SendOptions():
                    self._user_agent.start_task(self._send_options())
                case SendCustom(message):
                    self._send_on(self._owner.keep_alive_flow(), message.encode())
                case ClosePath(why):
                    self._owner.close_path(why)
                case StartTimer(name, due):
                    self._start_timer(name, due)
                case CancelTimer(name):
                    self._cancel_timer(name)

    def _send_octets(self, octets: bytes, server: Server | None) -> None:
        if server is None:
            self._send_on(self._owner.keep_alive_flow(), octets)
        else:
            self._user_agent.start_task(self._send_to(octets, server))

    async def _send_to(self, octets: bytes, server: Server) -> None:
        """Datagrams to a server of their own; a name that leads nowhere now may do so next time."""
        try:
            found = await self._finder.find(self._site(server))
            flow = self._user_agent.datagram_flow(found.target.address, found.target.port)
        except (LocateError, TransportError) as error:
            logger.info("no keep-alive: %s", error)
        else:
            self._send_on(flow, octets)

    async def _send_options(self) -> None:
        try:
            await self._user_agent.request("OPTIONS", self._request_uri)
        except SipError as error:
            logger.debug("an OPTIONS that keeps a path open got no answer: %s", error)

    def _send_on(self, flow: int, octets: bytes) -> None:
        if not flow:
            return
        try:
            self._user_agent.engine.send(octets, flow)
        except TransportError as error:
            logger.debug("no keep-alive: %s", error)
        else:
            self.sent += 1

    def _start_timer(self, name: str, due: float) -> None:
        self._cancel_timer(name)
        self._timers[name] = self._user_agent.engine.start_timer(due, self._fire(name))

    def _fire(self, name: str) -> Callable[[], None]:
        def fire() -> None:
            self._timers.pop(name, None)
            self._carry_out(self._machine.on_timer(self._user_agent.env.now(), name))

        return fire

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, 0)
        if timer:
            self._user_agent.engine.cancel_timer(timer)
