"""sipcore's parser against the slow, obvious one of reference.py (FAULTS 10)."""

import re
import time
from pathlib import Path

import pytest
import reference
from header_samples import MALFORMED, WELL_FORMED
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sipcore
from sipcore.errors import ParseError

HERE = Path(__file__).parent
CORPUS = {path.name: path.read_bytes() for path in sorted((HERE / "corpus").glob("*.sip"))}
TORTURE = {str(path.relative_to(HERE)): path.read_bytes() for path in sorted((HERE / "torture").glob("rfc*/**/*.dat"))}
MESSAGES = {**CORPUS, **TORTURE}
USUAL = (
    b"INVITE sip:bob@example.com;transport=tcp SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK1;rport, SIP/2.0/UDP a\r\n"
    b'f: "A \\"B\\"" <sips:alice:secret@[2001:db8::1]:5061;lr?x=y>;tag=1\r\n'
    b"To : <tel:+15550100;phone-context=a>\r\n"
    b"Call-ID: one@example.com\r\n"
    b"CSeq: 314159\tINVITE\r\n"
    b"Contact: Bob <sip:b@c>,\r\n <sip:d@e>\r\n"
    b"X-Any:  folded \r\n\t value\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)
PIECES = (
    [b"\r\n", b"\r", b"\n", b" ", b"\t", b"\r\n ", b"\r\n\r\n", b"\0", b"\x7f", b"\xff", "é".encode()]
    + [bytes([octet]) for octet in b'"\\<>()[]{};:,?@/=%&#|^`*']
    + [
        b"SIP/2.0",
        b"sip:",
        b"tel:",
        b"a",
        b"0",
        b"99999",
        b"4294967296",
        b"%41",
        b"%4",
        b"%zz",
        b"[::1]",
        b";lr",
        b"<sip:a@b>",
    ]
    + [
        b"Via: SIP/2.0/UDP a;branch=x\r\n",
        b"Content-Length: 0\r\n",
        b"l:1\r\n",
        b"m: sip:a?b\r\n",
        b"Max-Forwards: 1\r\n",
    ]
)

# A parameter without a name at the very end, or before the headers.
FINDINGS_IN_URIS = [b"sip:a@b;", b"sip:b;", b"sip:b;?x=y", b"sip:b;lr;", b"tel:1;", b"tel:;x", b"sip:b;=x", b"sip:b;%4"]

FINDINGS_IN_LINES = [
    b"Via: SIP/2.0/ UDP a",
    b"Via: SIP/2.0 / UDP a;branch=x",
    b"Via: SIP/2.0/UDP a;=x",
    b"To: <sip:a@b>;=x",
    b"From: sip:a@b;tag",
    b"From: <sip:a@b>;tag=1;=2",
]


def text_of(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode("utf-8", "surrogateescape")


def unfolded(octets: bytes | None) -> str | None:
    return None if octets is None else text_of(reference.FOLD.sub(b" ", octets))


def compare(data: bytes) -> None:
    """Both accept `data` and read the same from it, or both refuse it."""
    try:
        expected = reference.parse(data)
    except reference.Refused as refusal:
        with pytest.raises(ParseError):
            sipcore.parse(data)
            print("the reference refuses:", refusal)
        return
    message = sipcore.parse(data)
    assert data.startswith(bytes(message))
    assert message.headers == [(text_of(name), text_of(value)) for name, value in expected.headers]
    assert message.body == expected.body
    if isinstance(message, sipcore.Request):
        assert (message.method, str(message.request_uri)) == (text_of(expected.method), text_of(expected.request_uri))
    else:
        assert (message.status_code, message.reason_phrase) == (expected.status_code, text_of(expected.reason_phrase))
    compare_values(message, expected)


def compare_values(message: sipcore.Request | sipcore.Response, expected: reference.Message) -> None:
    via, cseq = message.top_via, message.cseq
    assert (via is None) == (expected.transport is None)
    if via is not None:
        assert via.transport == (text_of(expected.transport) or "").upper()
        assert (via.sent_by, via.branch) == (text_of(expected.sent_by), text_of(expected.branch))
    for address, uri, tag in (
        (message.from_, expected.from_uri, expected.from_tag),
        (message.to, expected.to_uri, expected.to_tag),
    ):
        assert (address is None) == (uri is None)
        if address is not None:
            assert (str(address.uri), address.tag) == (text_of(uri), text_of(tag))
    assert message.call_id == text_of(expected.call_id)
    assert (cseq is None) == (expected.cseq_number is None)
    if cseq is not None:
        assert (cseq.number, cseq.method) == (expected.cseq_number, text_of(expected.cseq_method))


def test_the_usual_message_is_read_by_both() -> None:
    assert reference.parse(USUAL).body == b"body"
    compare(USUAL)


@pytest.mark.parametrize("name", MESSAGES)
def test_both_agree_on_the_corpora(name: str) -> None:
    compare(MESSAGES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_both_agree_on_truncations(name: str) -> None:
    data = MESSAGES[name]
    for size in range(0, len(data), max(1, len(data) // 200)):
        compare(data[:size])


@pytest.mark.parametrize("name", CORPUS)
def test_both_agree_on_every_octet_replaced(name: str) -> None:
    data = CORPUS[name]
    head = data.index(b"\r\n\r\n") + 4
    for at in range(0, head, 3):
        for octet in (b"\0", b" ", b'"', b"<", b",", b";", b"\xff"):
            compare(data[:at] + octet + data[at + 1 :])


@pytest.mark.parametrize("uri", FINDINGS_IN_URIS)
def test_uris_that_were_read_wrongly_once(uri: bytes) -> None:
    compare(b"OPTIONS " + uri + b" SIP/2.0\r\n\r\n")
    compare(b"OPTIONS sip:a@b SIP/2.0\r\nTo: <" + uri + b">\r\n\r\n")


@pytest.mark.parametrize("line", FINDINGS_IN_LINES)
def test_lines_that_were_read_wrongly_once(line: bytes) -> None:
    compare(b"OPTIONS sip:a@b SIP/2.0\r\n" + line + b"\r\n\r\n")


def test_a_fold_behind_long_white_space_costs_linear_time() -> None:
    """FAULTS 3: reading the value takes about as long as the message, not its square."""
    line = b"X-Any: a" + b" " * 16_000 + b"b\r\n c\r\n"
    message = sipcore.parse(b"OPTIONS sip:a@b SIP/2.0\r\n" + line + b"\r\n")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert message["X-Any"].endswith("b c")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message with a few pieces of it replaced, removed, doubled or moved."""
    data = draw(st.sampled_from([USUAL, USUAL, *MESSAGES.values()]))
    for _ in range(draw(st.integers(1, 4))):
        head = max(data.find(b"\r\n\r\n"), 0) + 4
        at = draw(st.integers(0, min(head, len(data))))
        cut = draw(st.integers(0, 4))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3), st.just(data[at : at + 40])))
        data = data[:at] + piece + data[at + cut :]
    return data


@settings(max_examples=1500)
@given(data=mutated())
@example(data=b"")
@example(data=b"\r\n\r\n")
@example(data=b"OPTIONS sip:a SIP/2.0\r\n\r\n")
def test_both_agree_on_mutations(data: bytes) -> None:
    compare(data)


@pytest.mark.slow
@settings(max_examples=30_000)
@given(data=mutated())
def test_both_agree_on_many_mutations(data: bytes) -> None:
    compare(data)


@settings(max_examples=500)
@given(data=st.data())
def test_both_agree_on_values(data: st.DataObject) -> None:
    """Values of the headers that parse checks, taken apart and put together anew."""
    name = data.draw(st.sampled_from(["Via", "From", "To", "CSeq", "Call-ID", "Contact"]))
    samples = WELL_FORMED[name] + MALFORMED.get(name, [])
    pieces = [piece for sample in samples for piece in re.split(r'([;:,<>@"\s=/])', sample)]
    value = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=14)))
    method = "OPTIONS" if name != "CSeq" else "INVITE"
    compare(f"{method} sip:a@b SIP/2.0\r\n{name}: {value}\r\n\r\n".encode())


@settings(max_examples=500)
@given(
    pieces=st.lists(
        st.sampled_from(
            ["sip:", "SIPS:", "tel:", "x:", "a", "%41", "%", "@", ":", "1", "[::1]", ";", "=", "?", "&", "b.c", "é"]
        ),
        max_size=10,
    )
)
def test_both_agree_on_request_uris(pieces: list[str]) -> None:
    compare(f"OPTIONS {''.join(pieces)} SIP/2.0\r\n\r\n".encode())


@settings(max_examples=300)
@given(data=mutated())
def test_what_is_accepted_is_kept_octet_for_octet(data: bytes) -> None:
    """bytes(parse(x)) is x, and parse(bytes(m)) is m; an edit that changes nothing does neither."""
    try:
        message = sipcore.parse(data)
    except ParseError:
        return
    octets = bytes(message)
    assert data.startswith(octets)
    assert sipcore.parse(octets) == message
    assert bytes(sipcore.parse(octets)) == octets
    assert bytes(message.edit().build()) == octets
