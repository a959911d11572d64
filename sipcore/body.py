"""Multipart bodies (RFC 2046 section 5.1, RFC 5621): their parts, walked without recursion and within bounds.

`multipart/mixed`, `/alternative`, `/related` and others share one syntax.  Does
not know messages, nor what a part holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sipcore.errors import ParseError, UsageError
from sipcore.headers.content import Disposition, MediaType, parse_content_disposition, parse_content_type
from sipcore.headers.grammar import TOKEN, check_text, check_token

MAX_PARTS = 64
"""Parts of one body, those of nested multiparts included."""

MAX_DEPTH = 8
"""Multiparts inside one another."""

MAX_PART_HEAD = 16_384
"""Octets of the header lines of one part."""

BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
FOLD = re.compile(r"\r\n[ \t]++")
DELIMITER_END = re.compile(rb"(--)?+[ \t]*+(\r\n|\Z)")
PLAIN_TEXT = MediaType("text", "plain")


@dataclass(frozen=True, slots=True)
class Part:
    """One body part: unfolded headers in their order, and the octets after the empty line."""

    headers: tuple[tuple[str, str], ...]
    content: bytes

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header in any case."""
        wanted = name.lower()
        return next((value for found, value in self.headers if found.lower() == wanted), default)

    @property
    def media_type(self) -> MediaType:
        """text/plain where nothing is said (RFC 2046 section 5.1); ParseError when malformed."""
        text = self.get("Content-Type") or self.get("c")
        return PLAIN_TEXT if text is None else parse_content_type(text)

    @property
    def disposition(self) -> Disposition | None:
        text = self.get("Content-Disposition")
        return None if text is None else parse_content_disposition(text)

    @property
    def content_id(self) -> str | None:
        """Without its < and >: what a `cid:` URI names (RFC 2392)."""
        text = self.get("Content-ID")
        return None if text is None else text.removeprefix("<").removesuffix(">")


def parse_multipart(body: bytes, boundary: str) -> tuple[Part, ...]:
    """The parts directly inside `body`; what precedes the first and follows the last delimiter is ignored.

    ParseError where the boundary breaks RFC 2046, no part is there, the closing
    delimiter is missing, or a bound is exceeded.
    """
    if not BOUNDARY.fullmatch(boundary):
        raise ParseError("a multipart boundary has 1 to 70 characters of RFC 2046 section 5.1.1")
    return tuple(parse_part(body, start, end) for start, end in index_parts(body, boundary.encode("ascii")))


def walk_parts(body: bytes, media_type: MediaType) -> Iterator[Part]:
    """Every part that is no multipart itself, in order; for another body one part that is all of it.

    ParseError as `parse_multipart`, and for multiparts nested deeper than MAX_DEPTH.
    """
    waiting = [(Part((("Content-Type", str(media_type)),), body), media_type, 0)]
    seen = 0
    while waiting:
        part, kind, depth = waiting.pop()
        if kind.type.lower() != "multipart":
            yield part
            continue
        if depth >= MAX_DEPTH:
            raise ParseError(f"multiparts nested deeper than {MAX_DEPTH}")
        inner = parse_multipart(part.content, kind.boundary or "")
        seen += len(inner)
        if seen > MAX_PARTS:
            raise ParseError(f"more than {MAX_PARTS} parts in a body")
        waiting.extend((child, child.media_type, depth + 1) for child in reversed(inner))


def find_part(body: bytes, media_type: MediaType, wanted: str) -> Part | None:
    """The first part whose type is `wanted` ("application/sdp"); a body of that type is its own only part."""
    essence = wanted.lower()
    return next((part for part in walk_parts(body, media_type) if part.media_type.essence == essence), None)


def format_multipart(parts: Sequence[Part], boundary: str) -> bytes:
    """The body of a multipart.  UsageError for a bad boundary or one that a part contains, and for bad headers."""
    if not parts or not BOUNDARY.fullmatch(boundary):
        raise UsageError("a multipart needs a part and a boundary of 1 to 70 characters")
    delimiter = b"--" + boundary.encode("ascii")
    pieces = []
    for part in parts:
        octets = format_part(part)
        if b"\r\n" + delimiter in b"\r\n" + octets:
            raise UsageError("a part contains the boundary")
        pieces.append(delimiter + b"\r\n" + octets + b"\r\n")
    return b"".join(pieces) + delimiter + b"--\r\n"


def format_part(part: Part) -> bytes:
    """Header lines, an empty line and the content."""
    head = "".join(f"{check_token(name)}: {check_text(value)}\r\n" for name, value in part.headers)
    return head.encode("utf-8", "surrogateescape") + b"\r\n" + part.content


def index_parts(body: bytes, boundary: bytes) -> list[tuple[int, int]]:
    """Where each part starts and ends; the line end before a delimiter belongs to the delimiter."""
    delimiter = b"--" + boundary
    spans: list[tuple[int, int]] = []
    start = -1
    at = 0 if body.startswith(delimiter) else find_delimiter(body, delimiter, 0)
    while at >= 0:
        after = at + len(delimiter)
        end = DELIMITER_END.match(body, after)
        if end is not None:
            if start >= 0:
                spans.append((start, max(start, at - 2)))
            if end.group(1):
                return check_spans(spans, at)
            start = end.end()
        # A delimiter may follow an empty part: its line end is the one that ended the delimiter before.
        at = start if end is not None and body.startswith(delimiter, start) else find_delimiter(body, delimiter, after)
    raise ParseError("a multipart without its closing delimiter", at=len(body))


def find_delimiter(body: bytes, delimiter: bytes, start: int) -> int:
    """The offset of the next `delimiter` at the beginning of a line, -1 for none."""
    found = body.find(b"\r\n" + delimiter, max(start, 0))
    return found + 2 if found >= 0 else -1


def check_spans(spans: list[tuple[int, int]], at: int) -> list[tuple[int, int]]:
    if not spans:
        raise ParseError("a multipart without parts", at=at)
    if len(spans) > MAX_PARTS:
        raise ParseError(f"more than {MAX_PARTS} parts in a body", at=at)
    return spans


def parse_part(body: bytes, start: int, end: int) -> Part:
    """One part from its offsets; without an empty line it is all header and has no content."""
    if body.startswith(b"\r\n", start, end) or start == end:
        return Part((), body[start + 2 : end])
    empty_line = body.find(b"\r\n\r\n", start, end)
    head_end = end if empty_line < 0 else empty_line
    if head_end - start > MAX_PART_HEAD:
        raise ParseError(f"headers of a part longer than {MAX_PART_HEAD} octets", at=start)
    content = b"" if empty_line < 0 else body[empty_line + 4 : end]
    return Part(parse_part_headers(body[start:head_end], start), content)


def parse_part_headers(head: bytes, at: int) -> tuple[tuple[str, str], ...]:
    """`name: value` lines; `at` is the offset of `head` in the body, for errors."""
    text = FOLD.sub(" ", head.removesuffix(b"\r\n").decode("utf-8", "surrogateescape"))
    headers = []
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name.rstrip(" \t")):
            raise ParseError("a line of a part that is no header", at=at)
        headers.append((name.rstrip(" \t"), value.strip(" \t")))
    return tuple(headers)
