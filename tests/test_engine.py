"""The engine's batches, ways in and ways out; what transactions do is in test_transactions.py."""

from __future__ import annotations

import logging
import socket

import pytest
from engine_kit import KEY, LOCAL, PEER, Bench, Events, Receiver, Sent, header, request, response_to, status_of

from sipcore._batch import DatagramSocket
from sipcore._engine import Engine
from sipcore._message import Request, parse
from sipcore.errors import TransportError, UsageError

# batches


def test_a_reply_made_in_a_handler_leaves_when_the_batch_ends() -> None:
    at_the_time: list[int] = []

    def answer(request: Request) -> None:
        request.reply(200)
        at_the_time.append(len(bench.sent))

    bench = Bench(answer)
    bench.receive(request())
    assert at_the_time == [0]
    assert bench.sent.statuses() == [200]


def test_a_reply_made_later_wakes_the_driver_once_and_leaves_with_flush() -> None:
    woken: list[int] = []
    engine = Engine(key=KEY, now=1.0, on_wake=lambda: woken.append(1))
    events, sent = Events(), Sent()
    local = engine.add_local("udp", *LOCAL, user_agent=engine.add_user_agent(events), sender=sent)
    flow = engine.datagram_flow(local, *PEER)
    for branch in ("z9hG4bKa", "z9hG4bKb"):
        engine.receive(request(branch=branch, call_id=branch).encode(), flow, 1.0)
    assert not woken
    for pending in events.requests:
        pending.reply(200)
    assert woken == [1]
    assert not sent
    engine.flush()
    assert sent.statuses() == [200, 200]
    engine.start_timer(5.0, lambda: None)
    assert woken == [1, 1]


def test_the_engine_is_not_entered_from_a_callback() -> None:
    refused: list[str] = []

    def answer(received: Request) -> None:
        for enter in (
            lambda: bench.receive(request(branch="z9hG4bKinner")),
            lambda: bench.engine.handle_timers(bench.now),
            lambda: bench.engine.receive_stream(b"", bench.flow, bench.now),
        ):
            with pytest.raises(UsageError) as error:
                enter()
            refused.append(str(error.value))
        received.reply(200)

    bench = Bench(answer)
    bench.receive(request())
    assert len(refused) == 3
    assert bench.sent.statuses() == [200]


def test_a_request_sent_from_a_handler_leaves_with_the_batch() -> None:
    receiver = Receiver()

    def answer(received: Request) -> None:
        bench.engine.send_request(bench.request("MESSAGE"), bench.flow, receiver, bench.now)
        received.reply(202)

    bench = Bench(answer)
    bench.receive(request())
    ours, reply = bench.sent.take()
    assert (ours[:8], status_of(reply)) == (b"MESSAGE ", 202)
    bench.receive(response_to(ours, 200))
    assert receiver.statuses == [200]


def test_a_handler_that_fails_is_answered_for_and_the_batch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """FAULTS 56: only that transaction gets 500."""

    def answer(received: Request) -> None:
        if received.call_id == "bad":
            raise ValueError("the application has a bug")
        received.reply(200)

    bench = Bench(answer)
    flow, stream = bench.connect()
    octets = "".join(request(call_id=name, branch=f"z9hG4bK{name}", transport="TCP") for name in ("one", "bad", "two"))
    with caplog.at_level(logging.ERROR):
        assert bench.engine.receive_stream(octets.encode(), flow, bench.now)
    assert stream.written[0].count(b"SIP/2.0 200") == 2
    assert stream.written[0].count(b"SIP/2.0 500") == 1
    assert "the application has a bug" in caplog.text


def test_an_interrupt_finishes_the_batch_first() -> None:
    def answer(received: Request) -> None:
        received.reply(200)
        if received.call_id == "one":
            raise KeyboardInterrupt

    bench = Bench(answer)
    flow, stream = bench.connect()
    octets = "".join(request(call_id=name, branch=f"z9hG4bK{name}", transport="TCP") for name in ("one", "two"))
    with pytest.raises(KeyboardInterrupt):
        bench.engine.receive_stream(octets.encode(), flow, bench.now)
    assert stream.written[0].count(b"SIP/2.0 200") == 2
    assert not bench.engine.in_batch
    bench.receive(request(branch="z9hG4bKafter", call_id="after"))
    assert bench.sent.statuses() == [200]


