"""A far side that does as a test says: a registrar of scripted answers behind the device's domain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import Any

from provider import DEVICE_HOST, DOMAIN, HOME_HOST, configure

from sipcore import sim
from sipcore._message import Request
from sipcore.config import DeviceConfig
from sipcore.device import Device
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

Reply = Callable[[Request], None]
GRANTED = 60


def grant(request: Request, expires: int = GRANTED, **headers: str) -> None:
    """200 with the Contact as it was asked for, for so many seconds."""
    contact = request["Contact"].split(">")[0] + f">;expires={expires}"
    request.reply(200, headers=[("Contact", contact), *((k.replace("_", "-"), v) for k, v in headers.items())])


def say(status_code: int, reason: str | None = None, **headers: str) -> Reply:
    """Answer so; "_" in a header's name stands for "-"."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda request: request.reply(status_code, reason, headers=fields)


def challenge(status_code: int = 401, realm: str = DOMAIN, nonce: str = "n1", **more: str) -> Reply:
    """A digest challenge; `more` are further parameters (algorithm="SHA-256", stale="true")."""
    extra = "".join(f", {name}={value}" for name, value in more.items())
    name = "WWW_Authenticate" if status_code == 401 else "Proxy_Authenticate"
    return say(status_code, **{name: f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{extra}'})


def silent(request: Request) -> None:
    """Say nothing."""


@dataclass
class Scripted:
    """`answers` by method: each request takes the next one, the last one for ever; `seen` has what came."""

    network: SimNetwork
    stack: Stack
    answers: dict[str, Iterator[Reply]] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)

    @classmethod
    async def start(cls, network: SimNetwork, host: str = HOME_HOST, transport: str = "udp") -> Scripted:
        stack = Stack(env=network.env(host))
        await stack.listen(transport, f"{host}:5060")
        server = cls(network, stack)
        for method in ("REGISTER", "INVITE", "ACK", "BYE", "OPTIONS", "UPDATE"):
            stack.ua.on(method, server._take)
        server.script("REGISTER", grant)
        return server

    def script(self, method: str, *replies: Reply) -> None:
        self.answers[method] = chain(replies, repeat(replies[-1]))

    def _take(self, request: Request) -> None:
        self.seen.append(request)
        replies = self.answers.get(request.method)
        if replies is not None:
            next(replies)(request)

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.seen)

    def last(self, method: str) -> Request:
        return next(request for request in reversed(self.seen) if request.method == method)


Story = Callable[[Scripted, Device], Awaitable[None]]


def play(story: Story, *, transport: str = "UDP", service: dict[str, Any] | None = None, **profile: Any) -> None:
    """A device whose domain leads to a scripted server; `service` changes fields of SP1."""

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        server = await Scripted.start(network, transport=transport.lower())
        config = configure(**{"ProxyServerTransport": transport, **profile})
        config = change(config, **(service or {}))
        async with Device(config, env=network.env(DEVICE_HOST)) as device:
            await story(server, device)
        await server.stack.close(timeout=0)

    sim.run(main)


def change(config: DeviceConfig, **fields: Any) -> DeviceConfig:
    """The configuration with fields of its first service changed."""
    return replace(config, services=(replace(config.services[0], **fields), *config.services[1:]))
