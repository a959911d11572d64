"""The way to a registrar that many share: one lookup, one connection, the next address when one fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipcore import LocateError, Stack, UsageError, sim
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.policy.actions import Note
from sipcore.policy.questions import Srv
from sipcore.sim import SimNetwork
from sipcore.ways import DatagramWay, StreamWay, Way, make_way

HERE, FIRST, SECOND = "192.0.2.2", "192.0.2.10", "192.0.2.20"
REGISTER = OutgoingRequest("REGISTER", "sip:example.com")


class Owner:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_way_settled(self) -> None:
        self.heard.append("settled")

    def on_way_up(self) -> None:
        self.heard.append("up")

    def on_way_down(self, why: str) -> None:
        self.heard.append("down")

    def on_note(self, note: Note) -> None: ...


def on_way(uri: str, main: Any, **script: Any) -> Any:
    async def whole(network: SimNetwork) -> Any:
        network.dns.script |= {("example.com", "A"): [FIRST, SECOND]}
        stack = Stack(env=network.env(HERE))
        await stack.listen("udp", f"{HERE}:5060")
        owner = Owner()
        way = make_way(owner, stack.ua, uri)
        way.start()
        await main(network, way, owner)
        way.stop()
        await stack.close(timeout=1)

    return sim.run(whole)


def test_a_lookup_is_waited_for_once_and_then_known() -> None:
    async def main(network: SimNetwork, way: Way, owner: Owner) -> None:
        assert isinstance(way, DatagramWay)
        assert [way.is_ready() for _ in range(5)] == [False] * 5
        await asyncio.sleep(0.1)
        assert owner.heard == ["settled"] and way.is_ready()
        hop = way.hop(REGISTER)
        assert isinstance(hop, Hop) and hop.decision is not None and hop.decision.address == FIRST
        assert way.local_address() == (HERE, 5060)
        assert len([question for question in network.dns.asked if question.type == "A"]) == 1

    on_way("sip:example.com", main)


def test_a_lookup_that_failed_is_each_ones_failure_and_is_then_tried_again() -> None:
    async def main(network: SimNetwork, way: Way, owner: Owner) -> None:
        network.dns.script["_sip._udp.example.com", "SRV"] = "SERVFAIL"
        assert not way.is_ready()
        await asyncio.sleep(0.1)
        assert owner.heard == ["settled"] and way.is_ready()
        for _ in range(3):
            with pytest.raises(LocateError):
                way.hop(REGISTER)
        del network.dns.script["_sip._udp.example.com", "SRV"]
        await asyncio.sleep(2)
        assert not way.is_ready()
        await asyncio.sleep(0.1)
        assert isinstance(way.hop(REGISTER), Hop)

    on_way("sip:example.com", main)


def test_spec_d8_a_connection_goes_to_the_next_address_where_the_first_refuses() -> None:
    async def main(network: SimNetwork, way: Way, owner: Owner) -> None:
        assert isinstance(way, StreamWay) and way.is_ready()
        server = Stack(env=network.env(SECOND))
        await server.listen("tcp", f"{SECOND}:5080")
        await asyncio.sleep(5)
        assert owner.heard == ["up"] and network.streams_to(SECOND, 5080) == 1
        hop = way.hop(REGISTER)
        assert isinstance(hop, Hop) and hop.transport == "tcp" and hop.decision is not None
        assert "connected to" in hop.decision.connection and hop.decision.rule.startswith("SPEC C5")
        host, port = way.local_address()
        assert host == HERE and port > 5060
        await server.close(timeout=0)
        await asyncio.sleep(1)
        assert owner.heard == ["up", "down"] and way.flow == 0

    async def with_srv(network: SimNetwork, way: Way, owner: Owner) -> None:
        records = [Srv(1, 0, 5080, "a.example.com"), Srv(2, 0, 5080, "b.example.com")]
        network.dns.script |= {
            ("_sip._tcp.example.com", "SRV"): records,
            ("a.example.com", "A"): [FIRST],
            ("b.example.com", "A"): [SECOND],
        }
        await main(network, way, owner)

    on_way("sip:example.com;transport=tcp", with_srv)


def test_spec_a1_a_connection_from_an_address_that_went_is_opened_anew() -> None:
    async def main(network: SimNetwork, way: Way, owner: Owner) -> None:
        server = Stack(env=network.env(FIRST))
        await server.listen("tcp", f"{FIRST}:5060")
        await asyncio.sleep(3)
        assert owner.heard == ["up"]
        way.restart("nothing changed")
        await asyncio.sleep(1)
        assert owner.heard == ["up"]
        await server.close(timeout=0)

    on_way("sip:192.0.2.10;transport=tcp", main)


@pytest.mark.parametrize("uri", ["tel:+15550100", "sip:example.com;transport=sctp", "nonsense"])
def test_what_cannot_be_sent_to_is_refused(uri: str) -> None:
    async def main(network: SimNetwork) -> None:
        stack = Stack(env=network.env(HERE))
        with pytest.raises(UsageError):
            make_way(Owner(), stack.ua, uri)
        await stack.close(timeout=0)

    sim.run(main)
