"""The response context of a stateful proxy: one request, its branches, one best answer (RFC 3261 section 16.7).

Does not choose targets and knows no routing: branches are handed to it ready to be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sipcore._message import Request, Response
from sipcore.errors import SipError
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.proxy")

TIMER_C = 181.0  # seconds, RFC 3261 section 16.6 item 11
PREFERRED = (401, 407, 415, 420, 484)  # RFC 3261 section 16.7 item 6: answers that say how to try again


class Branch:
    """One forwarded copy of the request; the engine's `ResponseReceiver`."""

    __slots__ = ("context", "handle", "proceeding", "status_code", "timer")

    def __init__(self, context: ResponseContext) -> None:
        self.context = context
        self.handle = 0
        self.proceeding = False
        self.status_code = 0
        self.timer = 0

    def on_response(self, response: Response) -> None:
        self.context.on_response(self, response)

    def on_timeout(self) -> None:
        """Timer B or F (RFC 3261 section 16.8): an INVITE gets 408, anything else no answer (RFC 4320 section 4.2)."""
        self.context.on_failure(self, 408)

    def on_transport_error(self, reason: str) -> None:
        """RFC 3261 section 16.9: as if the next hop had answered 503."""
        logger.debug("a branch failed: %s", reason)
        self.context.on_failure(self, 503)


class ResponseContext:
    """One request that was forwarded: `begin` a branch for each target, then `all_begun`."""

    def __init__(self, user_agent: UserAgent, request: Request, on_end: Callable[[ResponseContext], None]) -> None:
        self.user_agent = user_agent
        self.request = request
        self.cancelled = False
        self.ended = False
        self._on_end = on_end
        self._branches: list[Branch] = []
        self._expected = 0
        self._best: Response | None = None
        self._best_status = 0

    @property
    def is_invite(self) -> bool:
        return self.request.method == "INVITE"

    def expect(self, count: int) -> None:
        """As many branches will be begun or failed."""
        self._expected = count

    def begin(self, request: Request, flow: int) -> None:
        """Send one branch; a flow that is gone counts as a failed branch."""
        branch = Branch(self)
        self._branches.append(branch)
        engine, now = self.user_agent.engine, self.user_agent.driver.now()
        if self.cancelled:
            self.on_failure(branch, 487)
            return
        try:
            branch.handle = self.user_agent.launch(request, flow, branch)
        except SipError as error:
            logger.debug("a branch could not be sent: %s", error)
            self.on_failure(branch, 503)
            return
        if self.is_invite:
            branch.timer = engine.start_timer(now + TIMER_C, lambda: self._on_timer_c(branch))

    def fail_one(self, status_code: int) -> None:
        """A target that could not even be located counts as a branch that was answered with `status_code`."""
        branch = Branch(self)
        self._branches.append(branch)
        self.on_failure(branch, status_code)

    # what comes back

    def on_response(self, branch: Branch, response: Response) -> None:
        """RFC 3261 section 16.7 items 1 to 9."""
        status_code = response.status_code
        if status_code < 200:
            self._on_provisional(branch, response)
            return
        self._settle(branch, status_code)
        if status_code < 300:
            self._forward(response)
            self._cancel_branches()
            self._finish()
            return
        if status_code >= 600:
            self._cancel_branches()
        self._consider(status_code, response)
        self._answer_when_all_are_done()

    def on_failure(self, branch: Branch, status_code: int) -> None:
        """A branch ended without a response."""
        if branch.status_code >= 200:
            return
        self._settle(branch, status_code)
        self._consider(status_code, None)
        self._answer_when_all_are_done()

    def cancel(self) -> None:
        """The client gave up (RFC 3261 section 16.10); each branch answers 487 in its own time."""
        if self.cancelled or self.ended:
            return
        self.cancelled = True
        self._cancel_branches()
        if not self._branches:
            self._reply(487)

    def _on_provisional(self, branch: Branch, response: Response) -> None:
        branch.proceeding = True
        if response.status_code == 100 or self.ended:
            return
        self._forward(response)

    def _on_timer_c(self, branch: Branch) -> None:
        branch.timer = 0
        if branch.proceeding:
            self.user_agent.engine.cancel(branch.handle, self.user_agent.driver.now())
        else:
            self.user_agent.engine.forget(branch.handle)
            self.on_failure(branch, 408)

    def _settle(self, branch: Branch, status_code: int) -> None:
        branch.status_code = status_code
        if branch.timer:
            self.user_agent.engine.cancel_timer(branch.timer)
            branch.timer = 0

    # choosing and answering

    def _consider(self, status_code: int, response: Response | None) -> None:
        if not self._best_status or _rank(status_code) < _rank(self._best_status):
            self._best_status, self._best = status_code, response

    def _answer_when_all_are_done(self) -> None:
        settled = sum(branch.status_code >= 200 for branch in self._branches)
        if self.ended or settled < max(self._expected, len(self._branches)):
            return
        status_code = self._best_status
        if status_code == 408 and self._best is None and not self.is_invite:
            self._finish()
        elif status_code == 503:
            self._reply(500)
        elif self._best is not None:
            self._forward(self._best)
            self._finish()
        else:
            self._reply(status_code)

    def _forward(self, response: Response) -> None:
        """Pass a response on without our Via (RFC 3261 section 16.7 items 3 and 9); one without another Via is ours."""
        if len(response.via) < 2:
            return
        forwarded = response.edit().remove_first("Via").build()
        assert isinstance(forwarded, Response)
        try:
            self.user_agent.engine.send_response(self.request, forwarded)
        except SipError as error:
            logger.debug("a response could not be passed on: %s", error)

    def _reply(self, status_code: int) -> None:
        self.request.reply(status_code)
        self._finish()

    def _cancel_branches(self) -> None:
        engine, now = self.user_agent.engine, self.user_agent.driver.now()
        for branch in self._branches:
            if self.is_invite and branch.handle and branch.status_code < 200:
                engine.cancel(branch.handle, now)

    def _finish(self) -> None:
        if not self.ended:
            self.ended = True
            self._on_end(self)


def _rank(status_code: int) -> tuple[int, int, int]:
    """RFC 3261 section 16.7 item 6: 6xx first, then the lowest class, in it what helps the client; 503 last of all."""
    if status_code == 503:
        return (9, 0, 0)
    return (0 if status_code >= 600 else status_code // 100, status_code not in PREFERRED, status_code)
