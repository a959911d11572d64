"""Octets out: requests and responses written from values, and edited copies of messages (RFC 3261 sections 7 and 8)."""

from collections.abc import Iterable
from typing import NamedTuple, Self

from typing_extensions import disjoint_base

from sipcore._uri import Uri

class Change(NamedTuple):
    """One difference: `kind` "+" (only in the new message) or "-" (only in the old one)."""

    kind: str
    name: str
    value: str

@disjoint_base
class Draft:
    """A changed copy of a message in the making; every change returns the draft."""

    def add(self, name: str, value: str) -> Self: ...
    def insert(self, name: str, value: str) -> Self: ...
    def replace(self, name: str, value: str) -> Self: ...
    def remove(self, name: str) -> Self: ...
    def remove_first(self, name: str) -> Self: ...
    def set_request_uri(self, uri: Uri | str) -> Self: ...
    def set_status(self, status_code: int, reason_phrase: str | None = None) -> Self: ...
    def set_body(self, body: bytes, content_type: str | None = None) -> Self: ...
    def __bytes__(self) -> bytes:
        """The octets as they are now, not checked."""

def serialize_request(method: str, request_uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """The octets of a request; only what could end a line early is checked, not whether it makes a SIP message."""

def diff(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[Change]: ...
