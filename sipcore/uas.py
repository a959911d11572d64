"""What every user agent server checks before its application hears of a request (RFC 3261 section 8.2).

Functions of a request and of what the user agent can do; they answer what must
be refused, each in one datagram (FAULTS 22).  Knows no dialog and no transport.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sipcore._message import Request, Response
from sipcore.errors import ParseError, SipError

if TYPE_CHECKING:
    from sipcore.stack import UserAgent

logger = logging.getLogger("sipcore.stack")

# Methods of RFC 3261, 3262, 3265, 3311, 3428, 3515, 3903, 6086: refused with 405 where not handled, others with 501.
KNOWN_METHODS = frozenset(
    (
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "UPDATE",
        "MESSAGE",
        "REFER",
        "PUBLISH",
        "INFO",
    )
)
# Requests that carry a Contact (RFC 3261 table 2, RFC 3311, RFC 3515, RFC 6665).
WITH_CONTACT = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER", "OPTIONS"})
# Requests that make no new work: let through while the stack closes.
ONGOING = frozenset({"ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO"})


def inspect(request: Request, user_agent: UserAgent, *, in_dialog: bool = False) -> bool:
    """Method, Request-URI and Require (RFC 3261 sections 8.2.1 to 8.2.2); answers and returns False when refused."""
    method, engine = request.method, user_agent.engine
    if method == "ACK":
        return True
    if not in_dialog and method not in user_agent.methods:
        engine.refuse(request, 405 if method in KNOWN_METHODS else 501, headers=[("Allow", user_agent.allow)])
        return False
    if request.is_plain:
        return True
    if request.request_uri.scheme.lower() not in ("sip", "sips", "tel"):
        engine.refuse(request, 416)
        return False
    if "Require" in request:
        missing = [tag for tag in request.get_all("Require") if tag.lower() not in user_agent.supported]
        if missing:
            engine.refuse(request, 420, headers=[("Unsupported", ", ".join(missing))])
            return False
    return True


def acceptable_body(request: Request, user_agent: UserAgent) -> bool:
    """Whether the body of an INVITE is of a type that is understood (RFC 3261 section 8.2.3); answers 415 if not."""
    if not request.body:
        return True
    try:
        given = (request.content_type or "").partition(";")[0].strip().lower()
    except ParseError:
        user_agent.engine.refuse(request, 400)
        return False
    encoding = request.get("Content-Encoding", "identity").strip().lower()
    if given in user_agent.accepted_types and encoding == "identity":
        return True
    headers = [("Accept", ", ".join(user_agent.accepted_types)), ("Accept-Encoding", "identity")]
    user_agent.engine.refuse(request, 415, headers=headers)
    return False


def capabilities(user_agent: UserAgent) -> list[tuple[str, str]]:
    """The headers of a 200 to OPTIONS (RFC 3261 section 11.2)."""
    headers = [("Allow", user_agent.allow), ("Accept", ", ".join(user_agent.accepted_types))]
    if user_agent.supported:
        headers.append(("Supported", ", ".join(user_agent.supported)))
    return headers


def reply_quietly(request: Request, status_code: int) -> None:
    """Answer unless a final answer is already out; late answers never raise."""
    try:
        request.reply(status_code)
    except SipError as error:
        logger.debug("%d to %s was too late: %s", status_code, request.method, error)


def from_tag(message: Request | Response) -> str:
    """The From tag, "" where there is none."""
    from_ = message.from_
    return (from_.tag or "") if from_ is not None else ""


def host_port(host: str, port: int) -> str:
    """A sent-by: brackets round IPv6, no port for 0."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown
