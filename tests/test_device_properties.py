"""What holds for any configuration, any DNS and any course of events (SPEC C4, C5, C6, B11), on the real device."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import ANSWER, SDP
from provider import DEVICE_HOST, EDGE, EDGE_HOST, EDGE_PORT, HOME_HOST, Provider, configure, make_device

from sipcore import SipError, sim
from sipcore.call import IncomingCall
from sipcore.device import Device
from sipcore.policy.forms import outbound_value_in
from sipcore.policy.questions import Answer, Question, Srv
from sipcore.sim import Delayed, ScriptedDns, SimNetwork
from sipcore.simpeers import SimProxy

METHODS = {
    *("REGISTER", "INVITE", "ACK", "PRACK", "BYE", "UPDATE", "INFO"),
    *("REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "OPTIONS", "CANCEL"),
}
LONGEST_LOOKUP = 8.0 + 1e-6  # SPEC D6; what floating point adds is no second more
NO_ANSWER_WAIT = 120.0  # the least that 900 and 901 wait by the default map (SPEC B10)
OTHER_EDGE_HOST = "192.0.2.21"  # of redundancy: the outbound proxy's name leads to two hosts
REDUNDANT_RECORDS: dict[Any, Any] = {
    (EDGE, "SRV"): [Srv(10, 0, EDGE_PORT, "host.carrier.net"), Srv(20, 0, EDGE_PORT, "other.carrier.net")],
    ("other.carrier.net", "A"): [OTHER_EDGE_HOST],
}
TIMER_F = 32.0
EDGE_RECORDS: dict[str, dict[Any, Any]] = {
    "A": {(EDGE, "A"): [EDGE_HOST], (EDGE, "SRV"): ()},
    "SRV": {},
    "prefixed SRV": {
        (EDGE, "SRV"): (),
        (f"_sip._udp.{EDGE}", "SRV"): [Srv(0, 0, EDGE_PORT, "host.carrier.net")],
    },
    "slow": {(EDGE, "SRV"): Delayed(3.0, [Srv(0, 0, EDGE_PORT, "host.carrier.net")])},
    "nothing": {(EDGE, "SRV"): ()},
    "SERVFAIL": {(EDGE, "SRV"): "SERVFAIL"},
    "silence": {(EDGE, "A"): "timeout"},
}


class WatchedDns(ScriptedDns):
    """Notes how long each question took, and how many are still open; `stopped` are seconds in which nothing ran."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.stopped = 0.0
        self.longest = 0.0

    async def query(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.open += 1
        try:
            return await super().query(question)
        finally:
            self.open -= 1
            self.longest = max(self.longest, loop.time() - began)


class Watched:
    """One run: the world, the device, and every connection that it tried to open: when, to whom, and how it ended."""

    def __init__(self, network: SimNetwork, provider: Provider, device: Device) -> None:
        self.network, self.provider, self.device = network, provider, device
        self.attempts: list[tuple[float, bool]] = []
        self.failed_at: dict[tuple[str, int], float] = {}
        self.closest = float("inf")
        self.places: set[tuple[str, int]] = set()
        self.most = 0
        self.stopped_at = float("inf")

    def watch(self) -> None:
        connect = self.network.connect_stream

        async def watched(source: Any, destination: Any, *, timeout: float) -> Any:
            if source[0] != DEVICE_HOST:
                return await connect(source, destination, timeout=timeout)
            began = self.network.loop.time()
            self.places.add(destination)
            self.closest = min(self.closest, began - self.failed_at.get(destination, float("-inf")))
            self.most = max(self.most, 1 + self.network.streams_from(DEVICE_HOST))
            try:
                stream = await connect(source, destination, timeout=timeout)
            except BaseException:
                self.attempts.append((began, False))
                self.failed_at[destination] = self.network.loop.time()
                raise
            self.attempts.append((began, True))
            return stream

        self.network.connect_stream = watched  # type: ignore[method-assign]

    def sent(self) -> list[Any]:
        return [packet for packet in self.network.trace if packet.source[0] == DEVICE_HOST]


async def answering(call: IncomingCall) -> None:
    await call.progress(180)
    await call.answer(ANSWER)
    await call.ended()


async def ringing(call: IncomingCall) -> None:
    await call.progress(180)
    await call.ended()


async def everything(watched: Watched) -> None:
    """Every request that a stack can send, from SP1."""
    first, second = watched.device.sp[1], watched.device.sp[min(2, len(watched.device.sp))]
    agent, other = first.user_agent, second.user_agent
    if agent is None or other is None:
        return
    agent.supported = other.supported = ("100rel",)
    second.on_invite(answering)
    with contextlib.suppress(SipError, TimeoutError):
        async with first.call("user2", timeout=20) as call:
            await call.answered()
            for method in ("UPDATE", "INFO", "REFER", "OPTIONS"):
                headers = [("Refer-To", "<sip:user3@example.com>")] if method == "REFER" else []
                body = SDP if method == "UPDATE" else b""
                await call.send(method, headers=headers, body=body, content_type="application/sdp" if body else "")
            await call.reinvite(SDP)
    for method in ("MESSAGE", "SUBSCRIBE", "NOTIFY", "OPTIONS", "REFER", "INFO", "UPDATE"):
        with contextlib.suppress(SipError):
            await agent.request(method, "sip:user2@example.com", headers=[("Event", "presence")])
    second.on_invite(ringing)
    with contextlib.suppress(SipError, TimeoutError):
        async with first.call("user2", timeout=3) as call:
            await call.answered()


async def cut(watched: Watched) -> None:
    watched.network.cut_streams(EDGE_HOST)


async def half_open(watched: Watched) -> None:
    watched.network.forget_streams(EDGE_HOST)


async def unplugged(watched: Watched) -> None:
    watched.network.unplug(EDGE_HOST)
    await asyncio.sleep(100)
    watched.network.plug(EDGE_HOST)


async def edge_dies(watched: Watched) -> None:
    await watched.provider.stop_edge()
    await asyncio.sleep(150)
    await watched.provider.start_edge()


async def registrar_refuses(watched: Watched) -> None:
    watched.provider.core.script.answer("REGISTER", 503, headers=[("Retry-After", "10")], times=3)


async def registrar_redirects(watched: Watched) -> None:
    watched.provider.core.script.answer("REGISTER", 302, headers=[("Contact", f"<sip:{HOME_HOST}>")], times=2)


async def dns_fails(watched: Watched) -> None:
    before = dict(watched.network.dns.script)
    watched.network.dns.script |= dict.fromkeys(before, "SERVFAIL")
    await asyncio.sleep(90)
    watched.network.dns.script |= before


async def lossy(watched: Watched) -> None:
    link = watched.network.default_link
    link.loss, link.duplicate, link.reorder = 0.2, 0.1, 0.1
    await asyncio.sleep(60)
    link.loss = link.duplicate = link.reorder = 0.0


async def stopped_for_half_a_minute(watched: Watched) -> None:
    assert isinstance(watched.network.dns, WatchedDns)
    watched.network.dns.stopped += 30
    watched.network.loop.stall(30)  # type: ignore[attr-defined]


async def dns_says_another_host(watched: Watched) -> None:
    script = watched.network.dns.script
    before = dict(script)
    script["host.carrier.net", "A"] = [OTHER_EDGE_HOST]
    await asyncio.sleep(120)
    script |= before


async def ten_minutes(watched: Watched) -> None:
    await asyncio.sleep(600)


Event = Callable[[Watched], Awaitable[None]]
EVENTS: tuple[Event, ...] = (
    *(everything, cut, half_open, unplugged, edge_dies, registrar_refuses),
    *(registrar_redirects, dns_fails, lossy, ten_minutes, stopped_for_half_a_minute, dns_says_another_host),
)


def live(profile: dict[str, Any], records: dict[Any, Any], events: list[Event], services: int, seed: int) -> Watched:
    """Run a device through `events`, stop it, and wait until nothing is left to happen."""

    async def main(network: SimNetwork) -> Watched:
        network.dns = WatchedDns()
        network.trace = deque(maxlen=200_000)
        edges = ("udp", "tls") if profile.get("OutboundProxyTransport") == "TLS" else ("udp", "tcp")
        provider = Provider(network, edge_transports=edges)
        network.dns.script |= records
        await provider.start()
        other = await SimProxy(network, OTHER_EDGE_HOST, port=EDGE_PORT, transports=edges).up()
        async with make_device(network, configure(services, **profile)) as device:
            watched = Watched(network, provider, device)
            watched.watch()
            await asyncio.sleep(30)
            for event in events:
                await event(watched)
                await asyncio.sleep(5)
            watched.stopped_at = network.loop.time()
        await asyncio.sleep(60)
        await provider.close()
        await other.down()
        await asyncio.sleep(60)
        assert network.dns.open == 0 and network.dns.longest <= LONGEST_LOOKUP + network.dns.stopped, (
            "every lookup ends"
        )
        return watched

    found: Watched = sim.run(main, seed=seed)
    return found


def check_names(watched: Watched) -> None:
    """SPEC C4."""
    named = [packet for packet in watched.sent() if outbound_value_in(packet.octets.decode("latin-1"), EDGE)]
    assert not named, named[0]


def check_connections(watched: Watched, services: int) -> None:
    """SPEC C5, C6: one connection for each service, to the proxy alone; attempts are paced."""
    assert {host for host, _ in watched.places} <= {EDGE_HOST, OTHER_EDGE_HOST}  # what DNS says of the proxy
    assert {port for _, port in watched.places} <= {EDGE_PORT, 5060}
    assert watched.most <= services
    if services > 1:
        return
    gap, earlier = 0.5, None
    for began, well in watched.attempts:
        if began >= watched.stopped_at:
            break  # to take the binding back it connects at once, once (SPEC B16)
        if earlier is not None:
            assert began - earlier >= gap - 0.001, (earlier, began, gap)
        gap, earlier = (0.5 if well else min(2 * gap, 30.0)), began


def check_redundant_connections(watched: Watched, services: int, registrations: int) -> None:
    """SPEC C5, C6, B12, B13: one for each registration and one for each probe, to the candidates alone, paced."""
    assert watched.places <= {(host, EDGE_PORT) for host in (EDGE_HOST, OTHER_EDGE_HOST)}
    assert watched.most <= 2 * services * registrations
    if services == registrations == 1:
        assert watched.closest >= 0.5 - 0.001, "a place that failed was tried again at once"


def registers_sent(watched: Watched) -> dict[tuple[bytes, bytes, str], float]:
    """When each REGISTER that asks for a binding was sent first, by Call-ID, CSeq and host."""
    first: dict[tuple[bytes, bytes, str], float] = {}
    for packet in watched.sent():
        if packet.octets.startswith(b"REGISTER ") and b";expires=0" not in packet.octets:
            first.setdefault((*identity(packet.octets), packet.destination[0]), packet.at)
    return first


def identity(octets: bytes) -> tuple[bytes, bytes]:
    return octets.split(b"Call-ID: ")[1].split(b"\r")[0], octets.split(b"CSeq: ")[1].split(b" ")[0]


def check_attempts(watched: Watched, least: float) -> None:
    """SPEC B10, B11: over UDP no REGISTER follows one to the same host that got no answer sooner than `least`."""
    answered = {
        identity(packet.octets)
        for packet in watched.network.trace
        if packet.octets.startswith(b"SIP/2.0 ") and b" REGISTER\r" in packet.octets
    }
    by_host: dict[tuple[bytes, str], list[tuple[float, bool]]] = {}
    for (call_id, cseq, host), at in registers_sent(watched).items():
        by_host.setdefault((call_id, host), []).append((at, (call_id, cseq) in answered))
    for times in by_host.values():
        for (earlier, well), (later, _) in itertools.pairwise(sorted(times)):
            assert well or later - earlier >= least


profiles = st.fixed_dictionaries(
    {
        "OutboundProxy": st.sampled_from([EDGE, EDGE.upper(), f"{EDGE}."]),
        "OutboundProxyTransport": st.sampled_from(["UDP", "TCP", "TLS"]),
        "ProxyServerTransport": st.sampled_from(["UDP", "TCP", "TLS"]),
        "RegistrationPeriod": st.sampled_from([30, 60, 300]),
        "X_BypassOutboundProxyInCall": st.booleans(),
        "X_DnsOrder": st.sampled_from(["a-first", "srv-first", "rfc3263"]),
        "OutboundProxyPort": st.just(EDGE_PORT),
    }
)
records = st.sampled_from(sorted(EDGE_RECORDS)).map(EDGE_RECORDS.__getitem__)
redundancies = st.sampled_from(
    [
        {"X_ProxyServerRedundancy": True},
        {"X_ProxyServerRedundancy": True, "X_CheckPrimaryFallbackInterval": 20},
        {"X_ProxyServerRedundancy": True, "X_SecondaryRegistration": True},
    ]
)
courses = st.lists(st.sampled_from(EVENTS), max_size=4)
PROPERTY = settings(max_examples=12, deadline=None)
MANY = settings(max_examples=200, deadline=None)


def hold(profile: dict[str, Any], script: dict[Any, Any], events: list[Event], services: int, seed: int) -> None:
    watched = live(profile, script, events, services, seed)
    check_names(watched)
    if profile["OutboundProxyTransport"] != "UDP":
        check_connections(watched, services)
    elif services == 1:
        check_attempts(watched, NO_ANSWER_WAIT)


def hold_redundant(
    profile: dict[str, Any], more: dict[str, Any], events: list[Event], services: int, seed: int
) -> None:
    watched = live(profile | more, REDUNDANT_RECORDS, events, services, seed)
    check_names(watched)
    if profile["OutboundProxyTransport"] != "UDP":
        check_redundant_connections(watched, services, 2 if "X_SecondaryRegistration" in more else 1)
    else:
        check_attempts(watched, TIMER_F)


@PROPERTY
@given(profile=profiles, script=records, events=courses, services=st.integers(1, 3), seed=st.integers(0, 9))
def test_spec_c4_c5_c6_b11_hold_whatever_happens(profile: Any, script: Any, events: Any, services: int, seed: int):
    hold(profile, script, events, services, seed)


@PROPERTY
@given(profile=profiles, more=redundancies, events=courses, services=st.integers(1, 2), seed=st.integers(0, 9))
def test_spec_c4_c5_c6_b11_hold_with_redundancy(profile: Any, more: Any, events: Any, services: int, seed: int):
    hold_redundant(profile, more, events, services, seed)


@pytest.mark.slow
@MANY
@given(profile=profiles, script=records, events=courses, services=st.integers(1, 3), seed=st.integers(0, 999))
def test_spec_c4_c5_c6_b11_hold_whatever_happens_many_times(
    profile: Any, script: Any, events: Any, services: int, seed: int
):
    hold(profile, script, events, services, seed)


@pytest.mark.slow
@MANY
@given(profile=profiles, more=redundancies, events=courses, services=st.integers(1, 2), seed=st.integers(0, 999))
def test_spec_c4_c5_c6_b11_hold_with_redundancy_many_times(
    profile: Any, more: Any, events: Any, services: int, seed: int
):
    hold_redundant(profile, more, events, services, seed)


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
def test_spec_c5_with_redundancy_both_hosts_and_a_probe_are_among_what_is_looked_at(transport: str):
    profile = {"OutboundProxy": EDGE, "OutboundProxyTransport": transport, "OutboundProxyPort": EDGE_PORT}
    redundancy = {"X_ProxyServerRedundancy": True, "X_CheckPrimaryFallbackInterval": 20}
    watched = live(profile | redundancy, REDUNDANT_RECORDS, [edge_dies, ten_minutes], 1, 0)
    check_redundant_connections(watched, 1, 1)
    assert {host for host, _ in watched.places} == {EDGE_HOST, OTHER_EDGE_HOST}
    assert watched.most == 2
    assert any(not well for _, well in watched.attempts), "a connection that was refused"


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS"])
def test_spec_c4_every_method_is_among_what_is_looked_at(transport: str):
    profile = {"OutboundProxy": EDGE, "OutboundProxyTransport": transport}
    watched = live(profile, {}, [everything], 2, 0)
    check_names(watched)
    requests = [packet.octets.decode() for packet in watched.sent() if not packet.octets.startswith(b"SIP/2.0")]
    assert {request.split(" ", 1)[0] for request in requests if request.strip()} == METHODS
    assert any(request.startswith("INVITE") and ";tag=" in request.split("\r\nTo: ")[1][:80] for request in requests)


def test_spec_c4_a_record_route_with_its_name_is_echoed_and_nothing_else_is():
    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        record_route = f"<sip:{EDGE}:{EDGE_PORT};transport=tcp;lr>"
        headers = [("Record-Route", record_route), ("Contact", "<sip:user2@192.0.2.99>")]
        provider.edge.script.answer("INVITE", 200, headers=headers, body=ANSWER)
        provider.edge.script.silence("ACK")
        provider.edge.script.answer("BYE", 200)
        async with make_device(network, configure(1, OutboundProxy=EDGE, OutboundProxyTransport="TCP")) as device:
            await device.sp[1].registered(timeout=20)
            async with device.sp[1].call("user2") as call:
                await call.answered()
            await asyncio.sleep(1)
        sent = [packet.octets.decode() for packet in network.trace if packet.source[0] == DEVICE_HOST]
        requests = [text for text in sent if not text.startswith("SIP/2.0")]
        named = [text for text in requests if outbound_value_in(text, EDGE)]
        assert named and {text.split(" ", 1)[0] for text in named} <= {"ACK", "BYE"}
        for text in named:
            lines = [line for line in text.split("\r\n") if outbound_value_in(line, EDGE)]
            assert all(line.startswith("Route: ") for line in lines)
        await provider.close()

    sim.run(main)
