"""Far sides that are wrong: each gives one clear status line, a bounded wait, and the device goes on (SPEC B, F1)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from kit import SDP
from provider import DEVICE_HOST, DOMAIN, HOME_HOST
from scripted import GRANTED, Scripted, challenge, grant, play, say, silent
from test_device import until

from sipcore import sim
from sipcore._message import Request
from sipcore.config import parse_device
from sipcore.device import Device
from sipcore.errors import SipError
from sipcore.sim import SimNetwork

EACH = pytest.mark.parametrize("transport", ["UDP", "TCP"])


def failed(device: Device) -> str:
    """The status line, once there is a failure to tell."""
    status = device.sp[1].status
    assert "\n" not in status
    assert len(status) < 300
    return status


async def failure(device: Device, seconds: float = 60.0) -> str:
    await until(lambda: "Failed" in device.sp[1].status, seconds)
    return failed(device)


@pytest.mark.parametrize("order", ["a-first", "srv-first", "rfc3263"])
def test_a_domain_that_does_not_resolve(order: str) -> None:
    """SPEC B5, D6: 901, its reason, and a wait of 120 to 200 s (SPEC B10)."""

    async def story(server: Scripted, device: Device) -> None:
        assert (await failure(device)).startswith("Register Failed: 901 gone.example: not found: no ")
        assert 100 < (device.sp[1].report().retry_in or 0) <= 200
        server.network.dns.script["gone.example", "A"] = [HOME_HOST]
        await device.sp[1].registered(timeout=210)

    play(story, ProxyServer="gone.example", X_DnsOrder=order)


def test_a_domain_that_does_not_resolve_on_a_stream() -> None:
    """SPEC C6: the back-off of the connection, at most 60 s."""

    async def story(server: Scripted, device: Device) -> None:
        await asyncio.sleep(600)
        assert "gone.example: not found" in failed(device)
        assert failed(device).startswith("Backing Off (")
        assert (device.sp[1].report().retry_in or 0) <= 60
        server.network.dns.script["gone.example", "A"] = [HOME_HOST]
        await device.sp[1].registered(timeout=61)

    play(story, transport="TCP", ProxyServer="gone.example")


@EACH
def test_a_server_that_takes_everything_and_says_nothing(transport: str) -> None:
    """SPEC B5: 900 after 64*T1; the connection stays, B10 paces."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", silent)
        assert (await failure(device)).startswith(f"Register Failed: 900 No Answer (server={HOME_HOST}:5060; retry in ")
        assert 100 < (device.sp[1].report().retry_in or 0) <= 200
        server.script("REGISTER", grant)
        await device.sp[1].registered(timeout=210)
        assert len(server.stack.engine.connections()) == (0 if transport == "UDP" else 1)

    play(story, transport=transport)


NONSENSE = [
    b"\x00" * 40,
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"SIP/2.0 200 OK\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKnobody\r\nCSeq: 1 REGISTER\r\n\r\n",
]


@pytest.mark.parametrize("octets", NONSENSE)
def test_a_registrar_that_answers_nonsense(octets: bytes) -> None:
    """What is no answer counts as none: 900, and the device lives on."""

    async def main(network: SimNetwork) -> None:
        network.dns.script[DOMAIN, "A"] = [HOME_HOST]
        peer = network.datagram_peer(HOME_HOST, 5060)

        async def answer() -> None:
            while True:
                _, source = await peer.receive()
                peer.send(octets, source)

        task = asyncio.create_task(answer())
        text = f'[itsp.A]\nProxyServer = "{DOMAIN}"\n[sp.1]\nAuthUserName = "user1"\n'
        async with Device(parse_device(text, file="x"), env=network.env(DEVICE_HOST)) as device:
            assert (await failure(device)).startswith("Register Failed: 900 No Answer (")
        task.cancel()

    sim.run(main)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, GRANTED),
        ({"Contact": "nonsense", "Expires": "40"}, 40),
        ({"Contact": "<sip:somebody@else.example>;expires=7", "Expires": "50"}, 50),
        ({"Contact": "<<<>>>;expires=-1"}, GRANTED),
        ({"Contact": "<sip:user1@192.0.2.1:5060>;expires=soon", "Expires": "later"}, GRANTED),
    ],
)
def test_spec_b2_a_200_that_says_nothing_sensible_of_our_contact(headers: dict[str, str], expected: int) -> None:
    """SPEC B2: Expires, else what was asked, and the trace says so."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(200, **headers))
        await device.sp[1].registered(timeout=5)
        assert device.sp[1].report().expires_in == expected
        assert any("our Contact" in text for text in device.sp[1].report().decisions)

    play(story)


@pytest.mark.parametrize("status_code", [299, 399, 499, 599, 699])
def test_unknown_status_codes_are_those_of_their_class(status_code: int) -> None:
    """RFC 3261 section 8.1.3.2."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", lambda request: grant(request) if status_code == 299 else request.reply(status_code))
        if status_code == 299:
            await device.sp[1].registered(timeout=5)
        else:
            assert (await failure(device)).startswith(f"Register Failed: {status_code}")

    play(story)


