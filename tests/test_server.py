"""Server transactions (RFC 3261 sections 9.2 and 17.2, RFC 6026, RFC 4320)."""

from __future__ import annotations

import pytest
from engine_kit import Bench, cancel_of, header, request, response_to, status_of

from sipcore._message import Response, parse

# server transactions


def test_trying_is_sent_only_while_the_handler_is_silent() -> None:
    """RFC 3261 section 17.2.1: after 200 ms, never after an answer."""
    silent, quick = Bench(), Bench(lambda received: received.reply(180))
    for bench in (silent, quick):
        bench.receive(request("INVITE"))
        bench.advance(0.19)
    assert silent.sent.statuses() == []
    assert quick.sent.statuses() == [180]
    for bench in (silent, quick):
        bench.advance(60)
    assert silent.sent.statuses() == [100]
    assert quick.sent.statuses() == []
    silent.events.requests[0].reply(200)
    silent.receive(request("INVITE"))
    assert silent.sent.statuses() == [200], "a repeated INVITE is absorbed once it was accepted"


def test_the_last_provisional_response_is_repeated() -> None:
    bench = Bench()
    bench.receive(request("INVITE"))
    for status in (180, 183):
        bench.events.requests[0].reply(status)
    bench.engine.flush()
    bench.sent.take()
    bench.receive(request("INVITE"))
    assert bench.sent.statuses() == [183]
    assert len(bench.events.requests) == 1


def test_a_refusal_is_repeated_until_its_ack_and_then_no_more() -> None:
    bench = Bench(lambda received: received.reply(486))
    bench.receive(request("INVITE"))
    bench.advance(1.6)
    assert bench.sent.statuses() == [486, 486, 486]
    bench.receive(request("ACK", to_tag=bench.engine.to_tag(bench.events.requests[0])))
    bench.advance(4.9)
    assert bench.sent.statuses() == []
    assert len(bench.events.requests) == 1, "the ACK to a refusal does not go up"
    bench.receive(request("ACK", to_tag=bench.engine.to_tag(bench.events.requests[0])))
    assert bench.engine.stats()["acks_absorbed"] == 2
    bench.advance(0.2)
    assert bench.live() == 0


def test_a_refusal_without_ack_ends_with_timer_h() -> None:
    bench = Bench(lambda received: received.reply(486))
    bench.receive(request("INVITE"))
    bench.advance(32.1)
    assert bench.sent.statuses() == [486] * 11
    assert bench.live() == 0
    assert not bench.events.unacknowledged


@pytest.mark.parametrize("stream", [False, True])
def test_a_2xx_is_repeated_until_its_ack_over_any_transport(stream: bool) -> None:
    """RFC 3261 section 13.3.1.4 and FAULTS 21: 11 sends, then the TU hears that no ACK came."""
    bench = Bench(lambda received: received.reply(200))
    flow, writer = bench.connect() if stream else (bench.flow, bench.sent)
    bench.receive(request("INVITE"), flow)
    bench.advance(31.9)
    assert not bench.events.unacknowledged
    bench.advance(0.2)
    assert [status_of(octets) for octets in writer.take()] == [200] * 11
    assert bench.events.unacknowledged == bench.events.requests
    assert bench.live() == 0


def test_the_ack_to_a_2xx_goes_up_once_and_stops_the_repetition() -> None:
    bench = Bench(lambda received: received.reply(200) if received.method == "INVITE" else None)
    bench.receive(request("INVITE"))
    tag = bench.engine.to_tag(bench.events.requests[0])
    bench.advance(0.6)
    assert bench.sent.statuses() == [200, 200]
    for branch in ("z9hG4bKack1", "z9hG4bKack1", "z9hG4bKack2"):
        bench.receive(request("ACK", branch=branch, to_tag=tag))
    assert [received.method for received in bench.events.requests] == ["INVITE", "ACK"]
    bench.advance(40)
    assert not bench.sent
    assert not bench.events.unacknowledged
    assert bench.live() == 0


def test_a_foreign_ack_does_not_stop_the_2xx() -> None:
    bench = Bench(lambda received: received.reply(200) if received.method == "INVITE" else None)
    bench.receive(request("INVITE"))
    tag = bench.engine.to_tag(bench.events.requests[0])
    bench.receive(request("ACK", branch="z9hG4bKa", to_tag="forged"))
    bench.receive(request("ACK", branch="z9hG4bKb", to_tag=tag, number=2))
    bench.receive(request("ACK", branch="z9hG4bKc", to_tag=tag, from_tag="other"))
    bench.receive(request("ACK", branch="z9hG4bKd", to_tag=tag, call_id="other"))
    bench.advance(0.6)
    assert bench.sent.statuses() == [200, 200]


