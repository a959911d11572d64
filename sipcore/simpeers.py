"""Far sides for tests on the simulated network: a registrar and a proxy that do what a script says.

    registrar = await SimRegistrar(network, "192.0.2.10", domain="example.com", users={"alice": "secret"}).up()
    registrar.script.answer("REGISTER", 503, headers=[("Retry-After", "20")], times=2)
    registrar.script.silence("REGISTER", times=1)

Where the script says nothing, they behave as a registrar and a proxy should: they
are the package's own, on the same engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from sipcore._message import Request
from sipcore.digest import Stored
from sipcore.location import Limits
from sipcore.policy.decisions import format_host_port
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.sim import SimEnv, SimNetwork
from sipcore.stack import Stack
from sipcore.user_agent import UserAgent

Header = tuple[str, str]
Does = Callable[[Request], None]
FOREVER = -1


@dataclass
class _Step:
    """What is done with the next `times` requests of `method` ("*": any)."""

    method: str
    does: Does
    times: int


@dataclass
class Script:
    """What a far side does instead of its duty, in the order that it was told; `seen` are all requests that came."""

    seen: list[Request] = field(default_factory=list)
    _steps: list[_Step] = field(default_factory=list)

    def answer(
        self,
        method: str,
        status_code: int,
        reason_phrase: str | None = None,
        *,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        after: float = 0.0,
        times: int = FOREVER,
    ) -> None:
        """Answer the next `times` requests of `method` ("*": of any) with this, `after` so many seconds."""

        def reply(request: Request) -> None:
            request.reply(status_code, reason_phrase, headers=list(headers), body=body)

        def reply_later(request: Request) -> None:
            asyncio.get_running_loop().call_later(after, reply, request)

        self.do(method, reply_later if after else reply, times=times)

    def silence(self, method: str = "*", *, times: int = FOREVER) -> None:
        """Take the next `times` requests of `method` and never answer."""
        self.do(method, lambda _: None, times=times)

    def do(self, method: str, does: Does, *, times: int = FOREVER) -> None:
        """Call `does(request)` for the next `times` requests of `method`; it may reply, now or later."""
        self._steps.append(_Step(method, does, times))

    def clear(self) -> None:
        """Back to duty."""
        self._steps.clear()

    def take(self, request: Request) -> bool:
        """Do what the script says about `request`; False when it says nothing."""
        self.seen.append(request)
        for step in self._steps:
            if step.method in ("*", request.method):
                step.times -= 1
                if not step.times:
                    self._steps.remove(step)
                step.does(request)
                return True
        return False

    def before(self, duty: Does) -> Does:
        """A handler that asks the script first and does its duty where that says nothing."""

        def handle(request: Request) -> None:
            if not self.take(request):
                duty(request)

        return handle

    def seen_of(self, method: str) -> list[Request]:
        """The requests of one method, in the order that they came."""
        return [request for request in self.seen if request.method == method]


class _Host:
    """One simulated host with a user agent that can die and come back."""

    def __init__(
        self, network: SimNetwork, address: str, *, port: int = 5060, transports: Sequence[str] = ("udp", "tcp")
    ) -> None:
        self.network = network
        self.address = address
        self.port = port
        self.transports = tuple(transports)
        self.script = Script()
        self.env: SimEnv = network.env(address)
        self.stack: Stack | None = None

    async def up(self) -> Self:
        """Start its process, and again after `down`; harmless while it runs.  Returns the host itself."""
        if self.stack is not None:
            return self
        self.stack = Stack(env=self.env)
        agent = self.stack.user_agent("", is_proxy=True)
        for transport in self.transports:
            await agent.listen(transport, format_host_port(self.address, self.port))
        self.serve(agent)
        return self

    async def down(self) -> None:
        """Kill its process: connections are reset, ports closed, what it knew is gone; harmless when it is down."""
        stack, self.stack = self.stack, None
        if stack is not None:
            self.network.cut_streams(self.address)
            await stack.close(timeout=0)

    def serve(self, agent: UserAgent) -> None:
        """Give the user agent its handlers."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """How many stream connections it has accepted and holds."""
        return self.network.streams_to(self.address, self.port)


class SimRegistrar(_Host):
    """A registrar of one domain, with the proxy of that domain in front of it: calls go to registered contacts.

    `users` gives each user its password (None: nobody is asked).  Its bindings are
    kept while its process is down.
    """

    def __init__(
        self,
        network: SimNetwork,
        address: str,
        *,
        domain: str,
        users: Mapping[str, Stored] | None = None,
        limits: Limits | None = None,
        port: int = 5060,
        transports: Sequence[str] = ("udp", "tcp"),
    ) -> None:
        super().__init__(network, address, port=port, transports=transports)
        self.domain = domain
        self.users = users
        self.limits = limits or Limits(minimum_expires=10)
        self.registrar: Registrar | None = None

    def serve(self, agent: UserAgent) -> None:
        before = self.registrar
        self.registrar = registrar = Registrar(agent, domains=[self.domain], users=self.users, limits=self.limits)
        if before is not None:
            registrar.location = before.location
        proxy = Proxy(agent, targets=registrar.targets, challenge=registrar.challenge)
        agent.on("REGISTER", self.script.before(registrar.handle))
        agent.on("*", self.script.before(proxy.handle))

    def bindings(self) -> dict[str, list[str]]:
        """User names to the contacts that they are bound to now."""
        if self.registrar is None:
            return {}
        now, location = self.env.now(), self.registrar.location
        return {
            address.partition(":")[2].rpartition("@")[0]: [b.contact for b in location.bindings(address, now)]
            for address in location.addresses(now)
        }


class SimProxy(_Host):
    """Somebody's outbound proxy: forwards by Route and Request-URI, with a Path of its own in REGISTERs."""

    def serve(self, agent: UserAgent) -> None:
        proxy = Proxy(agent, path=True)
        agent.on("*", self.script.before(proxy.handle))
