"""SIP messages as their octets (RFC 3261 section 7): an index over what was received, values decoded when asked for."""

from collections.abc import Sequence
from typing import Any, Literal, final

from sipcore.headers import Address, Via, CSeq  # frozen values, one file a header family
from sipcore._uri import Uri

class Responder:
    """Who sends the responses to a request; the engine is one.  A parsed message that nobody received has none."""

class Message:
    version: str
    flow: int  # where it came in; 0 for a message that was not received
    headers: list[tuple[str, str]]
    via: list[Via]
    top_via: Via | None
    from_: Address | None  # .display_name .uri .parameters .tag
    to: Address | None
    call_id: str | None
    cseq: CSeq | None  # .number .method
    contacts: list[Address]
    routes: list[Address]  # Route
    record_routes: list[Address]  # Record-Route
    max_forwards: int | None
    content_length: int | None
    content_type: str | None
    expires: int | None
    body: bytes
    def __bytes__(self) -> bytes: ...
    def __getitem__(self, name: str) -> str: ...
    def __contains__(self, name: str) -> bool: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    def get_all(self, name: str) -> list[str]: ...  # comma lists split where the header allows lists
    def edit(self) -> Editor: ...

@final
class Request(Message):
    method: str
    request_uri: Uri
    responder: Responder | None
    transaction: int  # the engine's handle; 0 for none
    def reply(
        self,
        status_code: int,
        reason_phrase: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None: ...

@final
class Response(Message):
    status_code: int
    reason_phrase: str

@final
class Editor:
    def add(self, name: str, value: str) -> Editor: ...  # at the end of the headers
    def insert(self, name: str, value: str) -> Editor: ...  # at the top
    def replace(self, name: str, value: str) -> Editor: ...
    def remove(self, name: str) -> Editor: ...
    def remove_first(self, name: str) -> Editor: ...  # the first value (the top Via, the first Route)
    def set_request_uri(self, uri: str) -> Editor: ...
    def set_body(self, body: bytes, content_type: str | None = None) -> Editor: ...
    def build(self) -> Request | Response: ...

def parse(data: bytes | bytearray | memoryview) -> Request | Response: ...
def build_request(method: str, request_uri: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> Request:
    """Content-Length is added; CR, LF or NUL in any text is a UsageError."""

def build_response(
    request: Request,
    status_code: int,
    reason_phrase: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response: ...
