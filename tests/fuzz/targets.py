"""What must hold for any octets: one function a target, called by the fuzzer and by tests/test_fuzz.py.

A target returns for input that is refused with the documented exception and for
input that is accepted and keeps its promises; anything else escapes.
"""

from __future__ import annotations

from collections.abc import Callable

import dns.exception
import dns.message
import reference

import sipcore
from sipcore import offer_answer, websocket
from sipcore._fields import Address, CSeq, Via
from sipcore._framing import KeepAlive, StreamFramer
from sipcore._message import Message, salvage
from sipcore._uri import Uri
from sipcore.body import format_multipart, parse_multipart, walk_parts
from sipcore.dns_exchange import MAXIMUM_ADDITIONAL, MAXIMUM_RECORDS, ExchangeFailed, accept_reply, read_reply
from sipcore.errors import ParseError, UsageError
from sipcore.headers import HEADER_TYPES, MediaType, Parameters, format_header, header_type, parse_header
from sipcore.limits import Lenience
from sipcore.policy.questions import Question
from sipcore.sdp import Codec, Connection, Origin, parse_sdp
from sipcore.streams import StreamConnection

ATTRIBUTES = (
    "via",
    "top_via",
    "from_",
    "to",
    "call_id",
    "cseq",
    "contacts",
    "routes",
    "record_routes",
    "max_forwards",
    "expires",
    "content_length",
    "content_type",
    "version",
    "body",
)
CAPABILITIES = (
    offer_answer.Capability("audio", 4000, (Codec(0, "PCMU"), Codec(8, "PCMA"), Codec(101, "telephone-event"))),
    offer_answer.Capability("image", 4002, protocol="udptl", formats=("t38",)),
)


DNS_QUERIES = {  # by the low octet of their id, which is the second of a reply
    number: (Question("edge.example.net", kind), dns.message.make_query("edge.example.net", kind, id=number))
    for number, kind in enumerate(("A", "AAAA", "SRV", "NAPTR"), 7)
}


