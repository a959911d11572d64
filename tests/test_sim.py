"""The test kit itself: virtual time, the simulated network, scripted DNS."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sipcore import sim
from sipcore.errors import TransportError
from sipcore.policy.questions import LookupFailed, Question, Srv
from sipcore.sim import Delayed, ScriptedDns, SimNetwork, SimulationStuck
from sipcore.simnet import SimStream


def test_an_hour_of_sleep_costs_no_time() -> None:
    async def main(network: SimNetwork) -> float:
        start = network.loop.time()
        await asyncio.sleep(3_600)
        return network.loop.time() - start

    began = time.perf_counter()
    assert sim.run(main) == pytest.approx(3_600)
    assert time.perf_counter() - began < 5


def test_timeouts_run_on_virtual_time() -> None:
    async def main(network: SimNetwork) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(32):
                await asyncio.Event().wait()
        return network.loop.time() - sim.START

    assert sim.run(main) == pytest.approx(32)


def test_waiting_for_what_never_happens_is_an_error_and_no_hang() -> None:
    async def main(network: SimNetwork) -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationStuck):
        sim.run(main)


def test_virtual_time_has_a_limit() -> None:
    async def main(network: SimNetwork) -> None:
        await asyncio.sleep(3_601)

    with pytest.raises(SimulationStuck):
        sim.run(main, limit=3_600)


def test_a_datagram_arrives_after_the_delay_of_its_link() -> None:
    async def main(network: SimNetwork) -> tuple[bytes, float]:
        network.link("192.0.2.1", "192.0.2.2").delay = 0.25
        a, b = network.datagram_peer("192.0.2.1", 5060), network.datagram_peer("192.0.2.2", 5060)
        start = network.loop.time()
        a.send(b"hello", b.address)
        octets, source = await b.receive()
        assert source == a.address
        return octets, network.loop.time() - start

    octets, took = sim.run(main)
    assert (octets, took) == (b"hello", pytest.approx(0.25))


def lossy(seed: int) -> list[bytes]:
    async def main(network: SimNetwork) -> list[bytes]:
        link = network.link("192.0.2.1", "192.0.2.2")
        link.loss, link.duplicate, link.reorder, link.jitter = 0.2, 0.1, 0.1, 0.01
        a, b = network.datagram_peer("192.0.2.1", 5060), network.datagram_peer("192.0.2.2", 5060)
        for number in range(500):
            a.send(b"%d" % number, b.address)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        return [octets for octets, _ in b.received]

    return sim.run(main, seed=seed)


def test_a_link_loses_duplicates_and_reorders_as_often_as_it_is_told() -> None:
    got = lossy(1)
    numbers = [int(octets) for octets in got]
    assert 330 < len(set(numbers)) < 460
    assert len(numbers) > len(set(numbers))
    assert numbers != sorted(numbers)


def test_equal_seeds_give_equal_runs() -> None:
    assert lossy(7) == lossy(7)
    assert lossy(7) != lossy(8)


def test_an_unplugged_host_hears_and_says_nothing() -> None:
    async def main(network: SimNetwork) -> int:
        a, b = network.datagram_peer("192.0.2.1", 5060), network.datagram_peer("192.0.2.2", 5060)
        network.unplug("192.0.2.2")
        a.send(b"one", b.address)
        b.send(b"two", a.address)
        await asyncio.sleep(1)
        network.plug("192.0.2.2")
        a.send(b"three", b.address)
        await asyncio.sleep(1)
        assert not a.received
        return len(b.received)

    assert sim.run(main) == 1


def test_an_address_is_bound_once() -> None:
    async def main(network: SimNetwork) -> None:
        network.datagram_peer("192.0.2.1", 5060)
        with pytest.raises(TransportError, match="in use"):
            network.datagram_peer("192.0.2.1", 5060)

    sim.run(main)


def listening(network: SimNetwork, host: str, port: int) -> list[SimStream]:
    accepted: list[SimStream] = []

    def accept(stream: SimStream) -> bool:
        accepted.append(stream)
        return True

    network.listen_stream((host, port), accept)
    return accepted


def test_a_stream_keeps_order_whatever_the_jitter_and_loss() -> None:
    async def main(network: SimNetwork) -> bytes:
        network.default_link.jitter = 0.05
        network.default_link.loss = 0.3
        accepted = listening(network, "192.0.2.2", 5060)
        peer = await network.stream_peer("192.0.2.1", "192.0.2.2", 5060)
        got = bytearray()
        accepted[0].on_data = got.extend
        for number in range(100):
            peer.send(b"%03d" % number)
        await asyncio.sleep(60)
        return bytes(got)

    assert sim.run(main) == b"".join(b"%03d" % number for number in range(100))


def test_connecting_to_nobody_is_refused_and_to_a_dead_host_times_out() -> None:
    async def main(network: SimNetwork) -> float:
        with pytest.raises(TransportError, match="refused"):
            await network.stream_peer("192.0.2.1", "192.0.2.2", 5060)
        network.unplug("192.0.2.3")
        start = network.loop.time()
        with pytest.raises(TransportError, match="timed out"):
            await network.stream_peer("192.0.2.1", "192.0.2.3", 5060)
        return network.loop.time() - start

    assert sim.run(main) == pytest.approx(10)


def test_a_cut_connection_is_lost_on_both_sides() -> None:
    async def main(network: SimNetwork) -> tuple[str, list[str], int]:
        accepted = listening(network, "192.0.2.2", 5060)
        peer = await network.stream_peer("192.0.2.1", "192.0.2.2", 5060)
        lost: list[str] = []
        accepted[0].on_lost = lost.append
        assert network.streams_to("192.0.2.2", 5060) == 1
        assert network.cut_streams("192.0.2.2", 5060) == 1
        reason = await peer.lost
        await asyncio.sleep(1)
        return reason, lost, network.streams_to("192.0.2.2", 5060)

    reason, lost, left = sim.run(main)
    assert "reset" in reason
    assert len(lost) == 1
    assert left == 0


def test_closing_delivers_what_was_written_before() -> None:
    async def main(network: SimNetwork) -> tuple[bytes, list[str]]:
        accepted = listening(network, "192.0.2.2", 5060)
        peer = await network.stream_peer("192.0.2.1", "192.0.2.2", 5060)
        got, lost = bytearray(), list[str]()
        accepted[0].on_data, accepted[0].on_lost = got.extend, lost.append
        peer.send(b"last words")
        peer.close()
        await asyncio.sleep(1)
        return bytes(got), lost

    assert sim.run(main) == (b"last words", ["closed by the far side"])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["192.0.2.9"], ("192.0.2.9",)),
        ([], ()),
        ([Srv(1, 0, 5070, "a.example.com")], (Srv(1, 0, 5070, "a.example.com"),)),
    ],
)
def test_scripted_dns_answers_from_its_table(script: Any, expected: Any) -> None:
    async def main(network: SimNetwork) -> Any:
        network.dns.script["sip.example.com", "A"] = script
        return (await network.dns.query(Question("sip.example.com", "A"))).records

    assert sim.run(main) == expected


def test_scripted_dns_fails_and_delays_as_told() -> None:
    async def main(network: SimNetwork) -> float:
        dns = ScriptedDns({("a.example.com", "A"): Delayed(2, "SERVFAIL"), ("b.example.com", "A"): "timeout"})
        start = network.loop.time()
        with pytest.raises(LookupFailed, match="SERVFAIL"):
            await dns.query(Question("a.example.com", "A"))
        with pytest.raises(LookupFailed, match="timeout"):
            await dns.query(Question("b.example.com", "A"))
        assert len(dns.asked) == 2
        return network.loop.time() - start

    assert sim.run(main) == pytest.approx(10)


def test_a_moved_host_tells_its_watchers_once() -> None:
    async def main(network: SimNetwork) -> list[str]:
        env = network.env("192.0.2.1")
        heard: list[str] = []
        watch = env.watch_addresses(lambda: heard.append(env.source_address("192.0.2.9")))
        env.move("192.0.2.7")
        watch.close()
        env.move("192.0.2.8")
        return heard

    assert sim.run(main) == ["192.0.2.7"]
