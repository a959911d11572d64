"""Who may begin something new, and who is told to come back later (FAULTS 45 to 49, bounded in number; soaks apart)."""

from __future__ import annotations

import random
import socket

import pytest
from engine_kit import Bench, header, request, response_to, status_of

from sipcore._batch import DatagramSocket
from sipcore._engine import Engine
from sipcore._intake import outline
from sipcore._message import Request, parse
from sipcore.errors import ParseError, UsageError


def flow_of(bench: Bench, host: str, port: int = 5060) -> int:
    return bench.engine.datagram_flow(bench.local, host, port)


def ask(bench: Bench, number: int, host: str = "198.51.100.1", method: str = "INVITE", **fields: str) -> list[int]:
    """One request from a host; the statuses that it gets at once."""
    bench.receive(
        request(method, branch=f"z9hG4bK{host}-{number}", call_id=f"{host}-{number}", **fields), flow_of(bench, host)
    )
    return bench.sent.statuses()


# shares


def test_one_source_never_fills_what_all_share() -> None:
    """FAULTS 46: the flooder gets its share, everybody else is served as if nothing was."""
    bench = Bench()
    overload = bench.engine.overload
    overload.admission_limit = 1_000
    flood = [ask(bench, number) for number in range(5_000)]
    assert sum(statuses == [503] for statuses in flood) == 5_000 - 750
    assert overload.over_share == 5_000 - 750
    served = [ask(bench, number, f"203.0.113.{host}") for host in range(1, 101) for number in range(2)]
    assert served == [[]] * 200
    assert bench.engine.stats()["sources"] == 101


def test_several_that_are_greedy_share_what_one_might_have() -> None:
    bench = Bench()
    bench.engine.overload.admission_limit = 1_000
    for number in range(1_000):
        for host in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            ask(bench, number, host)
    held = bench.engine.stats()["server_transactions"]
    assert 890 <= held <= 910, "three shares of three parts each, and one part for the others"
    assert ask(bench, 0, "203.0.113.1") == []


def test_a_share_is_given_back_when_transactions_end() -> None:
    bench = Bench()
    bench.engine.overload.admission_limit = 8
    for number in range(20):
        ask(bench, number)
    assert len(bench.events.requests) == 6
    for received in bench.events.requests:
        received.reply(486)
    bench.engine.flush()
    bench.sent.take()
    assert ask(bench, 100) == []
    bench.advance(200)
    bench.events.requests[-1].reply(486)
    bench.advance(60)
    assert bench.live() == 0
    assert bench.engine.stats()["sources"] == 0, "who holds nothing is forgotten"


def test_the_share_is_set_by_the_application() -> None:
    bench = Bench()
    overload = bench.engine.overload
    overload.admission_limit = 100
    for share, admitted in ((1.0, 100), (0.5, 50), (0.1, 10)):
        overload.source_share = share
        bench.engine.server_transactions.clear()
        bench.events.requests.clear()
        for number in range(200):
            ask(bench, number)
        assert len(bench.events.requests) == admitted
        assert overload.source_share == pytest.approx(share, abs=0.001)
    for wrong in (0.0, 1.1, -1.0):
        with pytest.raises(UsageError):
            overload.source_share = wrong


def test_finished_transactions_count_for_their_source_too() -> None:
    """A flood of what is answered at once fills memory all the same; what others hold is not forgotten for it."""
    bench = Bench(lambda received: received.reply(200))
    bench.engine.overload.max_transactions = 400
    others = [ask(bench, 0, f"203.0.113.{host}", "OPTIONS") for host in range(1, 51)]
    assert others == [[200]] * 50
    flood = [ask(bench, number, method="OPTIONS") for number in range(1_000)]
    assert sum(statuses == [200] for statuses in flood) == 263, "three quarters of what the others left"
    assert [ask(bench, 0, f"192.0.2.{host}", "OPTIONS") for host in range(20, 40)] == [[200]] * 20
    bench.advance(9)
    assert ask(bench, 2_000, method="OPTIONS") == [503], "the oldest is another's"
    assert bench.engine.stats()["forgotten_early"] == 0


def test_a_64_prefix_is_one_source_and_a_connection_counts_like_a_datagram() -> None:
    bench = Bench()
    local = bench.engine.add_local("udp", "2001:db8::1", 5060, user_agent=bench.agent, sender=bench.sent)
    for host in range(1, 4):
        flow = bench.engine.datagram_flow(local, f"2001:db8:1:1::{host}", 5060)
        bench.receive(request("INVITE", branch=f"z9hG4bK{host}", call_id=str(host)), flow)
    assert bench.engine.stats()["sources"] == 1
    connection, _ = bench.connect()
    bench.receive(request("INVITE", branch="z9hG4bKtcp", call_id="tcp"), connection)
    bench.receive(request("INVITE", branch="z9hG4bKudp", call_id="udp"))
    assert bench.engine.stats()["sources"] == 2


def test_requests_inside_dialogs_have_a_share_of_the_room_kept_for_them() -> None:
    """FAULTS 48, and a To tag is quickly written: who floods with them leaves room to the others too."""
    bench = Bench()
    overload = bench.engine.overload
    overload.max_transactions = 800
    overload.source_share = 0.5
    for number in range(2_000):
        ask(bench, number, method="INFO", to_tag="x")
    assert bench.engine.stats()["server_transactions"] == 450
    for number in range(2_000):
        ask(bench, number, "198.51.100.2")
    assert ask(bench, 0, "203.0.113.1", "BYE", to_tag="y") == []


# refusals


def test_a_refusal_is_complete_and_its_ack_is_absorbed() -> None:
    """FAULTS 47: RFC 3261 section 8.2.6 and 8.2.7 hold for what was refused unread too."""
    bench = Bench()
    bench.engine.overload.admission_limit = 0
    bench.receive(
        request(
            "INVITE",
            sent_by="host.example.com",
            headers="Via: SIP/2.0/TCP 192.0.2.77;branch=z9hG4bKtwo\r\nX-Any: 1\r\n",
        )
    )
    (refusal,) = bench.sent.take()
    response = parse(refusal)
    sent = parse(request("INVITE").encode())
    assert status_of(refusal) == 503
    assert response.call_id == sent.call_id
    assert response["CSeq"] == sent["CSeq"]
    assert response["From"] == sent["From"]
    assert response.get_all("Via")[1:] == ["SIP/2.0/TCP 192.0.2.77;branch=z9hG4bKtwo"]
    assert "received=192.0.2.9" in response.get_all("Via")[0]
    assert "X-Any" not in response
    tag = header(refusal, "To").rpartition(";tag=")[2]
    bench.receive(request("ACK", sent_by="host.example.com", to_tag=tag))
    assert bench.engine.stats()["acks_absorbed"] == 1
    assert bench.live() == 0
    assert not bench.sent


def test_a_retransmission_of_what_was_admitted_is_never_refused() -> None:
    """A 503 to a repeated INVITE would end the call that rings."""
    bench = Bench()
    bench.engine.overload.admission_limit = 2
    bench.engine.overload.source_share = 1.0
    for number in range(3):
        ask(bench, number)
    bench.events.requests[0].reply(180)
    bench.engine.flush()
    bench.sent.take()
    assert [ask(bench, number) for number in range(3)] == [[180], [], [503]]
    assert len(bench.events.requests) == 2


@pytest.mark.parametrize("method", ["ACK", "CANCEL", "BYE"])
def test_what_ends_something_is_never_refused_unread(method: str) -> None:
    """FAULTS 48."""
    assert outline(request(method).encode()) is None


@pytest.mark.parametrize(
    "changed",
    [
        ("To: <sip:", "To: <sip:x@y>;tag=1\r\nX: <"),
        ("Via: ", "VIA : "),
        ("From: ", "From: \r\n "),
        ("Call-ID: ", "Call-ID: a\r\nCall-ID: "),
        ("SIP/2.0/UDP ", "SIP / 2.0 / UDP "),
        ("branch=z9hG4bK", "branch="),
        (";branch", ";branch=z9hG4bKfirst;branch"),
        ("SIP/2.0\r\n", "SIP/3.0\r\n"),
        ("\r\nFrom", "\nFrom"),
        ("CSeq", "X-CSeq"),
        ("INVITE sip", "DANCE sip"),
    ],
)
def test_what_is_out_of_the_ordinary_is_read_first(changed: tuple[str, str]) -> None:
    octets = request("INVITE")
    assert outline(octets.encode()) is not None
    assert changed[0] in octets
    assert outline(octets.replace(*changed).encode()) is None


