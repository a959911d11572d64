"""A small stateful proxy (RFC 3261 section 16), for the demo, the tests and small sites.

It stays in the path by Record-Route, finds its clients again on the connection
that they opened (flow tokens in Record-Route and Path: RFC 5626 section 5.3, RFC
3327), forks in parallel and picks the best answer, and forwards CANCEL and ACK.
Does not know who is registered where: `targets` says so; and it holds no call
state, only transactions.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sipcore._message import Request, Response
from sipcore.errors import SipError, TransportError
from sipcore.outgoing import Hop, OutgoingRequest
from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.proxy")

MAX_FORWARDS = 70
MAX_BRANCHES = 10
TIMER_C = 181.0  # seconds, RFC 3261 section 16.6 item 11
TOKEN_DIGEST = 16  # hexadecimal digits of a flow token's proof
DIALOG_METHODS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where one branch goes: its Request-URI, Route values put before it, and a flow that must be used (0: choose)."""

    uri: str
    routes: tuple[str, ...] = ()
    flow: int = 0


class Refused(SipError):
    """The proxy answers this request itself."""

    def __init__(self, status_code: int, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        self.headers = tuple(headers)


ChooseTargets = Callable[[Request], Sequence[Target] | None]
Challenge = Callable[[Request], Sequence[tuple[str, str]] | None]


@dataclass(slots=True)
class _Route:
    """How one request is to be forwarded, worked out before anything is sent."""

    targets: Sequence[Target]
    record_flow: int  # the client's flow, which Record-Route must lead back to
    own_routes: int  # how many top Route values were ours
    routes: list[str] = field(default_factory=list)
