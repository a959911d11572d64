"""Content-Type and its kin: sipcore/headers/content.py (RFC 3261 sections 20.1-20.3, 20.11-20.15)."""

import pytest

from sipcore.errors import ParseError, UsageError
from sipcore.headers import Disposition, MediaType, Parameters, format_header, parse_header
from sipcore.headers.content import quality


def test_a_content_type_is_compared_without_case() -> None:
    value = parse_header("Content-Type", ['Multipart / Mixed ; Boundary="a b;,c" ; x'])
    assert value.essence == "multipart/mixed"
    assert value.boundary == "a b;,c"
    assert str(value) == 'Multipart/Mixed;Boundary="a b;,c";x'


def test_accept_has_ranges_with_q() -> None:
    ranges = parse_header("Accept", ["application/sdp;level=1, text/*;q=0.5", "*/*;q=0"])
    assert [quality(value) for value in ranges] == [1.0, 0.5, 0.0]
    assert ranges[1].matches(MediaType("Text", "plain"))
    assert not ranges[1].matches(MediaType("application", "sdp"))
    assert parse_header("Accept", [""]) == ()
    assert format_header("Accept", ranges) == "application/sdp;level=1, text/*;q=0.5, */*;q=0"


def test_accept_language_and_encoding_are_weighted_names() -> None:
    languages = parse_header("Accept-Language", ["da, en-gb;q=0.8, *;q=0.7"])
    assert [(value.name, quality(value)) for value in languages] == [("da", 1.0), ("en-gb", 0.8), ("*", 0.7)]
    assert format_header("Accept-Language", languages) == "da, en-gb;q=0.8, *;q=0.7"


def test_handling_is_required_where_nothing_is_said() -> None:
    assert parse_header("Content-Disposition", ["session"]) == Disposition("session")
    assert Disposition("session").handling == "required"
    assert parse_header("Content-Disposition", ["icon;Handling=Optional"]).handling == "optional"


@pytest.mark.parametrize(
    "text", ["", "text", "text/", "/plain", "text/plain;", "text/plain;a=", "text/plain, a/b", 'a/b;c="d']
)
def test_a_malformed_content_type_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_header("Content-Type", [text])


@pytest.mark.parametrize("q", ["1.001", "2", "0.1234", "-0.1", "", ".5", "1.0.0", "nan"])
def test_a_q_outside_the_grammar_is_refused(q: str) -> None:
    """FAULTS 7."""
    with pytest.raises(ParseError):
        parse_header("Accept", [f"text/plain;q={q}"])


def test_only_tokens_can_be_written() -> None:
    with pytest.raises(UsageError):
        format_header("Content-Type", MediaType("text", "plain\r\nVia: x"))
    with pytest.raises(UsageError):
        format_header("Content-Type", MediaType("text", "plain", Parameters.of({"a;b": "c"})))
