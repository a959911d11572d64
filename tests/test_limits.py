"""Every leniency is a flag with its vectors: read with it, refused without it; limits have names (RFC 3261 25)."""

import inspect
from pathlib import Path

import pytest
from engine_kit import KEY, LOCAL, PEER, Events, Sent
from hypothesis import given
from hypothesis import strategies as st
from sip_samples import CORPUS, request
from torture_checks import MESSAGES, octets_of

from sipcore import Lenience, Limits, ParseError, StreamFramer, parse
from sipcore._engine import Engine
from sipcore._message import salvage

TORTURE = Path(__file__).parent / "torture"
NAME = "display name that needs quotes or white space behind it"
CALL_ID = "Call-ID that is no word, nor two with an at sign between"

# flag -> (vector, what is said without the flag)
VECTORS = {
    Lenience.DISPLAY_NAME: [("rfc4475/lwsdisp", NAME), ("lenient/display_name_signs", NAME)],
    Lenience.HOST: [
        ("rfc5118/ipv6-bug-abnf-3-colons", "host that is no name and no address"),
        ("lenient/host_underscore", "host that is no name and no address"),
    ],
    Lenience.URI: [
        ("lenient/uri_octets", "octet that may not stand in a URI"),
        ("lenient/uri_utf8", "octet that may not stand in a URI"),
    ],
    Lenience.PARAMETER_VALUE: [("lenient/parameter_utf8", "parameter value that needs quotes")],
    Lenience.CALL_ID: [("lenient/call_id_at_signs", CALL_ID), ("lenient/call_id_utf8", CALL_ID)],
    Lenience.STATUS_LINE: [("lenient/status_line_short", "no space after the status code")],
    Lenience.START_LINE_SPACE: [
        ("rfc4475/lwsstart", "malformed start line"),
        ("rfc4475/trws", "malformed start line"),
    ],
    Lenience.REQUEST_URI_BRACKETS: [("rfc4475/ltgtruri", "malformed Request-URI")],
    Lenience.REQUEST_URI_HEADERS: [("rfc4475/escruri", "malformed Request-URI")],
    Lenience.EQUAL_LENGTHS: [("lenient/equal_lengths", "header that may stand only once is repeated")],
}
CASES = [(flag, name, reason) for flag, vectors in VECTORS.items() for name, reason in vectors]
SETS = {Lenience.STRICT, Lenience.USUAL, Lenience.EVERYTHING}


def vector(name: str) -> bytes:
    data = (TORTURE / f"{name}.dat").read_bytes()
    head, _, body = data.partition(b"\r\n\r\n")
    if b"ontent-Length:" not in head and b"\r\nl:" not in head:  # so that a stream can carry it
        head += b"\r\nContent-Length: %d" % len(body)
    return head + b"\r\n\r\n" + body


def test_every_flag_has_a_vector() -> None:
    assert set(VECTORS) == {flag for flag in Lenience.__members__.values() if flag not in SETS}


@pytest.mark.parametrize(("flag", "name", "reason"), CASES)
def test_a_vector_is_read_with_its_flag_alone_and_refused_without_it(flag: Lenience, name: str, reason: str) -> None:
    data = vector(name)
    message = parse(data, lenience=flag)
    assert bytes(message) == data
    assert message.version == "SIP/2.0"
    with pytest.raises(ParseError, match=reason) as caught:
        parse(data, lenience=Lenience.EVERYTHING & ~flag)
    assert caught.value.status_hint == 400
    assert 0 < caught.value.at < len(data)


@pytest.mark.parametrize(("flag", "name", "reason"), CASES)
def test_a_stream_takes_the_same_flags(flag: Lenience, name: str, reason: str) -> None:
    framer = StreamFramer(**Limits(lenience=flag).arguments)
    assert [bytes(message) for message in framer.feed(vector(name) * 2)] == [vector(name)] * 2
    framer = StreamFramer(lenience=Lenience.EVERYTHING & ~flag)
    assert framer.feed(vector(name)) == []
    assert framer.error is not None
    assert framer.error.reason == reason


@pytest.mark.parametrize(("flag", "name", "reason"), CASES)
def test_the_usual_flags_are_those_that_parse_has_by_itself(flag: Lenience, name: str, reason: str) -> None:
    if flag in Lenience.USUAL:
        assert parse(vector(name)) == parse(vector(name), lenience=Lenience.USUAL)
    else:
        with pytest.raises(ParseError, match=reason):
            parse(vector(name))


def test_an_engine_takes_limits() -> None:
    """The same datagram is answered, refused, or refused for its size."""

    def heard(limits: Limits | None) -> int:
        engine, events = Engine(key=KEY, now=0.0, limits=limits), Events()
        local = engine.add_local("udp", *LOCAL, user_agent=engine.add_user_agent(events), sender=Sent())
        engine.receive(vector("lenient/host_underscore"), engine.datagram_flow(local, *PEER), 0.0)
        return len(events.requests)

    assert heard(None) == 1
    assert heard(Limits(lenience=Lenience.USUAL & ~Lenience.HOST)) == 0
    assert heard(Limits(max_headers=3)) == 0


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["file"])
def test_what_the_rfcs_call_valid_is_read_strictly_but_for_the_vectors(message: dict[str, str]) -> None:
    """Strictness refuses nothing that the grammar has, and reads the rest no differently."""
    data = octets_of(message)
    lenient = {name for flag, name, _ in CASES if flag in Lenience.USUAL}
    try:
        usual = parse(data)
    except ParseError:
        with pytest.raises(ParseError):
            parse(data, lenience=Lenience.STRICT)
        return
    if message["file"].removesuffix(".dat") in lenient:
        return
    assert parse(data, lenience=Lenience.STRICT) == usual


