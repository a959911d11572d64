"""`sipcore.Registration`: one of few, one of many, through everything that happens to it (SPEC B, C)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from kit import parsed_request, response_octets

import sipcore
from sipcore import Registration, Registrations, RegistrationState, sim
from sipcore.location import Limits
from sipcore.policy.decisions import Decision
from sipcore.policy.forms import outbound_value_in
from sipcore.policy.questions import Srv
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.registrations import MOST_UNDER_WAY
from sipcore.sim import SimNetwork
from sipcore.simnet import DatagramPeer

HOME, EDGE, GATEWAY = "192.0.2.1", "192.0.2.3", "192.0.2.2"
DOMAIN = "example.com"
ALICE = f"sip:alice@{DOMAIN}"
USERS = {"alice": "wonderland"} | {f"user{number}": f"word-{number}" for number in range(200)}

World = Callable[[SimNetwork, sipcore.Stack, Registrar], Coroutine[Any, Any, Any]]


def in_world(main: World, *, seed: int = 0) -> Any:
    """Run `main(network, gateway, registrar)`: a registrar of example.com over UDP and TCP, an edge in front of it."""

    async def whole(network: SimNetwork) -> Any:
        network.dns.script |= {
            (DOMAIN, "A"): [HOME],
            ("edge.carrier.net", "A"): [EDGE],
            ("many.example.com", "A"): ["192.0.2.9", HOME],
        }
        home, edge, gateway = (sipcore.Stack(env=network.env(host)) for host in (HOME, EDGE, GATEWAY))
        agent, relay = home.user_agent("home", is_proxy=True), edge.user_agent("edge", is_proxy=True)
        for transport in ("udp", "tcp"):
            await agent.listen(transport, f"{HOME}:5060")
            await relay.listen(transport, f"{EDGE}:5060")
        await gateway.listen("udp", f"{GATEWAY}:5060")
        registrar = Registrar(agent, domains=[DOMAIN], users=USERS, limits=Limits(minimum_expires=10))
        Proxy(agent, targets=registrar.targets)
        Proxy(relay, path=True)
        result = await main(network, gateway, registrar)
        await asyncio.gather(*(stack.close(timeout=1) for stack in (gateway, edge, home)))
        return result

    return sim.run(whole, seed=seed)


def bound(registrar: Registrar) -> dict[str, list[str]]:
    """User names to their contacts."""
    now = registrar.user_agent.env.now()
    return {
        address.partition(":")[2].partition("@")[0]: [b.contact for b in registrar.location.bindings(address, now)]
        for address in registrar.location.addresses(now)
    }


def sent_by_gateway(network: SimNetwork) -> list[str]:
    return [packet.octets.decode() for packet in network.trace if packet.source[0] == GATEWAY]


async def scripted(network: SimNetwork) -> tuple[DatagramPeer, Callable[..., Coroutine[Any, Any, str]]]:
    """A registrar that answers what the test says: `await answer(status_code, *header_lines)` gives the REGISTER."""
    peer = network.datagram_peer("192.0.2.7", 5060)

    async def answer(status_code: int, *headers: str) -> str:
        octets, source = await peer.receive(timeout=4000)
        peer.send(response_octets(octets, status_code, headers=headers), source)
        return octets.decode()

    return peer, answer


def test_one_registers_refreshes_and_is_taken_back() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registration = Registration(gateway, ALICE, password="wonderland", period=60)
        assert registration.state is RegistrationState.REGISTERING and registration.expires_in is None
        await registration.registered(timeout=5)
        assert registration.is_registered and registration.expires_in == 60
        assert registration.status.startswith(f"Registered (server={HOME}:5060; expire in ")
        assert bound(registrar) == {"alice": [f"sip:alice@{GATEWAY}:5060"]}
        await asyncio.sleep(600)
        assert registration.state is RegistrationState.REGISTERED
        assert 10 <= registrar.accepted <= 17  # SPEC B3: drawn from 42 to 54 s of 60
        assert registrar.refused <= 3  # one challenge for each life of a nonce, not one for each REGISTER
        await registration.stop()
        assert bound(registrar) == {} and registration.state is RegistrationState.STOPPED
        assert registration.status == "Stopped"

    in_world(main)


def test_nothing_is_alive_between_two_registers_but_one_timer() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        await Registration(gateway, ALICE, password="wonderland").registered(5)
        await asyncio.sleep(100)
        assert len(asyncio.all_tasks()) == 1
        assert gateway.engine.stats()["policy_timers"] == 1
        assert gateway.engine.stats()["client_transactions"] == 0

    in_world(main)


def test_spec_c4_the_outbound_proxy_carries_everything_and_is_named_in_nothing() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registration = Registration(gateway, ALICE, password="wonderland", outbound_proxy="sip:edge.carrier.net")
        await registration.registered(5)
        sent = sent_by_gateway(network)
        assert sent and not any(outbound_value_in(text, "edge.carrier.net") for text in sent)
        assert all("REGISTER sip:example.com SIP/2.0" in text for text in sent)
        assert {packet.destination[0] for packet in network.trace if packet.source[0] == GATEWAY} == {EDGE}
        where = registration.decisions[0]
        assert isinstance(where, Decision) and where.address == EDGE
        assert registration.decisions[1] == "registered for 3600s: expires of our Contact (SPEC B2, B3)"

    in_world(main)


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        ((403,), "retry in 120s"),
        ((404,), "retry in 120s"),
        ((500,), "retry in 30s"),
        ((503, "Retry-After: 77"), "retry in 77s"),
        ((200, "Contact: <sip:alice@192.0.2.2:5060>;expires=0"), "retry in 30s"),
    ],
)
def test_spec_b9_b10_a_failure_waits_as_the_map_says(answer: tuple[Any, ...], wait: str) -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        _, respond = await scripted(network)
        registration = Registration(gateway, ALICE, registrar="sip:192.0.2.7")
        await respond(*answer)
        await asyncio.sleep(0.01)
        assert registration.state is RegistrationState.FAILED
        assert wait in registration.status and f"retry in {registration.retry_in}s" == wait
        await respond(200)
        await registration.registered(1)
        assert registration.retry_in is None

    in_world(main)


def test_spec_b5_silence_is_900_and_a_name_without_address_901() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        silent = Registration(gateway, ALICE, registrar="sip:192.0.2.7")
        nowhere = Registration(gateway, "sip:bob@nowhere.example", password="x")
        await asyncio.sleep(40)
        assert silent.status.startswith("Register Failed: 900 No Answer")
        assert nowhere.status.startswith("Register Failed: 901 ")
        with pytest.raises(TimeoutError, match="901"):
            await nowhere.registered(timeout=1)
        assert 80 < (nowhere.retry_in or 0) <= 200

    in_world(main)


def test_spec_b6_b8_a_redirection_and_a_longer_interval_are_followed_at_once() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        _, respond = await scripted(network)
        registration = Registration(gateway, ALICE, registrar="sip:192.0.2.7", period=60)
        await respond(423, "Min-Expires: 90")
        assert "expires=90" in await respond(302, "Contact: <sip:192.0.2.7;x=1>")
        assert (await respond(200)).startswith("REGISTER sip:192.0.2.7;x=1 ")
        await registration.registered(1)
        assert registration.expires_in == 90

    in_world(main)


def test_the_user_agents_own_credentials_never_answer_a_registrar() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        gateway.ua.authorize = lambda challenged: [("Authorization", "Digest of somebody else")]
        registration = Registration(gateway, ALICE, password="wonderland")
        await registration.registered(5)
        assert not any("somebody else" in text for text in sent_by_gateway(network))

    in_world(main)


def test_spec_d8_a_dead_address_is_passed_over() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registration = Registration(gateway, ALICE, password="wonderland", registrar="sip:many.example.com")
        registrar.domains |= {"many.example.com"}
        await registration.registered(30)
        assert registration.server == f"{HOME}:5060"

    in_world(main)


def test_spec_c5_c6_all_share_one_connection_and_register_again_when_it_is_back() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registrations = Registrations(
            gateway, f"sip:{DOMAIN}", outbound_proxy="sip:edge.carrier.net;transport=tcp", spread=1.0
        )
        for number in range(50):
            registrations.add(f"user{number}", password=f"word-{number}")
        await registrations.registered(timeout=10)
        assert network.streams_to(EDGE, 5060) == 1
        accepted = registrar.accepted
        network.cut_streams(EDGE)
        await asyncio.sleep(0.3)
        assert all("connect" in registration.status for registration in registrations)
        await asyncio.sleep(4)
        assert network.streams_to(EDGE, 5060) == 1 and registrar.accepted == accepted + 50
        await registrations.registered(timeout=1)
        assert all(contact[0].endswith(";transport=tcp") for contact in bound(registrar).values())
        await registrations.stop()
        await asyncio.sleep(0.1)
        assert bound(registrar) == {} and network.streams_to(EDGE, 5060) == 0

    in_world(main)


def test_many_start_spread_and_leave_in_batches() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        batches: list[int] = []
        send = sim.SimDatagramSocket.send_batch

        def counted(socket: sim.SimDatagramSocket, datagrams: list[tuple[bytes, str, int]]) -> None:
            if datagrams and datagrams[0][0].startswith(b"REGISTER"):
                batches.append(len(datagrams))
            send(socket, datagrams)

        with contextlib.ExitStack() as undo:
            sim.SimDatagramSocket.send_batch = counted  # type: ignore[method-assign]
            undo.callback(lambda: setattr(sim.SimDatagramSocket, "send_batch", send))
            registrations = Registrations(gateway, f"sip:{DOMAIN}", spread=2.0)
            for number in range(200):
                registrations.add(f"user{number}")
            registrar.digest = None
            started = network.loop.time()
            await registrations.registered(timeout=10)
        assert 1.8 <= network.loop.time() - started <= 2.2
        assert sum(batches) == 200 and 90 <= len(batches) <= 101  # two in each of a hundred ticks
        assert registrations.counts()[RegistrationState.REGISTERED] == len(registrations) == 200
        assert [question.name for question in network.dns.asked].count(DOMAIN) <= 3  # one lookup for all

    in_world(main)


def test_one_lookup_serves_all_who_wait_and_its_failure_is_each_ones_901() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        network.dns.script[DOMAIN, "SRV"] = network.dns.script["_sip._udp.example.com", "SRV"] = "timeout"
        network.dns.script[DOMAIN, "A"] = "timeout"
        registrations = Registrations(gateway, f"sip:{DOMAIN}")
        for number in range(200):
            registrations.add(f"user{number}", password=f"word-{number}")
        await asyncio.sleep(5)
        assert len(asyncio.all_tasks()) <= 3 and len(network.dns.asked) == 1
        await asyncio.sleep(30)
        assert registrations.counts()[RegistrationState.FAILED] == 200
        assert all("901" in registration.status for registration in registrations)
        network.dns.script[DOMAIN, "SRV"] = network.dns.script["_sip._udp.example.com", "SRV"] = ()
        network.dns.script[DOMAIN, "A"] = [HOME]
        await registrations.registered(timeout=200)
        assert len(network.dns.asked) < 400

    in_world(main)


def test_srv_records_lead_to_the_registrar() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        network.dns.script["_sip._udp.example.com", "SRV"] = [Srv(1, 0, 5060, "home.example.com")]
        network.dns.script |= {("home.example.com", "A"): [HOME], (DOMAIN, "A"): ["192.0.2.99"]}
        registration = Registration(gateway, ALICE, password="wonderland")
        await registration.registered(5)
        assert registration.server == f"{HOME}:5060"

    in_world(main)


def test_changes_are_told_by_callback_and_by_iteration() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        told: list[RegistrationState] = []
        registration = Registration(
            gateway, ALICE, password="wonderland", period=60, on_change=lambda changed: told.append(changed.state)
        )
        seen: list[RegistrationState] = []

        async def watch() -> None:
            async for state in registration.changes():
                seen.append(state)

        watching = asyncio.create_task(watch())
        await registration.registered(5)
        network.unplug(HOME)
        await asyncio.sleep(120)
        assert registration.state is RegistrationState.FAILED
        network.plug(HOME)
        await asyncio.sleep(300)
        await registration.stop()
        await watching
        states = RegistrationState
        assert told == [states.REGISTERED, states.FAILED, states.REGISTERED, states.STOPPING, states.STOPPED]
        assert seen == [states.REGISTERING, *told]

    in_world(main)


def test_a_collection_tells_each_that_changed_once() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registrations = Registrations(gateway, f"sip:{DOMAIN}")
        users = {registrations.add(f"user{number}", password=f"word-{number}") for number in range(5)}
        found = set()
        async for registration in registrations.changes():
            found.add(registration)
            if len(found) == 5:
                break
        assert found == users == set(registrations)
        assert registrations["sip:user3@example.com"] in users
        await registrations["sip:user3@example.com"].stop()
        assert len(registrations) == 4 and "user3" not in bound(registrar)

    in_world(main)


def test_stopping_is_bounded_when_nobody_answers() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        async with Registrations(gateway, f"sip:{DOMAIN}") as registrations:
            for number in range(20):
                registrations.add(f"user{number}", password=f"word-{number}")
            await registrations.registered(timeout=5)
            network.unplug(HOME)
            began = network.loop.time()
        assert network.loop.time() - began <= 5
        assert gateway.engine.stats()["policy_timers"] == 0

    in_world(main)


def test_spec_b11_a_burst_of_triggers_is_one_register() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registration = Registration(gateway, ALICE, password="wonderland")
        await registration.registered(5)
        accepted = registrar.accepted
        for _ in range(10):
            registration.refresh()
        await asyncio.sleep(1)
        assert registrar.accepted == accepted + 1

    in_world(main)


def test_a_contact_of_ones_own_is_shown_as_it_is() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        contact = "sip:+15550100@203.0.113.9:5080;line=3"
        registration = Registration(gateway, ALICE, password="wonderland", contact=contact)
        await registration.registered(5)
        assert registration.contact == contact and registration.expires_in == 3600
        assert bound(registrar) == {"alice": [contact]}
        await registration.remove()
        assert bound(registrar) == {}

    in_world(main)


def test_spec_b14_the_public_address_is_learnt() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        peer, _ = await scripted(network)
        registration = Registration(gateway, ALICE, registrar="sip:192.0.2.7", discover_public_address=True)
        for _ in range(2):
            octets, source = await peer.receive()
            via = parsed_request(octets)["Via"].replace(";rport", ";received=203.0.113.5;rport=6000")
            answer = response_octets(octets, 200).replace(parsed_request(octets)["Via"].encode(), via.encode())
            peer.send(answer, source)
        await asyncio.sleep(0.1)
        assert registration.contact == "sip:alice@203.0.113.5:6000"
        assert f"Contact: <sip:alice@{GATEWAY}:5060>;expires=0" in octets.decode()

    in_world(main)


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registrations = Registrations(gateway, f"sip:{DOMAIN}")
        registrations.add("alice", password="wonderland")
        with pytest.raises(sipcore.UsageError, match="already"):
            registrations.add(ALICE)
        with pytest.raises(sipcore.UsageError, match="those of the Registrations"):
            Registration(registrations, "bob", registrar="sip:elsewhere")
        with pytest.raises(sipcore.UsageError, match="no place"):
            Registration(gateway, ALICE, registrar="tel:+15550100")
        with pytest.raises(ValueError, match="neither a set"):
            Registrations(gateway, f"sip:{DOMAIN}", retry_codes="nonsense")
        assert "wonderland" not in repr(registrations[ALICE])

    in_world(main)


def test_a_keep_alive_goes_where_registers_go() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        registrations = Registrations(gateway, f"sip:{DOMAIN}", keep_alive=15)
        for number in range(10):
            registrations.add(f"user{number}", password=f"word-{number}")
        await asyncio.sleep(100)
        pings = [packet for packet in network.trace if packet.octets[:4] == bytes.fromhex("00010000")]
        assert 5 <= len(pings) <= 8  # one for all, not one for each
        assert {packet.destination for packet in pings} == {(HOME, 5060)}

    in_world(main)


def test_a_registrar_that_is_slow_is_not_sent_more_and_more() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> None:
        network.trace = deque(maxlen=100_000)
        peer, _ = await scripted(network)
        registrations = Registrations(gateway, "sip:192.0.2.7")
        for number in range(800):
            registrations.add(f"user{number}")
        await asyncio.sleep(20)
        asked = {parsed_request(octets).call_id for octets, _ in peer.received}
        assert len(asked) == MOST_UNDER_WAY
        for octets, source in peer.received[:]:
            peer.send(response_octets(octets, 200), source)
        await asyncio.sleep(1)
        for octets, source in peer.received[:]:
            peer.send(response_octets(octets, 200), source)
        await registrations.registered(timeout=5)

    in_world(main)


def test_a_registration_keeps_less_than_two_kilobytes() -> None:
    async def main(network: SimNetwork, gateway: sipcore.Stack, registrar: Registrar) -> float:
        registrar.digest = None
        registrar.user_agent.on("REGISTER", lambda request: request.reply(200), stateless=True)
        registrations = Registrations(gateway, f"sip:{DOMAIN}", spread=1.0)

        async def add(count: int, name: str) -> int:
            for number in range(count):
                registrations.add(f"{name}{number}", password=f"a password {number}")
            await registrations.registered(timeout=60)
            await asyncio.sleep(60)
            network.trace.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        before = await add(100, "warm")
        return (await add(500, "user") - before) / 500

    tracemalloc.start()
    try:
        each = in_world(main)
    finally:
        tracemalloc.stop()
    assert each < 1600  # without a nonce; benches/registrations.py measures it with one
