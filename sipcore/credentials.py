"""Who answers the challenges that one service's requests get (SPEC B7, FAULTS 34, 35).

Joins `digest` to the responses of a user agent: an attempt is remembered for each
request, and only the service's own servers are answered.  REGISTER is left to its
own machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from sipcore.digest import DigestAttempt, DigestClient, DigestRefused
from sipcore.outgoing import Challenged
from sipcore.policy.actions import Note

MAXIMUM_ATTEMPTS = 256  # requests whose challenges are remembered


class ServiceCredentials:
    """Give it to a user agent as `authorize`.

    `is_own_server(flow)` says whether a response came from one of the service's
    servers; `on_note` hears why a challenge was not answered.
    """

    def __init__(
        self, digest: DigestClient, is_own_server: Callable[[int], bool], on_note: Callable[[Note], None]
    ) -> None:
        self._digest = digest
        self._is_own_server = is_own_server
        self._on_note = on_note
        self._attempts: OrderedDict[tuple[str, str], DigestAttempt] = OrderedDict()

    def __call__(self, challenged: Challenged) -> Sequence[tuple[str, str]] | None:
        """The headers that answer a challenge, or None to let it stand."""
        response = challenged.response
        if challenged.method == "REGISTER" or not self._is_own_server(response.flow):
            return None
        try:
            return self._attempt(challenged).answer(response.status_code, response.headers, challenged.request_uri)
        except DigestRefused as refused:
            self._on_note(Note(f"{challenged.method} not authenticated: {refused}", "SPEC B7"))
            return None

    def _attempt(self, challenged: Challenged) -> DigestAttempt:
        """The attempt of this request: a new one for its first challenge."""
        key = (challenged.response.call_id or "", challenged.method)
        if challenged.attempt == 1 or key not in self._attempts:
            self._attempts[key] = self._digest.attempt(
                method=challenged.method,
                uri=challenged.request_uri,
                body=challenged.body,
                in_dialog=challenged.dialog is not None,
            )
            if len(self._attempts) > MAXIMUM_ATTEMPTS:
                self._attempts.popitem(last=False)
        return self._attempts[key]
