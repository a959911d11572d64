"""One question to one name server: UDP, TCP when the answer was cut short, EDNS (RFC 1035, RFC 6891).

Every fault of the server or of the network becomes `ExchangeFailed`; answers to
other questions, from other addresses or with another id are ignored.  What is
bounded: octets read, records kept.  Caches, other servers and retries are the
business of `sipcore.resolver`, which imports this room only when it first asks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
from dns.message import Message, QueryMessage
from dns.rdata import Rdata

from sipcore.policy.questions import Naptr, Question, Srv

EDNS_PAYLOAD = 1232
MAXIMUM_DATAGRAM = EDNS_PAYLOAD
MAXIMUM_STREAM = 16384
MAXIMUM_RECORDS = 256
MAXIMUM_ADDITIONAL = 64

Server = tuple[str, int]


class ExchangeFailed(Exception):
    """No usable answer from this server; `timed_out` tells silence from a refusal."""

    def __init__(self, why: str, *, timed_out: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.timed_out = timed_out


@dataclass(frozen=True, slots=True)
class Reply:
    """What one server said; `continued` is the name at the end of a CNAME chain that it did not follow itself.

    `canonical` is the name that the records are of, empty where no CNAME led away.
    """

    records: tuple[str | Srv | Naptr, ...]
    ttl: float
    continued: str = ""
    additional: tuple[tuple[str, tuple[str, ...]], ...] = ()
    canonical: str = ""


async def exchange(question: Question, server: Server, *, timeout: float, source: random.Random) -> Reply:
    """Ask `server` once, for at most `timeout` seconds.  Raises ExchangeFailed."""
    try:
        async with asyncio.timeout(timeout):
            message = await _ask(question, server, source)
            return read_reply(message, question)
    except TimeoutError:
        raise ExchangeFailed(f"no answer in {timeout:.1f}s", timed_out=True) from None
    except OSError as error:
        raise ExchangeFailed(error.strerror or type(error).__name__) from None
    except dns.exception.DNSException as error:
        raise ExchangeFailed(f"nonsense: {type(error).__name__}") from None


async def _ask(question: Question, server: Server, source: random.Random) -> Message:
    query = _make_query(question, source, edns=True)
    message = await _ask_either_way(query, server)
    if message.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):  # an old server that does not know EDNS
        return await _ask_either_way(_make_query(question, source, edns=False), server)
    return message


def _make_query(question: Question, source: random.Random, *, edns: bool) -> QueryMessage:
    options = {"use_edns": 0, "payload": EDNS_PAYLOAD} if edns else {"use_edns": False}
    return dns.message.make_query(question.name, question.type, id=source.getrandbits(16), **options)


async def _ask_either_way(query: QueryMessage, server: Server) -> Message:
    message = await _ask_datagram(query, server)
    if message.flags & dns.flags.TC:
        return await _ask_stream(query, server)
    return message


def accept_reply(data: bytes, query: QueryMessage) -> Message | None:
    """What a datagram says if it answers `query`; None for what is too long, is no message, or answers another."""
    if len(data) > MAXIMUM_DATAGRAM:
        return None
    with suppress(dns.exception.DNSException, ValueError):
        message = dns.message.from_wire(data, ignore_trailing=True)
        if query.is_response(message):
            return message
    return None


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers `query`; its socket is connected, so the kernel checks the address."""

    def __init__(self, query: QueryMessage) -> None:
        self._query = query
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        message = accept_reply(data, self._query)
        if message is not None and not self.answer.done():
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_datagram(query: QueryMessage, server: Server) -> Message:
    """From a socket of its own for each question, so that the port is random too."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(query), remote_addr=server)
    with closing(transport):
        transport.sendto(query.to_wire())
        return await protocol.answer


async def _ask_stream(query: QueryMessage, server: Server) -> Message:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(query.to_wire(prepend_length=True))
        size = int.from_bytes(await reader.readexactly(2))
        if size > MAXIMUM_STREAM:
            raise ExchangeFailed(f"an answer of {size} octets, more than {MAXIMUM_STREAM}")
        octets = await reader.readexactly(size)
        # A long answer takes more than 10 ms to read: not on the loop (FAULTS 37).
        message = await asyncio.to_thread(dns.message.from_wire, octets, ignore_trailing=True)
    except asyncio.IncompleteReadError:
        raise ExchangeFailed("closed the connection within its answer") from None
    finally:
        writer.close()
    if not query.is_response(message):
        raise ExchangeFailed("answered another question")
    return message


def read_reply(message: Message, question: Question) -> Reply:
    """The records asked for, at the end of the CNAME chain that the message holds, at most MAXIMUM_RECORDS.

    Raises ExchangeFailed for an error code, DNSException for what makes no sense.
    """
    if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise ExchangeFailed(dns.rcode.to_text(message.rcode()))
    assert isinstance(message, QueryMessage)  # is_response has seen its question and opcode
    chain = message.resolve_chaining()
    if chain.answer is None:
        unfinished = bool(chain.cnames) and message.rcode() == dns.rcode.NOERROR and not message.authority
        return Reply((), chain.minimum_ttl, _name(chain.canonical_name) if unfinished else "")
    records = tuple(_records(chain.answer))[:MAXIMUM_RECORDS]
    canonical = _name(chain.canonical_name) if chain.cnames else ""
    return Reply(records, chain.minimum_ttl, additional=_additional(message, records), canonical=canonical)


def _records(rdatas: Iterable[Rdata]) -> Iterable[str | Srv | Naptr]:
    for rdata in rdatas:
        if isinstance(rdata, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA):
            yield rdata.address
        elif isinstance(rdata, dns.rdtypes.IN.SRV.SRV):
            yield Srv(rdata.priority, rdata.weight, rdata.port, _name(rdata.target))
        elif isinstance(rdata, dns.rdtypes.IN.NAPTR.NAPTR):
            flags, service = (octets.decode("ascii", "replace") for octets in (rdata.flags, rdata.service))
            yield Naptr(rdata.order, rdata.preference, flags, service, _name(rdata.replacement))


def _additional(message: Message, records: tuple[str | Srv | Naptr, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Addresses of SRV targets that came along; those of other names are none of our business."""
    targets = {record.target for record in records if isinstance(record, Srv)}
    found: dict[str, list[str]] = {}
    room = MAXIMUM_ADDITIONAL
    for rrset in message.additional[:MAXIMUM_ADDITIONAL]:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) and _name(rrset.name) in targets:
            addresses = [record for record in _records(rrset) if isinstance(record, str)][:room]
            room -= len(addresses)
            found.setdefault(_name(rrset.name), []).extend(addresses)
    return tuple((name, tuple(addresses)) for name, addresses in found.items())


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
