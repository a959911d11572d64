"""A device behind a Kamailio with TLS: the certificate is of the configured name, or nothing is sent (SPEC C10)."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Peers
from .device import Configuration, Device
from .kamailio import CERTIFICATES, OutboundProxy, Registrar
from .knot import NameServer
from .network import USERS
from .processes import free_port, free_ports, wait_until
from .sipp import Sipp

pytestmark = pytest.mark.interop

WITHIN = 20.0


@dataclass
class SecureProvider:
    """A registrar behind an outbound proxy that takes TLS; its certificate says sip.example.com."""

    registrar: Registrar
    proxy: OutboundProxy
    names: NameServer

    def configuration(self, services: int, **profile: object) -> Configuration:
        return Configuration(
            device={"name_servers": [self.names.address], "answer": "answer"},
            profiles={
                "A": {
                    "ProxyServer": "example.com",
                    "OutboundProxy": "sip.example.com",
                    "OutboundProxyTransport": "TLS",
                    "RegistrationPeriod": 10,
                    "X_TLSCAFile": str(CERTIFICATES / "ca.pem"),
                    **profile,
                }
            },
            services={
                number: {
                    "X_ServProvProfile": "A",
                    "AuthUserName": f"user{number}",
                    "AuthPassword": USERS[f"user{number}"],
                    "X_UserAgentPort": port,
                }
                for number, port in enumerate(free_ports(services), 1)
            },
        )


@pytest.fixture
def provider(peers: Peers, tmp_path: Path) -> SecureProvider:
    port = free_port()
    records = f"host A 127.0.0.1\nsip SRV 0 0 {port} host\nother SRV 0 0 {port} host\n"
    names = peers.start(NameServer(tmp_path, records, zone="example.com"))
    registrar = peers.start(Registrar(tmp_path, users=USERS, domain="example.com", realm="example.com"))
    proxy = peers.start(OutboundProxy(tmp_path, registrar=registrar.port, tls_port=port))
    return SecureProvider(registrar, proxy, names)


def test_eight_services_keep_one_tls_connection_each_and_take_calls(provider, peers, tmp_path):
    """SPEC C1, C5, C10: registered, refreshed, called through their own connections, killed and back."""
    device = peers.start(Device(tmp_path, provider.configuration(8), "-v"))
    wait_until(lambda: len(provider.registrar.bindings()) == 8, WITHIN, "eight bindings")
    assert device.established() == [provider.proxy.tls_port] * 8
    caller = Sipp(tmp_path, "caller", target=provider.registrar.port, service="user2", calls=50, rate=25)
    seen = caller.run()
    assert seen.is_clean, (seen, caller.errors())
    assert device.established() == [provider.proxy.tls_port] * 8

    provider.proxy.kill()
    wait_until(lambda: not device.established(), 5, "all connections lost")
    provider.proxy.start()
    wait_until(lambda: device.established() == [provider.proxy.tls_port] * 8, WITHIN, "eight connections again")
    code, result = device.finish()
    assert code == 0
    assert all(service["registered"] for service in result["services"])
    wait_until(lambda: provider.registrar.bindings() == {}, 5, "every binding removed (SPEC B16)")


def test_a_certificate_for_another_name_is_refused_in_one_line(provider, peers, tmp_path):
    """SPEC C10, C6: the name that was configured, not what DNS made of it."""
    device = peers.start(Device(tmp_path, provider.configuration(1, OutboundProxy="other.example.com"), "-v"))
    line = device.wait_for_log(r"SP1: Backing Off \(\d+\): .*certificate")
    assert "other.example.com" in line
    assert device.finish()[0] == 0
    assert provider.registrar.bindings() == {}
    assert "Traceback" not in device.log()


def test_the_operator_may_do_without_the_certificate(provider, peers, tmp_path):
    """SPEC C10: X_TLSVerify = false, told loudly by --check."""
    configuration = provider.configuration(1, OutboundProxy="other.example.com", X_TLSVerify=False)
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: "user1" in provider.registrar.bindings(), WITHIN, "a binding")
    assert device.finish()[0] == 0
