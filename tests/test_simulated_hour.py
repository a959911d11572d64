"""Two engines over a network that loses, delays, doubles and reorders: seeded, on a virtual clock, checked throughout.

The invariants: a client transaction hears at most one final response (but for
the further 2xx of an INVITE) and always ends; a server transaction is handed up
once; a 2xx is acknowledged or its TU is told; nothing is left when time has
passed; the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from engine_kit import KEY, request

from sipcore._engine import Engine
from sipcore._message import Request, Response, parse

CALLER = ("192.0.2.1", 5060)
CALLEE = ("192.0.2.2", 5060)
METHODS = ("OPTIONS", "INVITE", "MESSAGE", "INVITE", "BYE", "FLY")


@dataclass(frozen=True)
class Weather:
    """What the network does to each datagram, as probabilities and seconds."""

    loss: float
    doubling: float
    delay: float
    seed: int


class World:
    """A clock, a heap of what is under way, and the two ends."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.random = random.Random(weather.seed)
        self.now = 0.0
        self.serial = 0
        self.under_way: list[tuple[float, int, End, bytes]] = []
        self.caller = Caller(self, CALLER)
        self.callee = Callee(self, CALLEE)
        self.caller.meet(self.callee)
        self.callee.meet(self.caller)

    def carry(self, octets: bytes, to: End) -> None:
        for _ in range(1 + (self.random.random() < self.weather.doubling)):
            if self.random.random() >= self.weather.loss:
                self.serial += 1
                due = self.now + self.random.expovariate(1 / self.weather.delay)
                heapq.heappush(self.under_way, (due, self.serial, to, octets))

    def next_event(self) -> float:
        due = [self.under_way[0][0]] if self.under_way else []
        due += [end.due for end in (self.caller, self.callee) if end.due is not None]
        return min(due, default=float("inf"))

    def run_until(self, end: float) -> None:
        while (due := self.next_event()) <= end:
            self.now = max(self.now, due)
            while self.under_way and self.under_way[0][0] <= self.now:
                _, _, to, octets = heapq.heappop(self.under_way)
                to.take(octets)
            for side in (self.caller, self.callee):
                if side.due is not None and side.due <= self.now:
                    side.ring()
        self.now = end


class End:
    """One engine with one local address."""

    def __init__(self, world: World, address: tuple[str, int]) -> None:
        self.world = world
        self.address = address
        self.due: float | None = None
        self.engine = Engine(key=KEY, now=0.0, clock=lambda: world.now, on_wake=lambda: None)
        agent = self.engine.add_user_agent(self)
        self.local = self.engine.add_local("udp", *address, user_agent=agent, sender=self)
        self.heard: Counter[str] = Counter()

    def meet(self, other: End) -> None:
        self.other = other
        self.flow = self.engine.datagram_flow(self.local, *other.address)

    def send_batch(self, datagrams: list[tuple[bytes, str, int]]) -> None:
        for octets, _, _ in datagrams:
            self.world.carry(octets, self.other)

    def take(self, octets: bytes) -> None:
        self.engine.receive(octets, self.flow, self.world.now)
        self.due = self.engine.next_timer()

    def ring(self) -> None:
        self.engine.handle_timers(self.world.now)
        self.due = self.engine.next_timer()

    def settle(self) -> None:
        """After something was done outside of a batch."""
        self.engine.flush()
        self.due = self.engine.next_timer()

    def on_request(self, received: Request) -> None: ...
    def on_cancel(self, received: Request) -> None: ...
    def on_ack_timeout(self, received: Request) -> None: ...
    def on_stray_response(self, response: Response) -> None:
        self.heard["stray 2xx"] += 1


class Callee(End):
    """Answers at once, later, or never; may be cancelled meanwhile."""

    def __init__(self, world: World, address: tuple[str, int]) -> None:
        super().__init__(world, address)
        self.given: dict[str, int] = {}
        self.unacknowledged: set[str] = set()
        self.acknowledged: Counter[str] = Counter()

    def on_request(self, received: Request) -> None:
        call_id = str(received.call_id)
        if received.method == "ACK":
            self.acknowledged[call_id] += 1
            return
        assert call_id not in self.given, "a request is handed up once"
        self.given[call_id] = 0
        chance = self.world.random.random()
        if chance < 0.05:
            return
        if chance < 0.6:
            self.answer(received)
            return
        if received.method == "INVITE":
            received.reply(180)
        wait = self.world.random.uniform(0, 40)
        self.engine.start_timer(self.world.now + wait, lambda: self.answer(received))

    def answer(self, received: Request) -> None:
        call_id = str(received.call_id)
        if self.given[call_id]:
            return
        status = self.world.random.choice((200, 200, 404, 486, 603))
        self.given[call_id] = status
        received.reply(status)

    def on_cancel(self, received: Request) -> None:
        call_id = str(received.call_id)
        assert self.given[call_id] == 0, "a CANCEL after the final response is not told"
        self.given[call_id] = 487
        received.reply(487)

    def on_ack_timeout(self, received: Request) -> None:
        self.unacknowledged.add(str(received.call_id))


@dataclass
class Asked:
    """One client transaction: a ResponseReceiver."""

    caller: Caller
    method: str
    call_id: str
    handle: int = 0
    finals: list[int] = field(default_factory=list)
    ends: int = 0

    def on_response(self, response: Response) -> None:
        assert response.call_id == self.call_id
        if response.status_code >= 200:
            self.finals.append(response.status_code)
        if self.method == "INVITE" and 200 <= response.status_code < 300:
            self.caller.acknowledge(response)

    def on_timeout(self) -> None:
        self.ends += 1
        assert not self.finals

    def on_transport_error(self, reason: str) -> None:
        raise AssertionError(f"UDP has no transport errors here: {reason}")


