"""One user agent (RFC 3261 section 6): its addresses, handlers, dialogs, calls and requests.

Orchestrates: what octets mean, where a server is and when a timer fires is
decided elsewhere.  The stack that it belongs to is in `stack`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl as ssl_module
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sipcore import uas
from sipcore._message import Request, Response
from sipcore.connecting import Connector
from sipcore.constants import transport_parameter
from sipcore.env import STREAM_TRANSPORTS, Listener, StreamLimits
from sipcore.errors import SipError, TransportError, UsageError
from sipcore.handling import Handler, await_result, run_handler
from sipcore.handover import split_address
from sipcore.outgoing import Challenged, ClientTransaction, Draft, Headers, Hop, NextHop

if TYPE_CHECKING:
    from sipcore._engine import Engine, ResponseReceiver
    from sipcore.call import Call, IncomingCall, OutgoingCall
    from sipcore.dialog import Dialog, DialogKey
    from sipcore.policy.decisions import Decision
    from sipcore.restraint import Restraint
    from sipcore.stack import Stack
    from sipcore.websocket import WebSocketOptions

logger = logging.getLogger("sipcore.stack")

MAX_PARKED = 1_024  # requests of one user agent that wait for their next hop

CallHandler = Callable[["IncomingCall"], Any]
SendHook = Callable[[Request, int], Request | None]
Authorize = Callable[[Challenged], Sequence[tuple[str, str]] | None]
AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Any])


class UserAgent:
    """One user agent (RFC 3261 section 6): its addresses, handlers, dialogs and transactions (SPEC A8).

    Replaceable: `next_hop` (where requests go), `authorize` (answers to
    challenges), `local_contact` (the Contact URI of a transport), `accepts`
    (stream connections by remote address), `on_decision` (hears each Decision),
    `on_ended` (hears of each request that came to its end),
    `pong` (hears the flow of each answer to a keep-alive, RFC 5626 section 4.4.1),
    `tls_context` (what TLS connections from here trust and show; None: the
    host's authorities), `limits` of connections from here, `websocket` (what opening
    handshakes say and want; set before `listen`), `identity` (the From URI),
    `reuses_accepted` (set before `listen`: requests may go over connections
    that far sides opened, RFC 5923; ours offer theirs with `alias`), `keep_alive`
    (seconds between pings of connections that requests open, 0: none).  `methods`
    and `allow` say what is handled.
    """

    def __init__(self, stack: Stack, name: str = "", *, is_proxy: bool = False) -> None:
        self.stack = stack
        self.is_proxy = is_proxy
        self.stateless_methods: frozenset[str] = frozenset()
        self.name = name
        self.env = stack.env
        self.driver = stack.driver
        self.engine: Engine = stack.engine
        self.id = self.engine.add_user_agent(self)
        self.listeners: list[Listener] = []
        self.connector = Connector(self)
        self.authorize: Authorize | None = None
        self.local_contact: Callable[[str], str] = self._local_contact
        self.accepts: Callable[[str], bool] | None = None
        self.on_decision: Callable[[Decision], None] | None = None
        self.on_ended: Callable[[ClientTransaction], None] | None = None
        self.pong: Callable[[int], None] | None = None
        self.preset_routes: tuple[str, ...] = ()  # Route of requests outside of dialogs but REGISTER (RFC 3608)
        self.tls_context: ssl_module.SSLContext | None = None
        self.limits: StreamLimits | None = None
        self.websocket: WebSocketOptions | None = None
        self.keep_alive = 0.0
        self.identity = ""
        self.shared: dict[Any, Any] = {}  # what rooms above keep for it
        self.reuses_accepted = False
        self.accepted_types: tuple[str, ...] = ("application/sdp", "multipart/mixed", "multipart/alternative")
        self.supported: tuple[str, ...] = ()
        self.restraint: Restraint | None = None
        self.offers = ""  # further parameters of Via in requests
        self.calls: set[Call] = set()
        self.call_limit: int | None = None
        self.live: set[ClientTransaction] = set()
        self.parked = 0
        self.closing = False
        self.methods: frozenset[str] = frozenset()
        self.allow = ""
        self._handlers: dict[str, Handler] = {}
        self._keeps_dialogs = False
        self._every: Handler | None = None
        self._on_invite: CallHandler | None = None
        self._on_cancel: Handler | None = None
        self._send_hooks: list[SendHook] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._by_transaction: dict[int, asyncio.Task[Any] | Call] = {}
        self._dialogs: dict[DialogKey, Call] = {}
        self._placed: dict[tuple[str, str], OutgoingCall] = {}
        self._note_methods()

    @cached_property
    def next_hop(self) -> NextHop:
        """The default, RFC 3263, is made when first asked for: a server that sends no request needs none."""
        from sipcore.nexthop import Rfc3263  # noqa: PLC0415

        return Rfc3263(self)

    # addresses

    async def listen(
        self,
        transport: str,
        address: str,
        *,
        advertise: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        limits: StreamLimits | None = None,
        sock: socket.socket | None = None,
    ) -> Listener:
        """Open a local address, `HOST:PORT` (port 0: any).  `advertise` is what Via and Contact say instead.

        `fd://NAME` is a socket that this process was started with (systemd
        socket activation), `sock` one that was bound elsewhere; `address` is
        then not looked at.  TransportError when the address is not to be had.
        """
        if self.stack.closed:
            raise UsageError("the stack is closed")
        transport = transport.lower()
        host, port = split_address(address)
        told = split_address(advertise) if advertise else None
        if transport == "udp":
            listener = self.env.open_datagrams(self.driver, host, port, user_agent=self.id, advertise=told, sock=sock)
        elif transport in STREAM_TRANSPORTS:
            listener = await self.env.listen(
                self.driver,
                transport,
                host,
                port,
                user_agent=self.id,
                advertise=told,
                ssl=ssl,
                accept=lambda remote: self.accepts is None or self.accepts(remote),
                limits=limits,
                sock=sock,
                aliases=self.reuses_accepted,
                websocket=self.websocket,
            )
        else:
            raise UsageError(f"no such transport: {transport!r}")
        self.listeners.append(listener)
        self.stack.keep_watch()
        return listener

    def listener_for(self, transport: str, remote_host: str = "") -> Listener | None:
        """The first open address of `transport`, of the address family of `remote_host` if that is given."""
        for listener in self.listeners:
            if listener.transport == transport and (not remote_host or (":" in listener.host) == (":" in remote_host)):
                return listener
        return None

    def datagram_flow(self, host: str, port: int) -> int:
        """The flow to a datagram address, from this user agent's listener; opens one where there is none."""
        listener = self.listener_for("udp", host)
        if listener is None:
            source = self.env.source_address(host)
            listener = self.env.open_datagrams(self.driver, source, 0, user_agent=self.id)
            self.listeners.append(listener)
        return self.engine.datagram_flow(listener.local, host, port)

    async def connect(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        bind: tuple[str, int] | None = None,
        server_name: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        on_lost: Callable[[int, str], None] | None = None,
        limits: StreamLimits | None = None,
    ) -> int:
        """Open a connection of this user agent's own, shared with nobody; returns its flow (see `env.Env.connect`)."""
        return await self.connector.open(
            transport, host, port, bind=bind, server_name=server_name, ssl=ssl, on_lost=on_lost, limits=limits
        )

    def disconnect(self, flow: int, reason: str = "closed here") -> None:
        """Close a connection; its transactions hear of it."""
        self.env.disconnect(self.driver, flow, reason)

    def contact(self, flow: int) -> str:
        """The Contact value of requests and responses on `flow`."""
        transport = self.engine.flow_info(flow)[0]
        if not self.listeners and self.local_contact == self._local_contact:
            return f"<{self._uri_at(self.engine.flow_sent_by(flow), transport)}>"
        return f"<{self.local_contact(transport)}>"

    def _local_contact(self, transport: str) -> str:
        """The URI of the listener of `transport`, else of the first one: where this user agent can be reached."""
        listener = self.listener_for(transport) or (self.listeners[0] if self.listeners else None)
        if listener is None:
            raise UsageError("a Contact needs a listening address")
        return self._uri_at(self.engine.local_sent_by(listener.local), listener.transport)

    def _uri_at(self, sent_by: str, transport: str) -> str:
        return f"sip:{f'{self.name}@' if self.name else ''}{sent_by}{transport_parameter(transport)}"

    # handlers

    @overload
    def on(
        self, method: str, handler: None = None, *, stateless: bool = False
    ) -> Callable[[AnyHandler], AnyHandler]: ...
    @overload
    def on(self, method: str, handler: AnyHandler, *, stateless: bool = False) -> AnyHandler: ...
    def on(self, method: str, handler: Any = None, *, stateless: bool = False) -> Any:
        """Give `method` a handler: `handler(request)`, plain (inside the batch) or `async def` (a task).

        Call it or use it as a decorator.  "*" takes every request that has no handler of its own, unchecked, as a
        proxy wants it.  "CANCEL" is given the INVITE that was cancelled and has no final response yet, to answer it
        487; the CANCEL itself is answered, and the task of an `async def` handler cancelled, without it.  With a
        handler for INVITE the application keeps its dialogs itself; use `on_invite` to be given calls.  `stateless`: no
        transaction is made, a retransmission reaches the handler again.

        An `async def` handler has 30 s to answer anything but an INVITE; then that is answered 500 and it is cancelled.
        """
        if handler is None:
            return lambda function: self.on(method, function, stateless=stateless)
        if method != method.upper() and method.upper() in uas.KNOWN_METHODS:
            raise UsageError(f"methods are case-sensitive: {method.upper()}")  # RFC 3261 section 7.1
        if stateless:
            methods = self.stateless_methods | {method}
            self.engine.set_stateless_methods(self.id, methods)
            self.stateless_methods = methods
        if method == "*":
            self._every = handler
        elif method == "CANCEL":
            self._on_cancel = handler
        else:
            self._handlers[method] = handler
            self._keeps_dialogs = "INVITE" in self._handlers
            self._note_methods()
        return handler

    def on_invite(self, handler: AnyHandler) -> AnyHandler:
        """Give incoming calls a handler: `async def handler(call)`, or a plain one that answers later."""
        from sipcore.call import IncomingCall  # noqa: PLC0415 - not loaded where nobody calls, nor inside a batch

        self._on_invite, self._incoming = handler, IncomingCall
        self._note_methods()
        return handler

    def on_send(self, hook: AnyHandler) -> AnyHandler:
        """`hook(request, flow)` sees each request before it is sent; what it returns, if not None, is sent instead.

        Not responses, nor what the transaction sends by itself: CANCEL, the ACK to a refusal, retransmissions.
        """
        self._send_hooks.append(hook)
        return hook

    def _note_methods(self) -> None:
        of_calls = ("INVITE", "ACK", "BYE") if self._on_invite is not None else ()
        self.methods = frozenset(("OPTIONS", "CANCEL", *of_calls, *self._handlers))
        self.allow = ", ".join(sorted(self.methods))

    # requests from here

    def request(
        self,
        method: str,
        uri: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        routes: Sequence[str] = (),
        from_: str | None = None,
        to: str | None = None,
        call_id: str | None = None,
        sequence: int = 1,
        flow: int | None = None,
        timeout: float | None = None,
    ) -> ClientTransaction:
        """Send a request outside of dialogs.  `await` it for the final response, iterate it for provisional ones.

        Who stops waiting, also by a cancelled task or `asyncio.timeout`, does not stop the request: `timeout` and
        `cancel()` do.  Calls are placed with `dial`: a 2xx to an INVITE sent from here is not acknowledged.

        `from_` and `to` are From and To values (a tag is added to From unless it has one); `routes` a preset route
        set; `flow` skips the choice of a next hop; `timeout` seconds shorten the 64*T1 of the transaction.
        """
        draft = self.draft(
            method,
            uri,
            headers=headers,
            body=body,
            routes=routes,
            from_=from_,
            to=to,
            call_id=call_id,
            sequence=sequence,
        )
        return ClientTransaction(self, draft).start(flow=flow or 0, timeout=timeout)

    def draft(
        self,
        method: str,
        uri: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        routes: Sequence[str] = (),
        from_: str | None = None,
        to: str | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> Draft:
        """A request outside of dialogs as RFC 3261 section 8.1.1 forms it, to be started later."""
        given = {name.lower() for name, _ in headers}
        from_value = from_ if from_ is not None else f"<{self.identity or self._anonymous()}>"
        if ";tag=" not in from_value.rpartition(">")[2]:
            from_value += f";tag={self.engine.new_tag()}"
        return Draft(
            method,
            uri,
            from_value=from_value,
            to_value=to if to is not None else f"<{uri}>",
            call_id=call_id or self.engine.new_call_id(),
            sequence=sequence,
            routes=tuple(routes) or (self.preset_routes if method != "REGISTER" else ()),
            headers=list(headers),
            body=body,
            contact=method in uas.WITH_CONTACT and "contact" not in given,
        )

    def dial(
        self,
        uri: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "application/sdp",
        timeout: float | None = None,
        routes: Sequence[str] = (),
        from_: str | None = None,
        to: str | None = None,
    ) -> OutgoingCall:
        """Place a call: `async with` it (it ends with the block), or await its `answered()`.

        `timeout` is how long it may ring, seconds.  Raises CallBusy, CallRejected, CallTimeout, CallCancelled.
        """
        from sipcore.call import OutgoingCall  # noqa: PLC0415 - not loaded where nobody calls

        if body:
            headers = [*headers, ("Content-Type", content_type)]
        if self.supported:
            headers = [*headers, ("Supported", ", ".join(self.supported))]
        draft = self.draft("INVITE", uri, headers=headers, body=body, routes=routes, from_=from_, to=to)
        return OutgoingCall(self, draft, timeout=timeout)

    async def hunt(self, uris: Sequence[str], *, parallel: bool = False, **arguments: Any) -> OutgoingCall:
        """Call several targets, one after the other or all at once; the first that answers is returned.

        `arguments` are those of `dial`, `timeout` is for each target.  Raises the refusal that counts most.
        """
        from sipcore.hunting import hunt  # noqa: PLC0415 - only where it is asked for

        return await hunt(lambda uri: self.dial(uri, **arguments), uris, parallel=parallel)

    def send_request(self, request: Request, hop: Hop, receiver: Any) -> int:
        """Start a transaction for a ready-made request, its Via included, and no more; for proxies.

        `receiver` is the engine's `ResponseReceiver`.  Returns the engine's handle, for `engine.cancel`.
        """
        return self.launch(self._hooked(request, hop.flow), hop.flow, receiver)

    def launch(self, request: Request, flow: int, receiver: ResponseReceiver) -> int:
        """`engine.send_request`, unless the next hop asked to be spared: then 0, and `receiver` hears a 503."""
        if self.restraint is not None:
            return self.restraint.send(request, flow, receiver)
        return self.engine.send_request(request, flow, receiver, self.driver.now())

    def obey_overload(self) -> Restraint:
        """From now on offer to send less to next hops that are overloaded, and do so (RFC 7339, by loss)."""
        from sipcore.restraint import OFFER, Restraint  # noqa: PLC0415 - only where it is asked for

        self.offers = OFFER
        self.restraint = self.restraint or Restraint(self)
        return self.restraint

    def via(self, flow: int) -> str:
        """A Via value with a new branch for a request on `flow` (RFC 3261 section 8.1.1.7, RFC 3581)."""
        transport = self.engine.flow_info(flow)[0]
        sent_by = self.engine.flow_sent_by(flow)
        offers = self.reuses_accepted and self.listener_for(transport) is not None  # RFC 5923 section 5
        parameter = ";rport" if transport == "udp" else ";alias" if offers else ""
        return f"SIP/2.0/{transport.upper()} {sent_by};branch={self.engine.new_branch()}{parameter}{self.offers}"

    def dress(self, draft: Draft, hop: Hop) -> Request:
        """The request that `draft` becomes on `hop`: Via, Contact, and what the send hooks make of it."""
        contact = self.contact(hop.flow) if draft.contact else None
        return self._hooked(draft.build(self.via(hop.flow), contact), hop.flow)

    def _hooked(self, request: Request, flow: int) -> Request:
        for hook in self._send_hooks:
            request = hook(request, flow) or request
        return request

    def _anonymous(self) -> str:
        host = self.engine.local_sent_by(self.listeners[0].local) if self.listeners else "anonymous.invalid"
        return f"sip:{self.name or 'anonymous'}@{host}"

    # bookkeeping for requests and calls

    def may_park(self) -> bool:
        return self.parked < MAX_PARKED and not self.stack.closed

    def note(self, decision: Decision) -> None:
        """A decision was acted upon (SPEC D9)."""
        if self.on_decision is not None:
            self.on_decision(decision)

    def ended(self, transaction: ClientTransaction) -> None:
        if self.on_ended is not None:
            self.on_ended(transaction)
        self.stack.something_ended()

    def start_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this user agent: started at once on CPython 3.12 and newer, soon on 3.11."""
        loop = self.env.loop
        eager: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **eager)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self.stack.something_ended()

    def add_dialog(self, dialog: Dialog, call: Call) -> None:
        self._dialogs[dialog.key] = call

    def remove_dialog(self, dialog: Dialog) -> None:
        self._dialogs.pop(dialog.key, None)

    def add_placed(self, call_id: str, from_tag: str, call: OutgoingCall) -> None:
        self._placed[call_id, from_tag] = call

    def remove_placed(self, call_id: str, from_tag: str) -> None:
        self._placed.pop((call_id, from_tag), None)

    def pend(self, transaction: int, owner: asyncio.Task[Any] | Call) -> None:
        """Who is to hear when the server transaction of an INVITE is cancelled."""
        self._by_transaction[transaction] = owner

    def unpend(self, transaction: int) -> None:
        self._by_transaction.pop(transaction, None)

    # the engine's UserAgentEvents

    def on_request(self, request: Request) -> None:
        """A new request, or the ACK to a 2xx (RFC 3261 sections 8.2 and 12.2.2)."""
        handler = self._handlers.get(request.method)
        if (
            handler is not None
            and request.is_plain
            and not self.closing
            and (request.to_tag is None or (self._keeps_dialogs and not self._dialogs))
        ):
            result = handler(request)
            if result is not None:
                await_result(self, result, request)
            return
        self._consider(request, handler)

    def _consider(self, request: Request, handler: Handler | None) -> None:
        """A request that is not plainly a handler's: of a dialog, of a call, built in, or to be refused."""
        to_tag = request.to_tag
        if to_tag is not None and self._of_dialog(request, to_tag):
            return
        method = request.method
        if handler is None and self._every is not None:
            run_handler(self, self._every, request)
        elif method == "ACK":
            if handler is not None:
                run_handler(self, handler, request)
        elif not uas.inspect(request, self):
            return
        elif to_tag is not None and not self._keeps_dialogs:
            self.engine.refuse(request, 481)
        elif self.closing and method not in uas.ONGOING and to_tag is None:
            self.engine.refuse(request, 503, headers=[("Retry-After", "30")])
        elif handler is not None:
            run_handler(self, handler, request)
        elif method == "INVITE" and self._on_invite is not None:
            self._incoming_call(request, self._on_invite)
        else:
            request.reply(200, headers=uas.capabilities(self))

    def _of_dialog(self, request: Request, to_tag: str) -> bool:
        """Give a request to the call whose dialog it is of; False when there is none."""
        call = self._dialogs.get((request.call_id or "", to_tag, uas.from_tag(request)))
        if call is None:
            return False
        if request.method == "ACK" or uas.inspect(request, self, in_dialog=True):
            call.handle_request(request)
        return True

    def _incoming_call(self, request: Request, handler: CallHandler) -> None:
        if self.call_limit is not None and len(self.calls) >= self.call_limit:
            self.engine.refuse(request, 503, headers=[("Retry-After", "30")])
            return
        if not uas.acceptable_body(request, self):
            return
        try:
            call = self._incoming(self, request)
        except SipError as error:
            logger.debug("an INVITE makes no dialog: %s", error)
            self.engine.refuse(request, 400)
            return
        call.run(handler)

    def on_pong(self, flow: int) -> None:
        """A single CRLF came on a stream."""
        self.connector.on_pong(flow)
        if self.pong is not None:
            self.pong(flow)

    def on_cancel(self, request: Request) -> None:
        """CANCEL of an INVITE that has no final response yet (RFC 3261 section 9.2)."""
        owner = self._by_transaction.pop(request.transaction, None)
        if isinstance(owner, asyncio.Task):
            owner.cancel()
        elif owner is not None:
            owner.handle_cancel(request)
        if self._on_cancel is not None:
            run_handler(self, self._on_cancel, request)
        elif owner is None:
            uas.reply_quietly(request, 487)

    def on_ack_timeout(self, request: Request) -> None:
        """Our 2xx to an INVITE was never acknowledged: the call that it made is ended (RFC 3261 section 13.3.1.4)."""
        call = self._dialogs.get((request.call_id or "", self.engine.to_tag(request), uas.from_tag(request)))
        if call is not None:
            call.handle_ack_timeout()

    def on_stray_response(self, response: Response) -> None:
        """A 2xx to an INVITE whose transaction is gone: its call acknowledges it again, or ends the fork."""
        call = self._placed.get((response.call_id or "", uas.from_tag(response)))
        if call is not None:
            call.handle_stray(response)

    # the end

    async def close(self, *, timeout: float = 32.0) -> None:
        """End this user agent alone: calls are hung up, running requests end, addresses are freed."""
        self.closing = True
        await asyncio.sleep(0)  # an eagerly started handler is still inside its batch
        for call in tuple(self.calls):
            call.hang_up()
        await self.stack.until(lambda: self.is_idle, timeout)
        self.drop()

    @property
    def is_idle(self) -> bool:
        """Nothing runs: no call, no request of ours, no handler but one that closes the stack."""
        return not (self.calls or self.live or self._tasks - {self.stack.closer})

    def drop(self) -> None:
        """Let go of everything at once."""
        for transaction in tuple(self.live):
            transaction.abandon(TransportError("the stack is closed"))
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        for call in tuple(self.calls):
            call.finish("the stack was closed")
        self.connector.close()
        for listener in self.listeners:
            listener.close()
        spoken_for = {listener.local for listener in self.listeners} | self.connector.locals()
        self.env.disconnect_all(self.driver, spoken_for)
        self.listeners.clear()
        self.engine.remove_user_agent(self.id)
        self.stack.user_agents.discard(self)
