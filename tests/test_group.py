"""Workers that share an address: whose a message is, and that it is answered once, from where it came."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from engine_kit import KEY, LOCAL, PEER, Bench, Events, Receiver, cancel_of, header, request, response_to

from sipcore._engine import Engine
from sipcore.errors import UsageError

SECRET = b"a secret"
OTHER_PORT = 5099


class Workers:
    """Some engines that have one address; letters wait until `deliver`."""

    def __init__(self, count: int = 2, *, by_call: bool = False, answer=lambda request: request.reply(200)) -> None:
        self.benches = [Bench(answer) for _ in range(count)]
        self.letters: list[tuple[int, bytes]] = []
        self.deaf: set[int] = set()
        for number, bench in enumerate(self.benches):
            bench.engine.workers.join(number, SECRET, self.post)
            bench.engine.workers.know(range(count), by_call=by_call)

    def post(self, worker: int, letter: bytes) -> bool:
        if worker in self.deaf or worker >= len(self.benches):
            return False
        self.letters.append((worker, letter))
        return True

    def deliver(self) -> int:
        """Hand out letters until there are none; how many there were."""
        count = 0
        while self.letters:
            count += 1
            worker, letter = self.letters.pop(0)
            bench = self.benches[worker]
            bench.engine.receive_letters([letter], bench.now)
        return count

    def heard(self) -> list[list[str]]:
        """The methods that each worker's application has heard of."""
        return [[one.method for one in bench.events.requests] for bench in self.benches]

    def sent(self) -> list[list[int]]:
        """The status codes (0: a request) that each worker has sent since the last call."""
        return [bench.sent.statuses() for bench in self.benches]


def engine_of(worker: int | None, key: bytes = KEY) -> Engine:
    engine = Engine(key=key, now=0.0)
    if worker is not None:
        engine.workers.join(worker, SECRET, lambda to, letter: True)
    return engine


# names


@pytest.mark.parametrize("worker", [0, 1, 2, 127, 255])
def test_names_say_which_worker_made_them(worker):
    engine, reader = engine_of(worker), engine_of(3)
    names = [make().encode() for _ in range(200) for make in (engine.new_branch, engine.new_tag, engine.new_call_id)]
    assert {reader.workers.worker_of(name) for name in names} == {worker}
    assert len(set(names)) == len(names)


def test_the_tag_of_an_answer_says_who_gave_it():
    workers = Workers()
    workers.benches[1].receive(request())
    tag = header(workers.benches[1].sent.take()[0], "To").partition(";tag=")[2]
    assert workers.benches[0].engine.workers.worker_of(tag.encode()) == 1


def test_names_have_the_same_size_with_and_without_workers():
    alone, one = engine_of(None), engine_of(7)
    for make in ("new_branch", "new_tag", "new_call_id"):
        assert len(getattr(alone, make)()) == len(getattr(one, make)())


def test_an_engine_that_stands_alone_makes_the_names_that_it_always_made():
    alone, one = engine_of(None), engine_of(0)
    assert alone.workers.worker is None
    assert alone.new_tag()[-10:] == one.new_tag()[-10:]
    assert alone.workers.worker_of(one.new_tag().encode()) is None


def test_no_digit_of_a_name_gives_its_worker_away():
    """Each hexadecimal digit of the sealed part takes every value, about as often, whoever made the name."""
    for worker in (0, 255):
        engine = engine_of(worker)
        tags = [engine.new_tag() for _ in range(4_000)]
        for place in range(16):
            counts = Counter(tag[place] for tag in tags)
            assert len(counts) == 16
            assert max(counts.values()) < 2 * min(counts.values()), (worker, place, counts)


def test_foreign_names_are_hardly_ever_taken_for_ours():
    ours, theirs = engine_of(0), engine_of(None, key=bytes(16))
    taken = sum(ours.workers.worker_of(theirs.new_tag().encode()) is not None for _ in range(50_000))
    assert taken <= 8, "1 in 65,536 is expected"


