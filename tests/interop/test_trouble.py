"""What an operator sees when something is missing, wrong or hostile: one clear line, and a device that goes on."""

import os
import re
import signal
import socket

import pytest

from .device import Device, exchange, run_sipcore
from .network import DOMAIN, Provider
from .processes import LOOPBACK, wait_until

pytestmark = pytest.mark.interop

WITHIN = 20.0
OPTIONS = (
    b"OPTIONS sip:user1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 127.0.0.1:9;rport;branch=z9hG4bKtrouble%d\r\n"
    b"From: <sip:tester@127.0.0.1>;tag=1\r\nTo: <sip:user1@127.0.0.1>\r\nCall-ID: trouble-%d\r\n"
    b"CSeq: %d OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
def provider(peers, tmp_path):
    return Provider(tmp_path, peers)


def options(number: int, transport: bytes = b"UDP") -> bytes:
    """A well-formed OPTIONS, different for each number."""
    return OPTIONS % (transport, number, number, number)


def test_a_dead_name_server_is_told_and_outlived(provider, peers, tmp_path):
    """SPEC B5, D6: 901 with its reason while DNS is down; registered once it is up."""
    peers.start(provider.registrar)
    peers.start(provider.proxy)
    configuration = provider.through_proxy(1, RegisterRetryInterval=2)
    device = peers.start(Device(tmp_path, configuration, "-v"))
    device.wait_for_log(r"SP1: Backing Off \(1\): .*A edge\.example\.test: failed")
    peers.start(provider.names)
    wait_until(lambda: provider.is_registered(1), 45, "a binding once DNS answers")
    assert device.finish()[0] == 0


def test_a_proxy_that_is_not_there_is_told_and_waited_for(provider, peers, tmp_path):
    """SPEC C6, F1."""
    peers.start(provider.names)
    peers.start(provider.registrar)
    device = peers.start(Device(tmp_path, provider.through_proxy(1), "-v"))
    device.wait_for_log(r"SP1: Backing Off \(1\): connecting to 127\.0\.0\.1:\d+ failed")
    peers.start(provider.proxy)
    wait_until(lambda: provider.is_registered(1), 30, "a binding once the proxy listens")
    assert device.finish()[0] == 0


def test_a_port_in_use_is_told_and_taken_when_it_is_free(provider, peers, tmp_path):
    """SPEC A2: the one service says so, the others run; it goes on trying."""
    provider.start()
    configuration = provider.through_proxy(2, RegisterRetryInterval=2)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((LOOPBACK, configuration.ports[0]))
        taken.listen()
        device = peers.start(Device(tmp_path, configuration, "-v"))
        line = device.wait_for_log(rf"SP1: Not Started: .*{configuration.ports[0]}.* in use \(retry in \d+s\)")
        assert "Traceback" not in line
        wait_until(lambda: "user2" in provider.registrar.bindings(), WITHIN, "the other service is registered")
        assert "user1" not in provider.registrar.bindings()
    wait_until(lambda: provider.is_registered(2), 60, "both registered once the port is free")
    assert device.finish()[0] == 0


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("itsp.A", "ProxyServer", '"sip.example.test:5060"'),
        ("itsp.A", "ProxyServerPort", "70000"),
        ("itsp.A", "OutboundProxyTransport", '"SCTP"'),
        ("itsp.A", "OutbondProxy", '"edge.example.test"'),
        ("sp.1", "AuthUserName", "17"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_configuration_names_file_line_and_key(tmp_path, table, key, value, check):
    """SPEC head: exit code 2, nothing is started."""
    lines = ["[itsp.A]", 'ProxyServer = "sip.example.test"', "[sp.1]", 'AuthUserName = "alice"', ""]
    at = lines.index(f"[{table}]") + 1
    lines[at : at + 1] = [f"{key} = {value}"] if lines[at].startswith(f"{key} ") else [f"{key} = {value}", lines[at]]
    path = tmp_path / "wrong.toml"
    path.write_text("\n".join(lines))
    done = run_sipcore("run", str(path), *(["--check"] if check else []))
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert re.search(rf"\b{at + 1}\b", done.stderr), done.stderr
    assert key in done.stderr
    assert "Traceback" not in done.stderr


JUNK = [
    b"",
    b"\x00",
    b"\r\n\r\n",
    b"\r\n" * 2000,
    b"\xff" * 1400,
    b"INVITE",
    b"INVITE sip:user1@127.0.0.1 SIP/2.0\r\n\r\n",
    b"SIP/2.0 200 OK\r\n\r\n",
    b"OPTIONS sip:a SIP/2.0\r\n" + b"Via: x\r\n" * 5000,
    b"OPTIONS sip:a SIP/7.0\r\nVia: SIP/7.0/UDP 127.0.0.1\r\n\r\n",
    options(900).replace(b"Content-Length: 0", b"Content-Length: -999"),
    options(901).replace(b"Content-Length: 0", b"Content-Length: 99999999999999999999"),
    options(902).replace(b"CSeq: 902", b"CSeq: 99999999999"),
    options(903)[:-60],
    b"a" * 65507,
]


def test_malformed_datagrams_are_dropped_or_answered_400(provider, peers, tmp_path):
    """RFC 3261 section 18.3, FAULTS 17: the device lives on and answers what is well formed."""
    provider.start()
    configuration = provider.configuration(1, ProxyServer=f"srv-only.{DOMAIN}")
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding")
    for number, junk in enumerate(JUNK):
        answer = exchange(junk, configuration.ports[0], seconds=0.1)
        assert not answer or answer.startswith((b"SIP/2.0 4", b"SIP/2.0 5", b"\r\n")), (junk[:60], answer)
        assert exchange(options(number), configuration.ports[0]).startswith(b"SIP/2.0 200"), junk[:60]
    assert device.finish()[0] == 0
    assert "Traceback" not in device.log()


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 2000 + b"\r\n\r\n",
        options(910, b"TCP").replace(b"Content-Length: 0", b"Content-Length: -999"),
        options(911, b"TCP").replace(b"Content-Length: 0", b"Content-Length: 2\r\nContent-Length: 3"),
        options(912, b"TCP").replace(b"Content-Length: 0\r\n", b""),
    ],
    ids=["noise", "negative length", "two lengths", "no length"],
)
def test_a_malformed_stream_is_answered_400_and_closed(provider, peers, tmp_path, junk):
    """RFC 3261 section 18.3: its framing is lost, so it cannot go on; a new connection can."""
    provider.start()
    configuration = provider.through_proxy(1)
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding")
    port = configuration.ports[0]
    with socket.create_connection((LOOPBACK, port), timeout=5) as stream:
        stream.sendall(options(1, b"TCP"))
        assert stream.recv(4096).startswith(b"SIP/2.0 200")
        stream.sendall(junk)
        received = b""
        while chunk := stream.recv(4096):
            received += chunk
        assert received == b"" or received.startswith(b"SIP/2.0 400"), received
        if junk.startswith(b"OPTIONS"):
            assert received.startswith(b"SIP/2.0 400"), received
    assert exchange(options(2, b"TCP"), port, transport="TCP", seconds=0.5).startswith(b"SIP/2.0 200")
    assert provider.is_registered(1)
    assert device.finish()[0] == 0
    assert "Traceback" not in device.log()


