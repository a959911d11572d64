"""A small world for policy machines alone: a clock, a registrar that comes and goes, DNS and connections that fail.

It carries out the actions of one supervisor and one registration for each
service.  Everything follows from its seed.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sipcore.policy.actions import CancelTimer, StartTimer
from sipcore.policy.locate import Target
from sipcore.policy.register import RegisterResponse, RegistrationPlan, SendRegister
from sipcore.policy.registration import Action, RegistrationMachine
from sipcore.policy.supervisor import Action as LinkAction
from sipcore.policy.supervisor import (
    Close,
    Connect,
    ConnectionDown,
    ConnectionSupervisor,
    ConnectionUp,
    Locate,
)

TIMER_F = 32.0
TARGET = Target("edge.example.net", "192.0.2.1", 5060, "tcp")
PARTS = ("dns", "proxy", "registrar", "network")


@dataclass(slots=True)
class Outage:
    part: str
    start: float
    end: float


def draw_outages(source: random.Random, until: float, count: int) -> list[Outage]:
    """Outages of seconds to an hour, all over before `until`."""
    outages = []
    for _ in range(count):
        length = min(source.expovariate(1 / 300), 3600.0)
        start = source.uniform(0, until - length)
        outages.append(Outage(source.choice(PARTS), start, start + length))
    return outages


@dataclass(slots=True)
class Client:
    """One service: its machines, its timers, and what was counted."""

    registration: RegistrationMachine
    link: ConnectionSupervisor | None
    timers: dict[tuple[str, str], int] = field(default_factory=dict)
    connections: set[int] = field(default_factory=set)
    sent: int = 0
    locates: list[float] = field(default_factory=list)


class World:
    """`services` clients, the odd ones on a stream; `run` lets time pass."""

    def __init__(self, seed: int, services: int, period: int, outages: list[Outage]) -> None:
        self.source = random.Random(seed)
        self.outages = outages
        self.now = 0.0
        self.period = period
        self._order = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.clients = [self._client(number) for number in range(services)]
        for outage in outages:
            if outage.part in ("proxy", "network"):
                self.at(outage.start, self._cut_connections)
        for client in self.clients:
            self.at(self.source.uniform(0, period), lambda client=client: self._start(client))

    def _client(self, number: int) -> Client:
        stream = number % 2 == 1
        plan = RegistrationPlan(
            "sip:example.com",
            f"sip:user{number}@example.com",
            f"user{number}",
            transport="tcp" if stream else "udp",
            period=self.period,
        )
        machine = RegistrationMachine(plan, host="192.0.2.9", port=5060, random=random.Random(number))
        link = ConnectionSupervisor("edge.example.net", random=random.Random(-number)) if stream else None
        return Client(machine, link)

    def at(self, when: float, what: Callable[[], None]) -> int:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what))
        return self._order

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def is_down(self, *parts: str) -> bool:
        return any(o.part in parts and o.start <= self.now < o.end for o in self.outages)

    def _start(self, client: Client) -> None:
        if client.link is not None:
            self._link(client, client.link.on_start(self.now))
        self._register(client, client.registration.on_start(self.now))

    def _cut_connections(self) -> None:
        for client in self.clients:
            if client.link is not None:
                self._link(client, client.link.on_lost(self.now, client.link.generation, "reset"))

    def _timer(self, client: Client, owner: str, action: StartTimer, fire: Callable[[str], None]) -> None:
        key = (owner, action.name)

        def due() -> None:
            if client.timers.get(key) == number:
                del client.timers[key]
                fire(action.name)

        number = client.timers[key] = self.at(action.due, due)

    # registrations

    def _register(self, client: Client, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendRegister():
                    self._send(client, action)
                case StartTimer():
                    machine = client.registration
                    self._timer(
                        client,
                        "register",
                        action,
                        lambda name, m=machine: self._register(client, m.on_timer(self.now, name)),
                    )
                case CancelTimer(name):
                    client.timers.pop(("register", name), None)

    def _send(self, client: Client, register: SendRegister) -> None:
        client.sent += 1
        machine = client.registration
        assert len(machine._outstanding) == 1
        if client.link is None and self.is_down("dns"):
            self._register(client, machine.on_unreachable(self.now, register.token, "SERVFAIL"))
        elif self.is_down("network", "proxy"):
            self.at(
                self.now + TIMER_F,
                lambda: self._register(client, machine.on_no_answer(self.now, register.token)),
            )
        else:
            self.at(self.now + 0.05, lambda: self._respond(client, register))

    def _respond(self, client: Client, register: SendRegister) -> None:
        response = RegisterResponse(200, "OK", expires=register.expires)
        if self.is_down("registrar"):
            response = RegisterResponse(503, "Unavailable", retry_after=20 if self.source.random() < 0.5 else None)
        if client.link is not None:
            self._link(client, client.link.on_request_succeeded(self.now))
        self._register(client, client.registration.on_response(self.now, register.token, response))

    # connections

    def _link(self, client: Client, actions: list[LinkAction]) -> None:
        assert client.link is not None
        for action in actions:
            self._link_one(client, client.link, action)
        assert len(client.connections) <= 1

    def _link_one(self, client: Client, link: ConnectionSupervisor, action: LinkAction) -> None:
        match action:
            case Locate(generation):
                client.locates.append(self.now)
                self._later(client, 0.02, lambda: self._located(link, generation))
            case Connect(generation):
                self._later(client, 0.05, lambda: self._connected(link, generation))
            case Close(generation):
                client.connections.discard(generation)
            case ConnectionUp(generation):
                client.connections.add(generation)
                self._register(client, client.registration.on_connected(self.now))
            case ConnectionDown():
                client.connections.clear()
                self._register(client, client.registration.on_lost(self.now))
            case StartTimer():
                self._timer(client, "link", action, lambda name: self._link(client, link.on_timer(self.now, name)))

    def _later(self, client: Client, delay: float, what: Callable[[], list[LinkAction]]) -> None:
        self.at(self.now + delay, lambda: self._link(client, what()))

    def _located(self, link: ConnectionSupervisor, generation: int) -> list[LinkAction]:
        if self.is_down("dns"):
            return link.on_failed(self.now, generation, "SERVFAIL")
        return link.on_located(self.now, generation, TARGET)

    def _connected(self, link: ConnectionSupervisor, generation: int) -> list[LinkAction]:
        if self.is_down("network", "proxy"):
            return link.on_failed(self.now, generation, "refused")
        return link.on_connected(self.now, generation)