class Caller(End):
    def __init__(self, world: World, address: tuple[str, int]) -> None:
        super().__init__(world, address)
        self.asked: list[Asked] = []

    def ask(self) -> None:
        number = len(self.asked)
        method = METHODS[number % len(METHODS)]
        octets = request(
            method,
            branch=self.engine.new_branch(),
            sent_by="192.0.2.1:5060",
            uri="sip:callee@192.0.2.2",
            call_id=f"call{number}",
            from_tag=self.engine.new_tag(),
        )
        message = parse(octets.encode())
        assert isinstance(message, Request)
        asked = Asked(self, method, f"call{number}")
        self.asked.append(asked)
        asked.handle = self.engine.send_request(message, self.flow, asked, self.world.now)
        if method == "INVITE" and self.world.random.random() < 0.2:
            wait = self.world.random.uniform(0, 20)
            self.engine.start_timer(self.world.now + wait, lambda: self.give_up(asked))
        self.settle()

    def give_up(self, asked: Asked) -> None:
        self.engine.cancel(asked.handle, self.world.now)

    def acknowledge(self, response: Response) -> None:
        octets = request(
            "ACK",
            branch=self.engine.new_branch(),
            sent_by="192.0.2.1:5060",
            uri="sip:callee@192.0.2.2",
            call_id=str(response.call_id),
            from_tag=str(response.from_.tag) if response.from_ else "",
            to_tag=str(response.to.tag) if response.to else "",
        )
        self.engine.send(octets.encode(), self.flow)


def live(world: World) -> dict[str, int]:
    gauges = ("server_transactions", "client_transactions", "policy_timers", "timers")
    return {name: sum(end.engine.stats()[name] for end in (world.caller, world.callee)) for name in gauges}


def check_while_it_runs(world: World) -> None:
    for end in (world.caller, world.callee):
        stats = end.engine.stats()
        assert stats["internal_errors"] == stats["callback_errors"] == 0
        assert 0 <= stats["server_transactions_unfinished"] <= stats["server_transactions"]
        assert 0 <= stats["client_transactions_unfinished"] <= stats["client_transactions"]


def check_at_the_end(world: World) -> None:
    callee = world.callee
    for asked in world.caller.asked:
        if asked.method == "INVITE":
            accepted = [status for status in asked.finals if status < 300]
            assert len(asked.finals) - len(accepted) <= 1
            assert not (accepted and len(accepted) != len(asked.finals)), "a call is accepted or refused, not both"
        else:
            assert len(asked.finals) <= 1
        heard = bool(asked.finals) + asked.ends
        never_ends = asked.method == "INVITE" and asked.call_id in callee.given and callee.given[asked.call_id] == 0
        assert heard == 1 or (heard == 0 and never_ends), asked
        for status in asked.finals:
            assert status == callee.given[asked.call_id]
    # Repeated ACKs are absorbed; one that comes when the transaction is over goes up as a stray one.
    repeated = sum(count - 1 for count in callee.acknowledged.values())
    after_all = sum(callee.acknowledged[call_id] for call_id in callee.unacknowledged)
    assert repeated + after_all <= 2 * callee.engine.stats()["stray_acks"]
    accepted_calls = {call_id for call_id, status in callee.given.items() if status == 200} & {
        asked.call_id for asked in world.caller.asked if asked.method == "INVITE"
    }
    concluded = callee.unacknowledged | {call_id for call_id, count in callee.acknowledged.items() if count}
    assert accepted_calls <= concluded
    assert len(concluded - accepted_calls) <= callee.engine.stats()["stray_acks"]


def run(weather: Weather, *, count: int, seconds: float) -> dict[str, Any]:
    world = World(weather)
    step = seconds / count
    for number in range(count):
        world.run_until(number * step)
        world.caller.ask()
        if number % 100 == 0:
            check_while_it_runs(world)
    for asked in world.caller.asked:
        if asked.method == "INVITE" and not asked.finals and not asked.ends:
            world.caller.give_up(asked)
    world.caller.settle()
    world.run_until(world.now + 200)
    for asked in world.caller.asked:
        world.caller.engine.cancel(asked.handle, world.now)
    world.caller.settle()
    world.run_until(world.now + 200)
    check_while_it_runs(world)
    check_at_the_end(world)
    left = live(world)
    assert left["client_transactions"] == left["policy_timers"] == 0, left
    unanswered = sum(1 for status in world.callee.given.values() if status == 0)
    assert left["server_transactions"] <= unanswered, left
    return {
        "caller": world.caller.engine.stats(),
        "callee": world.callee.engine.stats(),
        "finals": [asked.finals for asked in world.caller.asked],
    }


WEATHERS = [
    Weather(loss=0.0, doubling=0.0, delay=0.01, seed=1),
    Weather(loss=0.1, doubling=0.1, delay=0.2, seed=2),
    Weather(loss=0.4, doubling=0.3, delay=1.5, seed=3),
    Weather(loss=1.0, doubling=0.0, delay=0.01, seed=4),
]


@pytest.mark.parametrize("weather", WEATHERS, ids=lambda weather: f"loss{weather.loss}")
def test_a_minute_in_any_weather(weather: Weather) -> None:
    run(weather, count=600, seconds=60)


def test_the_same_seed_gives_the_same_run() -> None:
    assert run(WEATHERS[1], count=300, seconds=30) == run(WEATHERS[1], count=300, seconds=30)


@pytest.mark.slow
def test_an_hour_of_a_hundred_thousand_transactions() -> None:
    totals = run(Weather(loss=0.1, doubling=0.05, delay=0.3, seed=7), count=100_000, seconds=3600)
    assert totals["caller"]["requests_sent"] >= 100_000