def test_a_non_invite_request_gets_no_provisional_response_but_a_late_100() -> None:
    """RFC 4320 section 4.1."""
    bench = Bench(lambda received: received.reply(183))
    bench.receive(request("MESSAGE"))
    bench.advance(3.4)
    assert bench.sent.statuses() == []
    bench.advance(0.2)
    assert bench.sent.statuses() == [100]


def test_a_late_answer_to_a_non_invite_request_is_not_sent() -> None:
    """RFC 4320 section 4.2: the client's Timer F has fired."""
    bench = Bench()
    bench.receive(request("MESSAGE"))
    bench.advance(32.1)
    bench.sent.take()
    bench.events.requests[0].reply(200)
    bench.engine.flush()
    assert not bench.sent
    assert bench.engine.stats()["late_replies"] == 1
    bench.receive(request("MESSAGE"))
    assert len(bench.events.requests) == 1, "a retransmission that comes even later is absorbed"
    bench.advance(32.1)
    assert bench.live() == 0


def test_a_second_final_response_is_ignored() -> None:
    bench = Bench()
    for method in ("INVITE", "MESSAGE"):
        bench.receive(request(method, branch=f"z9hG4bK{method}", call_id=method))
        bench.events.requests[-1].reply(486)
        bench.events.requests[-1].reply(200)
        bench.engine.flush()
        assert bench.sent.statuses() == [486]


def test_a_response_of_a_proxy_passes_octet_for_octet() -> None:
    """RFC 3261 section 16.7: several 2xx may pass, none is repeated here, every ACK goes up."""
    bench = Bench()
    bench.events.is_proxy = True  # type: ignore[attr-defined]
    bench = Bench(events=bench.events)
    bench.receive(request("INVITE"))
    for tag in ("one", "two"):
        response = parse(response_to(request("INVITE").encode(), 200, to_tag=tag).encode())
        assert isinstance(response, Response)
        bench.engine.send_response(bench.events.requests[0], response)
    bench.engine.flush()
    assert [header(octets, "To")[-3:] for octets in bench.sent.take()] == ["one", "two"]
    bench.advance(5)
    assert not bench.sent
    for tag in ("one", "two", "one"):
        bench.receive(request("ACK", branch=f"z9hG4bKack{tag}", to_tag=tag))
    assert [received.method for received in bench.events.requests] == ["INVITE", "ACK", "ACK", "ACK"]
    bench.advance(40)
    assert not bench.events.unacknowledged


# CANCEL


def test_a_cancelled_invite_gets_its_487_and_only_one_final_response() -> None:
    """FAULTS 25."""
    bench = Bench()
    invite = request("INVITE")
    bench.receive(invite)
    bench.events.requests[0].reply(180)
    bench.engine.flush()
    bench.sent.take()
    for _ in range(2):
        bench.receive(cancel_of(invite))
    replies = bench.sent.take()
    assert [(status_of(octets), header(octets, "CSeq")) for octets in replies] == [(200, "1 CANCEL")] * 2
    assert bench.events.cancelled == bench.events.requests
    bench.events.requests[0].reply(487)
    bench.events.requests[0].reply(200)
    bench.engine.flush()
    (final,) = bench.sent.take()
    assert status_of(final) == 487
    assert header(final, "To") == header(replies[0], "To")


def test_a_cancel_after_the_answer_changes_nothing() -> None:
    bench = Bench(lambda received: received.reply(200))
    bench.receive(request("INVITE"))
    bench.receive(cancel_of(request("INVITE")))
    assert bench.sent.statuses() == [200, 200]
    assert not bench.events.cancelled


@pytest.mark.parametrize("host", ["198.51.100.66", None])
def test_a_cancel_from_elsewhere_or_for_nothing_gets_481(host: str | None) -> None:
    """FAULTS 25: another port of the same host is a NAT that moved, another host is somebody else."""
    bench = Bench()
    if host is not None:
        bench.receive(request("INVITE"))
    flow = bench.engine.datagram_flow(bench.local, host or "192.0.2.9", 5999)
    bench.receive(cancel_of(request("INVITE")), flow)
    assert bench.sent.statuses() == [481]
    assert not bench.events.cancelled
    if host is not None:
        bench.receive(cancel_of(request("INVITE")), bench.engine.datagram_flow(bench.local, "192.0.2.9", 5999))
        assert bench.sent.statuses() == [200]
