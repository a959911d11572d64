"""Flows, local addresses and the connection table: against dictionaries, at its limits, and under chosen keys."""

import base64
import sys
import time
from collections import OrderedDict
from itertools import islice
from pathlib import Path

import pytest
from failing_memory import run_with_failing_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from siphash_reference import siphash

from sipcore._connections import ConnectionTable
from sipcore.errors import TransportError, UsageError

KEY = bytes(range(16))


def table_with(transport: str, host: str = "127.0.0.1", **limits: int) -> tuple[ConnectionTable, int]:
    table = ConnectionTable(KEY, **limits)
    return table, table.add_local(transport, host, 5060, user_agent=1)


def connect(table: ConnectionTable, local: int, host: str, port: int = 40000, **options: object) -> int:
    return table.add(local, ("127.0.0.1", 5060), (host, port), object(), **options)  # type: ignore[arg-type]


# ---- UDP over IPv4: the flow is its own row


ipv4 = st.integers(0, 2**32 - 1).map(lambda n: ".".join(str(n >> shift & 255) for shift in (24, 16, 8, 0)))


@given(ipv4, st.integers(0, 65535))
def test_a_udp_flow_over_ipv4_says_where_it_goes(host: str, port: int) -> None:
    table, local = table_with("udp")
    flow = table.flow_to(local, host, port)
    assert 0 < flow < 2**63
    assert table.flow_info(flow) == ("udp", "127.0.0.1", 5060, host, port)
    assert table.local_of(flow).handle == local


def test_spoofed_udp_sources_over_ipv4_cost_no_memory() -> None:
    table, local = table_with("udp")
    before = table.octets
    for n in range(10_000):
        table.flow_to(local, f"10.0.{n >> 8}.{n & 255}", 5060)
    assert table.octets == before
    assert table.stats()["datagram_flows"] == 0


def test_udp_flows_end_with_their_local_address() -> None:
    table, local = table_with("udp")
    flow = table.flow_to(local, "192.0.2.1", 5060)
    assert table.remove_local(local) == []
    table.add_local("udp", "127.0.0.1", 5060, user_agent=1)
    for ended in (table.flow_info, table.local_of):
        with pytest.raises(TransportError):
            ended(flow)
    assert table.flow_of_token(table.flow_token(flow)) == 0


def test_integers_that_are_no_flows_are_refused() -> None:
    table, local = table_with("tcp")
    flow = connect(table, local, "192.0.2.1")
    for wrong in (0, 1, -1, -flow, flow + 1, flow ^ (1 << 24), 3 << 61, 2**63 - 1, -(2**63), 1 << 61, 2 << 61):
        assert table.writer(wrong) is None
        assert not table.remove(wrong)
        assert not table.hold(wrong)
        with pytest.raises(TransportError):
            table.flow_info(wrong)


# ---- UDP over IPv6: a bounded number of rows


def test_a_udp_flow_over_ipv6_is_the_same_each_time() -> None:
    table, local = table_with("udp", "::1")
    flow = table.flow_to(local, "2001:db8::1", 5060)
    assert table.flow_to(local, "2001:db8:0::1", 5060) == flow
    assert table.flow_to(local, "2001:db8::1", 5061) != flow
    assert table.flow_info(flow) == ("udp", "::1", 5060, "2001:db8::1", 5060)
    other = table.add_local("udp", "::1", 5062, user_agent=1)
    assert table.flow_to(other, "2001:db8::1", 5060) != flow


def test_an_ipv4_peer_of_a_dual_stack_socket_is_told_in_ipv4() -> None:
    table, local = table_with("udp", "::")
    flow = table.flow_to(local, "::ffff:192.0.2.1", 5060)
    assert flow == table.flow_to(local, "192.0.2.1", 5060)
    assert table.flow_info(flow)[3:] == ("192.0.2.1", 5060)


def test_the_scope_of_a_link_local_peer_counts() -> None:
    table, local = table_with("udp", "::")
    flow = table.flow_to(local, "fe80::1%7", 5060)
    assert table.flow_info(flow)[3] == "fe80::1%7"
    assert table.flow_to(local, "fe80::1%8", 5060) != flow


