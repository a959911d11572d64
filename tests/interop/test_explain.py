"""`sipcore explain` and `sipcore resolve` as an answer to "why did it go there?", with real zones (SPEC D9)."""

import subprocess
import sys
from pathlib import Path

import pytest

from .knot import NameServer

pytestmark = pytest.mark.interop

RECORDS = """\
a     A     127.0.0.11
alias CNAME a
srv   SRV   10 60 5070 h1
srv   SRV   20 0  5072 h2
h1    A     127.0.0.21
h2    A     127.0.0.22
both  A     127.0.0.31
both  SRV   1 1 5099 h1
"""
DEVICE = """\
[device]
name_servers = ["{names}"]
[itsp.A]
ProxyServer = "alias.example.test"
X_UDPSwitchToTCP = true
[itsp.B]
ProxyServer = "a.example.test"
OutboundProxy = "srv.example.test"
OutboundProxyTransport = "TLS"
X_BypassOutboundProxyInCall = true
[itsp.C]
ProxyServer = "a.example.test"
OutboundProxy = "both.example.test"
X_DnsOrder = "srv-first"
X_BypassOutboundProxyInCall = true
[itsp.D]
ProxyServer = "srv.example.test"
X_ProxyServerRedundancy = true
[itsp.E]
ProxyServer = "none.example.test"
[itsp.F]
ProxyServer = "www.example.org"
""" + "".join(f'[sp.{number}]\nAuthUserName = "user{number}"\n' for number in range(1, 7))


@pytest.fixture
def names(peers, tmp_path: Path):
    names = peers.start(NameServer(tmp_path, RECORDS))
    (tmp_path / "device.toml").write_text(DEVICE.format(names=names.address))
    return names


def sipcore(*arguments: str) -> tuple[int, str]:
    """Exit code, and what a person reads."""
    command = [sys.executable, "-m", "sipcore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        (
            ("1", "INVITE", "bob"),
            0,
            [
                "  goes to     127.0.0.11:5060 udp",
                "directly, whatever the URI says (SPEC C7)",
                "  note        more than 1300 octets try TCP there first, as X_UDPSwitchToTCP is on (SPEC C3)",
                "  asked DNS   A alias.example.test: CNAME a.example.test, 127.0.0.11 (from ",
            ],
        ),
        (
            ("2", "BYE", "bob", "--in-dialog"),
            0,
            [
                "  goes to     127.0.0.21:5070 tls  (h1.example.test)",
                "  connection  the service's one to its OutboundProxy",
                "every request goes to it (SPEC C1)",
                "  no bypass   X_BypassOutboundProxyInCall has no effect over TLS (SPEC C9)",
            ],
        ),
        (
            ("3", "BYE", "sip:bob@h2.example.test:5090", "--in-dialog"),
            0,
            [
                "  goes to     127.0.0.22:5090 udp",
                "  next hop    BYE follows its first Route or remote target, h2.example.test (SPEC C8)",
                "  passed over OutboundProxy both.example.test, because X_BypassOutboundProxyInCall is on",
            ],
        ),
        (
            ("3", "CANCEL", "bob", "--in-dialog"),
            0,
            [
                "  goes to     127.0.0.21:5099 udp  (h1.example.test)",
                "its port; in this order SRV beats A (SPEC D4, D3)",
                "  no bypass   CANCEL goes where its INVITE went",
            ],
        ),
        (
            ("4", "REGISTER"),
            0,
            [
                "  goes to     127.0.0.21:5070 udp  (h1.example.test)",
                "  or, failing 127.0.0.22:5072 udp",
                "  note        a device that runs takes the server that holds its registration (SPEC B12)",
            ],
        ),
        (("5", "REGISTER"), 1, ["goes nowhere: 901 not found", "SRV _sip._udp.none.example.test: not found"]),
        (("6", "REGISTER"), 1, ["REFUSED; a failure is not 'not found' (SPEC D2.1, D6)"]),
    ],
)
def test_a_device_says_where_a_request_goes_and_why(names, arguments: tuple[str, ...], code: int, lines: list[str]):
    """SPEC C1, C3, C7, C8, C9, D2, D4, D6, D9."""
    told, text = sipcore("explain", str(names.folder / "device.toml"), "--sp", *arguments)
    assert told == code, text
    assert [line for line in lines if line not in text] == [], text


def test_a_name_alone_is_looked_for_in_every_order(names):
    """SPEC D8, D9: what is not used is not offered as a way out."""
    server = ("--nameserver", names.address)
    code, text = sipcore("resolve", "srv.example.test", *server)
    assert code == 0
    assert "  goes to     127.0.0.21:5070 udp  (h1.example.test)\n  not used    127.0.0.22:5072 udp" in text
    assert "X_ProxyServerRedundancy makes use of all (SPEC D8)" in text
    code, text = sipcore("resolve", "both.example.test", *server, "--order", "srv-first")
    assert (code, "127.0.0.21:5099" in text) == (0, True)
    code, text = sipcore("resolve", "nothing.example.test", *server)
    assert (code, "leads nowhere: not found" in text) == (1, True)
