"""What transactions do (RFC 3261 section 17, RFC 6026, RFC 4320), seen from both ends of one engine."""

from __future__ import annotations

import sys

import pytest
from engine_kit import Bench, Receiver, header, method_of, request, response_to, status_of

from sipcore._message import Request, Response, parse
from sipcore.errors import TransportError, UsageError

# client transactions


@pytest.mark.parametrize(("method", "sends"), [("INVITE", 7), ("OPTIONS", 11)])
def test_a_silent_peer_is_asked_as_often_as_the_rfc_says(method: str, sends: int) -> None:
    """FAULTS 21: Timer A doubles, Timer E stops at T2; Timer B or F ends it after 32 s."""
    bench = Bench()
    _, receiver, octets = bench.send(method)
    bench.advance(31.9)
    assert not receiver.timeouts
    bench.advance(0.2)
    assert bench.sent.take() == [octets] * sends
    assert receiver.timeouts == 1
    assert bench.live() == 0


def test_ringing_longer_than_timer_b_is_not_a_timeout() -> None:
    bench = Bench()
    _, receiver, octets = bench.send("INVITE")
    bench.receive(response_to(octets, 180))
    bench.advance(600)
    assert not receiver.timeouts
    bench.receive(response_to(octets, 200))
    assert receiver.statuses == [180, 200]


def test_a_2xx_is_not_acked_by_the_transaction_and_each_one_goes_up() -> None:
    """RFC 6026: the Accepted state hears the 2xx of every fork, until Timer M."""
    bench = Bench()
    _, receiver, octets = bench.send("INVITE")
    bench.sent.take()
    for tag in ("one", "two", "one"):
        bench.receive(response_to(octets, 200, to_tag=tag))
    assert receiver.statuses == [200, 200, 200]
    assert not bench.sent
    bench.advance(33)
    assert bench.live() == 0
    bench.receive(response_to(octets, 200, to_tag="late"))
    assert receiver.statuses == [200, 200, 200]
    assert [response.status_code for response in bench.events.stray] == [200]


def test_a_refusal_is_acked_on_the_same_branch_each_time_it_comes() -> None:
    """RFC 3261 section 17.1.1.3, Route headers included."""
    bench = Bench()
    _, receiver, octets = bench.send("INVITE", headers="Route: <sip:one;lr>, <sip:two;lr>\r\nRoute: <sip:three;lr>\r\n")
    bench.sent.take()
    for _ in range(3):
        bench.receive(response_to(octets, 486))
    acks = bench.sent.take()
    assert receiver.statuses == [486]
    assert len(acks) == 3
    assert len(set(acks)) == 1
    invite, ack = parse(octets), parse(acks[0])
    assert isinstance(ack, Request) and isinstance(invite, Request)
    assert (ack.method, ack.request_uri, ack["Via"]) == ("ACK", invite.request_uri, invite["Via"])
    assert (ack["From"], ack["Call-ID"], ack["CSeq"]) == (invite["From"], invite["Call-ID"], "1 ACK")
    assert ack["To"].endswith(";tag=to1")
    assert ack.get_all("Route") == invite.get_all("Route")
    bench.advance(33)
    assert bench.live() == 0


def test_a_response_counts_only_on_the_user_agent_that_asked() -> None:
    """SPEC A8."""
    bench = Bench()
    other = Bench()
    agent = bench.engine.add_user_agent(other.events)
    local = bench.engine.add_local("udp", "192.0.2.1", 5062, user_agent=agent, sender=bench.sent)
    _, receiver, octets = bench.send()
    bench.receive(response_to(octets, 200), bench.engine.datagram_flow(local, "192.0.2.9", 5070))
    assert not receiver.responses
    bench.receive(response_to(octets, 200))
    assert receiver.statuses == [200]


def test_a_response_of_another_method_or_branch_is_not_ours() -> None:
    bench = Bench()
    _, receiver, octets = bench.send()
    bench.receive(response_to(octets, 200).replace("CSeq: 1 OPTIONS", "CSeq: 1 CANCEL"))
    bench.receive(response_to(octets, 200).replace("branch=z9hG4bK", "branch=z9hG4bKx"))
    assert not receiver.responses
    assert bench.engine.stats()["stray_responses"] == 2


def test_a_final_response_is_heard_once() -> None:
    bench = Bench()
    _, receiver, octets = bench.send()
    for status in (100, 200, 200, 404, 100):
        bench.receive(response_to(octets, status))
    assert receiver.statuses == [100, 200]
    bench.advance(5.1)
    assert bench.live() == 0


