"""Devices on the simulated network: SPEC A to C and F1 through the real engine, registrar and proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from provider import (
    DEVICE_HOST,
    DOMAIN,
    EDGE,
    EDGE_HOST,
    EDGE_PORT,
    HOME_HOST,
    Provider,
    configure,
    make_device,
)

from sipcore import sim
from sipcore.call import IncomingCall
from sipcore.config import DeviceConfig, parse_device
from sipcore.device import Device
from sipcore.errors import CallBusy, CallRejected, ConfigError, TransportError, UsageError
from sipcore.location import Limits
from sipcore.policy.forms import outbound_value_in
from sipcore.sim import SimNetwork

Story = Callable[[Provider, Device], Awaitable[None]]


def play(config: DeviceConfig, story: Story, *, limits: Limits | None = None, seed: int = 0) -> None:
    """Start a provider and the device, run `story`, stop both; after it no binding is left behind."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network, *([limits] if limits else [])).start()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(provider.close)
            device = await stack.enter_async_context(make_device(network, config))
            await story(provider, device)

    sim.run(main, seed=seed)


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Virtual seconds cost nothing."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of several hosts, on virtual time
            await asyncio.sleep(0.1)


THROUGH_EDGE: dict[str, Any] = {"OutboundProxy": EDGE, "OutboundProxyTransport": "TCP"}


# Registration


def test_a_service_registers_its_contact_port_and_refreshes() -> None:
    """SPEC A2, A5, B2, B3, F1."""

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        assert provider.bound() == {"user1": [f"sip:user1@{DEVICE_HOST}:5060"]}
        assert device.sp[1].status == f"Registered (server={HOME_HOST}:5060; expire in 60s)"
        await asyncio.sleep(3600)
        assert provider.bound() == {"user1": [f"sip:user1@{DEVICE_HOST}:5060"]}
        assert 60 <= device.sp[1].registrations <= 90

    play(configure(), story)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_eight_services_register_through_the_outbound_proxy(transport: str) -> None:
    """SPEC A2, A8, C1, C5."""

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        suffix = ";transport=tcp" if transport == "TCP" else ""
        expected = {f"user{n}": [f"sip:user{n}@{DEVICE_HOST}:{5059 + n}{suffix}"] for n in range(1, 9)}
        assert provider.bound() == expected
        assert {(status.server, status.port) for status in device.status()} == {(EDGE_HOST, EDGE_PORT)}
        assert len(provider.edge_connections()) == (8 if transport == "TCP" else 0)

    play(configure(8, OutboundProxy=EDGE, OutboundProxyTransport=transport), story)


def test_stopping_takes_every_binding_back() -> None:
    """SPEC B16."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        async with make_device(network, configure(8, **THROUGH_EDGE)) as device:
            await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
            assert len(provider.bound()) == 8
        assert provider.bound() == {}
        assert {status.status for status in device.status()} == {"Stopped"}
        await provider.close()

    sim.run(main)


def test_stopping_without_an_answer_is_bounded() -> None:
    """SPEC B16: a registrar that is gone does not hold the device up."""

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        provider.network.kill(HOME_HOST)
        began = provider.network.loop.time()
        await device.stop()
        assert provider.network.loop.time() - began < 10

    play(configure(), story)


def test_a_wrong_password_is_told_and_tried_again_after_the_wait_of_its_code() -> None:
    """SPEC B7, B10, F1: 40[17] waits 120 s by default."""
    config = parse_device(
        f'[itsp.A]\nProxyServer = "{DOMAIN}"\n[sp.1]\nAuthUserName = "user1"\nAuthPassword = "wrong"',
        file="device.toml",
    )

    async def story(provider: Provider, device: Device) -> None:
        await until(lambda: "Register Failed" in device.sp[1].status)
        assert device.sp[1].status.startswith("Register Failed: 401 Unauthorized")
        assert device.sp[1].status.endswith("retry in 120s)")
        assert device.sp[1].report().retry_in == 120
        asked = provider.registrar.refused
        await asyncio.sleep(119)
        assert provider.registrar.refused == asked
        await asyncio.sleep(2)
        assert provider.registrar.refused > asked
        with pytest.raises(TimeoutError, match="SP1: Register Failed: 401"):
            await device.sp[1].registered(timeout=1)

    play(config, story)


def test_a_longer_interval_is_granted_when_the_registrar_asks_for_it() -> None:
    """SPEC B8: 423 with Min-Expires."""

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        assert device.sp[1].report().expires_in == 300

    play(configure(), story, limits=Limits(minimum_expires=300))


def test_no_register_is_sent_where_none_is_wanted() -> None:
    """SPEC B1: the service is up all the same."""
    config = parse_device(
        f'[itsp.A]\nProxyServer = "{DOMAIN}"\n[sp.1]\nX_RegisterEnable = false\nURI = "desk"', file="device.toml"
    )

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        assert device.sp[1].status == "Registration Not Required"
        await asyncio.sleep(300)
        assert provider.registrar.accepted + provider.registrar.refused == 0

    play(config, story)


def test_what_is_as_configured_and_had_better_not_be_is_said_beside_the_status_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SPEC D3, C10: TLS without a configured port, and a loud X_TLSVerify = false."""
    config = configure(OutboundProxy=EDGE, OutboundProxyTransport="TLS", X_TLSVerify=False)

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.sleep(1)
        port, verify = device.sp[1].report().warnings
        assert port == "TLS without a configured port uses 5060 unless DNS has an SRV record (SPEC D3)"
        assert verify.startswith("X_TLSVerify is false")
        assert [record.getMessage() for record in caplog.records if "SP1: " in record.getMessage()][:2] == [
            f"SP1: {port}",
            f"SP1: {verify}",
        ]

    play(config, story)
    with_port = configure(OutboundProxy=EDGE, OutboundProxyTransport="TLS", OutboundProxyPort=5061)
    assert with_port.services[0].warnings == ()