def test_ipv6_flows_make_room_for_new_ones_unless_they_are_held() -> None:
    table, local = table_with("udp", "::1", max_datagram_flows=3)
    flows = [table.flow_to(local, f"2001:db8::{n}", 5060, n) for n in range(3)]
    assert table.hold(flows[0])
    assert table.flow_to(local, "2001:db8::1", 5060, 5) == flows[1]
    newest = table.flow_to(local, "2001:db8::9", 5060, 6)
    assert newest
    with pytest.raises(TransportError):
        table.flow_info(flows[2])
    for live in (flows[0], flows[1], newest):
        table.flow_info(live)
        table.hold(live)
    assert table.flow_to(local, "2001:db8::a", 5060, 7) == 0
    assert table.stats()["refused_datagrams"] == 1
    assert table.stats()["datagram_flows"] == 3


def test_udp_flows_over_ipv6_end_with_their_local_address() -> None:
    table, local = table_with("udp", "::1")
    flow = table.flow_to(local, "2001:db8::1", 5060)
    table.remove_local(local)
    with pytest.raises(TransportError):
        table.flow_info(flow)
    assert table.stats()["datagram_flows"] == 0


# ---- connections


def test_a_removed_connection_is_refused_for_ever() -> None:
    table, local = table_with("tcp")
    stale = []
    for _ in range(100):
        flow = connect(table, local, "192.0.2.1")
        assert flow not in stale
        assert table.remove(flow)
        assert not table.remove(flow)
        stale.append(flow)
    connect(table, local, "192.0.2.1")
    for flow in stale:
        assert table.writer(flow) is None
        assert not table.set_alias(flow, 5060)
        with pytest.raises(TransportError):
            table.flow_info(flow)


def test_a_connection_is_found_by_user_agent_transport_address_port_and_identity() -> None:
    table, local = table_with("tls")
    other_agent = table.add_local("tls", "127.0.0.1", 5071, user_agent=2)
    plain = connect(table, local, "192.0.2.1")
    proven = connect(table, local, "192.0.2.1", identity="Example.com")
    theirs = connect(table, other_agent, "192.0.2.1")
    assert table.find("tls", 1, "192.0.2.1", 40000) == plain
    assert table.find("TLS", 1, "192.0.2.1", 40000, "example.COM") == proven
    assert table.find("tls", 2, "192.0.2.1", 40000) == theirs
    for missing in (
        ("tcp", 1, "192.0.2.1", 40000),
        ("tls", 1, "192.0.2.2", 40000),
        ("tls", 1, "192.0.2.1", 40001),
        ("tls", 3, "192.0.2.1", 40000),
        ("udp", 1, "192.0.2.1", 40000),
        ("", 1, "192.0.2.1", 40000),
    ):
        assert table.find(*missing) == 0
    assert table.find("tls", 1, "192.0.2.1", 40000, "example.org") == 0


def test_the_connection_that_came_last_is_reused() -> None:
    table, local = table_with("tcp")
    older, newer = connect(table, local, "192.0.2.1"), connect(table, local, "192.0.2.1")
    assert table.find("tcp", 1, "192.0.2.1", 40000) == newer
    table.remove(newer)
    assert table.find("tcp", 1, "192.0.2.1", 40000) == older


def test_an_alias_leads_requests_to_an_accepted_connection() -> None:  # RFC 5923 section 5
    table, local = table_with("tcp")
    flow = connect(table, local, "192.0.2.1", 40000)
    assert table.set_alias(flow, 5060)
    assert table.find("tcp", 1, "192.0.2.1", 5060) == flow
    assert table.find("tcp", 1, "192.0.2.1", 40000) == flow
    assert table.find("tcp", 1, "192.0.2.2", 5060) == 0
    assert table.set_alias(flow, 5070)
    assert table.find("tcp", 1, "192.0.2.1", 5060) == 0
    assert table.set_alias(flow, 0)
    assert table.find("tcp", 1, "192.0.2.1", 5070) == 0
    assert table.set_alias(flow, 40000)
    table.remove(flow)
    assert table.find("tcp", 1, "192.0.2.1", 40000) == 0


def test_an_alias_is_for_connections_and_ports_only() -> None:
    table, local = table_with("udp", "::1")
    assert not table.set_alias(table.flow_to(local, "2001:db8::1", 5060), 5061)
    assert not table.set_alias(table.flow_to(local, "192.0.2.1", 5060), 5061)
    tcp = table.add_local("tcp", "::1", 5060, user_agent=1)
    for port in (-1, 65536):
        assert not table.set_alias(connect(table, tcp, "192.0.2.1"), port)


def test_a_connection_outlives_its_listener_which_says_what_to_close() -> None:
    table, local = table_with("tcp")
    other = table.add_local("tcp", "127.0.0.1", 5061, user_agent=1)
    held, free, unrelated = (connect(table, owner, "192.0.2.1") for owner in (local, local, other))
    table.hold(held)
    assert sorted(table.remove_local(local)) == sorted([held, free])
    assert table.remove_local(local) == []
    assert table.flow_info(held)[0] == "tcp"
    assert not table.local_of(free).is_open
    assert table.flow_info(unrelated)
    with pytest.raises(TransportError):
        connect(table, local, "192.0.2.1")
    assert table.remove(held)
    assert table.remove(free)


