"""Whether requests inside a call pass the outbound proxy, as an outbound proxy and a registrar on the wire see it."""

import re

import pytest

from .capture import Capture
from .device import Device
from .network import DOMAIN, Provider
from .sipp import Sipp

pytestmark = pytest.mark.interop

METHOD = re.compile(rb"^([A-Z]+) sip:\S+ SIP/2\.0\r\n", re.M)


CASES = {
    "off": ("UDP", False, {"REGISTER", "INVITE", "ACK", "BYE"}, set()),
    "on": ("UDP", True, {"REGISTER", "INVITE", "ACK"}, {"ACK", "BYE"}),
    "on, but the proxy's transport is TCP (C9)": ("TCP", True, {"REGISTER", "INVITE", "ACK", "BYE"}, set()),
}


@pytest.mark.parametrize("case", CASES)
def test_in_call_requests_go_where_bypass_says(peers, tmp_path, case):
    """SPEC C8: the proxy did not record itself, so the first Route is the registrar; the non-2xx ACK still goes to the
    proxy, the ACK to the 2xx and the BYE go to the first Route."""
    transport, bypass, through_proxy, past_it = CASES[case]
    provider = Provider(tmp_path, peers)
    provider.proxy.record_route = False
    provider.start()
    configuration = provider.through_proxy(1, transport, X_BypassOutboundProxyInCall=bypass)
    answerer = peers.start(Sipp(tmp_path, "answerer", port=provider.answerer))
    capture = peers.start(Capture(tmp_path, [provider.proxy.port, provider.registrar.port, *configuration.ports]))
    device = peers.start(
        Device(tmp_path, configuration, "--call", f"1=sip:answerer@{DOMAIN}", "--talk", "0.2", "--for", "8")
    )
    code, _ = device.wait(within=20)
    assert code == 0, device.log()
    assert answerer.finish_calls().is_clean

    servers = {provider.proxy.port, provider.registrar.port}
    methods: dict[int, set[str]] = {port: set() for port in servers}
    for direction, octets in capture.octets().items():
        if direction.source not in servers and direction.destination in servers:
            methods[direction.destination] |= {found.decode() for found in METHOD.findall(octets)}
    assert methods[provider.proxy.port] == through_proxy
    assert methods[provider.registrar.port] == past_it
    assert capture.malformed() == []
