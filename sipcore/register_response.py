"""From a response to a REGISTER as a message to the values that policy needs (RFC 3261 section 10.3, RFC 3608).

A header that cannot be read counts as absent: a registrar that answers nonsense
never stops a registration.  What the values lead to is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sipcore._fields import Address, Via
from sipcore._message import Response
from sipcore.errors import ParseError
from sipcore.policy.register import BoundContact, RegisterResponse

MAXIMUM_CONTACTS = 64
MAXIMUM_ROUTES = 16
MOST_SECONDS = 2**32 - 1

Value = TypeVar("Value")


def read_register_response(response: Response) -> RegisterResponse:
    """Everything that the registration machine looks at."""
    via = _readable(lambda: response.top_via)
    return RegisterResponse(
        status_code=response.status_code,
        reason_phrase=response.reason_phrase,
        contacts=tuple(_read_contacts(response)),
        expires=_seconds(_readable(lambda: response.get("Expires"))),
        min_expires=_seconds(_readable(lambda: response.get("Min-Expires"))),
        retry_after=_seconds(_first_word(_readable(lambda: response.get("Retry-After")))),
        headers=tuple(response.headers),
        received=(via.received_address or "") if via is not None else "",
        rport=via.rport if via is not None else None,
        service_route=tuple((_readable(lambda: response.get_all("Service-Route")) or [])[:MAXIMUM_ROUTES]),
        keep=_read_keep(response, via),
    )


def _read_keep(response: Response, via: Via | None) -> int | None:
    """What was agreed on keep-alives: a value of our Via's `keep`, or outbound support with its Flow-Timer."""
    agreed = via.parameters.get("keep") if via is not None else None
    if agreed is not None:
        return _seconds(agreed) or 0
    required = _readable(lambda: response.get_all("Require")) or []
    if "outbound" not in {tag.strip().lower() for value in required for tag in value.split(",")}:
        return None
    return _seconds(_readable(lambda: response.get("Flow-Timer"))) or 0


def _readable(read: Callable[[], Value]) -> Value | None:
    try:
        return read()
    except ParseError:
        return None


def _read_contacts(response: Response) -> list[BoundContact]:
    contacts = _readable(lambda: response.contacts) or []
    return [_read_contact(address) for address in contacts[:MAXIMUM_CONTACTS]]


def _read_contact(address: Address) -> BoundContact:
    parameters = {name.lower(): value for name, value in address.parameters.items()}
    return BoundContact(
        uri=str(address.uri),
        expires=_seconds(parameters.get("expires")),
        instance=(parameters.get("+sip.instance") or "").strip("<>"),
        reg_id=_seconds(parameters.get("reg-id")),
        q=_read_q(parameters.get("q")),
    )


def _first_word(text: str | None) -> str | None:
    """Retry-After may go on with a comment and parameters (RFC 3261 section 20.33)."""
    return None if text is None else text.split("(")[0].split(";")[0].strip()


def _seconds(text: str | None) -> int | None:
    """Delta-seconds, cut off at 2**32 - 1; None for what is no number."""
    if text is None or not text.isascii() or not text.strip().isdigit():
        return None
    digits = text.strip().lstrip("0") or "0"
    return MOST_SECONDS if len(digits) > 10 else min(int(digits), MOST_SECONDS)


def _read_q(text: str | None) -> float:
    """A qvalue; 1 where there is none or nonsense (RFC 3261 section 20.10)."""
    try:
        q = float(text or "1")
    except ValueError:
        return 1.0
    return q if 0.0 <= q <= 1.0 else 1.0