@pytest.mark.parametrize("name", [b"", b"z9hG4bK", b"abc", b"0123456789ABCDEF", b"z9hG4bK0123456789abcde", b"g" * 16])
def test_what_is_no_name_of_ours_has_no_worker(name):
    assert engine_of(0).workers.worker_of(name) is None


def test_another_group_cannot_read_the_numbers():
    engine = Engine(key=KEY, now=0.0)
    engine.workers.join(1, b"elsewhere"[:8], lambda to, letter: True)
    assert sum(engine_of(0).workers.worker_of(engine.new_tag().encode()) is not None for _ in range(1_000)) <= 1


def test_a_number_out_of_range_and_a_short_secret_are_refused():
    engine = Engine(key=KEY, now=0.0)
    for number, secret in ((-1, SECRET), (256, SECRET), (0, b"short")):
        with pytest.raises(UsageError):
            engine.workers.join(number, secret, lambda to, letter: True)
    with pytest.raises(UsageError, match="27"):
        engine.workers.know(range(28))


# whose a message is


def test_a_response_that_lands_elsewhere_reaches_its_transaction():
    workers = Workers()
    one, other = workers.benches
    _, receiver, octets = one.send()
    other.receive(response_to(octets, 200))
    assert workers.deliver() == 1
    assert receiver.statuses == [200]
    assert other.engine.stats()["stray_responses"] == 0


def test_an_in_dialog_request_on_another_port_is_answered_by_its_owner():
    workers = Workers()
    one, other = workers.benches
    one.receive(request("INVITE"))
    tag = header(one.sent.take()[0], "To").partition(";tag=")[2]
    other.receive(request("ACK", branch="z9hG4bKack", to_tag=tag))
    moved = other.engine.datagram_flow(other.local, PEER[0], OTHER_PORT)
    other.receive(request("BYE", branch="z9hG4bKbye", to_tag=tag, number=2, sent_by=f"{PEER[0]}:{OTHER_PORT}"), moved)
    workers.deliver()
    assert workers.heard() == [["INVITE", "ACK", "BYE"], []]
    assert [(one.sent[0][1], one.sent[0][2])] == [(PEER[0], OTHER_PORT)]
    assert workers.sent() == [[200], []]


def test_a_retransmission_that_is_handed_over_is_absorbed_there():
    workers = Workers()
    one, other = workers.benches
    one.receive(request("INVITE"))
    tag = header(one.sent.take()[0], "To").partition(";tag=")[2]
    for bench in (one, other, other):
        bench.receive(request("INFO", branch="z9hG4bKinfo", to_tag=tag, number=2))
    workers.deliver()
    assert workers.heard() == [["INVITE", "INFO"], []]
    assert workers.sent() == [[200, 200, 200], []]


def test_the_ack_to_a_refusal_is_absorbed_by_who_refused():
    workers = Workers(answer=lambda request: request.reply(486))
    one, other = workers.benches
    one.receive(request("INVITE"))
    tag = header(one.sent.take()[0], "To").partition(";tag=")[2]
    other.receive(request("ACK", to_tag=tag))
    workers.deliver()
    one.advance(10)
    assert one.sent.take() == [], "Timer G was stopped by the ACK"


def test_a_cancel_from_another_port_finds_its_invite():
    workers = Workers(4, answer=lambda request: None)
    invite = request("INVITE")
    workers.benches[2].receive(invite)
    workers.benches[0].receive(cancel_of(invite))
    workers.deliver()
    assert [len(bench.events.cancelled) for bench in workers.benches] == [0, 0, 1, 0]
    assert [statuses for statuses in workers.sent() if statuses] == [[200]]


def test_a_cancel_of_nothing_is_refused_once_and_by_one():
    workers = Workers(4)
    workers.benches[0].receive(cancel_of(request("INVITE")))
    assert workers.deliver() == 3, "each other worker is asked once"
    assert [status for statuses in workers.sent() for status in statuses] == [481]


def test_a_new_request_stays_where_it_came_in():
    workers = Workers()
    workers.benches[1].receive(request())
    assert not workers.letters
    assert workers.heard() == [[], ["OPTIONS"]]