def test_a_sender_that_fails_loses_its_datagrams_and_nothing_else() -> None:
    class Broken(Sent):
        def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None:
            raise OSError("no network")

    bench = Bench(lambda received: received.reply(200))
    local = bench.engine.add_local("udp", "192.0.2.1", 5062, user_agent=bench.agent, sender=Broken())
    bench.receive(request(), bench.engine.datagram_flow(local, *PEER))
    bench.receive(request(branch="z9hG4bK2", call_id="2"))
    assert bench.sent.statuses() == [200]
    assert bench.engine.stats()["dropped"] == 1


# datagrams


@pytest.mark.parametrize("octets", [b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"\r\n" * 1000, b"\0" * 65507])
def test_a_datagram_of_nothing_is_dropped_unanswered(octets: bytes) -> None:
    """FAULTS 17."""
    bench = Bench()
    bench.receive(octets)
    assert not bench.sent
    assert bench.engine.stats()["keep_alives"] == 1


@pytest.mark.parametrize(
    ("host", "port"),
    [("255.255.255.255", 5060), ("224.0.0.1", 5060), ("239.1.2.3", 5060), ("0.0.0.0", 5060), ("192.0.2.9", 0), LOCAL],
)
def test_nothing_is_sent_where_nothing_may_go(host: str, port: int) -> None:
    """FAULTS 19."""
    bench = Bench()
    with pytest.raises(TransportError):
        bench.engine.datagram_flow(bench.local, host, port)


def test_a_wildcard_listener_does_not_talk_to_itself() -> None:
    bench = Bench()
    local = bench.engine.add_local("udp", "0.0.0.0", 5064, user_agent=bench.agent, sender=bench.sent)
    with pytest.raises(TransportError):
        bench.engine.datagram_flow(local, "127.0.0.1", 5064)
    assert bench.engine.datagram_flow(local, "127.0.0.1", 5065)


def test_one_user_agent_may_call_another_in_one_process() -> None:
    """SPEC A8: their transactions are apart, though the message is the same."""
    bench = Bench()
    other = Bench(events=Events())
    callee = bench.engine.add_user_agent(other.events)
    local = bench.engine.add_local("udp", "192.0.2.1", 5064, user_agent=callee, sender=bench.sent)
    octets = request("INVITE", branch="z9hG4bKsame")
    bench.receive(octets)
    bench.receive(octets, bench.engine.datagram_flow(local, *LOCAL))
    assert len(bench.events.requests) == len(other.events.requests) == 1


