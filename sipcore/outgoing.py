"""Requests on their way out: draft, next hop, attempts, challenges, and the final response that somebody awaits.

One `ClientTransaction` is one request as its sender sees it; behind it may stand
several transactions of RFC 3261 section 17.1, one for each address tried
(RFC 3263 section 4.3) and each challenge answered (RFC 3261 section 22.2).
Knows no socket, no DNS and no dialog rules.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sipcore._message import Request, Response, build_request
from sipcore.errors import CallCancelled, SipError, TransactionTimeout, TransportError, UsageError

if TYPE_CHECKING:
    from sipcore.dialog import Dialog
    from sipcore.policy.decisions import Decision
    from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.stack")

TIMEOUT = 32.0  # 64*T1, RFC 3261 section 17.1.1.2
HOP_TIMEOUT = TIMEOUT - 0.1  # for a next hop that waits: just sooner, so that its own reason is the one that is told
MAX_CHALLENGES = 4  # SPEC B7
MAX_ATTEMPTS = 3  # SPEC D8
MAX_PROVISIONALS = 64  # kept for whoever iterates; older ones fall out

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """What a next hop is chosen by.  `routes` are Route values in order, `size` is about the octets it will have."""

    method: str
    request_uri: str
    routes: tuple[str, ...] = ()
    dialog: Dialog | None = None
    is_initial_invite: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a request goes: a flow of this user agent, and why.

    `failover(reason)` gives the next address to try after this one failed, or
    None; without it a failure is final.
    """

    flow: int
    transport: str
    decision: Decision | None = None
    failover: Failover | None = None


Failover = Callable[[str], Hop | Awaitable[Hop] | Awaitable[Hop | None] | None]
NextHop = Callable[[OutgoingRequest], Hop | Awaitable[Hop]]


@dataclass(frozen=True, slots=True)
class Challenged:
    """A 401 or 407 that wants an answer: what was sent, what came back, and the how-manieth it is (from 1)."""

    method: str
    request_uri: str
    body: bytes
    response: Response
    attempt: int
    dialog: Dialog | None


@dataclass(slots=True)
class Draft:
    """A request before its next hop is known: everything but Via and Contact."""

    method: str
    request_uri: str
    from_value: str
    to_value: str
    call_id: str
    sequence: int
    routes: tuple[str, ...] = ()
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    dialog: Dialog | None = None
    contact: bool = False
    max_forwards: int = 70
    via_parameters: str = ""

    def outgoing(self) -> OutgoingRequest:
        initial = self.method == "INVITE" and self.dialog is None
        return OutgoingRequest(self.method, self.request_uri, self.routes, self.dialog, initial, self._size())

    def build(self, via: str, contact: str | None) -> Request:
        """The message, its Via and Contact filled in (RFC 3261 section 8.1.1)."""
        headers = [("Via", via + self.via_parameters)]
        headers.extend(("Route", route) for route in self.routes)
        headers += (
            ("Max-Forwards", str(self.max_forwards)),
            ("From", self.from_value),
            ("To", self.to_value),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.sequence} {self.method}"),
        )
        if contact is not None:
            headers.append(("Contact", contact))
        headers += self.headers
        return build_request(self.method, self.request_uri, headers, self.body)

    def next_sequence(self) -> None:
        """Take a new CSeq number for the same request sent anew (RFC 3261 section 8.1.3.5)."""
        self.sequence = self.sequence + 1 if self.dialog is None else self.dialog.next_sequence()

    def _size(self) -> int:
        lines = sum(len(name) + len(value) + 4 for name, value in self.headers) + sum(map(len, self.routes))
        texts = len(self.from_value) + len(self.to_value) + len(self.call_id) + len(self.request_uri)
        return 250 + lines + texts + len(self.body)


class Observer(Protocol):
    """Hears of one request in the order of events, inside the batch."""

    def on_provisional(self, response: Response) -> None: ...
    def on_final(self, response: Response) -> None: ...
    def on_late_success(self, response: Response, request: Request) -> None:
        """A 2xx to the INVITE `request` after the first final: repeated, or from another fork (13.2.2.4)."""
        ...

    def on_failure(self, error: SipError) -> None: ...


