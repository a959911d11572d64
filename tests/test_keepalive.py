"""Keep-alives by kind, on datagrams and streams (SPEC B15)."""

import random

import pytest

from sipcore.policy.actions import CancelTimer, StartTimer
from sipcore.policy.keepalive import (
    Action,
    ClosePath,
    KeepAlive,
    KeepAlivePlan,
    SendCustom,
    SendOctets,
    SendOptions,
    offers_keep,
    plan_keep_alive,
)
from sipcore.policy.settings import Profile, Server, Service


def keep_alive(kind: str = "keep-alive", *, stream: bool = False) -> KeepAlive:
    made = KeepAlive(KeepAlivePlan(kind, 15.0, None, "text"), stream=stream, random=random.Random(1))
    assert made.on_start(100.0) == [StartTimer("keep-alive", 115.0)]
    return made


def service(**changes: object) -> Service:
    return Service(1, Profile("A"), **{"keep_alive_enable": True, **changes})  # type: ignore[arg-type]


def test_spec_b15_off_is_the_default_and_fifteen_seconds_the_interval():
    assert plan_keep_alive(service(keep_alive_enable=False)) is None
    assert plan_keep_alive(service()) == KeepAlivePlan("keep-alive", 15.0)


@pytest.mark.parametrize("kind", ["keep-alive", "empty", "stun", "options", "custom"])
def test_spec_b15_the_keep_alive_server_applies_to_the_first_three(kind: str):
    plan = plan_keep_alive(
        service(keep_alive_message_type=kind, keep_alive_server="ka.example", keep_alive_server_port=9)
    )
    assert plan is not None
    expected = Server("ka.example", 9, "udp") if kind in ("keep-alive", "empty", "stun") else None
    assert plan.server == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("keep-alive", SendOctets(b"keep-alive", None)),
        ("empty", SendOctets(b"", None)),
        ("options", SendOptions()),
        ("custom", SendCustom("text")),
    ],
)
def test_spec_b15_what_each_kind_sends(kind: str, expected: Action):
    assert keep_alive(kind).on_timer(115.0, "keep-alive") == [expected, StartTimer("keep-alive", 130.0)]


def test_spec_b15_stun_is_a_binding_request_with_its_own_id():
    made = keep_alive("stun")
    first, second = (made.on_timer(now, "keep-alive")[0] for now in (115.0, 130.0))
    assert isinstance(first, SendOctets)
    assert isinstance(second, SendOctets)
    assert first.octets[:8] == bytes.fromhex("000100002112a442")
    assert len(first.octets) == 20
    assert first.octets != second.octets


@pytest.mark.parametrize("kind", ["keep-alive", "empty", "stun"])
def test_spec_b15_on_streams_a_double_crlf(kind: str):
    assert keep_alive(kind, stream=True).on_timer(115.0, "keep-alive")[0] == SendOctets(b"\r\n\r\n", None)


def test_spec_b15_a_missing_pong_means_nothing_before_one_was_seen():
    made = keep_alive(stream=True)
    assert not any(isinstance(a, StartTimer) and a.name == "pong" for a in made.on_timer(115.0, "keep-alive"))
    assert made.on_timer(125.0, "pong") == []


def test_spec_b15_a_missing_pong_closes_once_one_was_seen():
    made = keep_alive(stream=True)
    made.on_timer(115.0, "keep-alive")
    assert made.on_pong() == [CancelTimer("pong")]
    assert StartTimer("pong", 140.0) in made.on_timer(130.0, "keep-alive")
    assert ClosePath("no pong within 10s") in made.on_timer(140.0, "pong")


def test_spec_b15_a_missing_pong_closes_when_it_was_negotiated():
    made = keep_alive(stream=True)
    assert made.on_agreed(101.0, 0) == []
    assert StartTimer("pong", 125.0) in made.on_timer(115.0, "keep-alive")
    made.on_pong()
    assert made.on_timer(125.0, "pong") == []


def test_a_new_connection_has_not_seen_a_pong():
    made = keep_alive(stream=True)
    made.on_pong()
    assert made.on_stop() == [CancelTimer("keep-alive"), CancelTimer("pong")]
    made.on_start(200.0)
    assert len(made.on_timer(215.0, "keep-alive")) == 2


def test_spec_b15_what_was_agreed_counts_for_one_connection_only():
    made = keep_alive(stream=True)
    assert made.on_agreed(101.0, 0) == []
    made.on_stop()
    made.on_start(200.0)
    assert len(made.on_timer(215.0, "keep-alive")) == 2


def test_spec_b15_the_far_end_may_want_them_more_often_but_not_less():
    """RFC 5626 section 4.4.1: 80 to 100 % of what it says; each refresh says it again."""
    made = keep_alive(stream=True)
    (sooner,) = made.on_agreed(100.0, 10)
    assert isinstance(sooner, StartTimer)
    assert 108.0 <= sooner.due <= 110.0
    assert made.on_agreed(101.0, 10) == []
    assert made.on_timer(sooner.due, "keep-alive")[-1].due - sooner.due <= 10.0  # type: ignore[union-attr]
    assert keep_alive(stream=True).on_agreed(100.0, 3600) == []


@pytest.mark.parametrize(
    ("kind", "transport", "own_server", "expected"),
    [
        ("keep-alive", "tcp", "", True),
        ("stun", "tls", "", True),
        ("options", "tcp", "", False),
        ("stun", "udp", "", True),
        ("stun", "udp", "stun.example", False),
        ("keep-alive", "udp", "", False),
    ],
)
def test_spec_b15_keep_is_offered_where_the_next_hop_answers(
    kind: str, transport: str, own_server: str, expected: bool
):
    """RFC 6223 section 4.2."""
    wanted = service(keep_alive_message_type=kind, keep_alive_server=own_server)
    assert offers_keep(wanted, transport) is expected
    assert not offers_keep(service(keep_alive_enable=False), transport)
