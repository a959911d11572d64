"""A whole SIP provider on the simulated network: registrar with its own proxy, outbound proxy, DNS; and a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sipcore.config import DeviceConfig, parse_device
from sipcore.device import Device
from sipcore.location import Limits
from sipcore.policy.questions import Srv
from sipcore.registrar import Registrar
from sipcore.sim import SimEnv, SimNetwork
from sipcore.simpeers import SimProxy, SimRegistrar
from sipcore.stack import Stack

DOMAIN = "example.com"
EDGE = "edge.carrier.net"
HOME_HOST = "192.0.2.10"
EDGE_HOST = "192.0.2.20"
EDGE_PORT = 5070
DEVICE_HOST = "192.0.2.1"
USERS = {f"user{number}": f"word-{number}" for number in range(1, 9)}


class Provider:
    """The provider's hosts, of the public test kit; the edge may be stopped and started again."""

    def __init__(
        self, network: SimNetwork, limits: Limits | None = None, *, edge_transports: Sequence[str] = ("udp", "tcp")
    ) -> None:
        network.dns.script |= {
            (DOMAIN, "A"): [HOME_HOST],
            (EDGE, "SRV"): [Srv(0, 0, EDGE_PORT, "host.carrier.net")],
            ("host.carrier.net", "A"): [EDGE_HOST],
        }
        self.network = network
        self.core = SimRegistrar(network, HOME_HOST, domain=DOMAIN, users=USERS, limits=limits)
        self.edge = SimProxy(network, EDGE_HOST, port=EDGE_PORT, transports=edge_transports)

    async def start(self) -> Provider:
        await self.core.up()
        await self.edge.up()
        return self

    async def start_edge(self) -> None:
        await self.edge.up()

    async def stop_edge(self) -> None:
        """The outbound proxy dies: its connections are cut, its ports closed."""
        await self.edge.down()

    def edge_connections(self) -> list[Any]:
        """The connections that the outbound proxy has now."""
        return self.edge.stack.engine.connections() if self.edge.stack is not None else []

    async def close(self) -> None:
        await self.edge.down()
        await self.core.down()

    @property
    def home(self) -> Stack:
        assert self.core.stack is not None
        return self.core.stack

    @property
    def registrar(self) -> Registrar:
        assert self.core.registrar is not None
        return self.core.registrar

    @property
    def edge_env(self) -> SimEnv:
        return self.edge.env

    def bound(self) -> dict[str, list[str]]:
        """User names to the contacts that they are bound to now."""
        return self.core.bindings()


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