def test_what_names_nobody_can_be_spread_by_call_id():
    """For one peer that sends everything from one port; all of a call goes to one worker, wherever it comes in."""
    workers = Workers(3, by_call=True, answer=lambda request: None)
    for number in range(60):
        invite = request("INVITE", call_id=f"call{number}", branch=f"z9hG4bK{number}")
        workers.benches[0].receive(invite)
        workers.deliver()
        workers.benches[number % 3].receive(cancel_of(invite))
        workers.deliver()
    invites = [len(bench.events.requests) for bench in workers.benches]
    assert invites == [len(bench.events.cancelled) for bench in workers.benches]
    assert sum(invites) == 60
    assert min(invites) > 10


def test_a_proxy_does_not_read_the_tags_of_others():
    """Behind a proxy a To tag belongs to whoever answers there."""
    workers = Workers()
    one, other = workers.benches
    for bench in workers.benches:
        bench.agent = bench.engine.add_user_agent(type("Proxy", (Events,), {"is_proxy": True})())
        bench.local = bench.engine.add_local("udp", LOCAL[0], 5062, user_agent=bench.agent, sender=bench.sent)
    flow = other.engine.datagram_flow(other.local, *PEER)
    other.receive(request("BYE", to_tag=one.engine.new_tag()), flow)
    assert not workers.letters


def test_a_worker_that_takes_no_letter_does_not_make_a_message_vanish():
    workers = Workers()
    one, other = workers.benches
    workers.deaf.add(0)
    other.receive(request("BYE", to_tag=one.engine.new_tag()))
    assert workers.heard() == [[], ["BYE"]]
    assert other.engine.workers.refused == 1


def test_a_name_of_a_worker_that_does_not_exist_is_handled_here():
    workers = Workers()
    workers.benches[0].receive(request("BYE", to_tag=engine_of(9).new_tag()))
    assert workers.heard() == [["BYE"], []]


def test_a_letter_is_never_handed_over_again():
    """Two workers that disagree about an owner do not play ping-pong."""
    workers = Workers(by_call=True)
    workers.benches[1].engine.workers.know([1, 0], by_call=True)
    for number in range(8):
        workers.benches[0].receive(request(call_id=f"call{number}", branch=f"z9hG4bK{number}"))
    assert workers.deliver() <= 8
    assert [status for statuses in workers.sent() for status in statuses] == [200] * 8


def test_malformed_messages_and_keep_alives_stay():
    workers = Workers(by_call=True)
    for octets in (
        b"\r\n\r\n",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\0" * 10,
        request(call_id=""),
    ):
        workers.benches[0].receive(octets)
    assert not workers.letters


def test_an_ipv6_address_travels_in_a_letter():
    workers = Workers()
    flows = []
    for bench in workers.benches:
        bench.local = bench.engine.add_local("udp", "2001:db8::1", 5060, user_agent=bench.agent, sender=bench.sent)
        flows.append(bench.engine.datagram_flow(bench.local, "2001:db8::9", 5070))
    one, other = workers.benches
    other.receive(request("BYE", to_tag=one.engine.new_tag()), flows[1])
    workers.deliver()
    assert [entry[1:] for entry in one.sent] == [("2001:db8::9", 5070)]


def test_a_letter_for_an_address_that_is_not_here_is_counted_and_dropped():
    workers = Workers()
    one, other = workers.benches
    local = other.engine.add_local("udp", LOCAL[0], 5098, user_agent=other.agent, sender=other.sent)
    other.receive(request("BYE", to_tag=one.engine.new_tag()), other.engine.datagram_flow(local, *PEER))
    workers.deliver()
    assert one.engine.stats()["unserved"] == 1


def test_what_is_no_letter_is_refused():
    with pytest.raises(UsageError, match="short"):
        engine_of(0).receive_letters([b"M"], 0.0)


# an upgrade: those that read the sockets before


