"""The provider's side of most tests: a registrar, an outbound proxy and a zone that names them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .conftest import Peers
from .device import Configuration
from .kamailio import OutboundProxy, Registrar
from .knot import NameServer
from .processes import free_port, free_ports

DOMAIN = "example.test"
PROXY_NAME = "edge.example.test"
USERS = {f"user{number}": f"word-{number}" for number in range(1, 9)}


@dataclass
class Provider:
    """Ports are chosen when it is made, so that any of its servers may start late, or never."""

    folder: Path
    peers: Peers
    answerer: int = field(default_factory=free_port)
    registrar: Registrar = field(init=False)
    proxy: OutboundProxy = field(init=False)
    names: NameServer = field(init=False)

    def __post_init__(self) -> None:
        self.registrar = Registrar(self.folder, users=USERS, domain=DOMAIN, answerer=self.answerer)
        self.proxy = OutboundProxy(self.folder, registrar=self.registrar.port)
        self.names = NameServer(self.folder, self.zone(), zone=DOMAIN)

    def zone(self) -> str:
        """The proxy's name has an SRV record only; of the registrar's three names each is found another way."""
        registrar = self.registrar.port
        return (
            "host A 127.0.0.1\n"
            f"edge SRV 0 0 {self.proxy.port} host\n"
            "a-only A 127.0.0.1\n"
            f"srv-only SRV 0 0 {registrar} host\n"
            f"_sip._udp.prefixed SRV 0 0 {registrar} host\n"
        )

    def start(self) -> "Provider":
        """Start all three servers."""
        for server in (self.names, self.registrar, self.proxy):
            self.peers.start(server)
        return self

    def configuration(self, services: int, **profile: Any) -> Configuration:
        """A device with that many services on profile A."""
        ports = free_ports(services)
        return Configuration(
            device={"name_servers": [self.names.address]},
            profiles={"A": {"ProxyServer": DOMAIN, **profile}},
            services={
                number: {
                    "X_ServProvProfile": "A",
                    "AuthUserName": f"user{number}",
                    "AuthPassword": USERS[f"user{number}"],
                    "X_UserAgentPort": port,
                }
                for number, port in enumerate(ports, 1)
            },
        )

    def through_proxy(self, services: int, transport: str = "TCP", **profile: Any) -> Configuration:
        """A device whose services all reach the provider through the outbound proxy."""
        return self.configuration(services, OutboundProxy=PROXY_NAME, OutboundProxyTransport=transport, **profile)

    def is_registered(self, count: int) -> bool:
        """Whether the registrar holds exactly one binding of each of `count` users."""
        bindings = self.registrar.bindings()
        return len(bindings) == count and all(len(contacts) == 1 for contacts in bindings.values())