@EACH
def test_a_redirect_loop(transport: str) -> None:
    """SPEC B6: the fifth redirection in a row is an error."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(302, Contact=f"<sip:{DOMAIN};loop=1>"))
        assert "redirection 5 in a row" in await failure(device)
        assert server.count("REGISTER") == 5
        retry_in = device.sp[1].report().retry_in or 0
        assert 0 < retry_in <= 30
        await asyncio.sleep(retry_in + 1)
        assert server.count("REGISTER") == 10

    play(story, transport=transport)


def test_a_redirection_without_a_contact() -> None:
    """SPEC B6."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(302))
        assert "a redirection without Contact" in await failure(device)

    play(story)


def test_spec_b6_a_redirection_that_leads_nowhere_says_where_it_led() -> None:
    """SPEC B5, B6: the name stands in no configuration, so the status tells where it came from."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(302, Contact="<sip:gone.example>"))
        said = await failure(device)
        assert said.startswith("Register Failed: 901 redirected to sip:gone.example: gone.example: not found: ")
        assert server.count("REGISTER") == 1

    play(story)


def test_spec_b6_a_redirection_to_another_server_of_the_provider_is_followed() -> None:
    """SPEC B6, B7: credentials answer only requests to the SP's own servers, so a stranger's challenge gets none."""

    async def story(server: Scripted, device: Device) -> None:
        network = server.network
        other = await Scripted.start(network, "192.0.2.77")
        other.script("REGISTER", challenge())
        network.dns.script["other.example", "A"] = ["192.0.2.77"]
        server.script("REGISTER", challenge(), say(302, Contact="<sip:other.example>"))
        assert "left the service's own servers" in await failure(device)
        assert other.count("REGISTER") == 1
        assert str(other.last("REGISTER").request_uri) == "sip:other.example"
        assert other.last("REGISTER").get("Authorization") is None
        await other.stack.close(timeout=0)

    play(story)


@EACH
@pytest.mark.parametrize("outbound", [True, False])
def test_spec_b6_with_an_outbound_proxy_only_the_request_uri_changes(outbound: bool, transport: str) -> None:
    """SPEC B6: the next hop stays."""
    if not outbound and transport == "UDP":
        return

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(302, Contact="<sip:other.example>"), grant)
        await device.sp[1].registered(timeout=5)
        assert str(server.last("REGISTER").request_uri) == "sip:other.example"
        assert {packet.destination[0] for packet in server.network.trace if packet.source[0] == DEVICE_HOST} == {
            HOME_HOST
        }

    profile: dict[str, Any] = {"OutboundProxy": DOMAIN, "OutboundProxyTransport": transport} if outbound else {}
    play(story, transport=transport, **profile)


@EACH
def test_spec_b2_granted_zero_is_a_failure(transport: str) -> None:
    """SPEC B2: no loop of registrations that are none."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", lambda request: grant(request, 0))
        assert (await failure(device)).startswith("Register Failed: 200 OK, but granted 0s")
        before = server.count("REGISTER")
        await asyncio.sleep(29)
        assert server.count("REGISTER") - before <= 1
        server.script("REGISTER", grant)
        await device.sp[1].registered(timeout=60)

    play(story, transport=transport)


@pytest.mark.parametrize("expires", [10**9, 2**32, 10**100])
def test_spec_b3_granted_for_ever_is_refreshed_at_least_daily(expires: int) -> None:
    """SPEC B3."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", lambda request: grant(request, expires))
        await device.sp[1].registered(timeout=5)
        assert device.sp[1].status.startswith("Registered (")
        assert len(device.sp[1].status) < 120
        before = server.count("REGISTER")
        await asyncio.sleep(86_400 + 10)
        assert server.count("REGISTER") == before + 1

    play(story)


@pytest.mark.parametrize("expires", [1, 2, 5])
def test_spec_b3_granted_for_a_moment_is_refreshed_every_five_seconds_at_most(expires: int) -> None:
    """SPEC B3."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", lambda request: grant(request, expires))
        await device.sp[1].registered(timeout=5)
        before = server.count("REGISTER")
        await asyncio.sleep(100)
        assert server.count("REGISTER") - before <= 20

    play(story)


