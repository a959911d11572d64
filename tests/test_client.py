"""Client transactions (RFC 3261 sections 9.1 and 17.1, RFC 6026)."""

from __future__ import annotations

import pytest
from engine_kit import Bench, method_of, request, response_to

from sipcore._message import Request, parse
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


# what the network could not deliver (RFC 3261 sections 8.1.3.1 and 18.4)


def report(bench: Bench, quote: bytes, host: str = "192.0.2.9", port: int = 5070) -> dict[str, int]:
    bench.engine.receive_failure(quote, bench.local, host, port, "Connection refused", bench.now)
    return bench.engine.stats()


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "FLY"])
def test_an_unreachable_port_ends_the_transaction_at_once(method: str) -> None:
    """FAULTS 40: an error that quotes the branch, though not the whole request."""
    bench = Bench()
    _, receiver, octets = bench.send(method)
    _, other, _ = bench.send(method)
    stats = report(bench, octets[:200])
    assert receiver.errors == ["Connection refused"]
    assert not other.errors
    assert (stats["unreachable"], stats["stray_unreachable"], stats["client_transactions"]) == (1, 0, 1)
    assert report(bench, octets[:200])["stray_unreachable"] == 1, "repeated"


def test_an_error_that_names_none_of_our_requests_ends_nothing() -> None:
    """It may be forged: only the branch is a secret.  Nor does one about an address that we did not ask."""
    bench = Bench()
    _, receiver, octets = bench.send()
    branch = octets[octets.index(b"z9hG4bK") : octets.index(b"z9hG4bK") + 39]
    forged = [octets[:60], octets[: octets.index(b"z9hG4bK") + 20], octets.replace(branch, b"z9hG4bK" + bytes(32))]
    for quote in (*forged, b"", b"\0" * 576, response_to(octets, 200).encode(), octets.replace(b"OPTIONS", b"MESSAGE")):
        report(bench, quote)
    report(bench, octets, "192.0.2.8")
    report(bench, octets, port=5071)
    report(bench, octets, "0.0.0.0")
    assert not receiver.errors
    assert bench.engine.stats()["unreachable"] == 0
    report(bench, octets)
    assert receiver.errors


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_a_far_side_that_has_answered_is_not_unreachable(method: str) -> None:
    bench = Bench()
    _, receiver, octets = bench.send(method)
    bench.receive(response_to(octets, 100))
    report(bench, octets)
    assert not receiver.errors
    bench.receive(response_to(octets, 200))
    assert receiver.statuses == [100, 200]


def test_an_error_about_an_answer_of_ours_changes_nothing() -> None:
    bench = Bench(lambda received: received.reply(486))
    bench.receive(request("INVITE"))
    (answer,) = bench.sent.take()
    report(bench, answer)
    assert bench.engine.stats()["server_transactions"] == 1
