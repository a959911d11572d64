"""One service's connection to one server, kept up (SPEC C5 to C7): the supervisor's machine joined to the world.

What is done when is `policy.supervisor`'s business; this room carries it out:
locate, connect, close, timers.  Knows no SIP.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from sipcore.env import SECURE_TRANSPORTS
from sipcore.errors import LocateError, TransportError
from sipcore.finding import Found, Locator
from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.decisions import format_host_port
from sipcore.policy.failover import place_of
from sipcore.policy.locate import Site, Target
from sipcore.policy.supervisor import (
    Action,
    Close,
    Connect,
    ConnectionDown,
    ConnectionMoved,
    ConnectionSupervisor,
    ConnectionUp,
    FailWaiting,
    Locate,
    SendWaiting,
    State,
)
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")


class LinkOwner(Protocol):
    """The service that a connection belongs to."""

    def on_link_up(self, link: Link) -> None: ...
    def on_link_down(self, link: Link, why: str) -> None: ...
    def on_link_moved(self, link: Link) -> None:
        """It leads to another server now; the connection to the old one is closed by whoever moved it."""
        ...

    def on_note(self, note: Note) -> None: ...


class Link:
    """Keeps one connection to where `locator` leads; `name` says in notes whose it is ("OutboundProxy edge.a.net").

    `server_name` is the configured host, which TLS verifies (SPEC C10); `bind` gives
    the source (host, port) of the next connection.  Created stopped; `start` connects.
    """

    def __init__(
        self,
        owner: LinkOwner,
        user_agent: UserAgent,
        locator: Locator,
        name: str,
        *,
        server_name: str,
        bind: Callable[[], tuple[str, int]],
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self.flow = 0
        self.opened = 0
        self.found: Found | None = None
        self._owner = owner
        self._user_agent = user_agent
        self._env = user_agent.env
        self._locator = locator
        self._server_name = server_name
        self._bind = bind
        self._ssl = ssl
        self._machine = ConnectionSupervisor(name, random=self._env.random)
        self._flows: dict[int, int] = {}
        self._attempts: dict[int, asyncio.Task[None]] = {}
        self._timers: dict[str, int] = {}

    @property
    def is_up(self) -> bool:
        return self._machine.state is State.UP

    @property
    def target(self) -> Target | None:
        """Where it leads, or is about to lead; None while that is looked for."""
        return self._machine.target

    @property
    def generation(self) -> int:
        """The number of the connection that carries everything."""
        return self._machine.generation

    def leads_to(self, target: Target) -> bool:
        """Whether it is up and its far end is `target`."""
        here = self._machine.target
        return self.is_up and here is not None and place_of(here) == place_of(target)

    @property
    def next_attempt(self) -> float | None:
        """When it connects again, while it backs off."""
        return self._machine.next_attempt if self._machine.state is State.BACKING_OFF else None

    def status(self) -> str:
        """ "connected to 192.0.2.10:5060 tcp from 192.0.2.1:49152", or why it is not."""
        if not self.is_up or self._machine.target is None:
            return self._machine.status(self._env.now())
        target = self._machine.target
        return f"connected to {format_host_port(target.address, target.port)} {target.transport}{self._source()}"

    def start(self) -> None:
        self._carry_out(self._machine.on_start(self._env.now()))

    def stop(self) -> None:
        """Close it for good; who waits for it is told."""
        self._carry_out(self._machine.on_stop(self._env.now()))
        for task in tuple(self._attempts.values()):
            task.cancel()
        for generation in tuple(self._flows):
            self._close(generation)

    def look_for(self, site: Site) -> None:
        """Where the next connection leads."""
        self._locator.look_for(site)

    def restart(self, why: str) -> None:
        """Connect anew at once (SPEC A1)."""
        self._carry_out(self._machine.on_restart(self._env.now(), why))

    def request_succeeded(self) -> None:
        """The connection carried a request to its answer: the next loss starts from the first step (SPEC C6)."""
        self._carry_out(self._machine.on_request_succeeded(self._env.now()))

    async def wait(self, deadline: float) -> int:
        """The flow, once there is one; TransportError when there is none by `deadline`, or too many wait (SPEC C6)."""
        waiting: asyncio.Future[int] = self._env.loop.create_future()
        self._carry_out(self._machine.on_request(self._env.now(), waiting, deadline))
        try:
            return await waiting
        finally:
            self._machine.on_request_gone(waiting)

    # a second connection, for a probe alone (SPEC C5)

    async def open_beside(self, target: Target) -> int:
        """A connection to another server; returns its generation.  TransportError when it cannot be had."""
        generation = self._machine.new_generation()
        self._flows[generation] = await self._open(generation, target)
        return generation

    def flow_of(self, generation: int) -> int:
        """The flow of a connection beside, 0 when it has ended."""
        return self._flows.get(generation, 0)

    def close_beside(self, generation: int) -> None:
        """The probe is over, and lost; or what was left has been taken leave of."""
        if generation != self._machine.generation:
            self._close(generation)

    def move_to(self, generation: int, target: Target) -> None:
        """The probe won: everything goes over its connection now; the owner hears of `on_link_moved`."""
        self._carry_out(self._machine.on_adopted(self._env.now(), generation, target))

    # what the machine wants done

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            self._carry_out_one(action)

    def _carry_out_one(self, action: Action) -> None:
        match action:
            case Locate(generation):
                self._attempt(generation, self._locate(generation))
            case Connect(generation):
                self._attempt(generation, self._connect(action))
            case Close(generation):
                self._close(generation)
            case ConnectionUp(generation):
                self.flow = self._flows[generation]
                self.opened += 1
                self._owner.on_link_up(self)
            case ConnectionMoved():
                self._moved(action)
            case ConnectionDown(why):
                self.flow = 0
                self._owner.on_link_down(self, why)
            case SendWaiting(request):
                _settle(request, lambda future: future.set_result(self.flow))
            case FailWaiting(request, _, why):
                _settle(request, lambda future: future.set_exception(TransportError(why)))
            case StartTimer(name, due):
                self._start_timer(name, due)
            case CancelTimer(name):
                self._cancel_timer(name)
            case Note():
                self._owner.on_note(action)

    def _attempt(self, generation: int, work: Coroutine[Any, Any, None]) -> None:
        task = self._env.loop.create_task(work)
        self._attempts[generation] = task
        task.add_done_callback(lambda done: self._attempt_ended(generation, done))

    def _attempt_ended(self, generation: int, task: asyncio.Task[None]) -> None:
        if self._attempts.get(generation) is task:
            del self._attempts[generation]
        if not task.cancelled() and task.exception() is not None:
            logger.error("connecting failed unexpectedly", exc_info=task.exception())
            self._carry_out(self._machine.on_failed(self._env.now(), generation, f"unexpected: {task.exception()}"))

    def _moved(self, moved: ConnectionMoved) -> None:
        self.flow = self._flows.get(moved.generation, 0)
        self.opened += 1
        if self.found is not None:
            self.found = replace(self.found, target=moved.target)
        self._owner.on_link_moved(self)

    async def _locate(self, generation: int) -> None:
        try:
            self.found = await self._locator.find()
        except LocateError as error:
            self._carry_out(self._machine.on_failed(self._env.now(), generation, str(error)))
        else:
            self._carry_out(self._machine.on_located(self._env.now(), generation, self.found.target))

    async def _connect(self, wanted: Connect) -> None:
        try:
            flow = await self._open(wanted.generation, wanted.target)
        except TransportError as error:
            self._locator.failed(wanted.target)
            self._carry_out(self._machine.on_failed(self._env.now(), wanted.generation, str(error)))
            return
        self._flows[wanted.generation] = flow
        self._locator.connected(wanted.target)
        self._carry_out(self._machine.on_connected(self._env.now(), wanted.generation))

    async def _open(self, generation: int, target: Target) -> int:
        return await self._user_agent.connect(
            target.transport,
            target.address,
            target.port,
            bind=self._bind(),
            server_name=self._server_name if target.transport in SECURE_TRANSPORTS else None,
            ssl=self._ssl,
            on_lost=lambda _, reason: self._lost(generation, reason),
        )

    def _lost(self, generation: int, reason: str) -> None:
        self._flows.pop(generation, None)
        self._carry_out(self._machine.on_lost(self._env.now(), generation, reason))

    def _close(self, generation: int) -> None:
        task = self._attempts.pop(generation, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        flow = self._flows.pop(generation, 0)
        if flow:
            if self.flow == flow:
                self.flow = 0
            self._user_agent.disconnect(flow)

    def _start_timer(self, name: str, due: float) -> None:
        self._cancel_timer(name)

        def fire() -> None:
            self._timers.pop(name, None)
            self._carry_out(self._machine.on_timer(self._env.now(), name))

        self._timers[name] = self._user_agent.engine.start_timer(due, fire)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, 0)
        if timer:
            self._user_agent.engine.cancel_timer(timer)

    def _source(self) -> str:
        try:
            _, host, port, _, _ = self._user_agent.engine.flow_info(self.flow)
        except TransportError:
            return ""
        return f" from {format_host_port(host, port)}"


def _settle(request: object, settle: Callable[[asyncio.Future[int]], None]) -> None:
    if isinstance(request, asyncio.Future) and not request.done():
        settle(request)
