"""Messages that name addresses to which nothing may be sent: FAULTS 19, with every packet of the network looked at."""

from __future__ import annotations

import asyncio

import pytest
from kit import CLIENT, SDP, SDP_TYPE, SERVER, parsed_response, request_octets, stack_at

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.proxy import Proxy
from sipcore.sim import SimNetwork
from sipcore.stack import Stack

FORBIDDEN = ("255.255.255.255", "224.0.0.1", "239.255.255.250", "0.0.0.0", SERVER)
PLACES = ("Via", "received", "maddr", "Contact", "Route", "Record-Route", "Request-URI")


def with_address(octets: bytes, place: str, host: str) -> bytes:
    """A request that names `host` in one place."""
    own = f"{CLIENT}:5060".encode()
    named = f"{host}:5060".encode()
    if place == "Via":
        return octets.replace(b"UDP " + own, b"UDP " + named)
    if place in ("received", "maddr"):
        return octets.replace(b";branch", b";%b=%b;rport;branch" % (place.encode(), host.encode()))
    if place == "Contact":
        return octets.replace(b"sip:alice@" + own, b"sip:alice@" + named)
    if place == "Request-URI":
        method, _, rest = octets.partition(b" ")
        return b"%b sip:x@%b SIP/2.0%b" % (method, named, rest.partition(b" SIP/2.0")[2])
    return octets.replace(b"Max-Forwards", b"%b: <sip:x@%b;lr>\r\nMax-Forwards" % (place.encode(), named))


def check_packets(network: SimNetwork) -> int:
    """Nothing went to a forbidden address, and nothing from the server to itself; how many packets it sent."""
    sent = [packet for packet in network.trace if packet.source[0] == SERVER]
    for packet in network.trace:
        assert packet.destination[0] not in FORBIDDEN or packet.destination[0] == SERVER != packet.source[0], packet
    return len(sent)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("host", FORBIDDEN)
@pytest.mark.parametrize("kind", ["user agent", "proxy"])
def test_nothing_is_sent_where_a_message_says_it_should(kind: str, host: str, place: str) -> None:
    """Answers go where the request came from; the requests of a call, and what a proxy forwards, nowhere else."""

    async def answer(call: IncomingCall) -> None:
        await call.answer(SDP)
        await asyncio.sleep(1)
        call.hang_up()

    async def main(network: SimNetwork) -> None:
        if kind == "proxy":
            stack = Stack(env=network.env(SERVER))
            agent = stack.user_agent("proxy", is_proxy=True)
            await agent.listen("udp", f"{SERVER}:5060")
            Proxy(agent)
        else:
            stack = await stack_at(network, SERVER)
            stack.on_invite(answer)
        peer = network.datagram_peer(CLIENT, 5060)
        for number, method in enumerate(("OPTIONS", "INVITE", "REGISTER", "ACK", "BYE", "CANCEL")):
            octets = request_octets(
                method,
                branch=f"z9hG4bK{number}",
                call_id=str(number),
                body=SDP * (method == "INVITE"),
                headers=SDP_TYPE,
            )
            peer.send(with_address(octets, place, host), (SERVER, 5060))
        await asyncio.sleep(5)
        for octets, source in list(peer.received):
            if octets.startswith(b"SIP/2.0 200") and b"INVITE" in octets:
                tag = parsed_response(octets).to
                to = f"<sip:bob@example.com>;tag={tag.tag}" if tag is not None else ""
                peer.send(request_octets("ACK", branch="z9hG4bKack", call_id="1", to=to), source)
        await asyncio.sleep(64 * 0.5 + 5)
        assert 0 < check_packets(network) < 60, "answered, and no loop"
        stats = stack.engine.stats()
        assert (stats["internal_errors"], stats["callback_errors"]) == (0, 0)
        await stack.close(timeout=1)

    sim.run(main)
