"""A whole SIP provider on the simulated network: registrar with its own proxy, outbound proxy, DNS; and a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sipcore.config import DeviceConfig, parse_device
from sipcore.device import Device
from sipcore.location import Limits
from sipcore.policy.questions import Srv
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.sim import SimEnv, SimNetwork
from sipcore.stack import Stack

DOMAIN = "example.com"
EDGE = "edge.carrier.net"
HOME_HOST = "192.0.2.10"
EDGE_HOST = "192.0.2.20"
EDGE_PORT = 5070
DEVICE_HOST = "192.0.2.1"
USERS = {f"user{number}": f"word-{number}" for number in range(1, 9)}


@dataclass
class Provider:
    """The provider's hosts; the edge may be stopped and started again."""

    network: SimNetwork
    limits: Limits = field(default_factory=lambda: Limits(minimum_expires=10))
    home: Stack = field(init=False)
    registrar: Registrar = field(init=False)
    home_proxy: Proxy = field(init=False)
    edge: Stack | None = field(init=False, default=None)
    edge_env: SimEnv = field(init=False)

    def __post_init__(self) -> None:
        self.network.dns.script |= {
            (DOMAIN, "A"): [HOME_HOST],
            (EDGE, "SRV"): [Srv(0, 0, EDGE_PORT, "host.carrier.net")],
            ("host.carrier.net", "A"): [EDGE_HOST],
        }
        self.home = Stack(env=self.network.env(HOME_HOST))
        self.edge_env = self.network.env(EDGE_HOST)

    async def start(self) -> Provider:
        agent = self.home.user_agent("home", is_proxy=True)
        for transport in ("udp", "tcp"):
            await agent.listen(transport, f"{HOME_HOST}:5060")
        self.registrar = Registrar(agent, domains=[DOMAIN], users=USERS, limits=self.limits)
        self.home_proxy = Proxy(agent, targets=self.registrar.targets, challenge=self.registrar.challenge)
        await self.start_edge()
        return self

    async def start_edge(self) -> None:
        self.edge = Stack(env=self.edge_env)
        agent = self.edge.user_agent("edge", is_proxy=True)
        for transport in ("udp", "tcp"):
            await agent.listen(transport, f"{EDGE_HOST}:{EDGE_PORT}")
        Proxy(agent, path=True)

    async def stop_edge(self) -> None:
        """The outbound proxy dies: its connections are cut, its ports closed."""
        if self.edge is not None:
            for connection in self.edge_connections():
                connection.end("killed")
            await self.edge.close(timeout=0)
            self.edge = None

    def edge_connections(self) -> list[Any]:
        """The connections that the outbound proxy has now."""
        return self.edge.engine.connections() if self.edge is not None else []

    async def close(self) -> None:
        await self.stop_edge()
        await self.home.close(timeout=0)

    def bound(self) -> dict[str, list[str]]:
        """User names to the contacts that they are bound to now."""
        now = self.home.env.now()
        found = {}
        for user in USERS:
            bindings = self.registrar.location.bindings(f"sip:{user}@{DOMAIN}", now)
            if bindings:
                found[user] = [binding.contact for binding in bindings]
        return found


def configure(services: int = 1, *, device: str = "", **profile: Any) -> DeviceConfig:
    """A device with that many services on profile A; `profile` adds keys, `device` lines of its table."""
    lines = ["[device]", device, "[itsp.A]"]
    lines += [f"{key} = {_toml(value)}" for key, value in {"ProxyServer": DOMAIN, **profile}.items()]
    for number in range(1, services + 1):
        lines += [f"[sp.{number}]", 'X_ServProvProfile = "A"', f'AuthUserName = "user{number}"']
        lines.append(f'AuthPassword = "{USERS[f"user{number}"]}"')
    return parse_device("\n".join(lines), file="device.toml")


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def make_device(network: SimNetwork, config: DeviceConfig) -> Device:
    """The device on its own host."""
    return Device(config, env=network.env(DEVICE_HOST))