def test_a_strangers_connection_is_closed_unheard(provider, peers, tmp_path):
    """SPEC A2: on a stream the contact port accepts from the outbound proxy's addresses only."""
    provider.start()
    configuration = provider.through_proxy(1)
    device = peers.start(Device(tmp_path, configuration))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding")
    address = (LOOPBACK, configuration.ports[0])
    with socket.create_connection(address, timeout=5, source_address=("127.0.0.2", 0)) as stranger:
        assert read_to_end(stranger, options(1, b"TCP")) == b""
    with socket.create_connection(address, timeout=5, source_address=(LOOPBACK, 0)) as known:
        known.sendall(options(2, b"TCP"))
        assert known.recv(4096).startswith(b"SIP/2.0 200")
    assert device.finish()[0] == 0


def read_to_end(stream: socket.socket, data: bytes) -> bytes:
    """Send, and read until the far side closes or resets the connection."""
    received = b""
    try:
        stream.sendall(data)
        while chunk := stream.recv(4096):
            received += chunk
    except ConnectionError:
        pass
    return received


def test_sigterm_ends_it_like_ctrl_c(provider, peers, tmp_path):
    """SPEC B16: what a service manager sends."""
    provider.start()
    device = peers.start(Device(tmp_path, provider.through_proxy(1)))
    wait_until(lambda: provider.is_registered(1), WITHIN, "a binding")
    os.kill(device.pid, signal.SIGTERM)
    code, _ = device.wait(within=10)
    assert code == 0
    assert provider.registrar.bindings() == {}