@pytest.mark.parametrize("name", CORPUS)
def test_everyday_messages_need_no_lenience(name: str) -> None:
    message = parse(CORPUS[name], lenience=Lenience.STRICT)
    assert (message.call_id, message.cseq, str(message.top_via), str(message.from_), str(message.to)) == (
        parse(CORPUS[name]).call_id,
        parse(CORPUS[name]).cseq,
        str(parse(CORPUS[name]).top_via),
        str(parse(CORPUS[name]).from_),
        str(parse(CORPUS[name]).to),
    )


@pytest.mark.parametrize(
    ("header", "is_strict"),
    [
        ("From: Bob Ross <sip:a@b.c>;tag=1", True),
        ('From: "B\u00e4r, Bob" <sip:a@b.c>;tag=1', True),
        ("From: <sip:a:p,w@[2001:db8::1]:5060;x=[a];y?h=v&w=%20>;tag=1", True),
        ("From: <sip:a:p;w@b.c>;tag=1", False),
        ("From: <sip:a@b.c;x=@>;tag=1", False),
        ("From: <sip:a@b.c?h=;>;tag=1", False),
        ("From: <sip:a@[12345::1]>;tag=1", False),
        ("From: <sip:a@[" + "1:" * 40 + "]>;tag=1", False),
        ("From: <tel:+1;x=#>;tag=1", False),
        ("From: <mailto:a@b.c>;tag=1", True),
        ('From: <sip:a@b.c>;tag=1;x="\u00e4"', True),
        ("Call-ID: a@", False),
        ("Call-ID: @a", False),
        ("Call-ID: a@b", True),
        ("Via: SIP/2.0/UDP [2001:db8::1];received=2001:db8::2;branch=z9hG4bK1", True),
        ("Via: SIP/2.0/UDP [1:::2];branch=z9hG4bK1", False),
    ],
)
def test_strictness_is_the_grammar(header: str, is_strict: bool) -> None:
    name = header.partition(":")[0]
    lines = [line for line in request().decode().split("\r\n") if not line.startswith(name + ":")]
    data = "\r\n".join([lines[0], header, *lines[1:]]).encode()
    parse(data)
    if is_strict:
        parse(data, lenience=Lenience.STRICT)
    else:
        with pytest.raises(ParseError):
            parse(data, lenience=Lenience.STRICT)


@given(st.sampled_from(sorted(CORPUS.values())), st.integers(0, 400), st.binary(max_size=3))
def test_strictness_only_refuses(data: bytes, at: int, octets: bytes) -> None:
    data = data[:at] + octets + data[at + 1 :]
    try:
        strict = parse(data, lenience=Lenience.STRICT)
    except ParseError:
        return
    assert strict == parse(data) == parse(data, lenience=Lenience.EVERYTHING)


def test_equal_lengths_are_equal_numbers() -> None:
    data = vector("lenient/equal_lengths")
    assert parse(data, lenience=Lenience.EQUAL_LENGTHS).body == b"body"
    for other in (b"5", b"x", b"4, 4", b""):
        with pytest.raises(ParseError):
            parse(data.replace(b"Length: 4\r\n\r\n", b"Length: %s\r\n\r\n" % other), lenience=Lenience.EQUAL_LENGTHS)


def test_limits_are_those_of_parse_and_of_a_stream() -> None:
    fields = Limits().arguments
    assert [name for name in inspect.signature(parse).parameters if name != "data"] == list(fields)
    assert parse(CORPUS["options"], **fields) == parse(CORPUS["options"])
    assert StreamFramer(**fields).feed(CORPUS["options"]) == [parse(CORPUS["options"])]


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("max_size", 354, "message too large"),
        ("max_head_size", 300, "headers too large"),
        ("max_headers", 5, "too many headers"),
        ("max_header_size", 30, "header too large"),
        ("max_name_size", 5, "header name too large"),
        ("max_parameters", 0, "too many parameters"),
    ],
)
def test_each_limit_has_its_own_words_and_says_513(limit: str, value: int, reason: str) -> None:
    for limits in (Limits(**{limit: value}), Limits(**{limit: value}, lenience=Lenience.STRICT)):  # type: ignore[arg-type]
        with pytest.raises(ParseError, match=reason) as caught:
            parse(CORPUS["options"], **limits.arguments)
        assert caught.value.status_hint == 513


def test_what_lenience_refuses_can_be_salvaged() -> None:
    """For a 400: what a strict parse refuses still has its routing values."""
    left = salvage(vector("lenient/host_underscore"))
    assert left is not None
    assert left.top_via is not None
    assert left.top_via.host == "my_pc.example.com"