class _Attempt:
    """One transaction of the engine; its answers count only while it is the current attempt."""

    __slots__ = ("handle", "owner", "request", "timer")

    def __init__(self, owner: ClientTransaction, request: Request) -> None:
        self.owner = owner
        self.request = request
        self.handle = 0
        self.timer = 0

    def on_response(self, response: Response) -> None:
        self.owner._on_response(self, response)

    def on_timeout(self) -> None:
        self.owner._on_failed(self, TransactionTimeout(f"no final response to {self.request.method}"))

    def on_transport_error(self, reason: str) -> None:
        self.owner._on_failed(self, TransportError(reason))


class ClientTransaction:
    """A request that was sent.  `await` gives the final response; iterating gives the provisional ones.

    TransactionTimeout, TransportError or LocateError is raised by `await` when
    there will be no response; every waiter gets an exception of its own kind.
    `next_hop` takes the place of the user agent's; with `leave_challenges` a 401 or
    407 is final, whoever the user agent has to answer them.
    """

    def __init__(
        self,
        user_agent: UserAgent,
        draft: Draft,
        *,
        observer: Observer | None = None,
        next_hop: NextHop | None = None,
        leave_challenges: bool = False,
    ) -> None:
        self.response: Response | None = None
        self.error: SipError | None = None
        self.decision: Decision | None = None
        self.request: Request | None = None
        self.flow = 0
        self.cancelled = False
        self.done = False
        self._user_agent = user_agent
        self._draft = draft
        self._observer = observer
        self._next_hop = next_hop or user_agent.next_hop
        self._leave_challenges = leave_challenges
        self._attempt: _Attempt | None = None
        self._hop: Hop | None = None
        self._attempts = 0
        self._challenges = 0
        self._started = 0.0
        self._parked: asyncio.Task[None] | None = None
        self._is_parked = False
        self._deadline = 0
        self._proceeding = False
        self._provisionals: deque[Response] = deque(maxlen=MAX_PROVISIONALS)
        self._waiters: list[asyncio.Future[None]] = []

    # for the sender

    def __await__(self) -> Generator[object, None, Response]:
        return self.final().__await__()

    async def final(self) -> Response:
        """The final response, or the error that took its place."""
        while not self.done:
            await self._news()
        if self.error is not None:
            raise _copy(self.error)
        assert self.response is not None
        return self.response

    def __aiter__(self) -> AsyncIterator[Response]:
        return self.provisionals()

    async def provisionals(self) -> AsyncIterator[Response]:
        """The provisional responses as they come, until the final one; 100 Trying is among them."""
        while True:
            while self._provisionals:
                yield self._provisionals.popleft()
            if self.done:
                return
            await self._news()

    def cancel(self, *, headers: Headers = ()) -> None:
        """CANCEL an INVITE (RFC 3261 section 9.1); what is no INVITE or was never sent ends here.

        Repeating it is harmless.
        """
        if self.done or self.cancelled:
            return
        self.cancelled = True
        if not self._cancel_attempt(headers):
            self.abandon(CallCancelled("cancelled from here"))

    def _cancel_attempt(self, headers: Headers = ()) -> bool:
        attempt = self._attempt
        if attempt is None or attempt.request.method != "INVITE":
            return False
        self._user_agent.engine.cancel(attempt.handle, self._user_agent.driver.now(), headers=headers)
        return True

    def start(self, *, flow: int = 0, transport: str = "", timeout: float | None = None) -> ClientTransaction:
        """Choose the next hop (or take `flow`) and send; at most 64*T1 are spent before it is sent."""
        user_agent = self._user_agent
        self._started = user_agent.driver.now()
        user_agent.live.add(self)
        if timeout is not None:
            self._deadline = user_agent.engine.start_timer(self._started + timeout, self._expire)
        if user_agent.stack.closed:
            self._fail(TransportError("the stack is closed"))
        elif flow:
            self._choose(lambda: Hop(flow, transport or user_agent.engine.flow_info(flow)[0]))
        else:
            self._choose(lambda: self._next_hop(self._draft.outgoing()))
        return self

    def abandon(self, error: SipError) -> None:
        """End it here with `error`; what is on the wire is no longer listened to."""
        if not self.done:
            self._release_attempt(forget=True)
            self._fail(error)

    # choosing and sending

    def _choose(self, choose: Callable[[], Hop | Awaitable[Hop | None] | None]) -> bool:
        """Ask for a hop and go there; False when there is none."""
        try:
            hop = choose()
        except SipError as error:
            self._fail(error)
            return True
        except Exception as error:
            self._not_chosen(error)
            return True
        if hop is None:
            return False
        if isinstance(hop, Hop):
            self._send(hop)
        else:
            self._park(hop)
        return True

    def _park(self, hop: Awaitable[Hop | None]) -> None:
        user_agent = self._user_agent
        if not user_agent.may_park():
            if inspect.iscoroutine(hop):
                hop.close()
            self._fail(TransportError("too many requests wait for their next hop"))
            return
        user_agent.parked += 1
        self._is_parked = True
        task = user_agent.start_task(self._resolve(hop))
        if self._is_parked:
            self._parked = task
        task.add_done_callback(lambda _: self._unpark(hop))

    async def _resolve(self, awaitable: Awaitable[Hop | None]) -> None:
        user_agent = self._user_agent
        left = TIMEOUT - (user_agent.driver.now() - self._started)
        try:
            hop = await asyncio.wait_for(awaitable, max(left, 0.0))
        except TimeoutError:
            self._unpark()
            self._fail(TransactionTimeout("no next hop was found in time"))
        except SipError as error:
            self._unpark()
            self._fail(error)
        except asyncio.CancelledError:
            self._unpark()
            self._fail(TransportError("given up while it waited for its next hop"))
            raise
        except Exception as error:
            self._unpark()
            self._not_chosen(error)
        else:
            self._unpark()
            if self.done:
                return
            if hop is None:
                self._fail(self.error or TransportError("no address left to try"))
            else:
                self._send(hop)

    def _not_chosen(self, error: Exception) -> None:
        """What chooses next hops is the application's to replace; a fault of it is told to whoever waits."""
        logger.error("choosing the next hop of %s failed", self._draft.method, exc_info=error)
        self._fail(_caused(TransportError(f"choosing the next hop failed: {error}"), error))

    def _unpark(self, hop: Awaitable[Hop | None] | None = None) -> None:
        """No longer parked; also for a task that was cancelled before it began, which left its coroutine behind."""
        if self._is_parked:
            self._is_parked = False
            self._parked = None
            self._user_agent.parked -= 1
        if inspect.iscoroutine(hop):
            hop.close()

    def _send(self, hop: Hop) -> None:
        user_agent = self._user_agent
        self._hop = hop
        self._attempts += 1
        if hop.decision is not None:
            self.decision = hop.decision
            user_agent.note(hop.decision)
        attempt: _Attempt | None = None
        try:
            request = user_agent.dress(self._draft, hop)
            attempt = self._attempt = _Attempt(self, request)
            self.request, self.flow = request, hop.flow
            attempt.handle = user_agent.launch(request, hop.flow, attempt)
        except TransportError as error:
            if attempt is None:
                self._fail(error)
            else:
                self._on_failed(attempt, error)
            return
        except SipError as error:
            self._fail(error)
            return
        except Exception as error:
            logger.exception("a send hook failed at %s", self._draft.method)
            self._fail(_caused(UsageError(f"a send hook failed: {error!r}"), error))
            return
        if hop.failover is not None and self._attempts < MAX_ATTEMPTS and not self.done:
            self._share_time(attempt)

    def _share_time(self, attempt: _Attempt) -> None:
        """What is left of 64*T1 is shared among the attempts left, so that a silent address costs its part only."""
        now = self._user_agent.driver.now()
        left = max(TIMEOUT - (now - self._started), 0.0)
        share = left / (MAX_ATTEMPTS - self._attempts + 1)

        def silent() -> None:
            attempt.timer = 0
            if attempt is self._attempt and not self._proceeding and not self.done:
                self._on_failed(attempt, TransactionTimeout("no answer from this address"), keep=True)

        attempt.timer = self._user_agent.engine.start_timer(now + share, silent)

    # what comes back

    def _on_response(self, attempt: _Attempt, response: Response) -> None:
        status_code = response.status_code
        if attempt is not self._attempt or self.done:
            if 200 <= status_code < 300 and attempt.request.method == "INVITE" and self._observer is not None:
                self._observer.on_late_success(response, attempt.request)
            return
        if status_code < 200:
            self._proceeding = True
            self._provisionals.append(response)
            if self._observer is not None:
                self._observer.on_provisional(response)
            self._wake()
        elif not self._try_again(response):
            self._finish(response)

    def _try_again(self, response: Response) -> bool:
        """Whether a final response is not the end of it: a challenge is answered, a 503 goes to the next address."""
        if response.status_code in (401, 407) and not self._leave_challenges:
            return self._answer_challenge(response)
        return response.status_code == 503 and not self.cancelled and self._next_address("503 Service Unavailable")

    def _answer_challenge(self, response: Response) -> bool:
        """Send the request again with credentials, if the user agent has any (RFC 3261 section 22.2)."""
        authorize = self._user_agent.authorize
        self._challenges += 1
        if authorize is None or self.cancelled or self._challenges > MAX_CHALLENGES:
            return False
        draft = self._draft
        challenged = Challenged(draft.method, draft.request_uri, draft.body, response, self._challenges, draft.dialog)
        credentials = authorize(challenged)
        if not credentials:
            return False
        names = {name.lower() for name, _ in credentials}
        draft.headers = [header for header in draft.headers if header[0].lower() not in names]
        draft.headers.extend(credentials)
        draft.next_sequence()
        self._release_attempt()
        self._attempts = 0
        self._proceeding = False
        self._started = self._user_agent.driver.now()
        self._choose(lambda: self._next_hop(draft.outgoing()))
        return True

    def _on_failed(self, attempt: _Attempt, error: SipError, *, keep: bool = False) -> None:
        if attempt is not self._attempt or self.done:
            return
        if keep:
            self._cancel_attempt()
        if self.cancelled or self._proceeding or not self._next_address(str(error)):
            self._fail(error)

    def _next_address(self, reason: str) -> bool:
        hop = self._hop
        if hop is None or hop.failover is None or self._attempts >= MAX_ATTEMPTS or self._proceeding:
            return False
        if self._user_agent.driver.now() - self._started >= TIMEOUT:
            return False
        failover = hop.failover
        self._release_attempt()
        return self._choose(lambda: failover(reason))

    def _release_attempt(self, *, forget: bool = False) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if attempt.timer:
            self._user_agent.engine.cancel_timer(attempt.timer)
        if forget or attempt.request.method != "INVITE":
            self._user_agent.engine.forget(attempt.handle)

    # the end

    def _expire(self) -> None:
        self._deadline = 0
        self._cancel_attempt()
        self.abandon(TransactionTimeout("no final response in the time given"))

    def _finish(self, response: Response) -> None:
        self.response = response
        self._close()
        if self._observer is not None:
            self._observer.on_final(response)

    def _fail(self, error: SipError) -> None:
        if self.done:
            return
        self.error = error
        self._close()
        if self._observer is not None:
            self._observer.on_failure(error)

    def _close(self) -> None:
        self.done = True
        engine = self._user_agent.engine
        if self._deadline:
            engine.cancel_timer(self._deadline)
            self._deadline = 0
        if self._attempt is not None and self._attempt.timer:
            engine.cancel_timer(self._attempt.timer)
            self._attempt.timer = 0
        if self._parked is not None:
            self._parked.cancel()
        self._user_agent.live.discard(self)
        self._user_agent.ended(self)
        self._wake()

    def _news(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _caused(error: SipError, cause: Exception) -> SipError:
    error.__cause__ = cause
    return error


def _copy(error: SipError) -> SipError:
    """An exception of the same kind for one waiter: no instance is raised twice."""
    kind = type(error)
    twin = kind.__new__(kind, *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error
    return twin
