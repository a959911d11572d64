"""SIP messages as their octets (RFC 3261 section 7): an index over what was received, values decoded when asked for."""

from collections.abc import Iterable
from typing import final

from typing_extensions import disjoint_base

from sipcore._fields import Address, CSeq, Via
from sipcore._head import Head
from sipcore._serialize import Change, Draft
from sipcore._uri import Uri

@disjoint_base
class Responder:
    """Who sends the responses to a request; the engine is one.  A parsed message that nobody received has none."""

class Message(Head):
    """A SIP request or response as it was on the wire; immutable.  Two messages are equal when their octets are."""

    @property
    def version(self) -> str: ...
    @property
    def via(self) -> list[Via]: ...
    @property
    def top_via(self) -> Via | None: ...
    @property
    def from_(self) -> Address | None: ...
    @property
    def to(self) -> Address | None: ...
    @property
    def call_id(self) -> str | None: ...
    @property
    def cseq(self) -> CSeq | None: ...
    @property
    def contacts(self) -> list[Address]:
        """Every Contact value; `Contact: *` is none (message["Contact"] tells)."""
    @property
    def routes(self) -> list[Address]: ...
    @property
    def record_routes(self) -> list[Address]: ...
    @property
    def max_forwards(self) -> int | None: ...
    @property
    def expires(self) -> int | None: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def body(self) -> bytes: ...
    def edit(self) -> Editor: ...
    def with_via(self, via: str) -> bytes:
        """The octets with a Via line on top, for the next hop (RFC 3261 section 16.6 item 8)."""
    def without_via(self) -> bytes:
        """The octets without the top Via value, for the hop before (RFC 3261 section 16.7 item 3)."""
    def diff(self, other: Message) -> list[Change]: ...
    def __bytes__(self) -> bytes: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Request(Message):
    @property
    def method(self) -> str: ...
    @property
    def request_uri(self) -> Uri: ...
    @property
    def to_tag(self) -> str | None:
        """The tag in To; None without one: a request outside of dialogs (RFC 3261 section 12.2.2)."""
    @property
    def is_plain(self) -> bool:
        """A sip or sips Request-URI and no Require: nothing for RFC 3261 section 8.2.2 to look at."""
    def reply(
        self,
        status_code: int,
        reason_phrase: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a response.  UsageError for a request that nobody received."""

@final
class Response(Message):
    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...

def parse(
    data: bytes | bytearray | memoryview,
    *,
    max_size: int = 131072,
    max_head_size: int = 65535,
    max_headers: int = 2048,
    max_header_size: int = 16384,
    max_name_size: int = 128,
    max_parameters: int = 128,
    lenience: int = ...,
) -> Request | Response:
    """The message in one datagram, or one framed message of a stream; ParseError if it is none.

    Top Via, From, To, Call-ID, CSeq and Content-Length are checked here; other typed attributes are when read.  Octets
    after the body that Content-Length announces are noise and not part of the message (RFC 4475 section 3.1.1.8).
    """

def salvage(data: bytes | bytearray | memoryview) -> Request | Response | None:
    """What can be read of octets that `parse` refuses, for a log or an answer; None without a start line."""

@final
class Editor(Draft):
    """A draft that becomes a message: every change returns the editor, `build` gives the message."""

    def __init__(self, message: Message) -> None: ...
    def build(self) -> Request | Response:
        """The new message; UsageError if it is none."""

def build_request(
    method: str, request_uri: Uri | str, headers: Iterable[tuple[str, str]], body: bytes = b""
) -> Request:
    """A request from (name, value) pairs.  Content-Length is added; what makes no SIP message is a UsageError."""

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

def serialize_response(
    request: Request,
    status_code: int,
    reason_phrase: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """The octets of `build_response`, not parsed again: also for a request that `parse` refused."""

def instruction_sets() -> list[str]:
    """What this machine can index header lines with, best first; the best is used."""

def use_instruction_set(name: str) -> None:
    """Choose one of `instruction_sets` for `parse`; the result is the same with each.  UsageError for another."""
