"""A small stateful proxy (RFC 3261 section 16), for the demo, the tests and small sites.

It stays in the path by Record-Route, finds its clients again on the connection
that they opened (flow tokens in Record-Route and Path: RFC 5626 section 5.3, RFC
3327), forks in parallel, and forwards CANCEL and ACK.  Strict routers (RFC 3261
section 16.4) are not served.  Does not know who is registered where: `targets`
says so; and it keeps no call, only transactions.  Forking is bounded by loop
detection and Max-Breadth (RFC 5393).
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from sipcore._fields import Via
from sipcore._message import Editor, Request
from sipcore._uri import Uri
from sipcore.constants import transport_parameter
from sipcore.errors import ParseError, SipError, TransportError
from sipcore.forking import ResponseContext
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.proxy")

MAX_FORWARDS = 70
MAX_BREADTH = 60  # RFC 5393 section 5.3.3
MAX_TARGETS = 10
PROOF_SIZE = 16  # hexadecimal digits of a flow token's proof
DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one branch goes: its Request-URI, Route values to put before it, and the flow to use (0: choose one)."""

    uri: str
    routes: tuple[str, ...] = ()
    flow: int = 0


class Refused(SipError):
    """The proxy answers this request itself with `status_code`."""

    def __init__(self, status_code: int, *, headers: Sequence[Header] = ()) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        self.headers = tuple(headers)


Targets = Sequence[Target] | None
ChooseTargets = Callable[[Request], Targets | Awaitable[Targets]]
Challenge = Callable[[Request], Sequence[Header] | None]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one request is forwarded; `client_flow` is where Record-Route and Path must lead back to."""

    targets: tuple[Target, ...]
    own_routes: int
    client_flow: int


class Elsewhere(SipError):
    """The client's connection is held by another worker, which forwards the request."""

    def __init__(self, worker: int) -> None:
        super().__init__(f"worker {worker} holds the connection")
        self.worker = worker


