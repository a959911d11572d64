"""Floods from one address under the common verdict: FAULTS 17, 22, 23, 25, 26 (tests/verdict.py)."""

from __future__ import annotations

import os
import socket
import struct
import sys

import pytest
from verdict import Attacker, Subject, often, stand

pytestmark = [pytest.mark.slow, pytest.mark.native, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

APPLICATION = """
def application(stack):
    stack.overload.max_transactions = stack.overload.admission_limit = 2_000_000
    stack.overload.source_share = 1.0
    stack.overload.patience = 3600.0
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on("MESSAGE", lambda request: request.reply(200))
    stack.on("INVITE", lambda request: request.reply(486))
"""

RUBBISH = {
    "nothing": b"",
    "an octet": b"x",
    "the most that fits": b"x" * 65_507,
    "the most that fits, of NULs": bytes(65_507),
    "NULs": bytes(1_400),
    "pings": b"\r\n\r\n",
    "line ends": b"\r\n" * 700,
    "noise": bytes((number * 197 + (number >> 3)) & 255 for number in range(1_400)),
    "the beginning of a message": b"INVITE sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP ",
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_is_dropped_and_answered_by_one_pong_for_a_ping_at_most(kind: str) -> None:
    """FAULTS 17."""
    octets, count = RUBBISH[kind], often(100_000, 3_000) if len(RUBBISH[kind]) < 2_000 else often(5_000, 300)
    with Subject(APPLICATION) as subject, Attacker(subject.port) as attacker:
        stand(subject, lambda: attacker.flood([octets] * count))
        heard = sum(attacker.heard.values())
        assert heard <= (attacker.sent if kind == "pings" else 0)
        assert attacker.heard_octets <= attacker.sent_octets


def test_rubbish_costs_less_than_what_is_answered() -> None:
    """FAULTS 17: dropped cheaply."""
    count = often(50_000, 5_000)
    with Subject(APPLICATION) as subject, Attacker(subject.port) as attacker:

        def cpu(octets: list[bytes]) -> float:
            before = subject.cpu()
            attacker.flood(octets)
            return subject.cpu() - before

        answered = min(cpu([attacker.message("MESSAGE", f"m{turn}-{n}") for n in range(count)]) for turn in range(3))
        for kind in ("an octet", "NULs", "pings", "line ends", "noise"):
            assert min(cpu([RUBBISH[kind]] * count) for _ in range(3)) <= answered, kind


def test_what_comes_from_port_0_is_not_answered() -> None:
    """FAULTS 17: nothing could go back there."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        pytest.skip("only root may send from port 0")
    with raw, Subject(APPLICATION) as subject, Attacker(subject.port) as attacker:

        def attack() -> None:
            for number in range(often(20_000, 500)):
                octets = attacker.message("MESSAGE", f"zero{number}")
                raw.sendto(struct.pack("!HHHH", 0, subject.port, 8 + len(octets), 0) + octets, ("127.0.0.1", 0))
                if number % 64 == 0:
                    attacker.keep_in_step()

        stand(subject, attack)
        told = subject.ask()["stats"]
        assert told["bad_sources"] == 4 * often(20_000, 500)
        assert told["requests"] == told["sent"] == told["received"], "those of the others"


def test_a_storm_of_unreachable_ports_disturbs_nobody() -> None:
    """FAULTS 17: whoever asks is gone when the answer comes."""
    with Subject(APPLICATION) as subject, Attacker(subject.port) as pacer:

        def attack() -> None:
            for number in range(often(20_000, 300)):
                with Attacker(subject.port, host="127.0.0.3") as short_lived:
                    octets = [short_lived.message("INVITE", f"gone{number}-{each}") for each in range(10)]
                    short_lived.datagrams.send_batch([(one, *short_lived.target) for one in octets])
                if number % 8 == 0:
                    pacer.keep_in_step()

        stand(subject, attack)


@pytest.mark.parametrize("kind", ["never acknowledged", "never answered"])
def test_invites_that_nobody_ends_are_all_freed(kind: str) -> None:
    """FAULTS 23: 100,000 of them in a soak, freed by Timer H or B; the memory is that of the round before."""
    count = often(100_000, 2_000)
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    asking = f"""
def invite(stack, request):
    for _ in range(100):
        stack.request("INVITE", "sip:silent@127.0.0.1:{silent.getsockname()[1]}")
    request.reply(200)
"""
    application = APPLICATION + '    stack.on("INFO", lambda request: invite(stack, request))\n' + asking
    with silent, Subject(application) as subject, Attacker(subject.port) as attacker:
        rounds = iter(range(1_000))

        def attack() -> None:
            turn = next(rounds)
            if kind == "never acknowledged":
                attacker.flood(attacker.message("INVITE", f"i{turn}-{number}") for number in range(count))
            else:
                for number in range(count // 100):
                    attacker.flood([attacker.message("INFO", f"n{turn}-{number}")])
            assert subject.ask()["live"]["transactions"] >= 0.9 * count
            attacker.take(0.0)

        # Requests of ours are Python objects: after three rounds its arenas are as fragmented as they get.
        stand(subject, attack, warm_up=1 if kind == "never acknowledged" else 3)
        assert attacker.heard[486 if kind == "never acknowledged" else 200] >= 0.9 * attacker.sent


RINGING = (
    APPLICATION
    + """
    async def ring(request):
        request.reply(180)
        await asyncio.sleep(3600)

    stack.on("INVITE", ring)
"""
)


def test_invites_that_are_cancelled_at_once_get_487_and_only_that() -> None:
    """FAULTS 25: the CANCEL comes before any 100."""
    count = often(20_000, 500)
    with Subject(RINGING) as subject, Attacker(subject.port) as attacker:
        rounds = iter(range(1_000))

        def attack() -> None:
            turn = next(rounds)
            for number in range(count):
                name = f"c{turn}-{number}"
                invite = attacker.message("INVITE", name)
                cancel = attacker.message("CANCEL", name)
                attacker.flood([invite, cancel])
                attacker.flood([attacker.message("ACK", name, to_tag=attacker.tags.pop(name, ""))])

        stand(subject, attack)
        invites = attacker.sent / 3
        assert attacker.heard[200] == invites
        assert attacker.heard[487] >= invites, "and repetitions, where the ACK came late"
        assert set(attacker.heard) <= {180, 200, 487}


@pytest.mark.parametrize("kind", ["ACK", "ACK of a dialog", "response", "NOTIFY", "NOTIFY of a dialog"])
def test_a_million_that_match_nothing_leave_nothing(kind: str) -> None:
    """FAULTS 26: no state, no reply to an ACK or a response, at most one reply for a request."""
    count = often(1_000_000, 10_000)
    with Subject(APPLICATION) as subject, Attacker(subject.port) as attacker:
        method = kind.partition(" ")[0]
        octets = attacker.message("ACK" if kind == "response" else method, "QQQQQQQQ", to_tag="t" * ("of" in kind))
        if kind == "response":
            octets = octets.replace(b"ACK sip:x@127.0.0.1 SIP/2.0", b"SIP/2.0 200 OK").replace(b"1 ACK", b"1 OPTIONS")
        rounds = iter(range(1_000))

        def attack() -> None:
            first = next(rounds) * count
            attacker.flood(octets.replace(b"QQQQQQQQ", b"%08d" % (first + number)) for number in range(count))
            live = subject.ask()["live"]
            assert live["transactions"] == live["timers"] == live["calls"] == 0

        stand(subject, attack)
        assert set(attacker.heard) <= ({405, 481} if method == "NOTIFY" else set())
        assert sum(attacker.heard.values()) <= attacker.sent


def test_what_is_sent_without_credentials_comes_back_once_and_hardly_larger() -> None:
    """FAULTS 22: octets out / in at most 2, packets at most 1; the smallest requests that a client would send."""
    application = """
from sipcore.digest import DigestServer

def application(stack):
    digest = DigestServer("example.com", {"alice": "secret"}.get, os.urandom(16))

    def challenge(request):
        values = digest.challenge(stack.env.now(), "127.0.0.1")
        request.reply(401, headers=[("WWW-Authenticate", value) for value in values])

    for method in ("INVITE", "MESSAGE", "REGISTER", "SUBSCRIBE"):
        stack.on(method, challenge)
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
"""
    with Subject(application) as subject, Attacker(subject.port) as attacker:
        methods = ("INVITE", "MESSAGE", "REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "BYE", "FLY", "OPTIONS")
        for method in methods:
            for to_tag in ("", "of-no-dialog"):
                before = attacker.heard_octets, sum(attacker.heard.values())
                name, contact = f"{method}-{os.getpid()}{to_tag}", f"Contact: <sip:a@127.0.0.1:{attacker.port}>\r\n"
                octets = attacker.message(method, name, to_tag=to_tag, headers=contact)
                attacker.flood([octets])
                subject.ask("forward 37") if not subject.real_time else attacker.take(37.0)
                attacker.keep_in_step()
                assert sum(attacker.heard.values()) - before[1] <= 1, method
                assert attacker.heard_octets - before[0] <= 2 * len(octets), (method, attacker.last)


CALLS = """
async def inbound(call):
    await call.progress(180)
    await call.answer(b"")
    await call.ended()

def application(stack):
    stack.overload.max_transactions = 2_000_000
    stack.overload.source_share = 1.0
    stack.overload.patience = 3600.0
    stack.on("OPTIONS", lambda request: request.reply(200), stateless=True)
    stack.on_invite(inbound)

    @stack.on("INFO")
    def limit(request):
        stack.overload.admission_limit = int(request["Subject"])
        request.reply(200)
"""


def test_a_refused_call_costs_a_fifth_of_an_accepted_one_and_holds_nothing() -> None:
    """FAULTS 47: INVITE, 503, ACK against INVITE, 180, 200, ACK, BYE, 200, system calls included."""
    count = often(5_000, 500)
    with Subject(CALLS) as subject, Attacker(subject.port) as attacker:
        contact = f"Contact: <sip:a@127.0.0.1:{attacker.port}>\r\n"

        def cpu(kind: str) -> float:
            before = subject.cpu()
            for first in range(0, count, 50):
                names = [f"{kind}{number}" for number in range(first, first + 50)]
                attacker.flood(attacker.message("INVITE", name, headers=contact) for name in names)
                while not all(name in attacker.tags for name in names):
                    assert attacker.keep_in_step()
                own = "a" if kind == "accepted" else ""  # the ACK to a 2xx is a transaction of its own
                for method, number in (("ACK", 1), ("BYE", 2))[: 2 if own else 1]:
                    attacker.flood(
                        attacker.message(
                            method, name, to_tag=attacker.tags[name], branch=f"z9hG4bK{own}{name}", number=number
                        )
                        for name in names
                    )
            return subject.cpu() - before

        accepted = cpu("accepted")
        attacker.flood([attacker.message("INFO", "limit", headers="Subject: 0\r\n")])
        held = subject.ask()["live"]["transactions"]
        refused = cpu("refused")
        assert attacker.heard[503] == count
        assert subject.ask()["live"]["transactions"] <= held
        assert refused <= accepted / 5, (refused, accepted)
