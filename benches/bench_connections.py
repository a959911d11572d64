"""What a flow and a connection cost, from Python: addresses are read from text each time."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore._connections import ConnectionTable, keyed_hash

KEY = bytes(range(16))
ROUND = 1_000


def host_of(n: int) -> str:
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def table_with(connections: int) -> tuple[ConnectionTable, int, list[int]]:
    table = ConnectionTable(KEY, max_connections=2_000_000)
    local = table.add_local("tcp", "127.0.0.1", 5060, user_agent=1)
    writer = object()
    flows = [table.add(local, ("127.0.0.1", 5060), (host_of(n), 40000), writer) for n in range(connections)]
    return table, local, flows


SIZES = pytest.mark.parametrize("connections", [1_000, 1_000_000])


@SIZES
def bench_find(benchmark: BenchmarkFixture, connections: int) -> None:
    table, _, _ = table_with(connections)
    hosts = [host_of(n * 7919 % connections) for n in range(ROUND)]

    def find() -> None:
        for host in hosts:
            table.find("tcp", 1, host, 40000)

    benchmark(find)
    benchmark.extra_info.update(operations=ROUND, octets_a_connection=table.octets / connections)


@SIZES
def bench_touch(benchmark: BenchmarkFixture, connections: int) -> None:
    table, _, flows = table_with(connections)
    some = [flows[n * 7919 % connections] for n in range(ROUND)]

    def touch() -> None:
        for flow in some:
            table.touch(flow, 5)

    benchmark(touch)
    benchmark.extra_info.update(operations=ROUND)


@SIZES
def bench_add_and_remove(benchmark: BenchmarkFixture, connections: int) -> None:
    table, local, _ = table_with(connections)
    writer = object()

    def add_and_remove() -> None:
        for port in range(ROUND):
            table.remove(table.add(local, ("127.0.0.1", 5060), ("192.0.2.1", 1024 + port), writer))

    benchmark(add_and_remove)
    benchmark.extra_info.update(operations=ROUND)


def bench_datagram_flow_v4(benchmark: BenchmarkFixture) -> None:
    table = ConnectionTable(KEY)
    local = table.add_local("udp", "127.0.0.1", 5060, user_agent=1)

    def flow() -> None:
        for port in range(1024, 1024 + ROUND):
            table.flow_to(local, "192.0.2.1", port)

    benchmark(flow)
    benchmark.extra_info.update(operations=ROUND)


def bench_flow_token(benchmark: BenchmarkFixture) -> None:
    table = ConnectionTable(KEY)
    flow = table.flow_to(table.add_local("udp", "127.0.0.1", 5060, user_agent=1), "192.0.2.1", 5060)
    benchmark(lambda: table.flow_of_token(table.flow_token(flow)))


@pytest.mark.parametrize("size", [16, 64])
def bench_keyed_hash(benchmark: BenchmarkFixture, size: int) -> None:
    octets = bytes(size)
    benchmark(keyed_hash, KEY, octets)
