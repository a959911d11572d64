"""A host whose address comes from DHCP, on a cable that is cut and that loses packets (SPEC A1, FAULTS 51)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Peers
from .device import Configuration
from .namespaces import CABLE, PROVIDER_ADDRESS, Cable, DhcpClient, DhcpServer, InsideDevice, InsideRegistrar
from .network import DOMAIN, USERS
from .processes import wait_until

pytestmark = pytest.mark.interop

EACH = pytest.mark.parametrize("transport", ["UDP", "TCP"])


@dataclass
class Customer:
    """A device behind a DHCP client, and the provider at the other end of the cable."""

    cable: Cable
    peers: Peers
    folder: Path
    dhcp: DhcpServer
    client: DhcpClient
    registrar: InsideRegistrar

    def start_device(self, transport: str) -> InsideDevice:
        profile = {"ProxyServer": DOMAIN, "ProxyServerTransport": transport, "RegistrationPeriod": 10}
        service = {"X_ServProvProfile": "A", "AuthUserName": "user1", "AuthPassword": USERS["user1"]}
        configuration = Configuration(
            device={"local_ip": "auto", "name_servers": [PROVIDER_ADDRESS]},
            profiles={"A": profile},
            services={1: service},
        )
        return self.peers.start(InsideDevice(self.cable.customer, self.folder, configuration, "-v"))

    def contacts(self) -> list[str]:
        """What user1 is bound to, without parameters."""
        return [contact.split(";")[0] for contact in self.registrar.bindings().get("user1", [])]

    def wait_for_contact(self, address: str, within: float, device: InsideDevice) -> None:
        """One binding, and it is of this address."""
        contacts = [f"sip:user1@{address}:5060"]
        wait_until(lambda: self.contacts() == contacts, within, f"bound to {contacts}\n{device.log_tail()}")


@pytest.fixture
def customer(peers: Peers, tmp_path: Path) -> Iterator[Customer]:
    with Cable() as cable:
        registrar = peers.start(InsideRegistrar(cable.provider, tmp_path, users=USERS, domain=DOMAIN))
        dhcp = peers.start(DhcpServer(cable.provider, tmp_path, ("10.77.1.10", "10.77.1.20"), name=DOMAIN))
        client = peers.start(DhcpClient(cable.customer, tmp_path))
        yield Customer(cable, peers, tmp_path, dhcp, client, registrar)
        peers.stop()


@EACH
def test_a_new_address_from_dhcp_is_registered_at_once_and_once(customer: Customer, transport: str):
    """SPEC A1: the kernel tells of the change; the binding of the old address is taken back with it."""
    device = customer.start_device(transport)
    old = customer.client.address()
    customer.wait_for_contact(old, 15, device)

    customer.dhcp.stop()
    customer.dhcp.addresses = ("10.77.2.10", "10.77.2.20")
    customer.dhcp.start()
    customer.client.renew()
    new = customer.client.address(other_than=old)
    assert new.startswith("10.77.2.")
    customer.wait_for_contact(new, 5, device)
    sent = device.log().count("REGISTER sip:example.test")
    time.sleep(2)
    assert device.log().count("REGISTER sip:example.test") == sent
    assert "Traceback" not in device.log()
    assert device.finish()[0] == 0
    assert customer.contacts() == []


@EACH
def test_a_cable_that_is_out_for_a_while_is_outlived(customer: Customer, transport: str):
    """FAULTS 51: what is sent meanwhile fails as an error; afterwards it registers again by itself."""
    device = customer.start_device(transport)
    address = customer.client.address()
    customer.wait_for_contact(address, 15, device)

    customer.cable.customer.run("ip", "link", "set", CABLE, "down")
    customer.registrar.ask("ul.rm", "location", "user1")
    time.sleep(12)
    assert not device.has_ended()
    customer.cable.customer.run("ip", "link", "set", CABLE, "up")
    customer.wait_for_contact(address, 60, device)
    assert "Traceback" not in device.log()
    assert device.finish()[0] == 0


def test_a_third_of_all_packets_lost_loses_no_registration(customer: Customer):
    """RFC 3261 section 17.1.2: retransmissions carry it over a bad line, refresh after refresh.

    Every third packet each way is lost, not a random third: so a REGISTER gets through by its third
    transmission, 1.5 s later, and never needs the whole of the 5 s that a refresh has.
    """
    address = customer.client.address()
    customer.cable.provider.run(
        "nft",
        "add table ip bad; "
        "add chain ip bad line { type filter hook input priority 0; }; "
        "add rule ip bad line udp dport 5060 numgen inc mod 3 == 0 drop; "
        "add chain ip bad back { type filter hook output priority 0; }; "
        "add rule ip bad back udp sport 5060 numgen inc mod 3 == 0 drop",
    )
    device = customer.start_device("UDP")
    customer.wait_for_contact(address, 30, device)
    for _ in range(12):
        time.sleep(1)
        assert customer.contacts() == [f"sip:user1@{address}:5060"]
    code, result = device.finish()
    assert code == 0
    assert result["services"][0]["registered"], result["services"][0]["status"]
