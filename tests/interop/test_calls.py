"""Calls between a device and SIPp: taken and placed, directly and through both Kamailios."""

import pytest

from .capture import Capture
from .device import Device
from .network import DOMAIN, PROXY_NAME, Provider
from .processes import wait_until
from .sipp import Sipp

pytestmark = pytest.mark.interop

WITHIN = 20.0


@pytest.fixture
def provider(peers, tmp_path):
    return Provider(tmp_path, peers).start()


def test_a_thousand_calls_are_answered(provider, peers, tmp_path):
    """Every message as SIPp's scenario expects it, none of them twice."""
    configuration = provider.configuration(1, ProxyServer=f"srv-only.{DOMAIN}")
    configuration.device["answer"] = "answer"
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding at the registrar")
    caller = Sipp(tmp_path, "caller", target=configuration.ports[0], service="user1", calls=1000, rate=100)
    seen = caller.run()
    assert seen.calls == 1000
    assert seen.is_clean, (seen, caller.errors())
    code, result = device.finish()
    assert code == 0
    assert "Traceback" not in device.log()
    assert "0 Active Calls" in str(result["services"][0]["calls"]) or result["services"][0]["calls"] == 0


def test_calls_reach_the_device_over_the_connection_that_it_opened(provider, peers, tmp_path):
    """SPEC C5: SIPp, registrar, proxy, and then the device's own TCP connection; nothing else."""
    configuration = provider.through_proxy(2)
    configuration.device["answer"] = "answer"
    capture = peers.start(Capture(tmp_path, [provider.proxy.port, *configuration.ports]))
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: provider.is_registered(2), WITHIN, "two bindings")
    caller = Sipp(tmp_path, "caller", target=provider.registrar.port, service="user2", calls=200, rate=50)
    seen = caller.run()
    assert seen.is_clean, (seen, caller.errors())
    assert len(provider.proxy.connections()) == 2
    assert device.established() == [provider.proxy.port] * 2
    assert device.finish()[0] == 0
    assert capture.malformed() == []


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_hundred_calls_are_placed(provider, peers, tmp_path, transport):
    """INVITE challenged by the registrar's proxy authentication, answered by SIPp, ended by the device."""
    answerer = peers.start(Sipp(tmp_path, "answerer", port=provider.answerer))
    configuration = provider.through_proxy(1, transport)
    target = f"1=sip:answerer@{DOMAIN}"
    capture = peers.start(Capture(tmp_path, [provider.proxy.port, *configuration.ports]))
    device = peers.start(Device(tmp_path, configuration, "--call", target, "--calls", "100", "--talk", "0.02"))
    wait_until(lambda: answerer.progress() >= 100, 90, "a hundred calls at SIPp")
    code, _ = device.finish()
    assert code == 0, device.log()
    answered = answerer.finish_calls()
    assert answered.calls == 100
    assert answered.is_clean, (answered, answerer.errors())
    sent = [octets for direction, octets in capture.octets().items() if direction.destination == provider.proxy.port]
    assert sum(octets.count(b"INVITE sip:answerer@") for octets in sent) >= 200  # each challenged once
    assert not any(PROXY_NAME.encode() in octets for octets in sent)
    assert capture.malformed() == []