def test_a_real_socket_is_read_and_written_in_batches() -> None:
    """One wake takes up to 4 x 64 datagrams and says whether more may wait."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        for sock in (ours, peer):
            sock.bind(("127.0.0.1", 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        ours.setblocking(False)
        peer.settimeout(5)
        peer.connect(ours.getsockname())
        events = Events(lambda received: received.reply(200))
        engine = Engine(key=KEY, now=1.0)
        datagrams = DatagramSocket(ours.fileno())
        local = engine.add_local("udp", *ours.getsockname(), user_agent=engine.add_user_agent(events), sender=datagrams)
        count = 100
        for number in range(count):
            peer.send(request(branch=f"z9hG4bK{number}", call_id=str(number)).encode())
        peer.send(b"\r\n\r\n")
        assert not engine.receive_batch(datagrams, local, 2.0)
        assert [header(peer.recv(65536), "Call-ID") for _ in range(count)] == [str(n) for n in range(count)]
        for number in range(300):
            peer.send(request(branch=f"z9hG4bKn{number}", call_id=f"n{number}").encode())
        assert engine.receive_batch(datagrams, local, 2.0)
        assert len(events.requests) == count + 256
        assert not engine.receive_batch(datagrams, local, 2.0)
        assert len(events.requests) == count + 300
        assert engine.stats()["keep_alives"] == 1


def test_a_response_goes_to_the_source_and_says_so_in_via() -> None:
    """RFC 3261 section 18.2.1 and RFC 3581: received and rport in the top Via, the flow is the destination."""
    bench = Bench(lambda received: received.reply(200))
    flow = bench.engine.datagram_flow(bench.local, "198.51.100.7", 40000)
    bench.receive(request(via="SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKnat"), flow)
    (octets, host, port) = bench.sent[0]
    assert (host, port) == ("198.51.100.7", 40000)
    via = parse(octets).top_via
    assert via is not None
    assert (via.received, via.rport) == ("198.51.100.7", 40000)


def test_a_truncated_or_foreign_message_is_counted_and_dropped() -> None:
    bench = Bench()
    for octets in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n",
        b"\xff" * 500,
    ):
        bench.receive(octets)
    assert not bench.sent
    stats = bench.engine.stats()
    assert stats["malformed_requests"] + stats["malformed_responses"] == 4


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (request().replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia", 1), 505),
        (request().replace("Content-Length: 0", "Content-Length: -1"), 400),
        (request().replace("CSeq: 1 OPTIONS", "CSeq: 4294967296 OPTIONS"), 400),
        (request().replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"), 400),
    ],
)
def test_a_malformed_request_is_answered_when_enough_of_it_is_there(octets: str, status: int) -> None:
    bench = Bench()
    bench.receive(octets)
    assert bench.sent.statuses() == [status]
    assert not bench.events.requests
    assert bench.live() == 0


def test_a_malformed_ack_or_one_without_a_way_back_is_not_answered() -> None:
    bench = Bench()
    bench.receive(request("ACK").replace("Content-Length: 0", "Content-Length: x"))
    bench.receive(request().replace("Via:", "X-Via:").replace("Content-Length: 0", "Content-Length: x"))
    assert not bench.sent


# streams


def test_a_stream_in_any_chunks_gives_the_same_messages() -> None:
    """FAULTS 13, with keep-alives in between: one pong for each ping."""
    octets = (
        "\r\n\r\n".join(request(branch=f"z9hG4bK{n}", call_id=str(n), transport="TCP") for n in range(5))
    ).encode()
    for size in (1, 7, 100, len(octets)):
        bench = Bench(lambda received: received.reply(200))
        flow, stream = bench.connect()
        for at in range(0, len(octets), size):
            assert bench.engine.receive_stream(octets[at : at + size], flow, bench.now)
        written = b"".join(stream.take())
        assert [message.call_id for message in bench.events.requests] == list("01234")
        assert written.count(b"SIP/2.0 200 OK") == 5
        assert written.count(b"\r\n\r\n\r\n") == 4


def test_a_malformed_message_of_a_stream_is_answered_and_ends_it() -> None:
    bench = Bench(lambda received: received.reply(200))
    flow, stream = bench.connect()
    bad = request(transport="TCP").replace("Content-Length: 0", "Content-Length: five")
    following = request(branch="z9hG4bKnext", transport="TCP")
    assert not bench.engine.receive_stream((bad + following).encode(), flow, bench.now)
    assert [status_of(octets) for octets in stream.take()] == [400]
    assert not bench.events.requests


def test_a_message_that_has_begun_is_pending() -> None:
    bench = Bench()
    flow, _ = bench.connect()
    octets = request(transport="TCP").encode()
    assert bench.engine.receive_stream(octets[:50], flow, bench.now)
    assert bench.engine.stream_pending(flow)
    assert bench.engine.receive_stream(octets[50:], flow, bench.now)
    assert not bench.engine.stream_pending(flow)


def test_a_pong_is_told_to_who_asks() -> None:
    class Keeper(Events):
        pongs: list[int] = []  # noqa: RUF012

        def on_pong(self, flow: int) -> None:
            self.pongs.append(flow)

    events = Keeper()
    bench = Bench(events=events)
    flow, _ = bench.connect()
    bench.engine.receive_stream(b"\r\n", flow, bench.now)
    assert events.pongs == [flow]


def test_a_connection_whose_queue_is_full_is_closed_and_its_requests_fail() -> None:
    """FAULTS 14."""
    bench = Bench()
    flow, stream = bench.connect()
    _, receiver, _ = bench.send("MESSAGE", flow=flow)
    stream.is_full = True
    bench.engine.send(b"\r\n\r\n", flow)
    bench.engine.flush()
    assert stream.closed
    assert receiver.errors == ["its queue is full"]
    with pytest.raises(TransportError):
        bench.engine.send(b"\r\n\r\n", flow)
    assert bench.live() == 0


def test_a_lost_connection_ends_its_client_transactions_but_not_a_ringing_call() -> None:
    """SPEC C6."""
    bench = Bench()
    flow, _ = bench.connect()
    _, message, _ = bench.send("MESSAGE", flow=flow)
    _, calling, _ = bench.send("INVITE", flow=flow)
    _, ringing, invite = bench.send("INVITE", flow=flow)
    bench.receive(response_to(invite, 180), flow)
    bench.engine.remove_connection(flow, "reset by peer", bench.now)
    assert message.errors == calling.errors == ["reset by peer"]
    assert not ringing.errors
    other, stream = bench.connect(port=6001)
    bench.receive(response_to(invite, 200), other)
    assert ringing.statuses == [180, 200]
    assert not stream.take()


def test_a_connection_closed_from_a_handler_is_closed_when_the_batch_ends() -> None:
    def answer(received: Request) -> None:
        bench.engine.remove_connection(received.flow, "closed here", bench.now)
        received.reply(200)

    bench = Bench(answer)
    flow, stream = bench.connect()
    octets = "".join(request(branch=f"z9hG4bK{n}", call_id=str(n), transport="TCP") for n in range(2))
    bench.engine.receive_stream(octets.encode(), flow, bench.now)
    assert b"".join(stream.take()).count(b"SIP/2.0 200") == 2
    with pytest.raises(TransportError):
        bench.engine.flow_info(flow)
    assert not bench.engine.receive_stream(b"more", flow, bench.now)


# names, flows, timers, limits


def test_names_are_of_one_width_and_do_not_repeat() -> None:
    """Fixed width: UDP_SEGMENT merges messages of equal size."""
    engine = Bench().engine
    branches = {engine.new_branch() for _ in range(1000)}
    tags = {engine.new_tag() for _ in range(1000)}
    calls = {engine.new_call_id() for _ in range(1000)}
    assert len(branches) == len(tags) == len(calls) == 1000
    assert {len(branch) for branch in branches} == {7 + 32}
    assert all(branch.startswith("z9hG4bK") for branch in branches)
    assert Bench().engine.new_branch() == Bench().engine.new_branch(), "reproducible for one key"
    other = Engine(key=bytes(16), now=0.0)
    assert other.new_branch() != Bench().engine.new_branch()


def test_to_tag_is_what_the_response_will_carry() -> None:
    bench = Bench()
    bench.receive(request("INVITE"))
    tag = bench.engine.to_tag(bench.events.requests[0])
    bench.events.requests[0].reply(180)
    bench.events.requests[0].reply(200)
    bench.engine.flush()
    for octets in bench.sent.take():
        to = parse(octets).to
        assert to is not None and to.tag == tag
    bench.receive(request("BYE", to_tag="theirs", branch="z9hG4bKbye"))
    assert bench.engine.to_tag(bench.events.requests[1]) == "theirs"


def test_a_flow_says_where_it_leads() -> None:
    bench = Bench()
    assert bench.engine.flow_info(bench.flow) == ("udp", *LOCAL, *PEER)
    assert bench.engine.local_sent_by(bench.local) == bench.engine.flow_sent_by(bench.flow) == "192.0.2.1:5060"
    assert bench.engine.flow_local(bench.flow) == bench.local
    flow, _ = bench.connect()
    assert bench.engine.flow_info(flow)[0] == "tcp"
    bench.engine.remove_local(bench.local)
    with pytest.raises(TransportError):
        bench.engine.flow_info(bench.flow)


def test_policy_timers_run_once_in_order_and_can_be_cancelled() -> None:
    bench = Bench()
    rung: list[str] = []
    bench.engine.start_timer(bench.now + 2, lambda: rung.append("two"))
    bench.engine.start_timer(bench.now + 1, lambda: rung.append("one"))
    never = bench.engine.start_timer(bench.now + 1.5, lambda: rung.append("never"))
    assert bench.engine.cancel_timer(never)
    assert not bench.engine.cancel_timer(never)
    bench.advance(0.9)
    assert not rung
    bench.advance(2)
    assert rung == ["one", "two"]
    assert bench.engine.next_timer() is None


def test_a_timer_that_starts_itself_anew_does_not_hold_the_batch() -> None:
    bench = Bench()
    rung: list[float] = []

    def ring() -> None:
        rung.append(bench.now)
        bench.engine.start_timer(bench.now, ring)

    bench.engine.start_timer(bench.now, ring)
    bench.engine.handle_timers(bench.now + 1)
    assert len(rung) <= 2


def test_a_great_many_timers_due_at_once_leave_turns_to_others() -> None:
    bench = Bench(lambda received: received.reply(200))
    for number in range(10_000):
        bench.receive(request(branch=f"z9hG4bK{number}", call_id=str(number)))
    bench.now += 33
    bench.engine.handle_timers(bench.now)
    left = bench.engine.stats()["server_transactions"]
    assert 0 < left < 10_000
    due = bench.engine.next_timer()
    assert due is not None and due <= bench.now
    bench.engine.handle_timers(bench.now)
    assert bench.live() == 0
    assert bench.engine.next_timer() is None


def test_a_refusal_that_nobody_was_asked_for_is_one_datagram() -> None:
    """FAULTS 22 and 26, RFC 3261 section 8.2.7: no transaction, its ACK absorbed, refused alike when it comes again."""
    bench = Bench()
    bench.events.answer = lambda received: bench.engine.refuse(received, 420, headers=[("Unsupported", "x")])
    for _ in range(2):
        bench.receive(request("INVITE"))
    refusals = bench.sent.take()
    assert [status_of(octets) for octets in refusals] == [420, 420]
    assert len(set(refusals)) == 1
    assert bench.live() == 0
    bench.receive(request("ACK", to_tag=bench.engine.to_tag(bench.events.requests[0])))
    assert len(bench.events.requests) == 2
    bench.advance(40)
    assert not bench.sent
    bench.receive(request("NOTIFY", branch="z9hG4bKn", call_id="n"))
    assert bench.sent.statuses() == [420]
    assert bench.live() == 0


def test_what_was_answered_before_is_refused_with_its_transaction() -> None:
    bench = Bench()
    bench.receive(request("INVITE"))
    bench.events.requests[0].reply(180)
    for _ in range(2):
        bench.engine.refuse(bench.events.requests[0], 420)
    bench.engine.flush()
    assert bench.sent.statuses() == [180, 420], "never two finals"
    assert bench.engine.stats()["server_transactions"] == 1
    bench.advance(40)
    assert bench.live() == 0


def test_stateless_methods_make_no_transaction() -> None:
    """RFC 3261 section 8.2.7: the same To tag for each repetition."""
    bench = Bench(lambda received: received.reply(200))
    bench.engine.set_stateless_methods(bench.agent, ["OPTIONS", "FLY"])
    for method in ("OPTIONS", "OPTIONS", "FLY", "FLY"):
        bench.receive(request(method))
    assert len(bench.events.requests) == 4
    assert bench.live() == 0
    assert len({header(octets, "To") for octets in bench.sent.take()}) == 1
    bench.receive(request("MESSAGE", call_id="m"))
    assert bench.live() == 1
    with pytest.raises(UsageError):
        bench.engine.set_stateless_methods(bench.agent, ["INVITE"])


def test_a_removed_user_agent_hears_nothing() -> None:
    bench = Bench()
    bench.engine.remove_user_agent(bench.agent)
    bench.receive(request())
    assert not bench.events.requests
    assert bench.engine.stats()["unserved"] == 1


@pytest.mark.parametrize("now", [-3600.0, 315_360_000.0])
def test_a_clock_that_jumps_ends_nothing_early_and_repeats_once(now: float) -> None:
    """FAULTS 52: one retransmission for each transaction and call, whatever the jump; time never goes back."""
    bench = Bench()
    _, receiver, _ = bench.send("INVITE")
    bench.sent.take()
    bench.engine.handle_timers(bench.now + min(now, 20.0))
    assert len(bench.sent.take()) == (1 if now > 0 else 0)
    bench.engine.handle_timers(bench.now + now)
    assert receiver.timeouts == (1 if now > 0 else 0)
    assert not bench.sent.take()


def test_close_forgets_everything_in_silence() -> None:
    bench = Bench()
    bench.receive(request("INVITE"))
    _, receiver, _ = bench.send()
    bench.engine.start_timer(bench.now + 1, lambda: None)
    bench.engine.close()
    assert bench.live() == 0
    assert not receiver.timeouts
    bench.events.requests[0].reply(200)
    bench.engine.flush()
