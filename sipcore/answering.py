"""What becomes of a service's incoming calls: a handler's, or as the configuration says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from sipcore.call import IncomingCall
from sipcore.no_media import make_silent_answer, make_silent_offer

CallHandler = Callable[[IncomingCall], Any]


class Answering:
    """Takes calls: `handler` if there is one, else busy, or with `answer` "answer" `body` or an inactive stream.

    `local_host` says which address the session descriptions made here name.
    """

    def __init__(self, answer: str, body: bytes, local_host: Callable[[], str], first_session: int) -> None:
        self.handler: CallHandler | None = None
        self._answer = answer
        self._body = body
        self._local_host = local_host
        self._session = first_session

    def offer(self) -> bytes:
        """An inactive audio stream, for a call without a body of its own."""
        return make_silent_offer(self._local_host(), self._new_session())

    async def take(self, call: IncomingCall) -> None:
        """Answer or refuse."""
        if self.handler is not None:
            result = self.handler(call)
            if inspect.isawaitable(result):
                await result
        elif self._answer != "answer":
            await call.reject(486)
        else:
            await self._answer_silently(call)

    async def _answer_silently(self, call: IncomingCall) -> None:
        body = self._body
        if not body and call.body:
            body = make_silent_answer(call.body, self._local_host(), self._new_session()) or b""
            if not body:
                await call.reject(488)
                return
        await call.answer(body or self.offer())

    def _new_session(self) -> int:
        self._session += 1
        return self._session