def test_who_forgets_hears_nothing_and_the_transaction_runs_on() -> None:
    bench = Bench()
    handle, receiver, octets = bench.send("INVITE")
    bench.engine.forget(handle)
    bench.sent.take()
    bench.receive(response_to(octets, 603))
    assert [method_of(sent) for sent in bench.sent.take()] == ["ACK"]
    assert not receiver.responses


def test_what_cannot_be_sent_is_refused() -> None:
    bench = Bench()
    with pytest.raises(UsageError):
        bench.send("ACK")
    with pytest.raises(UsageError):
        bench.send(branch=None)
    bench.send(branch="z9hG4bKtwice")
    with pytest.raises(UsageError):
        bench.send(branch="z9hG4bKtwice")
    flow, _ = bench.connect()
    bench.engine.remove_connection(flow, "gone", bench.now)
    with pytest.raises(TransportError):
        bench.send(flow=flow)
    bench.engine.max_client_transactions = 1
    with pytest.raises(TransportError, match="too many"):
        bench.send()
    assert bench.engine.stats()["client_transactions"] == 1


# CANCEL


def test_a_cancel_waits_for_a_provisional_response() -> None:
    """RFC 3261 section 9.1: same branch, Request-URI, To and CSeq number; a transaction of its own."""
    bench = Bench()
    handle, receiver, octets = bench.send("INVITE", headers="Route: <sip:proxy;lr>\r\n")
    bench.sent.take()
    assert bench.engine.cancel(handle, bench.now, headers=[("Reason", "SIP;cause=200")])
    bench.engine.flush()
    assert not bench.sent
    bench.receive(response_to(octets, 180))
    (cancel,) = bench.sent.take()
    invite, sent = parse(octets), parse(cancel)
    assert isinstance(sent, Request) and isinstance(invite, Request)
    assert (sent.method, sent.request_uri, sent["Via"]) == ("CANCEL", invite.request_uri, invite["Via"])
    assert (sent["To"], sent["CSeq"], sent["Route"]) == (invite["To"], "1 CANCEL", "<sip:proxy;lr>")
    assert sent["Reason"] == "SIP;cause=200"
    bench.advance(0.6)
    assert bench.sent.take() == [cancel]
    bench.receive(response_to(cancel, 200))
    bench.receive(response_to(octets, 487))
    assert receiver.statuses == [180, 487]
    assert not bench.engine.cancel(handle, bench.now)
    bench.advance(40)
    assert bench.live() == 0


def test_a_cancelled_invite_that_is_never_answered_ends_after_64_t1() -> None:
    bench = Bench()
    handle, receiver, octets = bench.send("INVITE")
    bench.receive(response_to(octets, 180))
    assert bench.engine.cancel(handle, bench.now)
    assert bench.engine.cancel(handle, bench.now), "twice is once"
    bench.advance(31.9)
    assert not receiver.timeouts
    bench.advance(0.2)
    assert receiver.timeouts == 1
    assert sum(method_of(octets) == "CANCEL" for octets in bench.sent.take()) == 11
    assert bench.live() == 0


def test_a_cancel_crossing_the_final_response_is_not_sent() -> None:
    bench = Bench()
    handle, receiver, octets = bench.send("INVITE")
    bench.sent.take()
    bench.engine.cancel(handle, bench.now)
    bench.receive(response_to(octets, 200))
    bench.engine.flush()
    assert not bench.sent
    assert receiver.statuses == [200]


def test_only_an_invite_is_cancelled() -> None:
    bench = Bench()
    handle, _, _ = bench.send("MESSAGE")
    assert not bench.engine.cancel(handle, bench.now)


def cancel_of(invite: str) -> str:
    return invite.replace("INVITE sip", "CANCEL sip", 1).replace("1 INVITE", "1 CANCEL")


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


# which transaction a request belongs to


@pytest.mark.parametrize(
    "changed",
    [
        {"sent_by": "192.0.2.9:5071"},
        {"sent_by": "192.0.2.8:5070"},
        {"branch": "z9hG4bKabc2"},
        {"branch": "z9hG4bKabc"},
        {"method": "MESSAGE"},
        {"method": "FLY"},
        {"branch": "z9hG4bK" + "x" * 2000},
    ],
)
def test_requests_that_differ_in_branch_sent_by_or_method_are_never_merged(changed: dict[str, str]) -> None:
    """FAULTS 24."""
    bench = Bench(lambda received: received.reply(200))
    bench.receive(request())
    bench.receive(request(**{"call_id": "other", **changed}))  # type: ignore[arg-type]
    assert len(bench.events.requests) == 2
    bench.receive(request(**{"call_id": "other", **changed}))  # type: ignore[arg-type]
    assert len(bench.events.requests) == 2


