"""Replies of every kind of nonsense are read or refused, never more (FAULTS 38)."""

import asyncio
import random

import dns.exception
import dns.message
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from sipcore.dns_exchange import MAXIMUM_DATAGRAM, MAXIMUM_RECORDS, ExchangeFailed, Reply, _Datagrams, read_reply
from sipcore.policy.questions import Question, Srv

QUERY = dns.message.make_query("edge.example.net", "SRV", id=7)
QUESTION = Question("edge.example.net", "SRV")


def reply() -> bytes:
    message = dns.message.make_response(QUERY)
    message.answer.append(dns.rrset.from_text("edge.example.net.", 9, "IN", "CNAME", "other.example.net."))
    message.answer.append(
        dns.rrset.from_text("other.example.net.", 60, "IN", "SRV", "1 2 5070 a.example.net.", "3 4 5071 b.example.net.")
    )
    message.additional.append(dns.rrset.from_text("a.example.net.", 60, "IN", "A", "192.0.2.7"))
    message.additional.append(dns.rrset.from_text("evil.example.net.", 60, "IN", "A", "192.0.2.66"))
    return message.to_wire()


WIRE = reply()


def read(octets: bytes) -> Reply | None:
    """What the exchange would make of a datagram; None where it ignores or refuses it."""
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        protocol = loop.run_until_complete(_make())
        protocol.datagram_received(octets, ("192.0.2.53", 53))
        if not protocol.answer.done():
            return None
        return read_reply(protocol.answer.result(), QUESTION)
    except (ExchangeFailed, dns.exception.DNSException):
        return None
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _make() -> _Datagrams:
    return _Datagrams(QUERY)


def test_only_addresses_of_targets_are_taken_from_the_additional_section():
    found = read(WIRE)
    assert found is not None
    assert {record for record in found.records if isinstance(record, Srv)} == {
        Srv(1, 2, 5070, "a.example.net"),
        Srv(3, 4, 5071, "b.example.net"),
    }
    assert found.additional == (("a.example.net", ("192.0.2.7",)),)
    assert found.ttl == 9


def test_a_datagram_larger_than_was_asked_for_is_ignored():
    assert read(WIRE + bytes(MAXIMUM_DATAGRAM)) is None


@given(st.lists(st.tuples(st.integers(0, len(WIRE) - 1), st.integers(0, 255)), max_size=8), st.integers(0, 40))
def test_faults_38_a_mangled_reply_is_read_or_refused(changes: list[tuple[int, int]], cut: int):
    octets = bytearray(WIRE)
    for at, value in changes:
        octets[at] = value
    found = read(bytes(octets[: len(octets) - cut]))
    assert found is None or len(found.records) <= MAXIMUM_RECORDS


@given(st.binary(max_size=300))
def test_faults_38_arbitrary_octets_are_ignored(octets: bytes):
    assert read(octets) is None


@given(st.binary(max_size=120))
def test_faults_38_arbitrary_octets_after_a_good_head_are_read_or_refused(octets: bytes):
    head = bytearray(QUERY.to_wire())
    head[2] |= 0x80
    counts = random.Random(len(octets)).choice([b"\0\1\0\0\0\0", b"\0\2\0\1\0\1", b"\xff\xff\0\0\0\0"])
    found = read(bytes(head[:6]) + counts + bytes(head[12:]) + octets)
    assert found is None or len(found.records) <= MAXIMUM_RECORDS
