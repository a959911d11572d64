"""The resolver and the DNS orders against real zones on Knot DNS (SPEC D)."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterator

import pytest

from sipcore.errors import LocateError
from sipcore.policy.locate import DrawOncePerAnswer, Located, Order, Site, locate
from sipcore.policy.questions import Answer
from sipcore.resolver import DnsResolver, drive

from .knot import BROKEN_ZONE, NameServer
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


def draw() -> DrawOncePerAnswer:
    return DrawOncePerAnswer(random.Random(1))


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port where questions arrive and nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind((LOOPBACK, 0))
        yield nobody.getsockname()[1]


def find(names: NameServer, name: str, order: Order = "a-first", *, before: int | None = None, **site) -> Located:
    """Where a name leads; `before` is the port of another name server, asked first."""

    async def run() -> Located:
        servers = [(LOOPBACK, names.port)]
        if before is not None:
            servers.insert(0, (LOOPBACK, before))
        wanted = Site(f"{name}.example.test" if "." not in name else name, order=order, **site)
        return (await drive(locate(wanted, draw()), DnsResolver(servers)))[0]

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
    """SPEC D6: the next name server is asked, at once where the host says that nobody is there."""
    began = time.monotonic()
    assert find(names, "a-only", before=free_port()).targets[0].address == "192.0.2.1"
    assert time.monotonic() - began < 2.0


def test_a_silent_server_in_front_costs_one_try(names):
    """SPEC D6: 2 s a try."""
    with silent_port() as port:
        began = time.monotonic()
        assert find(names, "a-only", before=port).targets[0].address == "192.0.2.1"
        assert 1.9 < time.monotonic() - began < 6.0


def test_a_dead_server_alone_ends_the_lookup_in_its_time():
    """SPEC D6, FAULTS 37: 8 s a lookup in all, and the failure says who was silent."""

    async def main(port: int) -> None:
        resolver = DnsResolver([(LOOPBACK, port)])
        began = time.monotonic()
        with pytest.raises(LocateError, match=rf"{LOOPBACK}:{port}: no answer|whole lookup"):
            await drive(locate(Site("a-only.example.test"), draw()), resolver)
        assert 7.5 < time.monotonic() - began < 12.0

    with silent_port() as port:
        asyncio.run(main(port))


@pytest.mark.parametrize("order", ["a-first", "srv-first", "rfc3263"])
def test_servfail_is_a_failure_and_no_further_step_is_taken(names, order: Order):
    """SPEC D4, D6: what failed is not "not found"."""
    assert "SERVFAIL" in names.dig_status(f"edge.{BROKEN_ZONE}", "A")
    with pytest.raises(LocateError, match="SERVFAIL"):
        find(names, f"edge.{BROKEN_ZONE}", order)


def test_after_servfail_the_next_server_is_asked(names, peers, tmp_path):
    """SPEC D6: the one that has lost the zone is passed over for one that has it."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = peers.start(NameServer(folder, "edge A 192.0.2.44", zone=BROKEN_ZONE, broken="example.test"))
    assert find(other, f"edge.{BROKEN_ZONE}", before=names.port).targets[0].address == "192.0.2.44"


def test_a_server_that_dies_is_outlived_by_its_answer(names):
    """SPEC D6: a remembered answer serves when its time is up and nobody answers any more."""
    now = [0.0]

    async def main() -> None:
        resolver = DnsResolver([(LOOPBACK, names.port)], clock=lambda: now[0] + time.monotonic())
        first, _ = await drive(locate(Site("both.example.test"), draw()), resolver)
        names.stop()
        now[0] = 100.0
        second, answers = await drive(locate(Site("both.example.test"), draw()), resolver)
        assert second.targets[0].address == first.targets[0].address == "192.0.2.3"
        assert any(answer.stale for answer in answers if isinstance(answer, Answer))
        now[0] = 3800.0
        with pytest.raises(LocateError):
            await drive(locate(Site("both.example.test"), draw()), resolver)

    asyncio.run(main())