def test_every_truncation_of_a_request_is_left_to_the_scan() -> None:
    octets = request("INVITE").encode()
    assert all(outline(octets[:size]) is None for size in range(len(octets)))


def mutations(octets: bytes, draw: random.Random) -> bytes:
    """A few octets changed, lines swapped, names respelled."""
    lines = octets.split(b"\r\n")
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(lines))
        lines[at] = draw.choice([lines[at].lower(), lines[at].upper(), lines[at].swapcase(), lines[-1 - at]])
    changed = bytearray(b"\r\n".join(lines))
    for _ in range(draw.randrange(4)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.choice(b'\r\n ;:,<>"=\tvVtTfFiIcC\0\xff9')
    return bytes(changed)


def test_what_the_outline_tells_of_a_message_the_scan_tells_too() -> None:
    """Seeded; only messages that the scan accepts count, the others get a 503 in place of a 400."""
    draw = random.Random(47)
    samples = [
        request("INVITE").encode(),
        request("REGISTER", headers="m: <sip:a@b>\r\nl: 0\r\n").encode(),
        request("OPTIONS").replace("Via:", "v:").replace("From:", "f:").replace("To:", "t:").encode(),
        request("MESSAGE", headers="Via: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bKb\r\nTimestamp: 1\r\n").encode(),
    ]
    told = 0
    for number in range(10_000):
        octets = mutations(samples[number % len(samples)], draw)
        seen = outline(octets)
        if seen is None:
            continue
        try:
            message = parse(octets)
        except ParseError:
            continue
        assert isinstance(message, Request)
        told += 1
        via, sent_by, branch, call_id, names = seen
        top = message.top_via
        assert top is not None
        assert top.branch == branch.decode("utf-8", "surrogateescape")
        assert sent_by.decode() in (f"{top.host}:{top.port}", top.host)
        assert message.call_id == call_id.decode("utf-8", "surrogateescape")
        assert message.to_tag is None
        assert via.decode("utf-8", "surrogateescape").startswith("SIP/2.0/UDP")
        full = {"v": "via", "f": "from", "t": "to", "i": "call-id"}
        copied = [full.get(name.decode().lower(), name.decode().lower()) for name in names]
        every = [full.get(name.lower(), name.lower()) for name, _ in message.headers]
        assert sorted(copied) == sorted(name for name in every if name in {*full.values(), "cseq"})
    assert told > 1_500


# queues that never empty


class Line:
    """A real socket whose queue is as full as a test wants."""

    def __init__(self, answer_with: int | None = 200) -> None:
        self.bench = Bench(lambda received: received.reply(answer_with) if answer_with else None)
        self.near, self.far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for end in (self.near, self.far):
            end.bind(("127.0.0.1", 0))
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.datagrams = DatagramSocket(self.near.fileno())
        self.engine: Engine = self.bench.engine
        self.local = self.engine.add_local(
            "udp", *self.near.getsockname(), user_agent=self.bench.agent, sender=self.bench.sent
        )
        self.number = 0

    def close(self) -> None:
        self.datagrams.detach()
        self.near.close()
        self.far.close()

    def send(self, count: int, **fields: str) -> None:
        """`count` requests of the one who asks most."""
        for _ in range(count):
            self.far.sendto(self.octets(**fields), self.near.getsockname())

    def send_from_elsewhere(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((f"127.0.0.{2 + self.number % 200}", 0))
            other.sendto(self.octets(), self.near.getsockname())

    def octets(self, **fields: str) -> bytes:
        self.number += 1
        return request("OPTIONS", branch=f"z9hG4bK{self.number}", call_id=str(self.number), **fields).encode()

    def wake(self) -> list[int]:
        """What waits is received; the statuses of the answers."""
        self.engine.receive_batch(self.datagrams, self.local, self.bench.now)
        self.bench.events.requests.clear()
        return self.bench.sent.statuses()


@pytest.fixture
def line():
    made = Line()
    yield made
    made.close()


def test_a_queue_that_never_empties_has_its_greediest_refused_then_dropped(line: Line) -> None:
    """FAULTS 45 and 46: what comes faster than it can be answered is told so, and the queue ends."""
    line.engine.overload.patience = 0.1
    line.bench.now = 1000.4
    elsewhere, greediest = [], []
    for _ in range(5):
        line.send_from_elsewhere()
        line.send(255)
        first, *others = line.wake()
        elsewhere.append(first)
        greediest.append(set(others))
        line.bench.now += 0.11
    assert elsewhere == [200] * 5, "who is not to blame is served"
    assert greediest == [{200}, {503}, {503}, {503}, set()]
    assert line.engine.stats()["dropped_requests"] == 255
    line.send(10, to_tag="dialog")
    assert line.wake() == [200] * 10, "requests inside dialogs are served all the time"
    line.send(10)
    assert line.wake() == [200] * 10, "and all is well when the queue was empty once"


def test_a_queue_that_never_empties_has_all_refused_where_many_fill_it(line: Line) -> None:
    """FAULTS 42 and 45: a storm of many, each of whom asks for little."""
    statuses = []
    for _ in range(4):
        for _ in range(256):
            line.send_from_elsewhere()
        statuses.append(set(line.wake()))
        line.bench.now += 0.11
    assert statuses == [{200}, {200}, {503}, {503}]


def test_a_busy_moment_is_not_yet_overload(line: Line) -> None:
    for _ in range(20):
        line.send(256)
        assert line.wake() == [200] * 256
        line.send(1)
        assert line.wake() == [200]
        line.bench.now += 0.5
    assert line.engine.stats()["refused_overdue"] == 0


# the other direction


def test_responses_are_taken_whatever_the_load() -> None:
    bench = Bench()
    bench.engine.overload.admission_limit = 0
    bench.engine.overload.max_transactions = 1
    _, receiver, octets = bench.send("INVITE")
    bench.receive(response_to(octets, 200))
    assert receiver.statuses == [200]


# what clients are asked for (RFC 7339)


OFFER = ';oc;oc-algo="loss"'


def offer(bench: Bench, number: int, host: str = "198.51.100.1", offered: str = OFFER, method: str = "INVITE") -> str:
    """One request with Via parameters; the top Via of what comes at once, "" when nothing does."""
    branch = f"z9hG4bK{host}-{number}{offered}"
    bench.receive(request(method, branch=branch, call_id=f"{host}-{number}"), flow_of(bench, host))
    answers = bench.sent.take()
    return header(answers[0], "Via") if answers else ""


def asked(via: str) -> int:
    """The value of oc, 0 when there is none."""
    return int(via.split(";oc=")[1].partition(";")[0]) if ";oc=" in via else 0


def overloaded(requests: int = 400, offered: str = OFFER) -> tuple[Bench, list[str]]:
    """An engine that refused three of four requests, and the top Vias of what it said."""
    bench = Bench()
    bench.engine.overload.admission_limit, bench.engine.overload.source_share = 100, 1.0
    return bench, [offer(bench, number, offered=offered) for number in range(requests)]


def test_who_offers_is_told_what_part_to_spare_for_how_long_in_which_order() -> None:
    """FAULTS 47: oc, oc-algo, oc-validity and oc-seq of RFC 7339 section 4, in place of what the client said."""
    _, vias = overloaded()
    told = [asked(via) for via in vias]
    assert told[:100] == [0] * 100 and told[100] <= 1, "100 were admitted and not answered yet"
    assert told[100:] == sorted(told[100:]) and told[-1] == 75, "300 of 400 were refused"
    assert vias[-1].endswith(';oc=75;oc-algo="loss";oc-validity=500;oc-seq=1000.00000;received=198.51.100.1')
    assert vias[-1].count("oc=") == vias[-1].count("oc-algo") == 1 and ";oc;" not in vias[-1]


@pytest.mark.parametrize(
    "offered",
    ["", ";oc", ';oc-algo="loss"', ';oc;oc-algo="rate"', ';oc=20;oc-algo="loss"', ";x=oc", ';oc;oc-algo="lossy"'],
)
def test_who_does_not_offer_loss_is_told_nothing(offered: str) -> None:
    _, vias = overloaded(offered=offered)
    assert vias[-1] and not any(";oc-seq" in via or ";oc-validity" in via for via in vias)
    assert vias[-1].endswith(f"{offered};received=198.51.100.1"), "the rest of the Via is as it came"


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (';oc;oc-algo="loss,rate"', ""),
        (';oc-algo="rate, loss" ;rport;oc', ";rport=5060"),
        (';OC;Oc-Algo="loss";x="a;oc"', ';x="a;oc"'),
        (";oc;oc-algo=loss;ocean=1", ";ocean=1"),
    ],
)
def test_the_offer_may_be_written_as_the_grammar_allows(offered: str, left: str) -> None:
    _, vias = overloaded(offered=offered)
    assert f"{left};oc=75;oc-algo" in vias[-1] and vias[-1].lower().count("oc-algo") == 1


