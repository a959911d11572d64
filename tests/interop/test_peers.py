"""The harness itself, one real peer against another: trusted before sipcore is measured by it."""

import pytest
import reference

from sipcore import StreamFramer
from sipcore._message import Message

from .capture import Capture
from .kamailio import OutboundProxy, Registrar
from .knot import NameServer
from .processes import free_port
from .sipp import Sipp

pytestmark = pytest.mark.interop


def test_sipp_registers_at_kamailio_with_digest(peers, tmp_path):
    registrar = peers.start(Registrar(tmp_path, users={"alice": "secret"}))
    phone = Sipp(
        tmp_path, "registering", target=registrar.port, service="alice", credentials=("alice", "secret"), calls=1
    )
    assert phone.run().is_clean
    assert registrar.bindings() == {"alice": [f"sip:alice@127.0.0.1:{phone.port};transport=UDP"]}


def test_kamailio_refuses_a_wrong_password(peers, tmp_path):
    registrar = peers.start(Registrar(tmp_path, users={"alice": "secret"}))
    phone = Sipp(
        tmp_path, "registering", target=registrar.port, service="alice", credentials=("alice", "wrong"), calls=1
    )
    assert phone.run().failed == 1
    assert registrar.bindings() == {}


def test_a_registration_through_the_proxy_carries_its_path(peers, tmp_path):
    registrar = peers.start(Registrar(tmp_path, users={"alice": "secret"}))
    proxy = peers.start(OutboundProxy(tmp_path, registrar=registrar.port))
    arguments = {"service": "alice", "credentials": ("alice", "secret"), "calls": 1, "transport": "TCP"}
    assert Sipp(tmp_path, "registering", target=proxy.port, **arguments).run().is_clean
    assert f"Path: <sip:127.0.0.1:{proxy.port};lr;received=sip:127.0.0.1:" in registrar.ask("ul.dump")


def assert_read(octets: bytes) -> None:
    """Every message that another stack wrote is read whole, as it was, also by the reference parser (FAULTS 10)."""
    framer = StreamFramer()
    messages = [found for found in framer.feed(octets) if isinstance(found, Message)]
    assert framer.failed is None
    assert b"".join(map(bytes, messages)) == octets
    for message in messages:
        read = reference.parse(bytes(message))
        assert read.call_id == message.call_id.encode()
        message.via, message.contacts, message.record_routes, message.routes  # noqa: B018 - none is malformed


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_sipp_calls_sipp_through_both_kamailios(peers, tmp_path, transport):
    answerer = Sipp(tmp_path, "answerer", port=free_port())
    registrar = peers.start(Registrar(tmp_path, users={}, answerer=answerer.port))
    proxy = peers.start(OutboundProxy(tmp_path, registrar=registrar.port))
    capture = peers.start(Capture(tmp_path, [proxy.port, registrar.port, answerer.port]))
    peers.start(answerer)
    caller = Sipp(tmp_path, "caller", target=proxy.port, service="answerer", calls=20, transport=transport)
    seen = caller.run()
    assert seen.is_clean, (seen, caller.errors())
    answered = answerer.finish_calls()
    assert answered.is_clean, (answered, answerer.errors())
    assert answered.calls == 20
    assert capture.sip_packets() >= 20 * 6
    assert capture.malformed() == []
    sent = capture.octets()
    assert sum(octets.count(b"INVITE sip:answerer@") for octets in sent.values()) >= 20 * 3
    for octets in sent.values():
        assert_read(octets)


def test_knot_serves_every_kind_of_name(peers, tmp_path):
    zone = "a-only A 127.0.0.1\nsrv-only SRV 0 0 5099 a-only\n_sip._udp.prefixed SRV 0 0 5098 a-only\n"
    server = peers.start(NameServer(tmp_path, zone))
    assert server.dig("a-only.example.test", "A").split() == ["127.0.0.1"]
    assert server.dig("srv-only.example.test", "A") == ""
    assert server.dig("srv-only.example.test", "SRV").split() == ["0", "0", "5099", "a-only.example.test."]
    assert server.dig("_sip._udp.prefixed.example.test", "SRV").split() == ["0", "0", "5098", "a-only.example.test."]
    assert server.dig("prefixed.example.test", "A") == ""


def test_a_proxy_that_was_killed_is_gone_and_can_come_back(peers, tmp_path):
    proxy = peers.start(OutboundProxy(tmp_path, registrar=free_port()))
    proxy.kill()
    assert not proxy.is_ready()
    proxy.start()
    assert proxy.is_ready()
