"""How calls begin: `IncomingCall` is given to `on_invite` handlers, `OutgoingCall` is what `dial` returns.

RFC 3261 sections 9, 13 and 14; what both have in common once they are up is in
`session`.  Knows no octets, no sockets and no DNS.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sipcore import reliable, uas
from sipcore._message import Request, Response
from sipcore.dialog import Dialog
from sipcore.errors import (
    CallBusy,
    CallCancelled,
    CallError,
    CallRejected,
    CallTimeout,
    ParseError,
    SipError,
    TransactionTimeout,
    UsageError,
)
from sipcore.handling import is_async
from sipcore.outgoing import ClientTransaction, Draft, Headers
from sipcore.session import SDP, Call, dialog_draft, send_ack

if TYPE_CHECKING:
    from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.call")

MAX_EARLY = 16  # early dialogs of one INVITE that are kept (FAULTS 28)
MAX_FORKS = 128  # answered forks that were ended and whose 2xx are still acknowledged
MAX_PROVISIONALS = 64

__all__ = ["Call", "IncomingCall", "OutgoingCall"]


class IncomingCall(Call):
    """A call that somebody places to us.

    `request` is the INVITE, `body` and `headers` its own; `cancelled` is true
    once the caller gave up before the final response.
    """

    def __init__(self, user_agent: UserAgent, request: Request) -> None:
        tag = user_agent.engine.to_tag(request)
        dialog = Dialog.from_uas(request, tag, secure=request.request_uri.scheme == "sips")
        super().__init__(user_agent)
        self.request = request
        self.dialog = dialog
        self.body = request.body
        self.cancelled = False
        self.acknowledged = False
        self.status_code = 0
        self._transaction = request.transaction
        self._task: asyncio.Task[Any] | None = None
        self._bye_waits = False
        self._invite_sequence = dialog.remote_sequence
        self._prack_wanted = reliable.OPTION in user_agent.supported and any(
            reliable.names_option(request, header) for header in ("Supported", "Require")
        )
        self._reliable: reliable.ReliableSender | None = None
        self._reliable_number = user_agent.env.random.randrange(1, 2**30)
        user_agent.add_dialog(dialog, self)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The INVITE's headers, in order."""
        return self.request.headers

    # for the application

    async def progress(
        self, status_code: int = 180, *, body: bytes = b"", content_type: str = SDP, headers: Headers = ()
    ) -> None:
        """Send a provisional response; nothing is sent any more once the call was answered or cancelled.

        Where both sides know 100rel (`user_agent.supported`), it is repeated until the caller's PRACK, which this
        waits for (RFC 3262).
        """
        if not 100 < status_code < 200:
            raise UsageError(f"{status_code} is no provisional response")
        if self.status_code >= 200 or self.end_reason:
            return
        if self._prack_wanted and status_code > 100:
            await self._progress_reliably(status_code, headers, body, content_type)
        else:
            self._respond(status_code, None, headers, body, content_type)

    async def answer(self, body: bytes = b"", content_type: str = SDP, headers: Headers = ()) -> None:
        """200 OK with our session description.  CallCancelled if the caller has given up."""
        self._check_open()
        self.local_body = body
        assert self.dialog is not None
        self.dialog.confirm()
        self._respond(200, None, headers, body, content_type)
        self.user_agent.unpend(self._transaction)

    async def reject(self, status_code: int = 603, reason_phrase: str | None = None, *, headers: Headers = ()) -> None:
        """A final response of 300 or more; the call is over."""
        if not 300 <= status_code < 700:
            raise UsageError(f"{status_code} rejects no call")
        self._check_open()
        self._reject(status_code, reason_phrase, headers)

    def dial(self, uri: str, **arguments: Any) -> OutgoingCall:
        """Place a second call for this one (see `UserAgent.dial`); join them with `bridge`."""
        return self.user_agent.dial(uri, **arguments)

    async def confirmed(self) -> None:
        """Wait for the ACK to our answer.  CallError when the call ended before."""
        while not self.acknowledged:
            if self.end_reason:
                raise CallError(self.end_reason)
            await self._news()

    # for the stack

    def run(self, handler: Callable[[IncomingCall], Any]) -> None:
        """Give the call to the application; what it raises becomes a 500, what it leaves unanswered a 480."""
        self.user_agent.pend(self._transaction, self)
        if is_async(handler):
            self._task = self.user_agent.start_task(self._run_handler(handler))
        else:
            try:
                handler(self)
            except Exception:
                logger.exception("the call handler failed")
                self._give_up(500)

    async def _run_handler(self, handler: Callable[[IncomingCall], Any]) -> None:
        try:
            await handler(self)
        except asyncio.CancelledError:
            self._give_up(487 if self.cancelled else 503)
            if not self.cancelled:
                raise
        except CallError as error:
            self._give_up(error.response.status_code if error.response is not None else 480)
        except Exception:
            logger.exception("the call handler failed")
            self._give_up(500)
        else:
            self._give_up(480)

    def handle_cancel(self, request: Request) -> None:
        if request.transaction != self._transaction:
            super().handle_cancel(request)
            return
        if self.status_code >= 200 or self.end_reason:
            return
        self.cancelled = True
        self._reject(487)
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def _progress_reliably(self, status_code: int, headers: Headers, body: bytes, content_type: str) -> None:
        """One reliable response at a time; the caller who never acknowledges it is refused (RFC 3262 section 3)."""
        while self._reliable is not None:
            await self._news()
        self._check_open()
        self._reliable_number += 1
        number = self._reliable_number
        given = [*headers, ("Require", reliable.OPTION), ("RSeq", str(number))]
        self._reliable = reliable.ReliableSender(
            self.user_agent.engine,
            self.user_agent.driver.now,
            reliable.format_rack(number, self.request),
            lambda: self._respond(status_code, None, given, body, content_type),
            lambda: self._give_up(504),
        )
        while self._reliable is not None and self._reliable_number == number:
            await self._news()

    def _on_prack(self, request: Request) -> None:
        """RFC 3262 section 3: 200 to the PRACK of the response that waits for one, 481 to any other."""
        if self._reliable is None or " ".join(request.get("RAck", "").split()) != self._reliable.rack:
            request.reply(481)
            return
        self._stop_repeating()
        if request.body:
            self.body = request.body
        request.reply(200)
        self._wake()

    def _stop_repeating(self) -> None:
        if self._reliable is not None:
            self._reliable.stop()
            self._reliable = None

    def handle_ack(self, request: Request) -> None:
        super().handle_ack(request)
        if request.cseq is not None and request.cseq.number == self._invite_sequence:
            self.acknowledged = True
            self._wake()
        if self._bye_waits:
            self._bye_waits = False
            super()._send_bye(())

    def handle_ack_timeout(self) -> None:
        self._bye_waits = False
        self.acknowledged = True
        super().handle_ack_timeout()

    # inside

    def _check_open(self) -> None:
        if self.cancelled or self.end_reason:
            raise CallCancelled(self.end_reason or "the caller has given up")
        if self.status_code >= 200:
            raise UsageError("the call has its final response")

    def _respond(self, status_code: int, reason: str | None, headers: Headers, body: bytes, content_type: str) -> None:
        given = list(headers)
        if status_code < 300:
            given.append(("Contact", self.user_agent.contact(self.request.flow)))
            given.append(("Allow", self.user_agent.allow))
        if body:
            given.append(("Content-Type", content_type))
        if status_code >= 200:
            self._stop_repeating()
        self.status_code = status_code
        self.request.reply(status_code, reason, headers=given, body=body)

    def _reject(self, status_code: int, reason_phrase: str | None = None, headers: Headers = ()) -> None:
        self.user_agent.unpend(self._transaction)
        try:
            self._respond(status_code, reason_phrase, headers, b"", "")
        except SipError as error:
            logger.debug("%d was too late: %s", status_code, error)
        self.finish("cancelled by the caller" if self.cancelled else f"rejected with {status_code}")

    def _give_up(self, status_code: int) -> None:
        if self.status_code < 200 and not self.end_reason:
            self._reject(status_code)

    def _send_bye(self, headers: Headers, *, reason: str = "hung up here") -> ClientTransaction | None:
        """Before our final response: reject; after it, BYE, but not before the ACK (RFC 3261 section 15)."""
        if self.status_code < 200:
            if not self.end_reason:
                self._reject(480)
            return None
        if not self.acknowledged and not self.end_reason:
            self._bye_waits = True
            return None
        return super()._send_bye(headers, reason=reason)

    def _on_bye(self, request: Request) -> None:
        super()._on_bye(request)
        if self.status_code < 200:
            self.user_agent.unpend(self._transaction)
            uas.reply_quietly(self.request, 487)

    def finish(self, reason: str) -> None:
        self._stop_repeating()
        super().finish(reason)
        self.user_agent.unpend(self._transaction)