@pytest.mark.parametrize(
    ("minimum", "sent", "result"),
    [
        ("300", 300, "Registered"),
        ("60", 60, "Register Failed: 423 Interval Too Brief: it asks for 60s ("),
        ("86400", 86_400, "Registered"),
        ("86401", 60, "Register Failed: 423 Interval Too Brief: it asks for 86401s ("),
        ("soon", 60, "Register Failed: 423 Interval Too Brief: without a usable Min-Expires ("),
    ],
)
def test_spec_b8_the_interval_that_423_asks_for(minimum: str, sent: int, result: str) -> None:
    """SPEC B8: larger than what was sent, and at most a day; remembered for the refresh."""

    async def story(server: Scripted, device: Device) -> None:
        def answer(request: Request) -> None:
            asked = int(request["Expires"])
            grant(request, asked) if asked == sent != 60 else request.reply(423, headers=[("Min-Expires", minimum)])

        server.script("REGISTER", answer)
        await until(lambda: device.sp[1].status.startswith(result), 10)
        assert int(server.last("REGISTER")["Expires"]) == sent
        if result == "Registered":
            before = server.count("REGISTER")
            await until(lambda: server.count("REGISTER") > before, 90_000)
            assert int(server.last("REGISTER")["Expires"]) == sent

    play(story)


def test_spec_b8_at_most_two_in_a_row() -> None:
    """SPEC B8."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", *(say(423, Min_Expires=str(100 * n)) for n in range(1, 9)))
        assert "423 Interval Too Brief: 3 in a row (" in await failure(device)
        assert server.count("REGISTER") == 3

    play(story)


@pytest.mark.parametrize(("retry_after", "waited"), [("7", 7), ("0", 1), ("999999", 3600), ("90 (busy)", 90)])
def test_spec_b9_retry_after_is_waited_for_within_bounds(retry_after: str, waited: int) -> None:
    """SPEC B9."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(503, Retry_After=retry_after))
        await failure(device)
        assert device.sp[1].report().retry_in == waited

    play(story)


def test_spec_c6_an_ordered_wait_outlives_a_new_connection() -> None:
    """SPEC C6: only a wait that a SIP answer ordered keeps a new connection from registering at once."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", say(503, Retry_After="100"))
        await failure(device)
        server.network.cut_streams(HOME_HOST)
        await until(lambda: device.sp[1].links["proxy"].opened == 2, 10)
        await asyncio.sleep(80)
        assert server.count("REGISTER") == 1
        await asyncio.sleep(20)
        assert server.count("REGISTER") == 2

    play(story, transport="TCP")


# Digest (SPEC B7, FAULTS 34, 35)


@pytest.mark.parametrize(
    ("replies", "sent"),
    [
        ([challenge(nonce="n1"), challenge(nonce="n2")], 2),
        ([challenge(nonce="n1"), challenge(nonce="n2", stale="true"), challenge(nonce="n3", stale="true")], 3),
        ([challenge(nonce="n1"), challenge(nonce="n1", stale="true")], 2),
        ([challenge(realm=f"r{n}") for n in range(9)], 5),
        ([challenge(407), challenge(401), challenge(407)], 3),
    ],
    ids=["same realm", "stale twice", "stale with the same nonce", "nine realms", "proxy and registrar"],
)
def test_spec_b7_and_faults_35_endless_challenges_end(replies: list[Any], sent: int) -> None:
    """SPEC B7, FAULTS 35: one try a realm, one more for a stale nonce, four challenges a request."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", *replies)
        status = await failure(device)
        assert status.startswith("Register Failed: 40")
        assert server.count("REGISTER") == sent
        assert 100 < (device.sp[1].report().retry_in or 0) <= 120

    play(story)


def test_spec_b7_several_realms_accumulate() -> None:
    """SPEC B7: the proxy's and the registrar's credentials stand in one request."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(407, realm="edge"), challenge(401), grant)
        await device.sp[1].registered(timeout=5)
        assert 'realm="edge"' in server.last("REGISTER")["Proxy-Authorization"]
        assert f'realm="{DOMAIN}"' in server.last("REGISTER")["Authorization"]

    play(story)


def test_spec_b7_a_nonce_is_used_again_with_a_rising_count() -> None:
    """SPEC B7."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(), grant)
        await device.sp[1].registered(timeout=5)
        await asyncio.sleep(200)
        counts = [
            request["Authorization"].split("nc=")[1][:8] for request in server.seen if request.get("Authorization")
        ]
        assert counts == [f"{n:08x}" for n in range(1, len(counts) + 1)]
        assert len(counts) > 3

    play(story)


