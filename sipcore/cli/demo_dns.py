"""A DNS server that answers from a table, on a loopback port of its own; the demo's device asks it over real UDP.

Knows A and SRV records only, no zones, no recursion; what is not in the table
does not exist.  Needs the running loop, reads no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

TTL = 30
Table = Mapping[tuple[str, str], Sequence[str]]


class TableDns(asyncio.DatagramProtocol):
    """Answers for `table`: (lower-case name without trailing dot, "A" or "SRV") to record texts.

    `asked` lists the questions in the order they came, for the demo's story.
    """

    def __init__(self, table: Table) -> None:
        self.table = dict(table)
        self.asked: list[tuple[str, str]] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, host: str = "127.0.0.1") -> str:
        """Bind a free port and return "ADDRESS:PORT" as `name_servers` wants it."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        self._transport = transport
        bound_host, bound_port = transport.get_extra_info("sockname")[:2]
        return f"{bound_host}:{bound_port}"

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        response = self.answer(data)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, addr)

    def answer(self, query: bytes) -> bytes | None:
        """The octets that answer one query; None for octets that are no query."""
        try:
            question = dns.message.from_wire(query)
        except dns.exception.DNSException:
            return None
        if question.flags & dns.flags.QR or len(question.question) != 1:
            return None
        response = dns.message.make_response(question, recursion_available=True)
        asked = question.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        records = self.table.get((name, kind))
        if records:
            response.answer.append(dns.rrset.from_text(asked.name, TTL, dns.rdataclass.IN, asked.rdtype, *records))
        elif not any(known == name for known, _ in self.table):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()