def test_what_is_no_address_is_refused() -> None:
    table, local = table_with("tcp")
    for host, port in (("example.com", 1), ("", 1), ("1.2.3", 1), ("::1%", 1), ("192.0.2.1", -1), ("192.0.2.1", 65536)):
        with pytest.raises(UsageError):
            connect(table, local, host, port)
        with pytest.raises(UsageError):
            table.find("tcp", 1, host, port)
    for transport, port in (("", 5060), ("dccp", 5060), ("udp", 0)):
        with pytest.raises(UsageError):
            table.add_local(transport, "127.0.0.1", port, user_agent=1)
    with pytest.raises(UsageError):
        connect(table, table.add_local("udp", "127.0.0.1", 5060, user_agent=1), "192.0.2.1")


# ---- limits and what to close (FAULTS 12)


def test_one_address_cannot_take_all_connections() -> None:
    table, local = table_with("tcp", max_per_address=3)
    flows = [connect(table, local, "192.0.2.1", 40000 + n) for n in range(3)]
    assert all(flows)
    assert connect(table, local, "192.0.2.1", 40009) == 0
    assert table.admit("192.0.2.1", 0) == (False, 0)
    assert table.admit("192.0.2.2", 0) == (True, 0)
    assert connect(table, local, "192.0.2.2")
    table.remove(flows[0])
    assert table.admit("192.0.2.1", 0) == (True, 0)
    assert connect(table, local, "192.0.2.1", 40010)
    assert table.stats()["refused_by_address"] == 2


def test_connections_that_we_opened_are_not_limited_by_address() -> None:
    table, local = table_with("tcp", max_per_address=1)
    ours = [connect(table, local, "192.0.2.1", 5060, accepted=False) for _ in range(4)]
    assert all(ours)
    assert connect(table, local, "192.0.2.1") == 0


def test_ipv6_addresses_of_one_subnet_count_as_one() -> None:
    table, local = table_with("tcp", max_per_address=2)
    assert connect(table, local, "2001:db8::1")
    assert connect(table, local, "2001:db8::2")
    assert connect(table, local, "2001:db8::3") == 0
    assert connect(table, local, "2001:db8:0:1::3")


def test_at_the_limit_in_all_the_idlest_makes_room() -> None:
    table, local = table_with("tcp", max_connections=3)
    flows = [connect(table, local, f"192.0.2.{n}", now_us=n) for n in range(3)]
    table.touch(flows[0], 10)
    assert table.admit("192.0.2.9", 5) == (True, flows[1])
    assert table.admit("192.0.2.9", 1) == (False, 0)
    assert connect(table, local, "192.0.2.9") == 0
    assert table.stats()["refused_in_all"] == 2
    table.remove(flows[1])
    assert connect(table, local, "192.0.2.9")


def test_what_is_held_is_not_idle() -> None:
    table, local = table_with("tcp")
    flows = [connect(table, local, f"192.0.2.{n}", now_us=n) for n in range(4)]
    table.hold(flows[1])
    table.hold(flows[1])
    assert table.idle(3) == [flows[0], flows[2]]
    assert table.idle(100, room=1) == [flows[0]]
    table.release(flows[1], 50)
    assert flows[1] not in table.idle(100)
    table.release(flows[1], 60)
    table.release(flows[1], 70)
    assert table.idle(100) == [flows[0], flows[2], flows[3], flows[1]]
    assert table.last_used_us(flows[1]) == 60


# ---- flow tokens (RFC 5626 section 5.2)


def test_a_token_is_the_flow_to_the_table_that_made_it_alone() -> None:
    table, udp = table_with("udp")
    tcp = table.add_local("tcp", "127.0.0.1", 5060, user_agent=1)
    for flow in (table.flow_to(udp, "192.0.2.1", 5060), connect(table, tcp, "192.0.2.1")):
        token = table.flow_token(flow)
        assert len(token) == 22
        assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert table.flow_of_token(token) == flow
        other = ConnectionTable(bytes(16))
        other.add_local("udp", "127.0.0.1", 5060, user_agent=1)
        assert other.flow_of_token(token) == 0


