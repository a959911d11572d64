"""The stack: one engine, its user agents, and what the application hangs on them.

    stack = sipcore.Stack()
    await stack.listen("udp", "0.0.0.0:5060", advertise="203.0.113.5:5060")

    @stack.on("OPTIONS")
    def options(request):
        return request.reply(200)

Plain handlers run inside the batch in which their request came; `async def`
handlers become tasks.  Orchestrates; it parses no octets and opens no sockets.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl as ssl_module
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from sipcore.driver import LoopDriver, start_soon
from sipcore.env import Env, Listener, StreamLimits, Watch
from sipcore.errors import UsageError
from sipcore.limits import Limits
from sipcore.outgoing import ClientTransaction
from sipcore.user_agent import AnyHandler, UserAgent

if TYPE_CHECKING:
    from sipcore._engine import Engine
    from sipcore._overload import Overload
    from sipcore.call import OutgoingCall
    from sipcore.workers import Workers

__all__ = ["Stack", "UserAgent"]


CLOSE_TIMEOUT = 31.5  # seconds; what is left is let go within 64*T1 (FAULTS 57)
WATCHDOG = 2.0  # seconds


class Stack:
    """One engine on one event loop.  What is asked of the stack itself goes to its default user agent, `ua`.

    `env` is the world; the default is the real one on the running event loop.
    `workers` makes it the stack of one of several processes that share its
    addresses: `serving.serve` gives each its own; a number says how many there
    have to be (UsageError where this process is not one of so many).
    `overload` bounds what is taken on at once: requests in all, the share of a
    single source, how long a queue may stand.
    `limits`: of messages that come in, and what is read of them that RFC 3261's grammar does not have.
    `watchdog`: seconds that the event loop may stand still before it is logged where it does (0: nobody looks); a
    handler that blocks keeps everybody waiting.
    """

    def __init__(
        self,
        *,
        env: Env | None = None,
        limits: Limits | None = None,
        workers: Workers | int = 1,
        watchdog: float = WATCHDOG,
    ) -> None:
        self.workers = _workers(workers)
        if env is None:
            from sipcore.aio import AsyncioEnv  # noqa: PLC0415 - not needed where an Env is given

            env = AsyncioEnv(workers=self.workers)
        self.env = env
        self.driver = LoopDriver(env, limits)
        self.engine: Engine = self.driver.engine
        if self.workers is not None:
            self.workers.attach(self.driver)
        self.overload: Overload = self.engine.overload
        self.closed = False
        self.closer: asyncio.Task[Any] | None = None
        self.user_agents: set[UserAgent] = set()
        self._patience = watchdog
        self._watch: Watch | None = None
        self._idle_waiters: list[asyncio.Future[None]] = []
        self.ua = self.user_agent()

    def key(self, purpose: str) -> bytes:
        """16 secret octets: for `purpose` the same in all workers, or new where the stack stands alone."""
        return self.env.key() if self.workers is None else self.workers.key(purpose)

    def user_agent(self, name: str = "", *, is_proxy: bool = False) -> UserAgent:
        """A further user agent, with its own addresses, dialogs and transactions (SPEC A8).

        `is_proxy`: the engine does not look for merged requests and does not repeat 2xx (RFC 3261 section 16).
        """
        if self.closed:
            raise UsageError("the stack is closed")
        user_agent = UserAgent(self, name, is_proxy=is_proxy)
        self.user_agents.add(user_agent)
        return user_agent

    async def listen(
        self,
        transport: str,
        address: str,
        *,
        advertise: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        user_agent: UserAgent | None = None,
        limits: StreamLimits | None = None,
        sock: socket.socket | None = None,
    ) -> Listener:
        """Open a local address (see `UserAgent.listen`)."""
        return await (user_agent or self.ua).listen(
            transport, address, advertise=advertise, ssl=ssl, limits=limits, sock=sock
        )

    @overload
    def on(
        self, method: str, handler: None = None, *, stateless: bool = False
    ) -> Callable[[AnyHandler], AnyHandler]: ...
    @overload
    def on(self, method: str, handler: AnyHandler, *, stateless: bool = False) -> AnyHandler: ...
    def on(self, method: str, handler: Any = None, *, stateless: bool = False) -> Any:
        """See `UserAgent.on`."""
        return self.ua.on(method, handler, stateless=stateless)

    def on_invite(self, handler: AnyHandler) -> AnyHandler:
        """See `UserAgent.on_invite`."""
        return self.ua.on_invite(handler)

    def on_send(self, hook: AnyHandler) -> AnyHandler:
        """See `UserAgent.on_send`."""
        return self.ua.on_send(hook)

    def request(self, method: str, uri: str, **arguments: Any) -> ClientTransaction:
        """See `UserAgent.request`."""
        return self.ua.request(method, uri, **arguments)

    def dial(self, uri: str, **arguments: Any) -> OutgoingCall:
        """See `UserAgent.dial`."""
        return self.ua.dial(uri, **arguments)

    def post_threadsafe(self, callback: Callable[..., Any], *args: Any) -> None:
        """Run `callback(*args)` soon on the stack's loop, from any thread; what it sends goes out at once."""
        start_soon(self.env.loop, callback, *args)

    def keep_watch(self) -> None:
        """From now on somebody looks whether the loop runs: there is something to wait for."""
        if self._watch is None and self._patience and not self.closed:
            self._watch = self.env.watch_loop(self._patience)

    # the end

    async def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """End gracefully (FAULTS 57): new work gets 503, calls are hung up, running transactions end, at most
        `timeout` seconds long; then everything is let go.  Closing twice is harmless."""
        if self.closed:
            return
        self.closer = asyncio.current_task()
        await asyncio.sleep(0)  # an eagerly started handler is still inside its batch
        agents = tuple(self.user_agents)
        for user_agent in agents:
            user_agent.closing = True
            for call in tuple(user_agent.calls):
                call.hang_up()
        await self.until(lambda: all(user_agent.is_idle for user_agent in agents), timeout)
        self.closed = True
        if self._watch is not None:
            self._watch.close()
        self.driver.engine.flush()
        for user_agent in agents:
            user_agent.drop()
        self.env.disconnect_all(self.driver)
        self.driver.close()
        self.something_ended()

    def pause(self) -> None:
        """Take nothing new in from the network: listening addresses are no longer read, what was begun goes on."""
        for user_agent in self.user_agents:
            for listener in user_agent.listeners:
                listener.pause()

    def resume(self) -> None:
        """Read the listening addresses (again)."""
        for user_agent in self.user_agents:
            for listener in user_agent.listeners:
                listener.resume()

    async def wait_closed(self) -> None:
        """Return when the stack is closed."""
        await self.until(lambda: self.closed, math.inf)

    async def __aenter__(self) -> Stack:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition()` holds, looking again whenever a task, request or call has ended."""
        deadline = self.env.now() + timeout
        while not condition():
            left = deadline - self.env.now()
            if left <= 0:
                return False
            waiter: asyncio.Future[None] = self.env.loop.create_future()
            self._idle_waiters.append(waiter)
            await asyncio.wait([waiter], timeout=left if left < math.inf else None)
        return True

    def something_ended(self) -> None:
        waiters, self._idle_waiters = self._idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _workers(workers: Workers | int) -> Workers | None:
    """The workers that a stack is one of; None for a stack of its own."""
    if not isinstance(workers, int):
        return workers
    if workers == 1:
        return None
    from sipcore.workers import Workers, place_of  # noqa: PLC0415  (a process of its own holds none of it)

    return Workers(place_of(workers), asyncio.get_running_loop())