class OutgoingCall(Call):
    """A call that we place.

        async with user_agent.dial("sip:bob@example.com", body=offer, timeout=30) as call:
            async for provisional in call.provisionals: ...
            await call.answered()

    Nothing is sent before it is awaited, entered or started.  Leaving the block
    cancels a call that was not answered and hangs up one that was.
    """

    def __init__(self, user_agent: UserAgent, draft: Draft, *, timeout: float | None = None) -> None:
        super().__init__(user_agent)
        self.response: Response | None = None
        self.cancelled = False
        self.local_body = draft.body
        self.early: dict[str, Dialog] = {}
        self._in_order = reliable.InOrder()
        self.transaction = ClientTransaction(user_agent, draft, observer=self)
        self._error: CallError | SipError | None = None
        self._timeout = timeout
        self._timer = 0
        self._timed_out = False
        self._started = False
        self._provisionals: deque[Response] = deque(maxlen=MAX_PROVISIONALS)
        self._forks: dict[str, dict[int, tuple[bytes, int]]] = {}
        self._call_id = draft.call_id
        self._from_tag = draft.from_value.rpartition(";tag=")[2].partition(";")[0]

    # for the application

    def start(self) -> OutgoingCall:
        """Send the INVITE; repeating it is harmless."""
        if not self._started:
            self._started = True
            self.user_agent.add_placed(self._call_id, self._from_tag, self)
            if self._timeout is not None:
                due = self.user_agent.driver.now() + self._timeout
                self._timer = self.user_agent.engine.start_timer(due, self._on_timeout)
            self.transaction.start()
        return self

    async def answered(self) -> OutgoingCall:
        """Wait for the 2xx.  Raises CallBusy, CallRejected, CallTimeout, CallCancelled, each with `.response`."""
        self.start()
        while self.response is None and self._error is None:
            await self._news()
        self._raise()
        return self

    def __await__(self) -> Generator[object, None, OutgoingCall]:
        return self.answered().__await__()

    @property
    def provisionals(self) -> AsyncIterator[Response]:
        """The provisional responses but 100 Trying, until the call is answered; then an end, or the call's error."""
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Response]:
        self.start()
        while True:
            while self._provisionals:
                yield self._provisionals.popleft()
            if self.response is not None or self._error is not None:
                self._raise()
                return
            await self._news()

    def cancel(self, *, headers: Headers = ()) -> None:
        """Give up before the answer (CANCEL); an answer that crosses it is acknowledged and hung up."""
        if self.response is None and not self.cancelled:
            self.cancelled = True
            self.transaction.cancel(headers=headers)
            self._fail(CallCancelled("cancelled from here"))

    async def __aenter__(self) -> OutgoingCall:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()

    # for the stack: observer of the INVITE

    def on_provisional(self, response: Response) -> None:
        if response.status_code == 100 or self._error is not None:
            return
        self._early_dialog(response)
        number = reliable.reliable_number(response)
        if number is not None and not self._acknowledge_provisional(response, number):
            return
        if response.body:
            self.body = response.body
        self._provisionals.append(response)
        self._wake()

    def on_final(self, response: Response) -> None:
        if response.status_code < 300:
            self._accept(response)
        else:
            self._fail(self._error_for(response))

    def on_late_success(self, response: Response, request: Request) -> None:
        """Another 2xx (RFC 3261 section 13.2.2.4): repeated, acknowledge again; of another fork, end that one."""
        tag = _to_tag(response)
        if self.dialog is not None and tag == self.dialog.remote_tag and self.response is not None:
            self.acknowledge_again(self.dialog, request)
        else:
            self._end_fork(tag, response, request)

    def on_failure(self, error: SipError) -> None:
        if isinstance(error, TransactionTimeout):
            self._fail(CallTimeout(str(error)))
        else:
            self._fail(error)

    def handle_stray(self, response: Response) -> None:
        """A 2xx after the INVITE's transaction has ended."""
        if self.transaction.request is not None:
            self.on_late_success(response, self.transaction.request)

    # inside

    def _early_dialog(self, response: Response) -> None:
        tag = _to_tag(response)
        request = self.transaction.request
        if tag and request is not None and tag not in self.early and len(self.early) < MAX_EARLY:
            try:
                self.early[tag] = Dialog.from_uac(request, response)
            except ParseError as error:
                logger.debug("a provisional response makes no dialog: %s", error)

    def _acknowledge_provisional(self, response: Response, number: int) -> bool:
        """PRACK the next reliable response of its early dialog (RFC 3262 section 4); False for one seen before."""
        tag, invite = _to_tag(response), self.transaction.request
        dialog = self.early.get(tag)
        if dialog is None or invite is None or not self._in_order.take(tag, number):
            return False
        rack = [("RAck", reliable.format_rack(number, invite))]
        ClientTransaction(self.user_agent, dialog_draft(dialog, "PRACK", rack, b"", "")).start()
        return True

    def _accept(self, response: Response) -> None:
        request = self.transaction.request
        assert request is not None
        tag = _to_tag(response)
        if self._error is not None:
            self._end_fork(tag, response, request)
            return
        try:
            dialog = self.early.pop(tag, None) or Dialog.from_uac(request, response)
            dialog.confirm(response)
        except ParseError as error:
            self._fail(CallRejected(f"the 2xx makes no dialog: {error}", response=response))
            return
        self.early.clear()
        self.dialog, self.response = dialog, response
        self.body = response.body or self.body
        self._stop_timer()
        self.user_agent.add_dialog(dialog, self)
        self.acknowledge(dialog, request)
        self._wake()

    def _end_fork(self, tag: str, response: Response, request: Request) -> None:
        """ACK and BYE for a dialog that we do not want (FAULTS 28); its repeated 2xx get their ACK again."""
        kept = self._forks.get(tag)
        user_agent = self.user_agent
        if kept is not None:
            for octets, flow in kept.values():
                try:
                    user_agent.engine.send(octets, flow)
                except SipError as error:
                    logger.debug("an ACK could not be repeated: %s", error)
            return
        if len(self._forks) >= MAX_FORKS:
            return
        try:
            dialog = Dialog.from_uac(request, response)
        except ParseError as error:
            logger.debug("a 2xx makes no dialog: %s", error)
            return
        self._forks[tag] = kept = {}

        def hang_up() -> None:
            ClientTransaction(user_agent, dialog_draft(dialog, "BYE", (), b"", "")).start()

        send_ack(user_agent, dialog, request, kept, hang_up)

    def _on_timeout(self) -> None:
        self._timer = 0
        self._timed_out = True
        self.transaction.cancel()
        self._fail(CallTimeout("nobody answered in time"))

    def _error_for(self, response: Response) -> CallError:
        status_code = response.status_code
        text = f"{status_code} {response.reason_phrase}"
        if status_code in (486, 600):
            return CallBusy(text, response=response)
        if status_code == 408:
            return CallTimeout(text, response=response)
        if status_code == 487 and self.cancelled:
            return CallCancelled(text, response=response)
        return CallRejected(text, response=response)

    def _fail(self, error: SipError) -> None:
        if self._error is None and self.response is None:
            self._error = error
            self._stop_timer()
            self.early.clear()
            self.finish(str(error))

    def _raise(self) -> None:
        error = self._error
        if error is None:
            return
        if isinstance(error, CallError):
            raise type(error)(error.reason, response=error.response) from error
        raise CallRejected(str(error)) from error

    def _stop_timer(self) -> None:
        if self._timer:
            self.user_agent.engine.cancel_timer(self._timer)
            self._timer = 0

    def _send_bye(self, headers: Headers, *, reason: str = "hung up here") -> ClientTransaction | None:
        if self.response is None:
            self.cancel(headers=headers)
            return None
        return super()._send_bye(headers, reason=reason)

    def finish(self, reason: str) -> None:
        """The call is over; its INVITE is remembered for as long as forks may still answer (64*T1)."""
        if self.end_reason:
            return
        super().finish(reason)
        user_agent = self.user_agent
        key = self._call_id, self._from_tag
        due = user_agent.driver.now() + 32.0
        user_agent.engine.start_timer(due, lambda: user_agent.remove_placed(*key))


def _to_tag(response: Response) -> str:
    to = response.to
    return (to.tag or "") if to is not None else ""