def test_predecessors_see_what_may_be_theirs_first():
    workers = Workers(3)
    old, new = workers.benches[0], workers.benches[2]
    old.receive(request(branch="z9hG4bKold"))
    new.engine.workers.know([2], predecessors=[0, 1], asked_first=True)
    new.receive(request(branch="z9hG4bKold"))
    new.receive(request(branch="z9hG4bKnew", call_id="call2"))
    workers.deliver()
    assert workers.heard() == [["OPTIONS"], [], ["OPTIONS"]]
    assert workers.sent() == [[200, 200], [], [200]]


def test_a_cancel_reaches_a_predecessor():
    workers = Workers(2, answer=lambda request: None)
    old, new = workers.benches
    invite = request("INVITE")
    old.receive(invite)
    new.engine.workers.know([1], predecessors=[0])
    new.receive(cancel_of(invite))
    workers.deliver()
    assert len(old.events.cancelled) == 1


# requests that the application gives away


def test_a_handler_can_give_a_request_to_another_worker():
    def answer(to_other):
        def handle(request):
            if not to_other(request):
                request.reply(200)

        return handle

    workers = Workers()
    one, other = workers.benches
    one.events.answer = answer(lambda request: one.engine.workers.hand_over(request, 1))
    for _ in range(2):
        one.receive(request("REGISTER"))
    workers.deliver()
    assert workers.sent() == [[], [200, 200]]
    assert one.live() == 0
    assert len(other.events.requests) == 1, "the retransmission was absorbed"


# connections of other workers


def test_a_request_on_another_workers_connection_is_answered_through_it():
    workers = Workers()
    one, other = workers.benches
    one.connect()
    flow, stream = other.connect()
    other.engine.receive_stream(request("BYE", to_tag=one.engine.new_tag(), transport="TCP").encode(), flow, other.now)
    workers.deliver()
    assert workers.heard() == [["BYE"], []]
    assert len(stream.take()) == 1
    assert one.engine.flow_info(one.events.requests[0].flow)[3:] == (PEER[0], 6000)


def test_the_end_of_a_connection_is_heard_where_it_was_lent():
    workers = Workers()
    one, other = workers.benches
    one.connect(port=6001)
    flow, stream = other.connect()
    borrowed = one.engine.workers.borrow(1, flow, other.engine.workers.lend(flow, 0))
    assert one.engine.workers.borrow(1, flow, other.engine.workers.lend(flow, 0)) == borrowed
    receiver = Receiver()
    one.engine.send_request(one.request("MESSAGE"), borrowed, receiver, one.now)
    one.engine.flush()
    workers.deliver()
    assert len(stream.take()) == 1
    other.engine.remove_connection(flow, "gone", other.now)
    workers.deliver()
    assert receiver.errors == ["its connection has ended"]


def test_a_lent_connection_can_be_closed_from_afar():
    workers = Workers()
    one, other = workers.benches
    one.connect(port=6001)
    flow, stream = other.connect()
    borrowed = one.engine.workers.borrow(1, flow, other.engine.workers.lend(flow, 0))
    workers.deaf.add(1)
    one.engine.send(b"\r\n\r\n", borrowed)
    one.engine.flush()
    workers.deaf.clear()
    workers.deliver()
    assert not stream.closed, "a letter that could not be sent ends the flow here, not the connection there"


def test_connections_of_a_worker_that_is_gone_end():
    workers = Workers()
    one, other = workers.benches
    one.connect(port=6001)
    flow, _ = other.connect()
    borrowed = one.engine.workers.borrow(1, flow, other.engine.workers.lend(flow, 0))
    assert one.engine.workers.forget(1) == [borrowed]
    one.engine.remove_connection(borrowed, "worker 1 is gone", one.now)
    assert one.engine.workers.forget(1) == []


def test_a_letter_keeps_no_reference():
    workers = Workers()
    other = workers.benches[1]
    octets = request("BYE", to_tag=workers.benches[0].engine.new_tag()).encode()
    before = sys.getrefcount(octets)
    for _ in range(100):
        other.receive(octets)
        workers.deliver()
    assert sys.getrefcount(octets) == before
