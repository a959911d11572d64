"""Messages out: requests and responses built from values, and edited copies of messages (RFC 3261 sections 7 and 8)."""

from collections.abc import Iterable
from typing import NamedTuple, final

from sipcore._message import Message, Request, Response
from sipcore._uri import Uri

class Change(NamedTuple):
    """One difference: `kind` "+" (only in the new message) or "-" (only in the old one)."""

    kind: str
    name: str
    value: str

@final
class Editor:
    """A changed copy of a message in the making: every call returns the editor, `build` gives the message."""

    def __init__(self, message: Message) -> None: ...
    def add(self, name: str, value: str) -> Editor: ...
    def insert(self, name: str, value: str) -> Editor: ...
    def replace(self, name: str, value: str) -> Editor: ...
    def remove(self, name: str) -> Editor: ...
    def remove_first(self, name: str) -> Editor: ...
    def set_request_uri(self, uri: Uri | str) -> Editor: ...
    def set_status(self, status_code: int, reason_phrase: str | None = None) -> Editor: ...
    def set_body(self, body: bytes, content_type: str | None = None) -> Editor: ...
    def build(self) -> Request | Response: ...

def build_request(
    method: str, request_uri: Uri | str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> Request:
    """A request from (name, value) pairs.  Content-Length is added; what makes no SIP message is a UsageError."""

def serialize_request(method: str, request_uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """The octets of `build_request`, without a message over them and without its check of the values."""

def build_response(
    request: Request,
    status_code: int,
    reason_phrase: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    """The response to a request (RFC 3261 section 8.2.6), Record-Route copied where it makes a dialog (12.1.1)."""

def diff(old: Message, new: Message) -> list[Change]: ...