def test_the_token_holds_siphash_2_4_of_the_flow() -> None:
    table, local = table_with("udp")
    flow = table.flow_to(local, "192.0.2.1", 5060)
    key = b"".join(siphash(KEY, b"flow token %d" % n, 2, 4).to_bytes(8, "little") for n in range(2))
    mark = siphash(key, flow.to_bytes(8, sys.byteorder), 2, 4)
    assert base64.urlsafe_b64decode(table.flow_token(flow) + "==") == flow.to_bytes(8, "big") + mark.to_bytes(8, "big")


def test_a_changed_token_is_refused() -> None:
    table, local = table_with("udp")
    token = table.flow_token(table.flow_to(local, "192.0.2.1", 5060))
    for at in range(22):
        for letter in "Ab9-_":
            changed = token[:at] + letter + token[at + 1 :]
            assert changed == token or table.flow_of_token(changed) == 0
    for wrong in ("", token[:-1], token + "A", token[:-1] + "=", " " * 22, "é" * 22, "+" * 22, "\0" * 22):
        assert table.flow_of_token(wrong) == 0


@given(st.text(min_size=20, max_size=24))
def test_text_that_is_no_token_is_refused(text: str) -> None:
    table, _ = table_with("udp")
    assert table.flow_of_token(text) == 0


# ---- chosen keys, memory and size


def probe_ns(table: ConnectionTable, keys: list[tuple[str, int]]) -> float:
    """Best of several passes: nanoseconds a look-up."""
    best = float("inf")
    for _ in range(9):
        start = time.perf_counter()
        for host, port in keys:
            table.find("tcp", 1, host, port)
        best = min(best, time.perf_counter() - start)
    return best / len(keys) * 1e9


def test_chosen_ports_do_not_make_chains() -> None:  # FAULTS 58
    """All hosts and ports that agree in their low bits: an unkeyed mask of them would be one chain."""
    table, local = table_with("tcp", max_per_address=1_000_000)
    middles = range(0, 256, 9)
    chosen = [(f"10.{n}.{m}.1", port) for n in range(256) for m in middles for port in range(4096, 65536, 4096)]
    assert len(chosen) > 100_000
    for host, port in chosen:
        connect(table, local, host, port)
    elsewhere, other = table_with("tcp", max_per_address=1_000_000)
    spread = [(f"10.{n & 255}.{n >> 8 & 255}.{n * 31 & 255}", 1024 + n * 17 % 60000) for n in range(len(chosen))]
    for host, port in spread:
        connect(elsewhere, other, host, port)
    ratios = sorted(probe_ns(table, chosen[:2000]) / probe_ns(elsewhere, spread[:2000]) for _ in range(5))
    assert ratios[0] <= 1.3, f"chosen keys cost {ratios} times random ones"


def test_an_entry_costs_what_is_said_and_memory_comes_back() -> None:
    table, local = table_with("tcp")
    empty = table.octets
    flows = [connect(table, local, f"10.1.{n >> 8}.{n & 255}") for n in range(50_000)]
    assert (table.octets - empty) / 50_000 < 200
    for flow in flows:
        table.remove(flow)
    assert table.octets - empty < 400_000
    assert table.stats()["addresses"] == 0
    assert len(table) == 0


@pytest.mark.native
def test_memory_that_fails_costs_the_connection_not_the_table(tmp_path: Path) -> None:  # FAULTS 55
    run_with_failing_memory(
        tmp_path,
        """
        from sipcore._connections import ConnectionTable

        outcomes = set()
        addresses = [(f"10.0.{n >> 8}.{n & 255}", 5060) for n in range(3_000)]
        for nth in range(1, 60):
            table, flows = None, dict.fromkeys(addresses, 0)
            try:
                failing_at(nth)
                table = ConnectionTable(bytes(16))
                local = table.add_local("tcp", "127.0.0.1", 5060, user_agent=1)
                for address in addresses:
                    flows[address] = table.add(local, ("127.0.0.1", 5060), address, "writer")
            except MemoryError:
                pass
            never_failing()
            flows = {address: flow for address, flow in flows.items() if flow}
            outcomes.add(len(flows))
            if table is None:
                continue
            assert len(table) == table.stats()["addresses"] == len(flows)
            for (host, port), flow in flows.items():
                assert table.find("tcp", 1, host, port) == flow and table.writer(flow) == "writer"
            assert all(table.remove(flow) for flow in flows.values())
            assert len(table) == table.stats()["addresses"] == 0
        assert len(outcomes) > 3, outcomes
        """,
    )