def text_of(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def can_be_written(text: str) -> bool:
    return not any(character in text for character in "\0\r\n")


# ---- messages


def parse(data: bytes) -> None:
    """`sipcore.parse`: what is accepted is kept octet for octet, and every value is typed or a ParseError."""
    salvaged = salvage(data)
    if salvaged is not None:
        read_everything(salvaged)
    try:
        message = sipcore.parse(data)
    except ParseError as error:
        assert 0 <= error.at <= len(data)
        assert 400 <= error.status_hint < 600
        assert accepted(data, Lenience.STRICT) is None
        return
    octets = bytes(message)
    assert data.startswith(octets)
    assert sipcore.parse(octets) == message
    assert accepted(data, Lenience.EVERYTHING) == message
    assert accepted(data, Lenience.STRICT) in (None, message)
    assert bytes(message.edit().build()) == octets
    assert message.diff(message) == []
    read_everything(message)
    remove_everything(message)


def accepted(data: bytes, lenience: Lenience) -> Message | None:
    try:
        return sipcore.parse(data, lenience=lenience)
    except ParseError:
        return None


def read_everything(message: Message) -> None:
    """Every attribute and header; only ParseError may be raised."""
    for attribute in ATTRIBUTES:
        try:
            str(getattr(message, attribute))
        except ParseError:
            continue
    repr(message)
    for name, value in message.headers:
        assert name in message
        assert value in message.get_lines(name)
        message.get_all(name)
        if header_type(name) is not None:
            try:
                repr(message.typed(name))
            except ParseError:
                continue


def remove_everything(message: Message) -> None:
    """FAULTS 5: a header that was removed is gone in every spelling; what cannot be sent is a UsageError."""
    for name in {name for name, _ in message.headers}:
        try:
            changed = message.edit().remove(name).add("X-Added", "x").build()
        except UsageError:
            continue
        assert name not in changed or name.lower() in ("content-length", "l", "x-added")
        assert changed["X-Added"]
        assert sipcore.parse(bytes(changed)) == changed


EDITED = [
    sipcore.parse(b"\r\n".join([b"OPTIONS sip:a@b.c SIP/2.0", *lines, b"", b"body"]))
    for lines in (
        [],
        [
            b"v: SIP/2.0/UDP a.b,",
            b" SIP/2.0/TCP c.d",
            b"Route: <sip:a,b>,<sip:c>",
            b"X-A : 1",
            b"Subject: one",
            b"To: sip:a@b",
        ],
        [b"X-A: 1,2", b"VIA: SIP/2.0/UDP a.b", b"x-a: 3", b"route:", b"m: *", b"X-B: last"],
        [b"X-%d: %d" % (number, number) for number in range(60)] + [b"Via: SIP/2.0/UDP a.b", b"s: x"],
    )
]
NAMES = ("Via", "v", "Route", "route", "X-A", "x-a", "Subject", "s", "Contact", "X-7", "To")
VALUES = ("1", "a, b", '"x,y" <sip:c>, <sip:d,e>', "", "é" * 300, ",", "x,")
LISTS = {"via", "route", "contact"}
LONG = {"v": "via", "s": "subject", "m": "contact"}


def edit(data: bytes) -> None:
    """An Editor does what a list of lines does, whatever is done to it and in whatever order."""
    message = EDITED[data[0] % len(EDITED)] if data else EDITED[0]
    editor, lines = message.edit(), list(message.headers)
    for step, what in zip(data[1::2], data[2::2], strict=False):
        name, value = NAMES[what % len(NAMES)], VALUES[what // len(NAMES) % len(VALUES)]
        places = [at for at, line in enumerate(lines) if long_name(line[0]) == long_name(name)]
        match step % 5:
            case 0:
                editor.add(name, value)
                lines.append((name, value))
            case 1:
                editor.insert(name, value)
                lines.insert(0, (name, value))
            case 2:
                editor.replace(name, value)
                lines = replaced(lines, places, (name, value))
            case 3:
                editor.remove(name)
                lines = [line for at, line in enumerate(lines) if at not in places]
            case 4:
                editor.remove_first(name)
                lines = without_first(lines, places)
    edited = salvage(bytes(editor))
    assert edited is not None
    assert edited.headers == [(name, value.strip(" ")) for name, value in lines]
    assert edited.body == message.body
    assert bytes(edited).split(b"\r\n")[0] == bytes(message).split(b"\r\n")[0]


def long_name(name: str) -> str:
    return LONG.get(name.lower(), name.lower())


def replaced(lines: list[tuple[str, str]], places: list[int], line: tuple[str, str]) -> list[tuple[str, str]]:
    if not places:
        return [*lines, line]
    kept = [old for at, old in enumerate(lines) if at not in places[1:]]
    kept[places[0]] = line
    return kept


def without_first(lines: list[tuple[str, str]], places: list[int]) -> list[tuple[str, str]]:
    """A list loses what is before its first comma, the last value its line."""
    if not places:
        return lines
    name, value = lines[places[0]]
    end = list_value_end(value) if long_name(name) in LISTS else len(value)
    rest = value[end + 1 :].strip(" ")
    return [*lines[: places[0]], *([(name, rest)] if rest else []), *lines[places[0] + 1 :]]


def list_value_end(value: str) -> int:
    """Where the first comma outside of quotes and angle brackets is."""
    quoted = bracketed = False
    for at, character in enumerate(value):
        if character == '"' and not bracketed:
            quoted = not quoted
        elif character in "<>" and not quoted:
            bracketed = character == "<"
        elif character == "," and not quoted and not bracketed:
            return at
    return len(value)


def differential(data: bytes) -> None:
    """`sipcore.parse` and the reference parser agree (FAULTS 10)."""
    try:
        expected = reference.parse(data)
    except reference.Refused:
        expected = None
    try:
        message = sipcore.parse(data)
    except ParseError:
        assert expected is None, "refused by sipcore alone"
        return
    assert expected is not None, "accepted by sipcore alone"
    assert message.headers == [(text_of(name), text_of(value)) for name, value in expected.headers]
    assert message.body == expected.body
    assert message.call_id == (None if expected.call_id is None else text_of(expected.call_id))
    assert (message.cseq.number if message.cseq else None) == expected.cseq_number
    assert (message.top_via.branch if message.top_via else None) == (
        None if expected.branch is None else text_of(expected.branch)
    )


# ---- streams


def framer(data: bytes) -> None:
    """`StreamFramer`: any chunking gives the same messages; nothing follows a fault."""
    sizes, stream = data[:4], data[4:]
    whole = frame(stream, [len(stream)])
    assert frame(stream, [size + 1 for size in sizes] or [7]) == whole
    assert frame(stream, [1]) == whole


def frame(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The messages of a stream that comes in chunks of these sizes, in turn.

    When a fault inside a head is told, and which of several, may depend on the
    chunks; what comes before it and that nothing comes after it may not.
    """
    framer = StreamFramer(max_size=4096)
    found: list[bytes] = []
    at = turn = 0
    while at < len(stream) and framer.error is None:
        size = sizes[turn % len(sizes)]
        for item in framer.feed(stream[at : at + size]):
            # How often a keep-alive is told may depend on the chunks: an answer to one answers all in a row.
            if isinstance(item, KeepAlive):
                continue
            found.append(bytes(item))
        at += size
        turn += 1
    assert framer.waiting <= len(stream)
    return found


# ---- values


def uri(data: bytes) -> None:
    """Uri, Address, Via and CSeq: printed as they came, every part readable."""
    text = text_of(data)
    for kind in (Uri, Address, Via, CSeq):
        try:
            value = kind.parse(text)
        except ParseError as error:
            assert 0 <= error.at <= len(data)
            continue
        read_value(value)
        assert kind.parse(str(value)) == kind.parse(str(value))
    try:
        value = Uri.parse(text)
    except ParseError:
        return
    assert str(value) == text
    assert value.matches(value)


def read_value(value: Uri | Address | Via | CSeq) -> None:
    """Every public attribute."""
    for attribute in dir(value):
        if not attribute.startswith("_"):
            getattr(value, attribute)
    hash(value)
    repr(value)


def headers(data: bytes) -> None:
    """`parse_header` and `format_header` on `name: value`: what is accepted and written is read the same again."""
    name, _, text = text_of(data).partition(": ")
    header = header_type(name) or HEADER_TYPES[len(name) % len(HEADER_TYPES)]
    try:
        value = parse_header(header.name, [text])
    except ParseError as error:
        assert 0 <= error.at <= len(text)
        return
    repr(value)
    try:
        printed = format_header(header.name, value)
    except UsageError:
        assert not can_be_written(text), "accepted, but cannot be written"
        return
    if can_be_written(text):
        assert parse_header(header.name, [printed]) == value


# ---- bodies


def sdp(data: bytes) -> None:
    """`parse_sdp`, answers and hold: faithful, and what is written is read again."""
    try:
        description = parse_sdp(data)
    except ParseError as error:
        assert 0 <= error.at <= len(data)
        return
    assert bytes(description) == data
    for media in description.media:
        _ = media.codecs, description.direction_of(media), description.connection_of(media)
    answer = offer_answer.make_answer(description, Origin("-", 1, 1, "a"), Connection("a"), CAPABILITIES)
    assert parse_sdp(bytes(answer)) == answer
    assert offer_answer.answer_faults(description, answer) == ()
    try:
        held = offer_answer.hold(description)
    except UsageError:
        return
    assert parse_sdp(bytes(held)) == held
    offer_answer.is_held(held)


def body(data: bytes) -> None:
    """`parse_multipart` and `walk_parts`: bounded, and what is written is read again."""
    boundary, _, content = data.partition(b"\n")
    try:
        parts = parse_multipart(content, text_of(boundary))
        again = format_multipart(parts, "a boundary that nobody guesses")
        assert parse_multipart(again, "a boundary that nobody guesses") == parts
        list(walk_parts(content, MediaType("multipart", "mixed", Parameters.of({"boundary": text_of(boundary)}))))
    except (ParseError, UsageError):
        return


# ---- WebSocket


class Recorder(StreamConnection):
    """A connection that keeps what a framing does with it; no engine behind it."""

    def __init__(self, size: int) -> None:
        self.reason, self.size, self.messages = "", size, []
        codecs = websocket.Codecs(is_client=False, max_size=size)
        self.framing = self.websocket = websocket.WebSocket(self, codecs, websocket.Handshake(lambda _: None))
        self.websocket._handshake = None

    def take(self, messages: list[bytes]) -> None:
        self.messages += messages

    def write(self, octets: bytes) -> bool:
        return True

    def note_part(self, *, is_part: bool, is_next: bool = False) -> None:
        assert is_part == (self.websocket._codec is not None)

    def end(self, reason: str, *, abort: bool = True) -> None:
        self.reason = self.reason or reason

    def feed(self, data: bytes, step: int) -> None:
        """In chunks of `step` octets; what is held stays within the limit of a message."""
        for at in range(0, len(data), step):
            if not self.reason:
                self.websocket.received(data[at : at + step])
                assert len(self.websocket._parts or b"") <= self.size


def websocket_frames(data: bytes) -> None:
    """`websocket.WebSocket`: the same messages and the same end in any chunks, and no message over the limit."""
    size, step, data = 1 + (data[0] if data else 99), 1 + (data[1] % 16 if len(data) > 1 else 0), data[2:]
    whole, pieces = Recorder(size), Recorder(size)
    whole.feed(data, len(data) or 1)
    pieces.feed(data, step)
    assert (whole.messages, whole.reason) == (pieces.messages, pieces.reason)
    assert all(len(message) <= size for message in whole.messages if message != websocket.PONG)
    for message in whole.messages:
        framed = whole.websocket.frame(message)
        assert framed.endswith(message) or message == websocket.PING


# ---- replies of name servers


def dns_reply(data: bytes) -> None:
    """A datagram as the answer to a question of each kind: ignored, refused, or read within its bounds (FAULTS 38)."""
    question, query = DNS_QUERIES.get(data[1] if len(data) > 1 else 0, DNS_QUERIES[7])
    message = accept_reply(data, query)
    if message is None:
        return
    try:
        reply = read_reply(message, question)
    except (ExchangeFailed, dns.exception.DNSException):
        return
    assert len(reply.records) <= MAXIMUM_RECORDS
    assert sum(len(addresses) for _, addresses in reply.additional) <= MAXIMUM_ADDITIONAL
    assert reply.ttl >= 0


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (parse, edit, differential, framer, uri, headers, sdp, body, dns_reply, websocket_frames)
}
