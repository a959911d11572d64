"""Multipart bodies: sipcore/body.py (RFC 2046 section 5.1, FAULTS 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.body import (
    MAX_DEPTH,
    MAX_PARTS,
    Part,
    find_part,
    format_multipart,
    parse_multipart,
    walk_parts,
)
from sipcore.errors import ParseError, UsageError
from sipcore.headers import MediaType, parse_content_type

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"
MIXED = (
    b"a preamble that nobody reads\r\n"
    b"--unique-boundary-1\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Disposition: session\r\n"
    b"\r\n" + SDP + b"\r\n"
    b"--unique-boundary-1  \r\n"
    b"content-type : text/plain;\r\n"
    b"\tcharset=utf-8\r\n"
    b"Content-ID: <alice@atlanta.example.com>\r\n"
    b"\r\n"
    b"--unique-boundary-12 is text\r\n"
    b"--unique-boundary-1--\r\n"
    b"an epilogue"
)


def nested(depth: int) -> tuple[bytes, MediaType]:
    """A body of `depth` multiparts inside one another."""
    body = b"deep inside"
    kind = b"text/plain"
    for level in range(depth):
        boundary = b"b%d" % level
        body = b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n--%s--\r\n" % (boundary, kind, body, boundary)
        kind = b"multipart/mixed;boundary=" + boundary
    return body, parse_content_type(kind.decode())


def test_parts_are_found_between_their_delimiters() -> None:
    sdp, text = parse_multipart(MIXED, "unique-boundary-1")
    assert sdp.media_type.essence == "application/sdp"
    assert sdp.disposition is not None
    assert sdp.disposition.type == "session"
    assert sdp.content == SDP
    assert text.headers[0] == ("content-type", "text/plain; charset=utf-8")
    assert text.content_id == "alice@atlanta.example.com"
    assert text.content == b"--unique-boundary-12 is text"


def test_a_part_is_found_by_its_type() -> None:
    kind = parse_content_type("multipart/mixed; boundary=unique-boundary-1")
    found = find_part(MIXED, kind, "Application/SDP")
    assert found is not None
    assert found.content == SDP
    assert find_part(MIXED, kind, "application/pidf+xml") is None
    alone = find_part(SDP, parse_content_type("application/sdp"), "application/sdp")
    assert alone is not None
    assert alone.content == SDP


def test_a_part_without_headers_is_plain_text() -> None:
    (part,) = parse_multipart(b"--b\r\n\r\nhello\r\n--b--", "b")
    assert (part.headers, part.content, part.media_type.essence) == ((), b"hello", "text/plain")


def test_a_part_of_headers_alone_has_no_content() -> None:
    parts = parse_multipart(b"--b\r\nA: 1\r\n--b\r\n--b\r\n\r\n--b--\r\n", "b")
    assert parts == (Part((("A", "1"),), b""), Part((), b""), Part((), b""))


def test_a_body_inside_a_body_is_walked_in_order() -> None:
    inner, kind = nested(2)
    body = format_multipart(
        [Part((("Content-Type", "a/first"),), b"1"), Part((("Content-Type", str(kind)),), inner), Part((), b"3")],
        "outer",
    )
    parts = list(walk_parts(body, parse_content_type("multipart/mixed;boundary=outer")))
    assert [part.content for part in parts] == [b"1", b"deep inside", b"3"]


def test_depth_is_bounded() -> None:
    """FAULTS 4: a thousand multiparts inside one another are an error, not a recursion."""
    body, kind = nested(MAX_DEPTH)
    assert [part.content for part in walk_parts(body, kind)] == [b"deep inside"]
    for depth in (MAX_DEPTH + 1, 1000):
        body, kind = nested(depth)
        with pytest.raises(ParseError, match="nested deeper"):
            list(walk_parts(body, kind))


def test_parts_are_counted_over_all_levels() -> None:
    half = format_multipart([Part((), b"")] * (MAX_PARTS // 2), "inner")
    body = format_multipart([Part((("Content-Type", "multipart/mixed;boundary=inner"),), half)] * 2, "outer")
    with pytest.raises(ParseError, match="more than"):
        list(walk_parts(body, parse_content_type("multipart/mixed;boundary=outer")))
    with pytest.raises(ParseError, match="more than"):
        parse_multipart(format_multipart([Part((), b"")] * (MAX_PARTS + 1), "b"), "b")


@pytest.mark.parametrize("size", [1, 70])
def test_boundaries_up_to_seventy_characters_work(size: int) -> None:
    assert parse_multipart(format_multipart([Part((), b"x")], "b" * size), "b" * size)[0].content == b"x"


@pytest.mark.parametrize("boundary", ["", "b" * 71, "b" * 10_000, "b ", "a\r\nb", "a\0", "é"])
def test_other_boundaries_are_refused(boundary: str) -> None:
    with pytest.raises(ParseError):
        parse_multipart(MIXED, boundary)
    with pytest.raises(UsageError):
        format_multipart([Part((), b"x")], boundary)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--",
        b"--b--\r\n",
        b"no delimiter",
        b"--b\r\n\r\nnever closed",
        b"--b\r\n\r\nnever closed\r\n--b",
        b"--b\n\nline feeds alone\n--b--\n",
        b"--b\r\nno header\r\n\r\nx\r\n--b--",
        b"--b\r\n: x\r\n\r\nx\r\n--b--",
        b"--b\r\nA" + b"a" * 20_000 + b": x\r\n\r\nx\r\n--b--",
    ],
)
def test_malformed_multiparts_are_refused(body: bytes) -> None:
    """FAULTS 4."""
    with pytest.raises(ParseError):
        parse_multipart(body, "b")


def test_a_multipart_without_boundary_is_refused() -> None:
    with pytest.raises(ParseError):
        list(walk_parts(MIXED, parse_content_type("multipart/mixed")))


def test_a_part_that_contains_the_boundary_cannot_be_written() -> None:
    with pytest.raises(UsageError):
        format_multipart([Part((), b"x\r\n--b\r\n")], "b")
    with pytest.raises(UsageError):
        format_multipart([Part((("A", "x\r\nB: y"),), b"")], "b")


@given(contents=st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_what_is_written_is_read(contents: list[bytes]) -> None:
    parts = tuple(Part((("Content-Type", "a/b"), ("X", "é")), content) for content in contents)
    assert parse_multipart(format_multipart(parts, "=_boundary"), "=_boundary") == parts


@given(
    body=st.lists(
        st.sampled_from([b"--b", b"\r\n", b"--", b"A: 1", b" ", b"x", b"\0", b"\xff", b":"]), max_size=30
    ).map(b"".join)
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        parts = parse_multipart(body, "b")
    except ParseError:
        return
    assert parse_multipart(format_multipart(parts, "zzz"), "zzz") == parts
