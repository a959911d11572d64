"""Which transaction a message belongs to, and the bounds of all of them."""

from __future__ import annotations

import sys

import pytest
from engine_kit import Bench, Receiver, cancel_of, header, request, response_to, status_of

# which transaction a request belongs to


@pytest.mark.parametrize("size", [64, 255, 256, 2000, 8000])
def test_long_branches_that_differ_in_their_last_octet_are_never_merged(size: int) -> None:
    """FAULTS 24: whatever is hashed of a branch, it is all of it."""
    bench = Bench(lambda received: received.reply(200))
    for last in "ab" * 2:
        bench.receive(request(branch="z9hG4bK" + "x" * size + last, call_id=last))
    assert len(bench.events.requests) == 2
    assert len(set(bench.sent.take())) == 2


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
    bench.engine.overload.admission_limit = 10
    bench.engine.overload.source_share = 1.0
    bench.engine.overload.retry_after = 7
    for number in range(20):
        bench.receive(request("INVITE", branch=f"z9hG4bK{number}", call_id=str(number)))
    refusals = bench.sent.take()
    assert [status_of(octets) for octets in refusals] == [503] * 10
    waits = {int(header(octets, "Retry-After")) for octets in refusals}
    assert min(waits) >= 7 and max(waits) <= 14 and len(waits) > 3, "they do not all come back at once"
    assert bench.engine.stats()["server_transactions"] == 10
    bench.receive(request("BYE", branch="z9hG4bKbye", to_tag="dialog", call_id="bye"))
    assert bench.events.requests[-1].method == "BYE"
    for answered in (bench.events.requests[0], bench.events.requests[-1]):
        answered.reply(486)
    bench.receive(request("INVITE", branch="z9hG4bKnew", call_id="new"))
    assert len(bench.events.requests) == 12, "an answer makes room"


def test_old_finished_transactions_make_room_for_new_ones() -> None:
    bench = Bench(lambda received: received.reply(200))
    bench.engine.overload.max_transactions = 10
    bench.engine.overload.source_share = 1.0
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
    bench.engine.overload.admission_limit = 10_000
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