@pytest.mark.parametrize("branch", ["z9hG4bK", "1", None, ""])
def test_a_branch_that_is_not_unique_matches_by_the_rules_of_rfc_2543(branch: str | None) -> None:
    """RFC 3261 section 17.2.3: Request-URI, From tag, Call-ID, CSeq, top Via; the cookie alone is no branch."""
    if branch == "":
        via: str | None = "SIP/2.0/UDP 192.0.2.9:5070"
    else:
        via = None
    bench = Bench(lambda received: received.reply(486) if received.method == "INVITE" else received.reply(200))
    bench.receive(request("INVITE", branch=branch, via=via))
    bench.receive(request("INVITE", branch=branch, via=via))
    assert len(bench.events.requests) == 1
    tag = bench.engine.to_tag(bench.events.requests[0])
    bench.receive(request("ACK", branch=branch, via=via, to_tag=tag))
    assert bench.engine.stats()["acks_absorbed"] == 1
    for changed in ({"from_tag": "x"}, {"call_id": "x"}, {"number": 2}, {"uri": "sip:x@192.0.2.1"}):
        bench.receive(request(**{"method": "MESSAGE", "branch": branch, "via": via, **changed}))  # type: ignore[arg-type]
    assert len(bench.events.requests) == 5


def test_a_merged_request_gets_482_unless_a_proxy_takes_it() -> None:
    """RFC 3261 section 8.2.2.2, FAULTS 27: the same request by two ways; per user agent."""
    bench = Bench()
    bench.receive(request("INVITE", branch="z9hG4bKone"))
    bench.receive(request("INVITE", branch="z9hG4bKtwo"))
    assert bench.sent.statuses() == [482]
    bench.receive(request("INVITE", branch="z9hG4bKthree", to_tag="in-dialog"))
    assert len(bench.events.requests) == 2
    bench.events.is_proxy = True  # type: ignore[attr-defined]
    proxy = Bench(events=bench.events)
    for branch in ("z9hG4bKone", "z9hG4bKtwo"):
        proxy.receive(request("INVITE", branch=branch))
    assert not proxy.sent


def test_floods_that_match_nothing_leave_nothing() -> None:
    """FAULTS 22 and 26: no state, no answer to an ACK or a response, at most one answer for a request."""
    bench = Bench()
    count = 2000
    for number in range(count):
        bench.receive(request("ACK", branch=f"z9hG4bK{number}"))
        bench.receive(request("ACK", branch=f"z9hG4bK{number}", to_tag="x"))
        bench.receive(response_to(request(branch=f"z9hG4bK{number}").encode(), 200))
    assert not bench.sent
    assert bench.live() == 0
    for number in range(count):
        bench.receive(cancel_of(request("INVITE", branch=f"z9hG4bK{number}")))
    assert bench.sent.statuses() == [481] * count
    assert bench.live() == 0


def test_a_reflected_answer_is_small() -> None:
    """FAULTS 22: octets out / in at most 2, one packet, before anybody is authenticated."""
    for octets in (
        request("CANCEL"),
        request("INVITE", branch="z9hG4bKm", call_id="m"),
        request().replace("70", "x7 0"),
    ):
        bench = Bench(
            lambda received: received.reply(401, headers=[("WWW-Authenticate", 'Digest realm="r", nonce="n"')])
        )
        bench.receive(octets)
        assert len(bench.sent) <= 1
        assert sum(len(sent) for sent in bench.sent.take()) <= 2 * len(octets)


@pytest.mark.parametrize("status", [401, 407])
def test_a_challenge_to_an_invite_without_credentials_is_stateless(status: int) -> None:
    """FAULTS 22, RFC 3261 section 8.2.7: Timer G would repeat it to a victim; its ACK is absorbed all the same."""
    bench = Bench(lambda received: received.reply(status) if received.method == "INVITE" else None)
    for _ in range(2):
        bench.receive(request("INVITE"))
    challenges = bench.sent.take()
    assert [status_of(octets) for octets in challenges] == [status, status]
    assert len({header(octets, "To") for octets in challenges}) == 1
    assert bench.live() == 0
    bench.receive(request("ACK", to_tag=bench.engine.to_tag(bench.events.requests[0])))
    assert [received.method for received in bench.events.requests] == ["INVITE", "INVITE"]
    bench.receive(request("INVITE", headers='Authorization: Digest username="a"\r\n', branch="z9hG4bKcred"))
    assert bench.engine.stats()["server_transactions"] == 1


