"""A device registers with Kamailio: through a proxy on TCP, through DNS of every kind, and after every loss."""

import time

import pytest

from .capture import Capture, Direction
from .device import Device
from .network import DOMAIN, PROXY_NAME, USERS, Provider
from .processes import wait_until

pytestmark = pytest.mark.interop

WITHIN = 20.0


@pytest.fixture
def provider(peers, tmp_path):
    return Provider(tmp_path, peers)


def sent_by_device(capture: Capture, provider: Provider) -> dict[Direction, bytes]:
    """What neither Kamailio nor Knot sent."""
    servers = {provider.proxy.port, provider.registrar.port, provider.names.port}
    return {direction: octets for direction, octets in capture.octets().items() if direction.source not in servers}


def test_eight_services_keep_one_connection_each_through_the_proxy(provider, peers, tmp_path):
    """SPEC C1, C4, C5, D3: eight connections at the proxy, none elsewhere, through two refreshes."""
    provider.start()
    configuration = provider.through_proxy(8, RegistrationPeriod=10)
    capture = peers.start(Capture(tmp_path, [provider.proxy.port, *configuration.ports]))
    device = peers.start(Device(tmp_path, configuration, "-v"))
    wait_until(lambda: provider.is_registered(8), WITHIN, "eight bindings at the registrar")

    connections = sorted(provider.proxy.connections())
    assert len(connections) == 8
    assert len({port for _, port in connections}) == 8
    assert device.established() == [provider.proxy.port] * 8
    assert provider.registrar.connections() == []

    time.sleep(12)  # two refreshes: granted 10 s, refreshed at 5 s (SPEC B3)
    assert provider.is_registered(8)
    assert sorted(provider.proxy.connections()) == connections
    assert device.established() == [provider.proxy.port] * 8

    code, result = device.finish()
    assert code == 0
    assert len(result["services"]) == 8
    wait_until(lambda: provider.registrar.bindings() == {}, 5, "every binding removed (SPEC B16)")

    octets = sent_by_device(capture, provider)
    registers = sum(sent.count(b"REGISTER sip:") for sent in octets.values())
    assert registers >= 8 * 4  # challenged, accepted, refreshed, removed
    for direction, sent in octets.items():
        assert direction.destination == provider.proxy.port, f"{direction} is not to the outbound proxy"
        assert PROXY_NAME.encode() not in sent.lower(), f"the outbound proxy is named by {direction} (SPEC C4)"
    assert capture.malformed() == []


def test_a_proxy_that_was_killed_is_found_again(provider, peers, tmp_path):
    """SPEC C6: connections come back by themselves, one for each service, and so do the registrations."""
    provider.start()
    device = peers.start(Device(tmp_path, provider.through_proxy(8), "-v"))
    wait_until(lambda: provider.is_registered(8), WITHIN, "eight bindings at the registrar")
    assert len(provider.proxy.connections()) == 8

    provider.proxy.kill()
    wait_until(lambda: not device.established(), 5, "all connections lost")
    provider.registrar.ask("ul.flush")
    for user in USERS:
        provider.registrar.ask("ul.rm", "location", user)
    assert provider.registrar.bindings() == {}
    time.sleep(2)
    provider.proxy.start()

    wait_until(lambda: provider.is_registered(8), WITHIN, "eight bindings again")
    assert len(provider.proxy.connections()) == 8
    assert device.established() == [provider.proxy.port] * 8
    assert device.finish()[0] == 0


@pytest.mark.parametrize(("name", "rule"), [("a-only", "D2.1"), ("srv-only", "D2.2"), ("prefixed", "D2.3")])
def test_each_step_of_the_dns_order_finds_the_registrar(provider, peers, tmp_path, name, rule):
    """SPEC D2, D3: an A record and the configured port; else an SRV record, whose port replaces the configured one."""
    provider.start()
    configuration = provider.configuration(1)
    port = provider.registrar.port if rule == "D2.1" else 9
    configuration.profiles["A"] |= {"ProxyServer": f"{name}.{DOMAIN}", "ProxyServerPort": port}
    device = peers.start(Device(tmp_path, configuration, "-v"))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding at the registrar")
    code, result = device.finish()
    assert code == 0
    decisions = str(result["services"][0]["decisions"])
    assert rule in decisions, decisions


def test_a_wrong_password_is_told_and_tried_again(provider, peers, tmp_path):
    """SPEC B7, B10, F1."""
    provider.start()
    configuration = provider.configuration(1, ProxyServer=f"srv-only.{DOMAIN}", RegisterRetryInterval=2)
    configuration.profiles["A"]["X_RegisterRetryResponseCodes"] = "([4-9]xx)"
    configuration.services[1]["AuthPassword"] = "not-the-password"
    device = peers.start(Device(tmp_path, configuration, "-v"))
    device.wait_for_log(r"Register Failed: 401 .*retry in")
    assert "not-the-password" not in device.log()
    code, result = device.finish()
    assert code == 0
    assert not result["services"][0]["registered"]
    assert "not-the-password" not in str(result)


def test_ctrl_c_removes_the_bindings_and_leaves_nothing_behind(provider, peers, tmp_path):
    """SPEC B16: bounded, clean, exit code 0."""
    provider.start()
    device = peers.start(Device(tmp_path, provider.through_proxy(2)))
    wait_until(lambda: provider.is_registered(2), WITHIN, "two bindings")
    started = time.monotonic()
    code, _ = device.finish()
    assert code == 0
    assert time.monotonic() - started < 5
    assert provider.registrar.bindings() == {}
    assert "Traceback" not in device.log()
    assert "Warning" not in device.log()


def test_ctrl_c_ends_though_nobody_answers(provider, peers, tmp_path):
    """SPEC B16: the wait for the de-registration is bounded."""
    provider.start()
    device = peers.start(Device(tmp_path, provider.through_proxy(2)))
    wait_until(lambda: provider.is_registered(2), WITHIN, "two bindings")
    provider.registrar.kill()
    code, _ = device.finish(within=15)
    assert code == 0
    assert "Traceback" not in device.log()