def test_every_response_of_an_overloaded_server_says_it_and_none_of_another() -> None:
    bench, _ = overloaded()
    bench.events.requests[0].reply(180)
    bench.engine.flush()
    assert asked(header(bench.sent.take()[0], "Via")) == 75
    calm = Bench(answer=lambda received: received.reply(200))
    via = offer(calm, 1, method="OPTIONS")
    assert via.endswith(f"{OFFER};received=198.51.100.1"), "echoed, as by a server that knows nothing of it"


def test_what_is_asked_shrinks_when_nothing_is_refused_and_ends() -> None:
    """FAULTS 49: back to normal by itself, without a word that it is over: what was said ends with its validity."""
    bench, _ = overloaded()
    bench.engine.overload.admission_limit = 10_000
    told = []
    for second in range(12):
        bench.advance(1.1)
        offer(bench, 1_000 + second)
        bench.events.requests[-1].reply(486)
        bench.engine.flush()
        told.append(asked([header(octets, "Via") for octets in bench.sent.take() if status_of(octets) == 486][-1]))
    assert 0 < told[0] <= 75 and told == sorted(told, reverse=True) and told[-1] == 0


def test_a_server_that_stays_overloaded_asks_for_more_until_it_is_enough() -> None:
    """A client that obeys in full: of 200 a second 20 can be served, and the rest is soon spared at the client."""
    bench = Bench(answer=lambda received: None)
    bench.engine.overload.admission_limit, bench.engine.overload.source_share = 20, 1.0
    spared = refused = 0
    percent, due = 0, random.Random(1)
    for second in range(20):
        refused = 0
        for number in range(200):
            if due.random() * 100 < percent:
                spared += 1
                continue
            via = offer(bench, second * 1_000 + number)
            refused += bool(via)
            percent = asked(via) if ";oc-seq" in via else percent
        for received in bench.events.requests:
            received.reply(486)
        bench.events.requests.clear()
        bench.engine.flush()
        bench.sent.take()
        bench.advance(1.05)
    assert 80 <= percent <= 99, "180 of 200 are too many"
    assert refused < 40, "most of what was too much never came"


def test_who_asks_little_is_not_asked_to_spare_what_a_few_send() -> None:
    """One source floods; another that offers too, and holds nothing, is told nothing."""
    bench = Bench()
    bench.engine.overload.admission_limit = 200
    flood = [offer(bench, number) for number in range(500)]
    assert asked(flood[-1]) > 50
    assert offer(bench, 1, "203.0.113.1") == "", "admitted"
    bench.events.requests[-1].reply(486)
    bench.engine.flush()
    assert asked(header(bench.sent.take()[0], "Via")) == 0


def test_an_offer_does_not_make_a_refusal_dear() -> None:
    """FAULTS 47: the outline of a request is enough to refuse it, quotes in its Via or not."""
    plain = outline(request("INVITE", branch="z9hG4bKa").encode())
    offering = outline(request("INVITE", branch=f"z9hG4bKa{OFFER}").encode())
    assert plain is not None and offering is not None and offering[2] == plain[2] == b"z9hG4bKa"
    for strange in (';x="a;branch=z9hG4bKb"', ';x="', ';x="a"b', ';x="a\\"', ';x=""";y="'):
        assert outline(request("INVITE", branch=f"z9hG4bKa{strange}").encode()) is None