def test_a_service_without_a_user_name_says_so_and_sends_nothing() -> None:
    """SPEC A4."""
    config = parse_device(f'[itsp.A]\nProxyServer = "{DOMAIN}"\n[sp.1]\n[sp.2]\nEnable = false', file="device.toml")

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.sleep(60)
        assert [status.status for status in device.status()] == ["Service Not Configured"] * 2
        assert provider.registrar.accepted + provider.registrar.refused == 0
        with pytest.raises(UsageError, match="Service Not Configured"):
            device.sp[1].call("user2")

    play(config, story)


# What can be missing


def test_a_killed_outbound_proxy_is_waited_for_and_found_again() -> None:
    """SPEC C6: one connection each before and after, registered again without help."""

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        await provider.stop_edge()
        await asyncio.sleep(0.1)
        assert all(status.status.startswith("Backing Off (") for status in device.status())
        assert all(status.retry_in is not None and status.retry_in <= 1 for status in device.status())
        await asyncio.sleep(60)
        granted = {service.number: service.registrations for service in device.sp.values()}
        await provider.start_edge()
        await until(lambda: all(s.registrations > granted[s.number] for s in device.sp.values()))
        assert len(provider.edge_connections()) == 8
        assert len(provider.bound()) == 8

    play(configure(8, **THROUGH_EDGE), story)


def test_dead_dns_is_told_in_one_line_and_outlived() -> None:
    """SPEC B5, D6: 901."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        answers = dict(network.dns.script)
        network.dns.script[DOMAIN, "A"] = "timeout"
        async with make_device(network, configure(device='local_ip = "192.0.2.1"')) as device:
            await until(lambda: "Register Failed" in device.sp[1].status)
            assert device.sp[1].status.startswith(f"Register Failed: 901 {DOMAIN}: ")
            assert "\n" not in device.sp[1].status
            network.dns.script |= answers
            await device.sp[1].registered(timeout=300)
        await provider.close()

    sim.run(main)


def test_spec_c6_sixty_four_requests_wait_for_the_connection_and_the_rest_fail_at_once() -> None:
    """SPEC C6: at most 64 per SP; those that waited go out when it is back, in order; what waits too long fails."""

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        user_agent = device.sp[1].user_agent
        assert user_agent is not None
        await provider.stop_edge()
        await until(lambda: not device.sp[1].links["outbound"].is_up, 5)
        requests = [user_agent.request("MESSAGE", f"sip:user1@{DOMAIN}", body=b"%d" % n) for n in range(70)]
        await asyncio.sleep(0.1)
        refused = [request for request in requests if request.done]
        assert [type(request.error) for request in refused] == [TransportError] * 6
        assert refused == requests[64:]
        assert all("64 requests wait" in str(request.error) for request in refused)
        assert TransportError.status_code == 503
        await asyncio.sleep(10)
        assert sum(request.done for request in requests) == 6
        await provider.start_edge()
        answers = await asyncio.gather(*requests[:64])
        assert {answer.status_code for answer in answers} == {405}
        await provider.stop_edge()
        await until(lambda: not device.sp[1].links["outbound"].is_up, 5)
        late = user_agent.request("MESSAGE", f"sip:user1@{DOMAIN}")
        began = provider.network.loop.time()
        with pytest.raises(TransportError, match=r"no connection to OutboundProxy .* in time: .*refused"):
            await late
        assert provider.network.loop.time() - began == pytest.approx(32, abs=1)

    play(configure(**THROUGH_EDGE), story)


def test_a_name_that_does_not_exist_is_told_on_the_connection() -> None:
    """SPEC C6, D2: each attempt asks anew."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        found = network.dns.script.pop((EDGE, "SRV"))
        async with make_device(network, configure(**THROUGH_EDGE)) as device:
            await until(lambda: "Backing Off" in device.sp[1].status)
            assert f"{EDGE}: not found" in device.sp[1].status
            network.dns.script[EDGE, "SRV"] = found
            await device.sp[1].registered(timeout=120)
        await provider.close()

    sim.run(main)