@pytest.mark.slow
def test_a_million_connections_cost_the_next_one_nothing() -> None:
    table, local = table_with("tcp", max_connections=2_000_000, max_per_address=2_000)

    def add_some(first: int, count: int) -> float:
        start = time.perf_counter()
        for n in range(first, first + count):
            connect(table, local, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 1024 + (n >> 24))
        return (time.perf_counter() - start) / count

    few = min(add_some(n * 1_000, 1_000) for n in range(10))
    add_some(10_000, 990_000)
    many = min(add_some(1_000_000 + n * 1_000, 1_000) for n in range(10))
    assert len(table) == 1_010_000
    assert many < few * 10, "rows or chains are walked"
    assert table.octets / len(table) < 200


class TableModel(RuleBasedStateMachine):
    """Dictionaries and an OrderedDict do the same."""

    hosts = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")

    def __init__(self) -> None:
        super().__init__()
        self.table, self.local = table_with("tcp", max_connections=12, max_per_address=5)
        self.now = 0
        self.live: dict[int, tuple[str, int]] = {}
        self.linked: list[tuple[int, str, int, bool]] = []  # (flow, host, port, is_alias) in the order of linking
        self.holds: dict[int, int] = {}
        self.idle: OrderedDict[int, int] = OrderedDict()
        self.dead: list[int] = []

    def side(self, host: str) -> str:
        return "2001:db8::/64" if host.startswith("2001:db8::") else host

    def pick(self, choice: int) -> int:
        return sorted(self.live)[choice % len(self.live)]

    @rule(host=st.sampled_from(hosts), port=st.integers(40000, 40002), accepted=st.booleans())
    def add(self, host: str, port: int, accepted: bool) -> None:
        flow = connect(self.table, self.local, host, port, accepted=accepted, now_us=self.now)
        of_side = sum(self.side(other) == self.side(host) for other, _ in self.live.values())
        if len(self.live) >= 12 or (accepted and of_side >= 5):
            assert flow == 0
            return
        assert flow not in self.dead
        self.live[flow] = (host, port)
        self.linked.append((flow, host, port, False))
        self.holds[flow] = 0
        self.idle[flow] = self.now

    @rule(choice=st.integers(0, 99))
    def remove(self, choice: int) -> None:
        if self.live:
            flow = self.pick(choice)
            assert self.table.remove(flow)
            del self.live[flow], self.holds[flow]
            self.idle.pop(flow, None)
            self.linked = [link for link in self.linked if link[0] != flow]
            self.dead.append(flow)

    @rule(choice=st.integers(0, 99), port=st.sampled_from([0, 5060, 5061, 40001]))
    def alias(self, choice: int, port: int) -> None:
        if self.live:
            flow = self.pick(choice)
            assert self.table.set_alias(flow, port)
            self.linked = [link for link in self.linked if link[0] != flow or not link[3]]
            host, own = self.live[flow]
            if port not in (0, own):
                self.linked.append((flow, host, port, True))

    @rule(choice=st.integers(0, 99), passed=st.integers(0, 5))
    def touch(self, choice: int, passed: int) -> None:
        self.now += passed
        if self.live:
            flow = self.pick(choice)
            self.table.touch(flow, self.now)
            if flow in self.idle:
                del self.idle[flow]
                self.idle[flow] = self.now

    @rule(choice=st.integers(0, 99), release=st.booleans())
    def hold(self, choice: int, release: bool) -> None:
        if not self.live:
            return
        flow = self.pick(choice)
        if not release:
            assert self.table.hold(flow)
            self.holds[flow] += 1
            self.idle.pop(flow, None)
            return
        self.table.release(flow, self.now)
        if self.holds[flow]:
            self.holds[flow] -= 1
            if not self.holds[flow]:
                self.idle[flow] = self.now

    @rule(choice=st.integers(0, 99))
    def use_the_dead(self, choice: int) -> None:
        if self.dead:
            flow = self.dead[choice % len(self.dead)]
            assert not self.table.remove(flow)
            assert self.table.writer(flow) is None

    @invariant()
    def they_agree(self) -> None:
        assert len(self.table) == len(self.live)
        assert self.table.idle(self.now + 1) == list(self.idle)
        oldest = list(islice(((flow, at) for flow, at in self.idle.items() if at < self.now), 64))
        assert self.table.idle(self.now) == [flow for flow, _ in oldest]
        for host in self.hosts:
            for port in (5060, 5061, 40000, 40001, 40002):
                last = [link[0] for link in self.linked if link[1:3] == (host, port)]
                assert self.table.find("tcp", 1, host, port) == (last[-1] if last else 0)


TestTableModel = TableModel.TestCase
TestTableModel.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
