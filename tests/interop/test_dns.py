"""The resolver and the DNS orders against real zones on Knot DNS (SPEC D)."""

import asyncio
import random

import pytest

from sipcore.errors import LocateError
from sipcore.policy.locate import DrawOncePerAnswer, Located, Order, Site, locate
from sipcore.resolver import DnsResolver, drive

from .knot import NameServer
from .processes import LOOPBACK, free_port

pytestmark = pytest.mark.interop

MANY = "\n".join(f"_sip._udp.many SRV {number} 10 {6000 + number} h{number}.many" for number in range(40))
HOSTS = "\n".join(f"h{number}.many A 192.0.2.{100 + number}" for number in range(40))
RECORDS = f"""\
a-only       A     192.0.2.1
srv-only     SRV   10 5 5070 host
prefixed.p   TXT   "a name that exists without A and SRV"
_sip._udp.prefixed SRV 10 5 5080 host
both         A     192.0.2.3
both         SRV   10 5 5071 host
host         A     192.0.2.7
host         AAAA  2001:db8::7
alias        CNAME chain1
chain1       CNAME chain2
chain2       CNAME a-only
srv-alias    CNAME srv-only
no-service   SRV   0 0 0 .
no-address   SRV   10 5 5070 nowhere
naptr        NAPTR 10 50 "s" "SIP+D2T" "" _sip._tcp.naptr
naptr        NAPTR 20 50 "s" "SIP+D2U" "" _sip._udp.naptr
_sip._tcp.naptr SRV 0 0 5062 host
_sip._udp.naptr SRV 0 0 5063 a-only
{MANY}
{HOSTS}
"""


@pytest.fixture
def names(peers, tmp_path):
    return peers.start(NameServer(tmp_path, RECORDS))


def find(names: NameServer, name: str, order: Order = "a-first", *, dead_first: bool = False, **site) -> Located:
    async def run() -> Located:
        servers = [(LOOPBACK, names.port)]
        if dead_first:
            servers.insert(0, (LOOPBACK, free_port()))
        wanted = Site(f"{name}.example.test" if "." not in name else name, order=order, **site)
        return (await drive(locate(wanted, DrawOncePerAnswer(random.Random(1))), DnsResolver(servers)))[0]

    return asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize(
    ("name", "order", "place", "rule"),
    [
        ("a-only", "a-first", ("192.0.2.1", 5060), "SPEC D2.1, D3"),
        ("srv-only", "a-first", ("192.0.2.7", 5070), "SPEC D2.2, D3"),
        ("prefixed", "a-first", ("192.0.2.7", 5080), "SPEC D2.3, D3"),
        ("both", "a-first", ("192.0.2.3", 5060), "SPEC D2.1, D3"),
        ("both", "srv-first", ("192.0.2.7", 5071), "SPEC D4, D3"),
        ("a-only", "srv-first", ("192.0.2.1", 5060), "SPEC D4, D3"),
        ("alias", "a-first", ("192.0.2.1", 5060), "SPEC D2.1, D3"),
        ("srv-alias", "a-first", ("192.0.2.7", 5070), "SPEC D2.2, D3"),
        ("naptr", "a-first", ("192.0.2.1", 5063), "SPEC D2.3, D3"),
        ("a-only", "rfc3263", ("192.0.2.1", 5060), "SPEC D5, D3"),
    ],
)
def test_where_a_name_leads(names, name: str, order: Order, place: tuple[str, int], rule: str):
    """SPEC D2, D3, D4, D5."""
    located = find(names, name, order)
    assert (located.targets[0].address, located.targets[0].port) == place
    assert located.rule == rule


def test_naptr_chooses_the_transport(names):
    """SPEC D5."""
    located = find(names, "naptr", "rfc3263", transport=None)
    assert [(target.address, target.port, target.transport) for target in located.targets] == [
        ("192.0.2.7", 5062, "tcp"),
        ("192.0.2.1", 5063, "udp"),
    ]


def test_an_ipv6_device_finds_aaaa(names):
    """SPEC D2."""
    assert find(names, "srv-only", address_types=("AAAA",)).targets[0].address == "2001:db8::7"


def test_forty_targets_come_over_tcp_and_are_cut(names):
    """SPEC D7: the answer does not fit a datagram."""
    targets = find(names, "many").targets
    assert len(targets) == 16
    assert [target.port for target in targets[:3]] == [6000, 6001, 6002]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "not found"),
        ("no-service", "decidedly not available"),
        ("no-address", "none of its targets has an address"),
        ("other.invalid", "REFUSED"),
    ],
)
def test_what_leads_nowhere(names, name: str, why: str):
    """SPEC D6: not found, "." and failure are told apart."""
    with pytest.raises(LocateError, match=why):
        find(names, name)


def test_a_dead_server_in_front_costs_nothing(names):
    """SPEC D6: the next name server is asked."""
    assert find(names, "a-only", dead_first=True).targets[0].address == "192.0.2.1"