class Proxy:
    """Forwards what its user agent receives.

    `targets(request)` names where an out-of-dialog request for one of our own
    domains goes (None: by its Request-URI; empty: 480), at once or awaited.  `challenge(request)`
    gives Proxy-Authenticate headers to demand credentials with, or None.
    `path`: add a Path to REGISTER, so that calls find the client's connection.
    """

    def __init__(
        self,
        user_agent: UserAgent,
        *,
        targets: ChooseTargets | None = None,
        challenge: Challenge | None = None,
        path: bool = False,
    ) -> None:
        self.user_agent = user_agent
        self.targets = targets
        self.challenge = challenge
        self.path = path
        self.workers = user_agent.stack.workers
        self._key = user_agent.stack.key("proxy")
        self._contexts: dict[int, ResponseContext] = {}
        user_agent.on("*", self.handle)
        user_agent.on("CANCEL", self._on_cancel)

    def __len__(self) -> int:
        """How many requests await their final response."""
        return len(self._contexts)

    def handle(self, request: Request) -> None:
        """Forward one request, or answer it."""
        if request.method == "ACK":
            self._forward_ack(request)
            return
        try:
            self._check(request)
            plan = self._plan(request)
            if isinstance(plan, _Plan):
                self._forward(request, plan)
            else:
                self.user_agent.start_task(self._forward_later(request, plan))
        except Elsewhere as elsewhere:
            self._hand_over(request, elsewhere.worker)
        except Refused as refused:
            self.user_agent.engine.refuse(request, refused.status_code, headers=refused.headers)
        except ParseError as error:
            self.user_agent.engine.refuse(request, error.status_hint)

    # before anything is sent (RFC 3261 section 16.3)

    def _check(self, request: Request) -> None:
        if request.request_uri.scheme not in ("sip", "sips"):
            raise Refused(416)
        if request.max_forwards == 0:
            raise Refused(483)
        if request.max_breadth == 0:
            raise Refused(440)
        required = request.get_all("Proxy-Require")
        if required:
            raise Refused(420, headers=[("Unsupported", ", ".join(required))])
        if self._is_loop(request):
            raise Refused(482)
        if self.challenge is not None and request.to is not None and not request.to.tag:
            headers = self.challenge(request)
            if headers:
                raise Refused(407, headers=headers)

    def _is_loop(self, request: Request) -> bool:
        """Whether it passed here before with nothing changed that decides its way (RFC 3261 section 16.3 item 4)."""
        mark = self._loop_mark(request)
        return any((via.branch or "").endswith(mark) for via in request.via)

    def _loop_mark(self, request: Request) -> str:
        """The part of our branches that a looping request repeats (RFC 3261 section 16.6 item 8)."""
        decides = [str(request.request_uri), *request.get_all("Route"), *request.get_all("Proxy-Require")]
        decides += [request.call_id or "", str(request.cseq), *request.get_all("Proxy-Authorization")]
        from_ = request.from_
        decides.append(from_.tag or "" if from_ is not None else "")
        return "." + self._proof("\n".join(decides))

    def _proof(self, text: str) -> str:
        octets = text.encode("utf-8", "surrogateescape")
        return hmac.new(self._key, octets, hashlib.sha256).hexdigest()[:PROOF_SIZE]

    # where it goes (RFC 3261 sections 16.4 and 16.5)

    def _plan(self, request: Request) -> _Plan | Awaitable[_Plan]:
        own = self._own_routes(request)
        flow = self._token_flow(own, request.flow)
        routes = request.get_all("Route")[len(own) :]
        uri = str(request.request_uri)
        if flow:
            return _Plan((Target(uri, flow=flow),), len(own), flow)
        if routes or own:
            return _Plan((Target(uri),), len(own), request.flow)
        chosen = self.targets(request) if self.targets is not None else None
        if isinstance(chosen, Awaitable):
            return self._plan_later(request, chosen)
        return _plan_of(request, chosen)

    async def _plan_later(self, request: Request, chosen: Awaitable[Targets]) -> _Plan:
        try:
            return _plan_of(request, await chosen)
        except TransportError as error:
            logger.warning("nobody knows where %s is: %s", request.request_uri, error)
            raise Refused(500, headers=[("Retry-After", "5")]) from error

    def _own_routes(self, request: Request) -> list[Uri]:
        """The Route values at the top that name this proxy; two where it changed the transport (RFC 5658)."""
        own: list[Uri] = []
        for route in request.routes:
            if not self._is_here(route.uri):
                break
            own.append(route.uri)
        return own

    def _is_here(self, uri: Uri) -> bool:
        host = uri.host.strip("[]")
        return any(
            host == listener.host and (uri.port or 5060) == listener.port for listener in self.user_agent.listeners
        )

    def _token_flow(self, own: Sequence[Uri], came_on: int) -> int:
        """Where a token leads that is not the sender's own (RFC 5626 section 5.3); 0: there is none.

        430 where that connection is gone.
        """
        is_gone, elsewhere = False, None
        for uri in own:
            number, _, proof = (uri.user or "").partition("-")
            if not proof or not hmac.compare_digest(proof, self._proof(number)):
                continue
            text, _, worker = number.partition(".")
            flow = int(text, 16)
            if self.workers is not None and worker and int(worker, 16) != self.workers.number:
                elsewhere = elsewhere or Elsewhere(int(worker, 16))
            elif not self._is_alive(flow):
                is_gone = True
            elif flow != came_on:
                return flow
        if elsewhere is not None:
            raise elsewhere
        if is_gone:
            raise Refused(430)
        return 0

    def _is_alive(self, flow: int) -> bool:
        try:
            self.user_agent.engine.flow_info(flow)
        except TransportError:
            return False
        return True

    def _token(self, flow: int) -> str:
        number = f"{flow:x}" if self.workers is None else f"{flow:x}.{self.workers.number:x}"
        return f"{number}-{self._proof(number)}"

    # sending it (RFC 3261 section 16.6)

    def _hand_over(self, request: Request, worker: int) -> None:
        if (self.workers is None or not self.workers.hand_over(request, worker)) and request.method != "ACK":
            request.reply(430)

    def _context(self, request: Request) -> ResponseContext:
        context = self._contexts[request.transaction] = ResponseContext(self.user_agent, request, self._ended)
        return context

    async def _forward_later(self, request: Request, planning: Awaitable[_Plan]) -> None:
        """Forward a request when its targets are known, unless it was cancelled meanwhile."""
        context = self._context(request)
        try:
            plan = await planning
        except Refused as refused:
            self._ended(context)
            if not context.ended:
                request.reply(refused.status_code, headers=list(refused.headers))
            return
        if not context.ended:
            self._send_branches(context, plan)

    def _forward(self, request: Request, plan: _Plan) -> None:
        self._send_branches(self._context(request), plan)

    def _send_branches(self, context: ResponseContext, plan: _Plan) -> None:
        request = context.request
        context.expect(len(plan.targets))
        for target in plan.targets:
            self._to_hop(request, plan, target, partial(self._begin, context, plan, target), context)

    def _ended(self, context: ResponseContext) -> None:
        self._contexts.pop(context.request.transaction, None)

    def _on_cancel(self, request: Request) -> None:
        context = self._contexts.get(request.transaction)
        if context is not None:
            context.cancel()

    def _to_hop(
        self,
        request: Request,
        plan: _Plan,
        target: Target,
        send: Callable[[Hop], None],
        context: ResponseContext | None = None,
    ) -> None:
        """Call `send` with the next hop, now or when it was found; a failure ends that branch."""
        try:
            if target.flow:
                send(Hop(target.flow, self.user_agent.engine.flow_info(target.flow)[0]))
                return
            routes = (*target.routes, *request.get_all("Route")[plan.own_routes :])
            hop = self.user_agent.next_hop(OutgoingRequest(request.method, target.uri, routes))
        except SipError as error:
            self._not_located(error, context)
            return
        if isinstance(hop, Hop):
            send(hop)
            return

        async def later() -> None:
            try:
                send(await hop)
            except SipError as error:
                self._not_located(error, context)

        if inspect.isawaitable(hop):
            self.user_agent.start_task(later())

    def _not_located(self, error: SipError, context: ResponseContext | None) -> None:
        logger.debug("no next hop: %s", error)
        if context is not None:
            context.fail_one(430 if isinstance(error, TransportError) else 404)

    def _begin(self, context: ResponseContext, plan: _Plan, target: Target, hop: Hop) -> None:
        request = self._copy(context.request, plan, target, hop, self._branch(context.request))
        context.begin(request, hop.flow)

    def _branch(self, request: Request) -> str:
        return self.user_agent.engine.new_branch() + self._loop_mark(request)

    def _copy(self, request: Request, plan: _Plan, target: Target, hop: Hop, branch: str) -> Request:
        """The request as it leaves here: RFC 3261 section 16.6 items 1 to 8, its breadth shared out (RFC 5393)."""
        editor = request.edit()
        for _ in range(plan.own_routes):
            editor.remove_first("Route")
        for route in reversed(target.routes):
            editor.insert("Route", route)
        editor.set_request_uri(target.uri)
        hops = request.max_forwards
        editor.replace("Max-Forwards", str(MAX_FORWARDS if hops is None else hops - 1))
        editor.replace("Max-Breadth", str(_breadth(request) // len(plan.targets)))
        self._mark_source(request, editor)
        if request.method in DIALOG_METHODS:
            for value in self._record_routes(request, plan, target, hop):
                editor.insert("Record-Route", value)
        if request.method == "REGISTER" and self.path:
            editor.insert("Path", self._here(hop.flow, plan.client_flow, outbound=True))
        parameters = f"branch={branch};rport{self.user_agent.offers}"
        editor.insert("Via", f"SIP/2.0/{hop.transport.upper()} {self._sent_by(hop.flow)};{parameters}")
        copy = editor.build()
        assert isinstance(copy, Request)
        return copy

    def _mark_source(self, request: Request, editor: Editor) -> None:
        """Say in the client's Via where it really is (RFC 3261 section 18.2.1, RFC 3581 section 4)."""
        via = request.top_via
        if via is None:
            return
        _, _, _, host, port = self.user_agent.engine.flow_info(request.flow)
        parameters = dict(via.parameters)
        if "rport" in parameters:
            parameters["rport"] = str(port)
        elif via.host == host:
            return
        parameters["received"] = host
        editor.remove_first("Via").insert("Via", str(Via.build(via.transport, via.sent_by, parameters)))

    def _record_routes(self, request: Request, plan: _Plan, target: Target, hop: Hop) -> list[str]:
        """Our Record-Route values in the order of insertion: the side it came from, then the other if it differs.

        A side that is reached on a connection of its own, as browsers are, is found by the token of that side.
        """
        came_from = self._here(request.flow, plan.client_flow)
        goes_to = self._here(hop.flow, target.flow or plan.client_flow)
        return [came_from] if came_from == goes_to else [came_from, goes_to]

    def _here(self, flow: int, client_flow: int, *, outbound: bool = False) -> str:
        """A loose route to this proxy on the transport of `flow`, with the token that finds `client_flow` again."""
        transport = self.user_agent.engine.flow_info(flow)[0]
        named = transport_parameter(transport)
        ob = ";ob" if outbound else ""
        return f"<sip:{self._token(client_flow)}@{self._sent_by(flow)}{named};lr{ob}>"

    def _sent_by(self, flow: int) -> str:
        return self.user_agent.engine.flow_sent_by(flow)

    def _forward_ack(self, request: Request) -> None:
        """An ACK to a 2xx is its own transaction and gets no response (RFC 3261 section 16.11)."""
        try:
            if request.max_forwards == 0 or request.max_breadth == 0:
                return
            plan = self._plan(request)
        except Elsewhere as elsewhere:
            self._hand_over(request, elsewhere.worker)
            return
        except SipError as error:
            logger.debug("an ACK goes nowhere: %s", error)
            return
        if isinstance(plan, _Plan):
            self._send_ack(request, plan)
        else:
            self.user_agent.start_task(self._forward_ack_later(request, plan))

    async def _forward_ack_later(self, request: Request, planning: Awaitable[_Plan]) -> None:
        try:
            self._send_ack(request, await planning)
        except SipError as error:
            logger.debug("an ACK goes nowhere: %s", error)

    def _send_ack(self, request: Request, plan: _Plan) -> None:
        target = plan.targets[0]

        def send(hop: Hop) -> None:
            copy = self._copy(request, plan, target, hop, self._branch(request))
            self.user_agent.engine.send(bytes(copy), hop.flow)

        self._to_hop(request, plan, target, send)


def _plan_of(request: Request, chosen: Targets) -> _Plan:
    """What to do with a request for these targets; 480 when there are none, 440 when it may not fork so far."""
    if chosen is None:
        chosen = (Target(str(request.request_uri)),)
    if not chosen:
        raise Refused(480)
    targets = tuple(chosen[:MAX_TARGETS])
    if len(targets) > _breadth(request):
        raise Refused(440)
    return _Plan(targets, 0, request.flow)


def _breadth(request: Request) -> int:
    """How many branches of a request may be pending at once, here and wherever it goes (RFC 5393 section 5.3.3)."""
    given = request.max_breadth
    return MAX_BREADTH if given is None else given
