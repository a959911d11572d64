"""The life of a call inside its dialog: requests both ways, re-INVITE, ACK to 2xx, BYE (RFC 3261 sections 12 to 15).

How a call begins is in `call`.  Knows no octets, no sockets and no DNS; where
its requests go its user agent says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sipcore import uas
from sipcore._message import Request, Response
from sipcore.dialog import Dialog, DialogState
from sipcore.errors import (
    SipError,
    TransactionTimeout,
    TransportError,
    UsageError,
)
from sipcore.handling import run_handler
from sipcore.outgoing import ClientTransaction, Draft, Headers, Hop, OutgoingRequest

if TYPE_CHECKING:
    from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.call")

SDP = "application/sdp"

RequestHandler = Callable[[Request], Any]


class Call:
    """A call as one of its sides sees it.

    `dialog` is None until the far side's tag is known; `body` is the last
    session description that the far side sent, `local_body` the last from here;
    `end_reason` is "" while the call lives.
    """

    def __init__(self, user_agent: UserAgent) -> None:
        self.user_agent = user_agent
        self.dialog: Dialog | None = None
        self.body = b""
        self.local_body = b""
        self.end_reason = ""
        self._handlers: dict[str, RequestHandler] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._acks: dict[int, tuple[bytes, int]] = {}
        self._bridge: Call | None = None
        self._reinviting = False
        user_agent.calls.add(self)

    # for the application

    @property
    def is_up(self) -> bool:
        """Answered and not ended."""
        return not self.end_reason and self.dialog is not None and self.dialog.state is DialogState.CONFIRMED

    def on(self, method: str, handler: RequestHandler | None = None) -> Any:
        """Give requests of `method` inside this call a handler, plain or `async def`; it answers them itself.

        Without one: BYE ends the call (200), INVITE and UPDATE are answered with the last local session description,
        OPTIONS and INFO with 200, others with 405.
        """
        if handler is None:
            return lambda function: self.on(method, function)
        self._handlers[method] = handler
        return handler

    def send(
        self,
        method: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        content_type: str = "",
        timeout: float | None = None,
    ) -> ClientTransaction:
        """Send a request inside the dialog, along its route set; await it for the final response."""
        return ClientTransaction(self.user_agent, self._draft(method, headers, body, content_type)).start(
            timeout=timeout
        )

    async def info(self, body: bytes, content_type: str, *, headers: Headers = ()) -> Response:
        """INFO (RFC 6086)."""
        return await self.send("INFO", headers=headers, body=body, content_type=content_type)

    async def reinvite(self, body: bytes = b"", content_type: str = SDP, *, headers: Headers = ()) -> Response:
        """Change the session (RFC 3261 section 14.1); a 2xx is acknowledged here.  Returns the final response."""
        if self._reinviting:
            raise UsageError("one re-INVITE at a time (RFC 3261 section 14.1)")
        self._reinviting = True
        try:
            draft = self._draft("INVITE", headers, body, content_type)
            observer = _Reinvite(self)
            observer.transaction = ClientTransaction(self.user_agent, draft, observer=observer)
            response = await observer.transaction.start()
        finally:
            self._reinviting = False
        if response.status_code < 300 and body:
            self.local_body = body
        return response

    async def bye(self, *, headers: Headers = ()) -> None:
        """Hang up; returns when BYE is answered or has failed, the call being over in any case."""
        transaction = self._send_bye(headers)
        if transaction is not None:
            try:
                await transaction
            except SipError as error:
                logger.debug("BYE got no answer: %s", error)

    async def ended(self) -> str:
        """Wait for the end of the call; returns its reason in words."""
        while not self.end_reason:
            await self._news()
        return self.end_reason

    async def bridge(self, leg: Call) -> str:
        """Join two calls until one of them ends; the other is hung up then.

        Re-INVITE, UPDATE, INFO, REFER, MESSAGE and NOTIFY are passed on in both directions, unless a handler given
        with `on` takes the method.  Returns why it ended.
        """
        self._bridge, leg._bridge = leg, self
        try:
            while not self.end_reason and not leg.end_reason:
                await asyncio.wait(
                    [asyncio.ensure_future(self._news()), asyncio.ensure_future(leg._news())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            self._bridge = leg._bridge = None
            self.hang_up()
            leg.hang_up()
        return self.end_reason or leg.end_reason

    # for the stack

    def hang_up(self) -> None:
        """End the call from here whatever its state, without waiting."""
        self._send_bye(())

    def finish(self, reason: str) -> None:
        """The call is over; nothing is sent."""
        if self.end_reason:
            return
        self.end_reason = reason
        user_agent = self.user_agent
        if self.dialog is not None:
            self.dialog.terminate()
            user_agent.remove_dialog(self.dialog)
        user_agent.calls.discard(self)
        self._acks.clear()
        self._wake()
        user_agent.stack.something_ended()

    def handle_request(self, request: Request) -> None:
        """A request inside the dialog (RFC 3261 section 12.2.2)."""
        dialog = self.dialog
        assert dialog is not None
        method = request.method
        if method == "ACK":
            self.handle_ack(request)
            return
        if not dialog.accepts(request):
            request.reply(500)
            return
        dialog.refresh_target(request, method)
        if method in ("INVITE", "UPDATE") and request.body:
            self.body = request.body
        handler = self._handlers.get(method)
        if method == "BYE":
            self._on_bye(request)
        elif handler is not None:
            self._run(handler, request)
        elif self._bridge is not None and method in BRIDGED:
            self._run(self._pass_on, request)
        else:
            self._built_in(method, request)

    def handle_ack(self, request: Request) -> None:
        """The ACK to a 2xx arrived; a body in it is the answer to the offer in the 2xx."""
        if request.body:
            self.body = request.body

    def handle_cancel(self, request: Request) -> None:
        """A re-INVITE was cancelled."""
        uas.reply_quietly(request, 487)

    def handle_ack_timeout(self) -> None:
        """A 2xx was never acknowledged (RFC 3261 section 13.3.1.4): BYE."""
        self._send_bye((), reason="the 2xx was never acknowledged")

    # inside

    def _draft(self, method: str, headers: Headers, body: bytes, content_type: str) -> Draft:
        dialog = self.dialog
        if dialog is None or self.end_reason:
            raise UsageError("the call has no dialog" if dialog is None else f"the call is over: {self.end_reason}")
        return dialog_draft(dialog, method, headers, body, content_type)

    def _send_bye(self, headers: Headers, *, reason: str = "hung up here") -> ClientTransaction | None:
        if self.end_reason:
            return None
        if self.dialog is None:
            self.finish(reason)
            return None
        transaction = ClientTransaction(self.user_agent, self._draft("BYE", headers, b"", ""))
        self.finish(reason)
        return transaction.start()

    def _on_bye(self, request: Request) -> None:
        handler = self._handlers.get("BYE")
        if handler is not None:
            self._run(handler, request)
        else:
            request.reply(200)
        self.finish("the far side hung up")

    def _built_in(self, method: str, request: Request) -> None:
        if method in ("INVITE", "UPDATE"):
            self._answer_offer(request)
        elif method == "PRACK":
            self._on_prack(request)
        elif method == "OPTIONS":
            request.reply(200, headers=uas.capabilities(self.user_agent))
        elif method == "INFO":
            request.reply(200 if not request.body else 415)
        elif method in uas.KNOWN_METHODS:
            request.reply(405, headers=[("Allow", self.user_agent.allow)])
        else:
            request.reply(501)

    def _on_prack(self, request: Request) -> None:
        """Only who sends reliable responses takes their PRACK."""
        request.reply(481)

    def _answer_offer(self, request: Request) -> None:
        """A changed session that nobody handles: what was agreed on stays."""
        if request.method == "INVITE" and self._reinviting:
            request.reply(491)
            return
        if not self.local_body:
            request.reply(488)
            return
        headers = [("Contact", self.user_agent.contact(request.flow))]
        with_body = request.method == "INVITE" or bool(request.body)
        if with_body:
            headers.append(("Content-Type", SDP))
        request.reply(200, headers=headers, body=self.local_body if with_body else b"")

    def _run(self, handler: RequestHandler, request: Request) -> None:
        run_handler(self.user_agent, handler, request)

    async def _pass_on(self, request: Request) -> None:
        """Repeat a request on the bridged leg and bring its answer back."""
        leg = self._bridge
        if leg is None or not leg.is_up:
            request.reply(481)
            return
        headers = [("Content-Type", request.content_type)] if request.content_type else []
        headers += [(name, value) for name, value in request.headers if name.lower() in PASSED_ON]
        try:
            if request.method == "INVITE":
                response = await leg.reinvite(request.body, headers=headers, content_type="")
            else:
                response = await leg.send(request.method, headers=headers, body=request.body)
        except TransactionTimeout:
            request.reply(408)
        except (SipError, OSError):
            request.reply(503)
        else:
            self._bring_back(request, response)

    def _bring_back(self, request: Request, response: Response) -> None:
        headers = [("Content-Type", response.content_type)] if response.content_type else []
        if response.status_code < 300:
            headers.append(("Contact", self.user_agent.contact(request.flow)))
            if response.body:
                self.local_body = response.body
        request.reply(response.status_code, response.reason_phrase, headers=headers, body=response.body)

    # ACK to 2xx

    def acknowledge(self, dialog: Dialog, invite: Request, *, then: Callable[[], None] | None = None) -> None:
        """ACK a 2xx along the dialog's route (RFC 3261 section 13.2.2.4); `then` runs once it has been sent."""
        send_ack(self.user_agent, dialog, invite, self._acks, then)

    def acknowledge_again(self, dialog: Dialog, invite: Request) -> None:
        """A 2xx was repeated: the same ACK again, on the same flow."""
        sequence = invite.cseq.number if invite.cseq is not None else 0
        kept = self._acks.get(sequence)
        if kept is None:
            self.acknowledge(dialog, invite)
            return
        try:
            self.user_agent.engine.send(*kept)
        except TransportError:
            self.acknowledge(dialog, invite)

    # waiting

    def _news(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


BRIDGED = frozenset({"INVITE", "UPDATE", "INFO", "REFER", "MESSAGE", "NOTIFY"})
PASSED_ON = frozenset({"refer-to", "referred-by", "event", "subscription-state", "info-package", "content-disposition"})
CREDENTIALS = frozenset({"authorization", "proxy-authorization"})


def dialog_draft(dialog: Dialog, method: str, headers: Headers, body: bytes, content_type: str) -> Draft:
    """A request inside `dialog` (RFC 3261 section 12.2.1.1)."""
    parts = dialog.request_parts()
    given = list(headers)
    if body and content_type:
        given.append(("Content-Type", content_type))
    return Draft(
        method,
        parts.request_uri,
        from_value=dialog.from_value(),
        to_value=dialog.to_value(),
        call_id=dialog.call_id,
        sequence=dialog.next_sequence(),
        routes=parts.routes,
        headers=given,
        body=body,
        dialog=dialog,
        contact=method in uas.WITH_CONTACT,
    )


def send_ack(
    user_agent: UserAgent,
    dialog: Dialog,
    invite: Request,
    kept: dict[int, tuple[bytes, int]],
    then: Callable[[], None] | None = None,
) -> None:
    """Send the ACK to a 2xx of `invite` by the user agent's next hop, and keep its octets under its CSeq number."""
    sequence = invite.cseq.number if invite.cseq is not None else 0
    parts = dialog.request_parts()
    draft = Draft(
        "ACK",
        parts.request_uri,
        from_value=dialog.from_value(),
        to_value=dialog.to_value(),
        call_id=dialog.call_id,
        sequence=sequence,
        routes=parts.routes,
        headers=[(name, value) for name, value in invite.headers if name.lower() in CREDENTIALS],
        dialog=dialog,
    )

    def send(hop: Hop) -> None:
        if hop.decision is not None:
            user_agent.note(hop.decision)
        octets = bytes(user_agent.dress(draft, hop))
        kept[sequence] = octets, hop.flow
        user_agent.engine.send(octets, hop.flow)

    async def send_later(hop: Any) -> None:
        try:
            send(await hop)
        except (SipError, OSError) as error:
            logger.warning("an ACK could not be sent: %s", error)
        if then is not None:
            then()

    outgoing: OutgoingRequest = draft.outgoing()
    try:
        hop = user_agent.next_hop(outgoing)
        if not isinstance(hop, Hop):
            user_agent.start_task(send_later(hop))
            return
        send(hop)
    except (SipError, OSError) as error:
        logger.warning("an ACK could not be sent: %s", error)
    if then is not None:
        then()


class _Reinvite:
    """Observes one re-INVITE of `call`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.transaction: ClientTransaction | None = None

    def on_provisional(self, response: Response) -> None:
        """Nothing to do."""

    def on_final(self, response: Response) -> None:
        call = self._call
        dialog = call.dialog
        if dialog is None:
            return
        if response.status_code < 300:
            dialog.refresh_target(response, "INVITE")
            if response.body:
                call.body = response.body
            if self.transaction is not None and self.transaction.request is not None:
                call.acknowledge(dialog, self.transaction.request)
        elif response.status_code in (408, 481):
            call.hang_up()

    def on_late_success(self, response: Response, request: Request) -> None:
        if self._call.dialog is not None:
            self._call.acknowledge_again(self._call.dialog, request)

    def on_failure(self, error: SipError) -> None:
        if isinstance(error, TransactionTimeout):
            self._call.hang_up()