def test_a_port_in_use_stops_one_service_and_is_taken_when_free() -> None:
    """SPEC A2: the others run."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        taken = network.datagram_peer(DEVICE_HOST, 5060)
        async with make_device(network, configure(2)) as device:
            await device.sp[2].registered(timeout=10)
            assert device.sp[1].status.startswith(f"Not Started: {DEVICE_HOST}:5060")
            assert "in use" in device.sp[1].status
            assert list(provider.bound()) == ["user2"]
            taken.close()
            await device.sp[1].registered(timeout=120)
        await provider.close()

    sim.run(main)


def test_a_server_that_says_nothing_is_900_and_never_given_up() -> None:
    """SPEC B5, B10, B11."""

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        async with make_device(network, configure()) as device:
            await until(lambda: "Register Failed: 900" in device.sp[1].status)
            provider = await Provider(network).start()
            await device.sp[1].registered(timeout=400)
        await provider.close()

    sim.run(main)


def test_a_new_address_of_the_host_moves_every_service_once() -> None:
    """SPEC A1."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        env = network.env(DEVICE_HOST)
        async with Device(configure(3, device='local_ip = "auto"'), env=env) as device:
            await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
            granted = [service.registrations for service in device.sp.values()]
            env.move("192.0.2.99")
            await until(lambda: all("192.0.2.99" in str(contacts) for contacts in provider.bound().values()))
            await asyncio.sleep(10)
            assert [service.registrations for service in device.sp.values()] == [count + 1 for count in granted]
            assert all(len(contacts) == 1 for contacts in provider.bound().values())
        await provider.close()

    sim.run(main)


