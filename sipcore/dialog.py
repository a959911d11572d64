"""Dialogs: what two user agents share for the time of a call or a subscription (RFC 3261 section 12).

Pure values: a dialog is made from messages and says what the next request
inside it looks like.  It knows no transport, no transaction, no timer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sipcore.errors import ParseError, UsageError

if TYPE_CHECKING:
    from sipcore._fields import Address
    from sipcore._message import Message, Request, Response

# RFC 3261 section 12.2.1.1 and section 19.1.1: what a Request-URI must not carry.
NOT_IN_REQUEST_URI = ("method",)
MAX_SEQUENCE = 2**31 - 1  # RFC 3261 section 8.1.1.5
# RFC 3261 section 12.2.1.2, RFC 3515, RFC 6665, RFC 3311: their Contact moves the remote target.
TARGET_REFRESH = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})

DialogKey = tuple[str, str, str]


class DialogState(enum.Enum):
    """RFC 3261 section 12: early until a 2xx, confirmed from then on."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class RequestParts(NamedTuple):
    """Where a request inside the dialog is aimed at: Request-URI and Route values, in order."""

    request_uri: str
    routes: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Dialog:
    """One dialog as one of its two sides sees it.

    `local_address` and `remote_address` are From/To values without tag
    (`"Bob" <sip:bob@example.com>`), `local_uri` and `remote_uri` their URIs;
    `route_set` holds Record-Route values in the order in which requests from
    here take them; `remote_target` is a URI.  A tag is "" when the far side is
    of RFC 2543 and gave none.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_address: str
    remote_address: str
    local_uri: str
    remote_uri: str
    local_sequence: int | None
    remote_sequence: int | None
    route_set: tuple[str, ...]
    remote_target: str
    secure: bool
    state: DialogState
    is_caller: bool

    @property
    def key(self) -> DialogKey:
        """(Call-ID, local tag, remote tag): what a request inside it is found by."""
        return self.call_id, self.local_tag, self.remote_tag

    @classmethod
    def from_uas(cls, request: Request, local_tag: str, *, secure: bool = False) -> Dialog:
        """The dialog that our response with `local_tag` in To makes (RFC 3261 section 12.1.1).

        ParseError when the request names no usable Contact; `secure`: it came over TLS with a sips: Request-URI.
        """
        target = contact_uri(request)
        if target is None:
            raise ParseError("a request that makes a dialog needs one Contact (RFC 3261 section 12.1.1)")
        remote, local = _required(request.from_, "From"), _required(request.to, "To")
        return cls(
            call_id=request.call_id or "",
            local_tag=local_tag,
            remote_tag=remote.tag or "",
            local_address=address_text(local),
            remote_address=address_text(remote),
            local_uri=str(local.uri),
            remote_uri=str(remote.uri),
            local_sequence=None,
            remote_sequence=_sequence(request),
            route_set=tuple(request.get_all("Record-Route")),
            remote_target=target,
            secure=secure,
            state=DialogState.EARLY,
            is_caller=False,
        )

    @classmethod
    def from_uac(cls, request: Request, response: Response, *, secure: bool = False) -> Dialog:
        """The dialog that a 1xx with To tag or a 2xx makes (RFC 3261 section 12.1.2).

        A 2xx without usable Contact still makes one, aimed at the Request-URI, so that it can be ended (FAULTS 29).
        """
        local, remote = _required(request.from_, "From"), _required(response.to, "To")
        confirmed = 200 <= response.status_code < 300
        return cls(
            call_id=request.call_id or "",
            local_tag=local.tag or "",
            remote_tag=remote.tag or "",
            local_address=address_text(local),
            remote_address=address_text(remote),
            local_uri=str(local.uri),
            remote_uri=str(remote.uri),
            local_sequence=_sequence(request),
            remote_sequence=None,
            route_set=tuple(reversed(response.get_all("Record-Route"))),
            remote_target=contact_uri(response) or str(request.request_uri),
            secure=secure,
            state=DialogState.CONFIRMED if confirmed else DialogState.EARLY,
            is_caller=True,
        )

    # requests from here

    def request_parts(self) -> RequestParts:
        """Request-URI and Route of the next request (RFC 3261 section 12.2.1.1), strict routers included."""
        if not self.route_set:
            return RequestParts(self.remote_target, ())
        first = route_uri(self.route_set[0])
        if is_loose(first):
            return RequestParts(self.remote_target, self.route_set)
        return RequestParts(request_uri_from(first), (*self.route_set[1:], f"<{self.remote_target}>"))

    def next_sequence(self) -> int:
        """The CSeq number of the next request; ACK and CANCEL take that of their INVITE instead."""
        self.local_sequence = 1 if self.local_sequence is None else self.local_sequence + 1
        if self.local_sequence > MAX_SEQUENCE:
            raise UsageError("the dialog has used up its CSeq numbers (RFC 3261 section 8.1.1.5)")
        return self.local_sequence

    def from_value(self) -> str:
        """The From value of requests from here."""
        return f"{self.local_address};tag={self.local_tag}" if self.local_tag else self.local_address

    def to_value(self) -> str:
        """The To value of requests from here."""
        return f"{self.remote_address};tag={self.remote_tag}" if self.remote_tag else self.remote_address

    # what comes in

    def accepts(self, request: Request) -> bool:
        """Whether a request is in order; a lower CSeq answers 500 (RFC 3261 section 12.2.2).  Remembers the number."""
        number = _sequence(request)
        if self.remote_sequence is not None and number < self.remote_sequence:
            return False
        self.remote_sequence = number
        return True

    def refresh_target(self, message: Message, method: str) -> None:
        """A target refresh request or its 2xx moves the remote target (RFC 3261 section 12.2.1.2, 12.2.2)."""
        if method in TARGET_REFRESH:
            self.remote_target = contact_uri(message) or self.remote_target

    def confirm(self, response: Response | None = None) -> None:
        """A 2xx came or was sent.  As caller, its Record-Route and Contact replace those of the 1xx (13.2.2.4)."""
        if self.state is DialogState.EARLY:
            self.state = DialogState.CONFIRMED
            if response is not None:
                self.route_set = tuple(reversed(response.get_all("Record-Route")))
        if response is not None:
            self.remote_target = contact_uri(response) or self.remote_target

    def terminate(self) -> None:
        self.state = DialogState.TERMINATED


def contact_uri(message: Message) -> str | None:
    """The URI of the one Contact of a message that makes or refreshes a dialog; None when there is no usable one."""
    try:
        contacts = message.contacts
    except ParseError:
        return None
    return str(contacts[0].uri) if contacts else None


def address_text(address: Address) -> str:
    """A From or To value without its parameters."""
    name = address.display_name
    if not name:
        return f"<{address.uri}>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address.uri}>'


def route_uri(value: str) -> str:
    """The URI inside a Route value (`<sip:proxy.example.com;lr>`)."""
    start = value.find("<")
    end = value.find(">", start)
    return value[start + 1 : end] if 0 <= start < end else value.strip()


def is_loose(uri: str) -> bool:
    """Whether a route's URI carries the lr parameter (RFC 3261 section 16.12.1.1)."""
    parameters = uri.partition("?")[0].split(";")[1:]
    return any(parameter.partition("=")[0].strip().lower() == "lr" for parameter in parameters)


def request_uri_from(uri: str) -> str:
    """A URI as Request-URI: without headers and the method parameter (RFC 3261 section 12.2.1.1)."""
    base, *parameters = uri.partition("?")[0].split(";")
    kept = [parameter for parameter in parameters if parameter.partition("=")[0].lower() not in NOT_IN_REQUEST_URI]
    return ";".join((base, *kept))


def _required(address: Address | None, name: str) -> Address:
    if address is None:
        raise ParseError(f"{name} is missing")
    return address


def _sequence(message: Message) -> int:
    cseq = message.cseq
    if cseq is None:
        raise ParseError("CSeq is missing")
    return cseq.number
