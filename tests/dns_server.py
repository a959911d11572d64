"""A small scripted name server on a loopback port of its own, UDP and TCP, for tests of the resolver."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Answering = Callable[[dns.message.Message, dns.message.Message], bytes | list[bytes] | None]


def zone(*lines: str) -> Answering:
    """Answers from records such as "a.example 60 A 192.0.2.1"; NXDOMAIN (SOA minimum 7) for names without any."""
    records = [line.split(None, 3) for line in lines]

    def answer(query: dns.message.Message, reply: dns.message.Message) -> bytes:
        name = query.question[0].name.to_text(omit_final_dot=True)
        wanted = dns.rdatatype.to_text(query.question[0].rdtype)
        for _ in range(20):
            found = [r for r in records if r[0] == name and r[2] in (wanted, "CNAME")]
            for owner, ttl, kind, text in found:
                rrset = dns.rrset.from_text(f"{owner}.", int(ttl), "IN", kind, text)
                reply.find_rrset(reply.answer, rrset.name, rrset.rdclass, rrset.rdtype, create=True).update(rrset)
            if not found or found[0][2] == wanted:
                break
            name = found[0][3].removesuffix(".")
        if not found:
            reply.authority.append(dns.rrset.from_text("example.", 99, "IN", "SOA", "n. h. 1 2 3 4 7"))
            if not any(r[0] == name for r in records):
                reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    return answer


@dataclass
class NameServer:
    """One running server; `queries` counts UDP and TCP questions, `names` lists them."""

    address: tuple[str, int]
    answering: Answering
    queries: int = 0
    streams: int = 0
    names: list[str] = field(default_factory=list)

    def reply_to(self, data: bytes) -> list[bytes]:
        self.queries += 1
        query = dns.message.from_wire(data)
        self.names.append(f"{query.question[0].name} {dns.rdatatype.to_text(query.question[0].rdtype)}")
        said = self.answering(query, dns.message.make_response(query))
        return [] if said is None else said if isinstance(said, list) else [said]

    async def serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            size = int.from_bytes(await reader.readexactly(2))
            for reply in self.reply_to(await reader.readexactly(size)):
                writer.write(len(reply).to_bytes(2) + reply)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.server: NameServer | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self.server is not None
        for reply in self.server.reply_to(data):
            self.transport.sendto(reply, addr)


@asynccontextmanager
async def serve(answering: Answering) -> AsyncIterator[NameServer]:
    """A server on a free loopback port."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        transport, protocol = await loop.create_datagram_endpoint(_Datagrams, local_addr=("127.0.0.1", 0))
        address = transport.get_extra_info("sockname")
        server = protocol.server = NameServer(address, answering)

        try:
            streams = await asyncio.start_server(server.serve_stream, *address)
        except OSError:
            transport.close()
            continue
        async with streams:
            try:
                yield server
            finally:
                transport.close()
        return
    raise RuntimeError("no port is free for both UDP and TCP")