def test_a_route_that_comes_later_than_its_address_is_waited_for() -> None:
    """SPEC A1: the kernel tells of addresses, not of routes."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        env = network.env(DEVICE_HOST)
        async with Device(configure(device='local_ip = "auto"'), env=env) as device:
            await device.sp[1].registered(timeout=10)
            env.move("192.0.2.99")
            network.unplug("192.0.2.99")
            await asyncio.sleep(20)
            network.plug("192.0.2.99")
            await until(lambda: "192.0.2.99" in str(provider.bound()), 90)
        await provider.close()

    sim.run(main)


# Calls


async def answer(call: IncomingCall) -> None:
    await call.answer(b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n")


@pytest.mark.parametrize("profile", [{}, THROUGH_EDGE, {"OutboundProxy": EDGE}], ids=["direct", "tcp edge", "udp edge"])
def test_one_service_calls_another_of_the_same_device(profile: dict[str, Any]) -> None:
    """SPEC A8, B7: challenged, answered, hung up; both sides know."""

    async def story(provider: Provider, device: Device) -> None:
        caller, callee = device.sp[1], device.sp[2]
        await asyncio.gather(caller.registered(timeout=10), callee.registered(timeout=10))
        callee.on_invite(answer)
        async with caller.call("user2") as call:
            await call.answered()
            assert call.body.startswith(b"v=0")
            await asyncio.sleep(40)
            assert caller.report().calls == callee.report().calls == 1
        await until(lambda: caller.report().calls == callee.report().calls == 0, 10)

    play(configure(2, **profile), story)


def test_calls_are_busy_unless_the_configuration_answers_them() -> None:
    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        with pytest.raises(CallBusy):
            await device.sp[1].call("user2")

    play(configure(2), story)


def test_a_configured_device_answers_with_an_inactive_stream() -> None:
    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        async with device.sp[1].call("user2") as call:
            await call.answered()
            assert b"a=inactive" in call.body
            assert b"m=audio 9 RTP/AVP 0" in call.body

    play(configure(2, device='answer = "answer"'), story)


def test_an_offer_that_cannot_be_answered_is_refused_with_488() -> None:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", "m=video 4000 RTP/AVP 99"]
    video = "\r\n".join([*lines, "a=rtpmap:99 VP8/90000", ""]).encode()

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        with pytest.raises(CallRejected) as rejected:
            await device.sp[1].call("user2", body=video)
        assert rejected.value.response is not None
        assert rejected.value.response.status_code == 488

    play(configure(2, device='answer = "answer"'), story)


def test_a_caller_that_gives_up_is_told_to_the_ringing_side() -> None:
    """RFC 3261 section 9: CANCEL through both proxies."""
    heard: list[bool] = []

    async def ring(call: IncomingCall) -> None:
        await call.progress(180)
        try:
            await asyncio.sleep(60)
        finally:
            heard.append(call.cancelled)

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        device.sp[2].on_invite(ring)
        async with device.sp[1].call("user2"):
            await asyncio.sleep(2)
        await until(lambda: bool(heard), 10)
        await until(lambda: all(status.calls == 0 for status in device.status()), 40)
        assert heard == [True]

    play(configure(2, **THROUGH_EDGE), story)


@pytest.mark.parametrize("bypass", [False, True])
def test_requests_inside_a_call_pass_the_outbound_proxy_only_if_configured(bypass: bool) -> None:
    """SPEC C8: after the INVITE the first Route is the next hop; with the option off the outbound proxy stays it."""

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        device.sp[2].on_invite(answer)
        async with device.sp[1].call("user2") as call:
            await call.answered()
            await asyncio.sleep(1)
        hops = {text.split()[0]: text for text in device.sp[1].report().decisions if " -> " in text}
        assert f"-> {EDGE_HOST}:{EDGE_PORT} udp" in hops["INVITE"]
        for method in ("ACK", "BYE"):
            assert ("SPEC C8" in hops[method]) is bypass

    play(configure(2, OutboundProxy=EDGE, X_BypassOutboundProxyInCall=bypass), story)


def test_a_call_survives_the_loss_of_its_connection() -> None:
    """SPEC C6: dialogs survive; BYE goes out on the new connection."""

    async def story(provider: Provider, device: Device) -> None:
        await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
        device.sp[2].on_invite(answer)
        call = await device.sp[1].call("user2")
        for connection in provider.edge_connections():
            connection.end("cut")
        await until(lambda: len(provider.edge_connections()) == 2)
        await asyncio.sleep(5)
        assert device.sp[1].report().calls == 1
        await call.bye()
        assert device.sp[1].report().calls == 0

    play(configure(2, **THROUGH_EDGE), story)


# Configuration


def test_a_body_to_answer_with_must_be_readable() -> None:
    with pytest.raises(ConfigError, match=r"device\.answer_body"):
        Device(configure(device='answer_body = "missing.sdp"'))


# Keep-alive


def test_a_connection_is_kept_alive_and_a_missing_pong_renews_it() -> None:
    """SPEC B15: double CRLF; a pong once seen must go on coming."""
    config = configure(**THROUGH_EDGE)
    service = replace(config.services[0], keep_alive_enable=True, keep_alive_expires=15)
    config = replace(config, services=(service,))

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        await asyncio.sleep(100)
        keeper = device.sp[1].keeper
        assert keeper is not None
        assert keeper.sent == 6
        link = device.sp[1].links["outbound"]
        assert link.opened == 1
        provider.network.link(EDGE_HOST, DEVICE_HOST).cut = True
        await until(lambda: not link.is_up, 60)
        assert "no pong within 10s" in device.sp[1].status

    play(config, story)


def test_datagrams_are_kept_alive_where_register_goes() -> None:
    """SPEC B15."""
    config = configure()
    service = replace(config.services[0], keep_alive_enable=True, keep_alive_message_type="options")
    config = replace(config, services=(service,))

    async def story(provider: Provider, device: Device) -> None:
        await device.sp[1].registered(timeout=10)
        asked = provider.home.engine.stats()["requests"]
        await asyncio.sleep(46)
        assert provider.home.engine.stats()["requests"] >= asked + 3

    play(config, story)


# What is sent


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_the_outbound_proxy_is_named_in_nothing_that_is_sent(transport: str) -> None:
    """SPEC C4: registering, calling, refreshing, losing it, stopping; and C5: everything goes to it alone."""

    async def main(network: SimNetwork) -> None:
        provider = await Provider(network).start()
        config = configure(2, OutboundProxy=EDGE, OutboundProxyTransport=transport)
        async with make_device(network, config) as device:
            await asyncio.gather(*(service.registered(timeout=10) for service in device.sp.values()))
            device.sp[2].on_invite(answer)
            async with device.sp[1].call("user2") as call:
                await call.answered()
                await asyncio.sleep(60)
            await provider.stop_edge()
            await asyncio.sleep(20)
            await provider.start_edge()
            await asyncio.sleep(120)
        sent = [packet for packet in network.trace if packet.source[0] == DEVICE_HOST]
        methods = {packet.octets.split(b" ", 1)[0] for packet in sent}
        assert {b"REGISTER", b"INVITE", b"ACK", b"BYE"} <= methods
        assert not any(outbound_value_in(packet.octets.decode(), EDGE) for packet in sent)
        assert {packet.destination for packet in sent} == {(EDGE_HOST, EDGE_PORT)}
        await provider.close()

    sim.run(main)
