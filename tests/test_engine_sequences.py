"""Any sequence of messages, replies, losses and time leaves the engine whole (FAULTS 9, transaction sequences).

Held: nothing raises, no internal error is counted, no server transaction sends
two different final responses (but the 2xx of a proxy, which is not tried
here) on UDP, and everything ends when time has passed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from engine_kit import Bench, Receiver, cancel_of, header, method_of, request, response_to, status_of
from hypothesis import given
from hypothesis import strategies as st

METHODS = st.sampled_from(["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "FLY"])
FEW = st.sampled_from(["a", "b"])
STATUS = st.sampled_from([100, 180, 200, 202, 302, 401, 404, 487, 503, 603])

STEPS = st.one_of(
    st.tuples(st.just("request"), METHODS, FEW, FEW, st.sampled_from(["", "x", "own"]), st.booleans()),
    st.tuples(st.just("reply"), st.integers(0, 5), STATUS),
    st.tuples(st.just("send"), METHODS, st.booleans()),
    st.tuples(st.just("response"), st.integers(0, 5), STATUS, st.sampled_from(["", "t1", "t2"]), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("forget"), st.integers(0, 5)),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.1, 0.3, 1.0, 4.0, 33.0])),
    st.tuples(st.just("octets"), st.binary(max_size=40)),
    st.tuples(st.just("damage"), METHODS, st.integers(0, 400), st.integers(0, 255)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("chunk"), METHODS, st.integers(1, 400)),
)


class Play:
    """One run: a bench with a UDP and a stream flow, and what became of everything."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.stream_flow, self.stream = self.bench.connect()
        self.receivers: list[tuple[int, Receiver, bytes]] = []
        self.finals: defaultdict[tuple[str, str, str, int], set[bytes]] = defaultdict(set)
        self.ports = 6001
        self.age = 0

    def step(self, kind: str, *arguments: Any) -> None:
        getattr(self, kind)(*arguments)
        self.look()

    def look(self) -> None:
        """Note the final responses on UDP.  On a stream a finished transaction is gone at once (Timer J is zero),
        and after 64*T1 the same octets are a new request anywhere."""
        self.stream.take()
        for octets in self.bench.sent.take():
            status = status_of(octets) if octets.startswith(b"SIP/2.0 ") else 0
            if status >= 200 and status not in (400, 401, 407, 481, 482, 505):
                key = header(octets, "Via"), header(octets, "CSeq"), header(octets, "Call-ID"), self.age
                self.finals[key].add(octets)

    def flow(self, *, stream: bool) -> int:
        return self.stream_flow if stream else self.bench.flow

    def request(self, method: str, branch: str, call: str, to_tag: str, stream: bool) -> None:
        requests = self.bench.events.requests
        if to_tag == "own":
            to_tag = self.bench.engine.to_tag(requests[-1]) if requests else ""
        octets = request(
            "INVITE" if method == "CANCEL" else method,
            branch=f"z9hG4bK{branch}", call_id=call, to_tag=to_tag, transport="TCP" if stream else "UDP",
        )  # fmt: skip
        self.bench.receive(cancel_of(octets) if method == "CANCEL" else octets, self.flow(stream=stream))

    def reply(self, which: int, status: int) -> None:
        requests = [received for received in self.bench.events.requests if received.method != "ACK"]
        if which < len(requests):
            requests[which].reply(status)
            self.bench.engine.flush()

    def send(self, method: str, stream: bool) -> None:
        if method not in ("ACK", "CANCEL"):
            self.receivers.append(self.bench.send(method, flow=self.flow(stream=stream)))

    def response(self, which: int, status: int, tag: str, stream: bool) -> None:
        if which < len(self.receivers):
            octets = response_to(self.receivers[which][2], status, to_tag=tag)
            self.bench.receive(octets, self.flow(stream=stream))

    def cancel(self, which: int) -> None:
        if which < len(self.receivers):
            self.bench.engine.cancel(self.receivers[which][0], self.bench.now)
            self.bench.engine.flush()

    def forget(self, which: int) -> None:
        if which < len(self.receivers):
            self.bench.engine.forget(self.receivers[which][0])

    def advance(self, seconds: float) -> None:
        self.bench.advance(seconds)
        self.look()
        self.age += seconds > 32

    def octets(self, octets: bytes) -> None:
        self.bench.receive(octets)
        self.stream_in(octets)

    def damage(self, method: str, at: int, octet: int) -> None:
        octets = bytearray(request(method, branch=f"z9hG4bKdamage{at}x{octet}").encode())
        octets[at % len(octets)] = octet
        self.bench.receive(bytes(octets))

    def lose(self) -> None:
        self.bench.engine.remove_connection(self.stream_flow, "lost", self.bench.now)
        self.stream_flow, self.stream = self.bench.connect(port=self.ports)
        self.ports += 1

    def chunk(self, method: str, size: int) -> None:
        """A message of a stream, whole or broken off; the next one begins where it ends."""
        self.stream_in(request(method, branch="z9hG4bKchunk", transport="TCP").encode()[:size])

    def stream_in(self, octets: bytes) -> None:
        if not self.bench.engine.receive_stream(octets, self.stream_flow, self.bench.now):
            self.lose()

    def end(self) -> None:
        """Answer what is open, let time pass, and look at what is left."""
        for received in self.bench.events.requests:
            if received.method != "ACK":
                received.reply(480)
        for handle, _, octets in self.receivers:
            self.bench.engine.cancel(handle, self.bench.now)
            if method_of(octets) == "INVITE":
                self.bench.receive(response_to(octets, 487))
        self.bench.engine.flush()
        self.look()
        self.bench.advance(100.0)
        self.look()


@given(st.lists(STEPS, max_size=40))
def test_any_sequence_leaves_the_engine_whole(steps: list[tuple[Any, ...]]) -> None:
    play = Play()
    for step in steps:
        play.step(*step)
    play.end()
    stats = play.bench.engine.stats()
    assert stats["internal_errors"] == stats["callback_errors"] == 0
    assert play.bench.live() == 0
    assert stats["server_transactions_unfinished"] == stats["client_transactions_unfinished"] == 0
    for finals in play.finals.values():
        assert len(finals) == 1, finals
    for _, receiver, octets in play.receivers:
        ends = receiver.timeouts + len(receiver.errors)
        finals_heard = [status for status in receiver.statuses if status >= 200]
        assert ends + bool(finals_heard) <= 1
        if method_of(octets) != "INVITE":
            assert len(finals_heard) <= 1
