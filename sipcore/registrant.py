"""One service's registration on the wire: the machine of `policy.registration` joined to a user agent (SPEC B).

Turns the machine's actions into REGISTER requests and timers, and their answers
into what the machine is told.  When to send, what was granted and how long to
wait is decided there; what a next hop is, the user agent knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from sipcore._message import Request, Response
from sipcore.errors import SipError, TransactionTimeout, TransportError
from sipcore.outgoing import ClientTransaction, Hop, NextHop
from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.decisions import format_host_port
from sipcore.policy.locate import Target
from sipcore.policy.register import SendRegister
from sipcore.policy.registration import (
    Action,
    FindCandidates,
    Probe,
    Registered,
    RegistrationMachine,
    Stopped,
    Unregistered,
    UsePort,
)
from sipcore.register_response import read_register_response
from sipcore.sharing import share
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.device")


class RegistrantOwner(Protocol):
    """The service whose registration it is."""

    def on_registered(self, registered: Registered) -> None: ...
    def on_unregistered(self, why: str) -> None: ...
    def on_note(self, note: Note) -> None: ...
    def on_answer(self) -> None:
        """A REGISTER got a final answer, whatever it says."""
        ...

    def find_candidates(self) -> None:
        """Locate all servers of the registration and tell `Registrant.tell` of them (SPEC B12)."""
        ...

    def use_port(self, port: int) -> None:
        """Move the local UDP port (SPEC A3)."""
        ...


class Registrant:
    """Carries out what `machine` wants.  `on_change` is called after anything that changes its status.

    Nothing but a timer of the engine is alive between two REGISTERs, and little is kept: a gateway
    has tens of thousands of these.
    """

    __slots__ = (
        "_on_change", "_owner", "_timers", "_under_way", "_user_agent", "last_status_code", "machine", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        owner: RegistrantOwner,
        user_agent: UserAgent,
        machine: RegistrationMachine,
        on_change: Callable[[], None],
    ) -> None:
        self.machine = machine
        self.stopped = False
        self.last_status_code = 0
        self._owner = owner
        self._user_agent = user_agent
        self._on_change = on_change
        self._timers: tuple[_Timer, ...] = ()
        self._under_way: tuple[Answer, ...] = ()

    def tell(self, what: Callable[..., list[Action]], *arguments: Any, **named: Any) -> None:
        """Report an event to the machine (`tell(machine.on_connected)`) and carry out its answer."""
        self._carry_out(what(self._user_agent.env.now(), *arguments, **named))

    def close(self) -> None:
        """Let go of timers and of what is under way."""
        for timer in self._timers:
            self._cancel_timer(timer.name)
        for answer in self._under_way:
            if answer.transaction is not None:
                answer.transaction.abandon(TransportError("the service has ended"))
        self._under_way = ()

    # what a gateway's registrations do in their own way

    def due(self, due: float) -> float:
        """When a timer fires that was asked for at `due`."""
        return due

    def changed(self) -> None:
        """Something may have changed that its owner shows."""
        self._on_change()

    def fire(self, name: str) -> None:
        """The timer `name` is due."""
        self.tell(self.machine.on_timer, name)

    # what the machine wants done

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            self._carry_out_one(action)
        self.changed()

    def _carry_out_one(self, action: Action) -> None:
        match action:
            case SendRegister():
                self._send(action)
            case StartTimer(name, due):
                self._start_timer(name, due)
            case CancelTimer(name):
                self._cancel_timer(name)
            case Note():
                self._owner.on_note(action)
            case Registered():
                self._owner.on_registered(action)
            case Unregistered(why):
                self._owner.on_unregistered(why)
            case FindCandidates():
                self._owner.find_candidates()
            case UsePort(port):
                self._owner.use_port(port)
            case Probe():
                self._probe(action)
            case Stopped():
                self.stopped = True

    def _send(self, wanted: SendRegister) -> None:
        headers = [("Contact", value) for value in wanted.contacts]
        headers += [("Expires", str(wanted.expires)), *wanted.headers]
        draft = self._user_agent.draft(
            "REGISTER",
            wanted.request_uri,
            headers=headers,
            from_=f"<{wanted.from_}>;tag={wanted.from_tag}",
            to=f"<{wanted.to}>",
            call_id=wanted.call_id,
            sequence=wanted.cseq,
        )
        if self.machine.plan.keep:
            draft.via_parameters = ";keep"  # RFC 6223 section 4.2
        answer = Answer(self, wanted)
        transaction = ClientTransaction(
            self._user_agent, draft, observer=answer, next_hop=self._next_hop(wanted), leave_challenges=True
        )
        answer.transaction = transaction
        self._under_way = (*self._under_way, answer)
        self._sent(transaction, wanted.target)
        transaction.start()

    def _sent(self, transaction: ClientTransaction, target: Target | None) -> None:
        """This REGISTER is on its way."""

    def _next_hop(self, wanted: SendRegister) -> NextHop:
        """Where it goes: to the server that it names, else to the next hop of the user agent."""
        target = wanted.target
        if target is None or target.transport != "udp":
            return self._user_agent.next_hop
        return lambda _: Hop(self._user_agent.datagram_flow(target.address, target.port), target.transport)

    def _probe(self, wanted: Probe) -> None:
        """OPTIONS to a better server (SPEC B12); its answer, or its silence, goes to the machine."""
        target = wanted.target
        if target.transport != "udp":
            return
        flow = self._user_agent.datagram_flow(target.address, target.port)
        probing = self._user_agent.request("OPTIONS", self.machine.plan.request_uri, flow=flow)

        async def report() -> None:
            try:
                status_code: int | None = (await probing).status_code
            except SipError:
                status_code = None
            self.tell(self.machine.on_probe, target, status_code)

        self._user_agent.start_task(report())

    def _start_timer(self, name: str, due: float) -> None:
        self._cancel_timer(name)
        timer = _Timer(self, name)
        timer.number = self._user_agent.engine.start_timer(self.due(due), timer)
        self._timers = (*self._timers, timer)

    def _cancel_timer(self, name: str) -> None:
        for timer in self._timers:
            if timer.name == name:
                self._user_agent.engine.cancel_timer(timer.number)
                self._forget(timer)

    def _forget(self, timer: _Timer) -> None:
        self._timers = tuple(other for other in self._timers if other is not timer)

    # what came back

    def on_final(self, answer: Answer, transaction: ClientTransaction, response: Response) -> None:
        """A final response to one REGISTER."""
        self._ended(answer)
        self.last_status_code = response.status_code
        self._owner.on_answer()
        server = self._server(transaction.flow)
        self.tell(self.machine.on_response, answer.wanted.token, read_register_response(response), server=server)

    def on_failure(self, answer: Answer, transaction: ClientTransaction, error: SipError) -> None:
        """No final response to one REGISTER: 900 after Timer F, else 901 (SPEC B5)."""
        self._ended(answer)
        server, wanted = self._server(transaction.flow), answer.wanted
        if isinstance(error, TransactionTimeout):
            self.tell(self.machine.on_no_answer, wanted.token, server=server)
        else:
            self.tell(self.machine.on_unreachable, wanted.token, str(error), server=server)

    def _ended(self, answer: Answer) -> None:
        self._under_way = tuple(other for other in self._under_way if other is not answer)

    def _server(self, flow: int) -> str:
        try:
            _, _, _, host, port = self._user_agent.engine.flow_info(flow)
        except TransportError:
            return ""
        return share(format_host_port(host, port))


class _Timer:
    """One timer of a registrant; the engine calls it when it is due."""

    __slots__ = ("_registrant", "name", "number")

    def __init__(self, registrant: Registrant, name: str) -> None:
        self._registrant = registrant
        self.name = name
        self.number = 0

    def __call__(self) -> None:
        self._registrant._forget(self)
        self._registrant.fire(self.name)


class Answer:
    """Hears of one REGISTER."""

    __slots__ = ("_registrant", "transaction", "wanted")

    def __init__(self, registrant: Registrant, wanted: SendRegister) -> None:
        self.transaction: ClientTransaction | None = None
        self.wanted = wanted
        self._registrant = registrant

    def on_provisional(self, response: Response) -> None:
        """A REGISTER has no use for one."""

    def on_final(self, response: Response) -> None:
        if self.transaction is not None:
            self._registrant.on_final(self, self.transaction, response)

    def on_late_success(self, response: Response, request: Request) -> None:
        """Only INVITE has these."""

    def on_failure(self, error: SipError) -> None:
        if self.transaction is not None:
            self._registrant.on_failure(self, self.transaction, error)
