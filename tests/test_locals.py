"""Local addresses: their indexes, and the addresses that a wildcard socket was reached on."""

import pytest

from sipcore._connections import ConnectionTable
from sipcore._locals import TRANSPORTS
from sipcore.errors import TransportError, UsageError

KEY = bytes(range(16))


def table_with(transport: str, host: str) -> tuple[ConnectionTable, int]:
    table = ConnectionTable(KEY)
    return table, table.add_local(transport, host, 5060, user_agent=1)


def test_every_transport_can_be_listened_on_in_any_case() -> None:
    table = ConnectionTable(KEY)
    for transport in TRANSPORTS[1:]:
        local = table.local_at(table.add_local(transport.upper(), "127.0.0.1", 5060, user_agent=1))
        assert local is not None
        assert local.transport == transport
        assert repr(local) == f"<Local {transport} 127.0.0.1:5060>"


def test_a_removed_local_address_is_closed_and_unknown() -> None:
    table, handle = table_with("udp", "127.0.0.1")
    local = table.local_at(handle)
    table.remove_local(handle)
    assert local is not None
    assert not local.is_open
    assert table.local_at(handle) is None
    assert table.remove_local(handle) == []
    with pytest.raises(TransportError):
        table.reached(handle, "127.0.0.1")


def test_an_index_of_a_removed_local_address_rests_longest() -> None:
    table = ConnectionTable(KEY)
    first = table.add_local("udp", "127.0.0.1", 5060, user_agent=1)
    flow = table.flow_to(first, "192.0.2.1", 5060)
    table.remove_local(first)
    for _ in range(8_190):
        table.remove_local(table.add_local("udp", "127.0.0.1", 5060, user_agent=1))
    table.add_local("udp", "127.0.0.1", 5061, user_agent=1)
    with pytest.raises(TransportError):
        table.flow_info(flow)


def test_no_more_local_addresses_than_a_flow_can_name() -> None:
    table = ConnectionTable(KEY)
    for _ in range(8_192):
        table.add_local("udp", "127.0.0.1", 5060, user_agent=1)
    with pytest.raises(UsageError):
        table.add_local("udp", "127.0.0.1", 5060, user_agent=1)


def test_a_wildcard_socket_has_a_local_address_for_each_one_it_was_reached_on() -> None:
    table, wildcard = table_with("udp", "0.0.0.0")
    first, second = table.reached(wildcard, "192.0.2.1"), table.reached(wildcard, "192.0.2.2")
    assert len({wildcard, first, second}) == 3
    assert table.reached(wildcard, "192.0.2.1") == first
    local = table.local_at(first)
    assert local is not None
    assert (local.host, local.port, local.sent_by) == ("192.0.2.1", 5060, "192.0.2.1:5060")
    assert table.flow_info(table.flow_to(first, "198.51.100.9", 5070))[1:3] == ("192.0.2.1", 5060)


def test_the_addresses_reached_go_with_their_socket() -> None:
    table, wildcard = table_with("udp", "0.0.0.0")
    flow = table.flow_to(table.reached(wildcard, "192.0.2.1"), "198.51.100.9", 5070)
    table.remove_local(wildcard)
    assert table.stats()["locals"] == 0
    with pytest.raises(TransportError):
        table.flow_info(flow)


def test_the_addresses_reached_are_bounded() -> None:
    table, wildcard = table_with("udp", "0.0.0.0")
    reached = {table.reached(wildcard, f"127.0.{n >> 8}.{n & 255}") for n in range(1_000)}
    assert len(reached) == 257
    assert wildcard in reached


def test_what_is_advertised_is_said_for_every_address_reached() -> None:
    table = ConnectionTable(KEY)
    wildcard = table.add_local("udp", "::", 5060, user_agent=1, advertise=("2001:db8::5", 5070))
    for handle in (wildcard, table.reached(wildcard, "::1")):
        local = table.local_at(handle)
        assert local is not None
        assert local.sent_by == "[2001:db8::5]:5070"