def test_faults_34_no_downgrade_once_a_realm_offered_better() -> None:
    """SPEC B7, FAULTS 34: MD5 alone is refused until restart, for calls too."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(algorithm="SHA-256"), grant)
        await device.sp[1].registered(timeout=5)
        assert "algorithm=SHA-256" in server.last("REGISTER")["Authorization"]
        server.script("INVITE", challenge(407, algorithm="MD5"))
        with pytest.raises(Exception, match="407"):
            await device.sp[1].call("bob")
        assert server.count("INVITE") == 1
        server.script("REGISTER", challenge(nonce="n9", algorithm="MD5"))
        assert "SHA-256" in await failure(device, 120)
        assert not any("algorithm=MD5" in (request.get("Authorization") or "") for request in server.seen)

    play(story)


def answered(request: Request) -> None:
    """200 with a Contact of its own and an SDP body."""
    headers = [("Contact", f"<sip:bob@{HOME_HOST}:5060>"), ("Content-Type", "application/sdp")]
    request.reply(200, headers=headers, body=SDP)


@pytest.mark.parametrize("realm", ["evil.example", "another.example"])
def test_faults_34_a_foreign_realm_inside_a_call_gets_no_credentials(realm: str) -> None:
    """SPEC B7, FAULTS 34: realms are learnt outside dialogs; our BYE is answered with a challenge of another."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(), grant)
        server.script("INVITE", challenge(407), answered)
        server.script("BYE", challenge(401, realm=realm))
        await device.sp[1].registered(timeout=5)
        call = await device.sp[1].call("bob")
        assert server.last("INVITE").get("Proxy-Authorization")
        call.hang_up()
        await until(lambda: server.count("BYE") >= 1 and not device.sp[1].report().calls, 40)
        assert server.count("BYE") == 1
        assert server.last("BYE").get("Authorization") is None
        assert any("BYE not authenticated" in text for text in device.sp[1].report().decisions)

    play(story)


IN_CALL = {"BYE": 401, "INVITE": 407, "UPDATE": 401}


async def send_in_call(call: Any, method: str) -> None:
    """One request of ours inside the call; what comes of it is looked at elsewhere."""
    with contextlib.suppress(SipError):
        if method == "BYE":
            call.hang_up()
        elif method == "INVITE":
            await call.reinvite(SDP)
        else:
            await call.send(method, body=SDP, content_type="application/sdp")


@pytest.mark.parametrize("method", IN_CALL)
@pytest.mark.parametrize(
    ("hostile", "reason"),
    [({"realm": "evil.example"}, "was never seen"), ({"algorithm": "MD5", "nonce": "n7"}, "SHA-256 before")],
    ids=["foreign realm", "downgrade"],
)
def test_faults_34_no_credentials_leak_from_inside_a_call(method: str, hostile: dict[str, str], reason: str) -> None:
    """SPEC B7, FAULTS 34: a challenge to our BYE, re-INVITE or UPDATE by a foreign realm, or with MD5 alone."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(algorithm="SHA-256"), grant)
        server.script("INVITE", answered)
        await device.sp[1].registered(timeout=5)
        call = await device.sp[1].call("bob")
        await call.answered()
        server.script(method, challenge(IN_CALL[method], **hostile))
        before = len(server.seen)
        await send_in_call(call, method)
        await asyncio.sleep(1)
        sent = [request for request in server.seen[before:] if request.method == method]
        assert len(sent) == 1
        for request in server.seen[before:]:
            assert request.get("Authorization") is None or "algorithm=SHA-256" in request["Authorization"]
            assert "evil.example" not in (request.get("Authorization") or "")
            assert request.get("Proxy-Authorization") is None
        assert any(reason in text for text in device.sp[1].report().decisions)
        server.script("BYE", say(200))
        call.hang_up()

    play(story)


@pytest.mark.parametrize("method", IN_CALL)
def test_faults_34_a_realm_that_was_learnt_outside_is_answered_inside(method: str) -> None:
    """SPEC B7: so that the refusals of the test before are no silence about everything."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(algorithm="SHA-256"), grant)
        server.script("INVITE", answered)
        await device.sp[1].registered(timeout=5)
        call = await device.sp[1].call("bob")
        await call.answered()
        accept = answered if method == "INVITE" else say(200)
        server.script(method, challenge(IN_CALL[method], algorithm="SHA-256", nonce="n8"), accept)
        before = len(server.seen)
        await send_in_call(call, method)
        await asyncio.sleep(1)
        name = "Authorization" if IN_CALL[method] == 401 else "Proxy-Authorization"
        sent = [request.get(name) or "" for request in server.seen[before:] if request.method == method]
        assert len(sent) == 2 and 'nonce="n8"' in sent[1]
        server.script("BYE", say(200))
        call.hang_up()

    play(story)


def test_faults_34_only_the_realms_that_are_allowed() -> None:
    """SPEC B7: X_AuthRealms."""

    async def story(server: Scripted, device: Device) -> None:
        server.script("REGISTER", challenge(realm="evil.example"))
        await failure(device)
        assert server.count("REGISTER") == 1

    play(story, X_AuthRealms=[DOMAIN])