def test_a_request_repeated_on_a_new_connection_is_answered_there() -> None:
    bench = Bench()
    old, _ = bench.connect()
    bench.receive(request("INVITE", transport="TCP"), old)
    bench.engine.remove_connection(old, "reset", bench.now)
    new, stream = bench.connect(port=6001)
    bench.receive(request("INVITE", transport="TCP"), new)
    bench.events.requests[0].reply(200)
    bench.engine.flush()
    assert [status_of(octets) for octets in stream.take()] == [200]
    assert len(bench.events.requests) == 1


# bounds


def test_a_server_that_is_full_refuses_new_work_and_serves_dialogs() -> None:
    """FAULTS 47 and 48: 503 with Retry-After, no transaction; requests inside dialogs come first."""
    bench = Bench()
    bench.engine.admission_limit = 10
    bench.engine.retry_after = 7
    for number in range(20):
        bench.receive(request("INVITE", branch=f"z9hG4bK{number}", call_id=str(number)))
    refusals = bench.sent.take()
    assert [status_of(octets) for octets in refusals] == [503] * 10
    assert {header(octets, "Retry-After") for octets in refusals} == {"7"}
    assert bench.engine.stats()["server_transactions"] == 10
    bench.receive(request("BYE", branch="z9hG4bKbye", to_tag="dialog", call_id="bye"))
    assert bench.events.requests[-1].method == "BYE"
    for answered in (bench.events.requests[0], bench.events.requests[-1]):
        answered.reply(486)
    bench.receive(request("INVITE", branch="z9hG4bKnew", call_id="new"))
    assert len(bench.events.requests) == 12, "an answer makes room"


def test_old_finished_transactions_make_room_for_new_ones() -> None:
    bench = Bench(lambda received: received.reply(200))
    bench.engine.max_server_transactions = 10
    for number in range(10):
        bench.receive(request(branch=f"z9hG4bK{number}", call_id=str(number)))
    bench.receive(request(branch="z9hG4bKearly", call_id="early"))
    assert bench.sent.statuses() == [200] * 10 + [503]
    bench.advance(8.1)
    bench.receive(request(branch="z9hG4bKnow", call_id="now"))
    assert bench.sent.statuses() == [200]
    assert bench.engine.stats()["forgotten_early"] == 1
    assert bench.engine.stats()["server_transactions"] == 10


@pytest.mark.parametrize("kind", ["never acknowledged", "never answered"])
def test_abandoned_invites_are_all_freed(kind: str) -> None:
    """FAULTS 23, the short form."""
    bench = Bench(lambda received: received.reply(486))
    bench.engine.admission_limit = 10_000
    for number in range(2000):
        if kind == "never acknowledged":
            bench.receive(request("INVITE", branch=f"z9hG4bK{number}", call_id=str(number)))
        else:
            bench.send("INVITE")
    assert bench.live() >= 2000
    bench.sent.clear()
    bench.advance(33)
    assert bench.live() == 0
    assert bench.engine.stats()["transaction_octets"] < 1 << 20


def test_many_forks_are_all_heard_and_freed() -> None:
    """FAULTS 28 and 29: 1,000 early dialogs, 100 answers, some without To tag or Contact."""
    bench = Bench()
    _, receiver, octets = bench.send("INVITE")
    for number in range(1000):
        bench.receive(response_to(octets, 180, to_tag=f"early{number}"))
    for number in range(100):
        bench.receive(response_to(octets, 200, to_tag=f"fork{number}" if number % 2 else ""))
    assert len(receiver.responses) == 1100
    bench.advance(33)
    assert bench.live() == 0


def test_a_finished_transaction_is_small() -> None:
    """SPEED section 2: at most 200 octets besides those of the response."""
    bench = Bench(lambda received: received.reply(200))
    count = 10_000
    for number in range(count):
        bench.receive(request(branch=f"z9hG4bK{number:08}", call_id=f"{number:08}"))
        bench.events.requests.clear()
    assert bench.engine.stats()["server_transactions"] == count
    assert bench.engine.stats()["timers"] == 0, "what is finished waits in a queue, not in the wheel"
    (octets, _, _) = bench.sent[0]
    own = bench.engine.stats()["transaction_octets"] / count
    assert own + (sys.getsizeof(octets) - len(octets)) <= 200


def test_on_a_stream_a_finished_transaction_is_gone_at_once() -> None:
    """RFC 3261 table 4: timers D, I, J and K are zero."""
    bench = Bench(lambda received: received.reply(200))
    flow, _ = bench.connect()
    bench.receive(request("MESSAGE"), flow)
    assert bench.live() == 0
    receiver = Receiver()
    message = bench.request("MESSAGE")
    bench.engine.send_request(message, flow, receiver, bench.now)
    bench.receive(response_to(bytes(message), 200), flow)
    assert receiver.statuses == [200]
    assert bench.live() == 0
