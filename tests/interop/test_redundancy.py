"""Two Kamailios behind one name: one is killed and brought back, and the device follows (SPEC B12, B13, C5, C6)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from .conftest import Peers
from .device import Configuration, Device
from .kamailio import CERTIFICATES, Registrar
from .knot import NameServer
from .network import USERS
from .processes import free_port, free_ports, wait_until

pytestmark = pytest.mark.interop

NAME = "sip.example.com"  # the name in the certificate of tests/tls
INTERVAL = 3


@dataclass
class Twins:
    """Two registrars, the first of higher priority, and a device that knows their name."""

    peers: Peers
    transport: str
    first: Registrar
    second: Registrar
    device: Device

    @property
    def ports(self) -> list[int]:
        """Where the device reaches them."""
        return [port_of(server, self.transport) for server in (self.first, self.second)]

    def bound(self) -> list[bool]:
        """Which of the two hold a binding; one that is dead holds none."""
        return [not server.has_ended() and bool(server.bindings()) for server in (self.first, self.second)]

    def connected_to(self, *ports: int) -> bool:
        """Whether the device has exactly these connections, and with datagrams none."""
        return sorted(self.device.established()) == sorted(() if self.transport == "UDP" else ports)

    def wait(self, bound: list[bool], within: float) -> None:
        wait_until(lambda: self.bound() == bound, within, f"bindings {bound}\n{self.device.log_tail()}")


def port_of(server: Registrar, transport: str) -> int:
    return server.tls_port or 0 if transport == "TLS" else server.port


@pytest.fixture
def twins(peers, tmp_path, request) -> Iterator[Twins]:
    transport, profile = request.param
    servers = [Registrar(tmp_path, users=USERS, domain=NAME, realm=NAME, tls_port=free_port()) for _ in range(2)]
    lines = [f"sip SRV {rank} 0 {port_of(server, transport)} host" for rank, server in enumerate(servers, 1)]
    names = peers.start(NameServer(tmp_path, "\n".join(["host A 127.0.0.1", *lines, ""]), zone="example.com"))
    for server in servers:
        peers.start(server)
    (port,) = free_ports(1)
    device = Device(tmp_path, configuration(names, transport, port, **profile), "-v")
    yield Twins(peers, transport, *servers, peers.start(device))


def configuration(names: NameServer, transport: str, port: int, **profile: object) -> Configuration:
    return Configuration(
        device={"name_servers": [names.address]},
        profiles={
            "A": {
                "ProxyServer": NAME,
                "ProxyServerTransport": transport,
                "RegistrationPeriod": 10,
                "X_ProxyServerRedundancy": True,
                "X_CheckPrimaryFallbackInterval": INTERVAL,
                "X_TLSCAFile": str(CERTIFICATES / "ca.pem"),
                **profile,
            }
        },
        services={
            1: {
                "X_ServProvProfile": "A",
                "AuthUserName": "user1",
                "AuthPassword": USERS["user1"],
                "X_UserAgentPort": port,
            }
        },
    )


def each(**profile: object) -> pytest.MarkDecorator:
    """Over every transport, with these keys of the profile."""
    cases = [pytest.param((transport, profile), id=transport) for transport in ("UDP", "TCP", "TLS")]
    return pytest.mark.parametrize("twins", cases, indirect=True)


@each()
def test_the_device_leaves_a_killed_server_and_comes_back_to_it(twins: Twins):
    """SPEC B12: one connection at a time, the old binding removed after the way back."""
    twins.wait([True, False], 10)
    first, second = twins.ports
    assert twins.connected_to(first)

    twins.first.kill()
    twins.wait([False, True], 10 if twins.transport != "UDP" else 50)
    assert twins.connected_to(second)

    twins.first.start()
    twins.wait([True, False], INTERVAL + 7)
    wait_until(lambda: twins.connected_to(first), 5, "one connection, to the first server again")
    code, result = twins.device.finish()
    assert code == 0
    assert "holds the registration" in result["services"][0]["candidates"][0]
    assert twins.bound() == [False, False]


@each(X_SecondaryRegistration=True)
def test_the_secondary_takes_over_from_a_killed_primary(twins: Twins):
    """SPEC B13, C5: on a stream at once; when the first is back it is the primary again, the second the secondary."""
    twins.wait([True, True], 10)
    assert twins.connected_to(*twins.ports)

    twins.first.kill()
    twins.device.wait_for_log("is the primary now", within=3 if twins.transport != "UDP" else 50)
    assert twins.bound() == [False, True]
    assert twins.connected_to(twins.ports[1])

    twins.first.start()
    twins.wait([True, True], INTERVAL + 7)
    wait_until(lambda: twins.connected_to(*twins.ports), 5, "two connections again")
    code, result = twins.device.finish()
    assert code == 0
    service = result["services"][0]
    assert service["port"] == twins.ports[0] or twins.transport == "UDP"
    assert service["secondary"]["status"].startswith("Registered (server=")
    assert twins.bound() == [False, False]
