"""Session descriptions (RFC 8866), kept line for line.

A description is its lines: what is not changed prints as it came (unknown lines,
order, line ends), typed values are read from the lines when asked for.  Does not
know messages; offers and answers are `sipcore.offer_answer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from sipcore.errors import ParseError, UsageError
from sipcore.headers.grammar import TOKEN, bounded_integer, check_token

MAX_LINES = 4096
"""Lines of one description; more are a ParseError."""

MAX_MEDIA = 128
"""Media descriptions of one description."""

MAX_FORMATS = 256
"""Formats of one m= line."""

PAYLOAD_TYPE_MOST = 127
PORT_MOST = 65535
NUMBER_MOST = 2**64 - 1

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")

FORBIDDEN = re.compile(r"[\x00\r\n]")
TEXT_LINE = re.compile(r"[^\n]*+\n|[^\n]++")
OCTET_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")

# RFC 3551 tables 4 and 5: encoding name, clock rate, channels.
STATIC_PAYLOAD_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CelB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("nv", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}

# RFC 8866 section 5: the order of lines; i, c, b, k and a follow m= inside a media description.
ORDER = "vosmiuepcbtrzka"

Section = TypeVar("Section", bound="Lines")


@dataclass(frozen=True, slots=True)
class Line:
    """`type=value` and how the line ended; `type` is "" for an empty line at the end."""

    type: str
    value: str
    end: str = "\r\n"

    def __str__(self) -> str:
        return f"{self.type}={self.value}{self.end}" if self.type else self.end


@dataclass(frozen=True, slots=True)
class Attribute:
    """`a=name` or `a=name:value`; `value` is None without a colon."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"


@dataclass(frozen=True, slots=True)
class Origin:
    """`o=` (RFC 8866 section 5.2)."""

    username: str
    session_id: int
    version: int
    address: str
    address_type: str = "IP4"
    net_type: str = "IN"

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.net_type} {self.address_type} {self.address}"


@dataclass(frozen=True, slots=True)
class Connection:
    """`c=` (RFC 8866 section 5.7); `address` keeps the /ttl/count of a multicast address."""

    address: str
    address_type: str = "IP4"
    net_type: str = "IN"

    @property
    def host(self) -> str:
        return self.address.partition("/")[0]

    @property
    def is_unspecified(self) -> bool:
        """0.0.0.0 or ::, which older elements send to put a stream on hold (RFC 3264 section 8.4)."""
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        return f"{self.net_type} {self.address_type} {self.address}"


@dataclass(frozen=True, slots=True)
class Codec:
    """A payload type with what rtpmap, or RFC 3551 for a static one, and fmtp say of it.

    `encoding` is "" for a dynamic payload type without rtpmap.
    """

    payload_type: int
    encoding: str
    clock_rate: int = 8000
    channels: int = 1
    format_parameters: str | None = None

    @property
    def key(self) -> tuple[str, int, int]:
        """What two codecs are compared by."""
        return self.encoding.lower(), self.clock_rate, self.channels

    @property
    def rtpmap(self) -> str:
        channels = f"/{self.channels}" if self.channels != 1 else ""
        return f"{self.payload_type} {self.encoding}/{self.clock_rate}{channels}"


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines in their order, with what the session and the media level share.  Every change is a new value."""

    lines: tuple[Line, ...]

    def first(self, kind: str) -> str | None:
        """The value of the first line of a type."""
        return next((line.value for line in self.lines if line.type == kind), None)

    def all(self, kind: str) -> tuple[str, ...]:
        return tuple(line.value for line in self.lines if line.type == kind)

    @property
    def information(self) -> str | None:
        return self.first("i")

    @property
    def connection(self) -> Connection | None:
        text = self.first("c")
        return None if text is None else parse_connection(text)

    @property
    def bandwidths(self) -> tuple[tuple[str, int], ...]:
        """(type, value) of each `b=`."""
        return tuple(parse_bandwidth(text) for text in self.all("b"))

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        return tuple(parse_attribute(text) for text in self.all("a"))

    def attribute(self, name: str) -> str | None:
        """The value of the first attribute of that name, "" for one without value, None without it."""
        return next((found.value or "" for found in self.attributes if found.name == name), None)

    @property
    def direction(self) -> Direction | None:
        """What this level says itself, the first time if it says it twice."""
        return next((line.value for line in self.lines if line.type == "a" and line.value in DIRECTIONS), None)

    def replaced(self: Section, kind: str, value: str) -> Section:
        """With the first line of a type set, in its place; where RFC 8866 section 5 has it if there was none."""
        lines = self.closed().lines
        new = Line(kind, check_value(value), self.line_end())
        for at, line in enumerate(lines):
            if line.type == kind:
                return replace(self, lines=(*lines[:at], new, *lines[at + 1 :]))
        rank = ORDER.find(kind)
        at = next((at for at, line in enumerate(lines) if ORDER.find(line.type) > rank), len(lines))
        return replace(self, lines=(*lines[:at], new, *lines[at:]))

    def with_attribute(self: Section, name: str, value: str | None = None) -> Section:
        """With one more attribute, behind the others."""
        new = Line("a", check_value(str(Attribute(check_token(name), value))), self.line_end())
        return replace(self, lines=(*self.closed().lines, new))

    def without_attributes(self: Section, *names: str) -> Section:
        kept = (line for line in self.lines if line.type != "a" or parse_attribute(line.value).name not in names)
        return replace(self, lines=tuple(kept))

    def with_direction(self: Section, direction: Direction) -> Section:
        return self.without_attributes(*DIRECTIONS).with_attribute(direction)

    def line_end(self) -> str:
        """How the lines end here: as the first one does, or CRLF where it has no whole line end."""
        end = self.lines[0].end if self.lines else ""
        return end if end.endswith("\n") else "\r\n"

    def closed(self: Section) -> Section:
        """Ready for another line: without empty lines behind, the last one ended."""
        lines = [line for line in self.lines if line.type]
        if lines and not lines[-1].end.endswith("\n"):
            lines[-1] = replace(lines[-1], end=self.line_end())
        return replace(self, lines=tuple(lines))


@dataclass(frozen=True, slots=True)
class Media(Lines):
    """One media description: its m= line and all lines up to the next (RFC 8866 section 5.14)."""

    @classmethod
    def of(cls, kind: str, port: int, protocol: str, formats: Iterable[str]) -> Media:
        """`m=` alone; lines are added by `replaced` and `with_attribute`."""
        text = f"{kind} {port} {protocol} {' '.join(formats)}"
        parse_media(check_value(text))
        return cls((Line("m", text),))

    @property
    def kind(self) -> str:
        """audio, video, image, application, message, text or another token."""
        return parse_media(self.lines[0].value)[0]

    @property
    def port(self) -> int:
        """0: the stream is refused or has ended (RFC 3264 section 6)."""
        return parse_media(self.lines[0].value)[1]

    @property
    def port_count(self) -> int:
        return parse_media(self.lines[0].value)[2]

    @property
    def protocol(self) -> str:
        return parse_media(self.lines[0].value)[3]

    @property
    def formats(self) -> tuple[str, ...]:
        return parse_media(self.lines[0].value)[4]

    @property
    def is_rtp(self) -> bool:
        return "RTP/" in self.protocol

    def with_port(self, port: int) -> Media:
        kind, _, _, protocol, formats = parse_media(self.lines[0].value)
        return self.replaced("m", f"{kind} {port} {protocol} {' '.join(formats)}")

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """The formats of an RTP stream in the order of preference; () for other protocols."""
        if not self.is_rtp:
            return ()
        maps = self.by_payload_type("rtpmap")
        parameters = self.by_payload_type("fmtp")
        return tuple(make_codec(int(text), maps.get(int(text)), parameters.get(int(text))) for text in self.formats)

    def by_payload_type(self, name: str) -> dict[int, str]:
        """The attributes `name:PAYLOAD_TYPE text`; the first for each payload type counts."""
        found: dict[int, str] = {}
        for attribute in self.attributes:
            if attribute.name == name:
                payload_type, text = parse_payload_attribute(attribute)
                found.setdefault(payload_type, text)
        return found


@dataclass(frozen=True, slots=True)
class SessionDescription(Lines):
    """A description: its session-level lines and its media."""

    media: tuple[Media, ...] = ()

    @classmethod
    def of(
        cls, origin: Origin, connection: Connection | None, media: Iterable[Media], *, name: str = "-"
    ) -> SessionDescription:
        """A new description with the lines that RFC 8866 requires."""
        lines = [Line("v", "0"), Line("o", check_origin(origin)), Line("s", check_value(name) or "-")]
        if connection is not None:
            lines.append(Line("c", check_connection(connection)))
        return cls((*lines, Line("t", "0 0")), tuple(media))

    @property
    def origin(self) -> Origin:
        return parse_origin(self.first("o") or "")

    @property
    def name(self) -> str:
        return self.first("s") or ""

    @property
    def times(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of each `t=` in seconds since 1900; 0 0 for an unbounded session."""
        return tuple(parse_time(text) for text in self.all("t"))

    def connection_of(self, media: Media) -> Connection | None:
        """Of the media level, else of the session."""
        return media.connection or self.connection

    def direction_of(self, media: Media) -> Direction:
        """Of the media level, else of the session, else sendrecv (RFC 8866 section 6.7)."""
        return media.direction or self.direction or "sendrecv"

    def with_media(self, media: Iterable[Media]) -> SessionDescription:
        return replace(self.closed(), media=tuple(one.closed() for one in media))

    def next_version(self) -> SessionDescription:
        """With the version of `o=` one higher, as every changed description needs (RFC 3264 section 8)."""
        origin = self.origin
        return self.replaced("o", check_origin(replace(origin, version=origin.version + 1)))

    def __str__(self) -> str:
        return "".join(str(line) for line in (*self.lines, *(line for media in self.media for line in media.lines)))

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


def parse_sdp(data: bytes | str) -> SessionDescription:
    """A description from its octets or text; ParseError with `.at` at the line that is malformed.

    Required are v=0 first, one o=, one s=, and well-formed o, c, b, t, m and a
    lines with RTP payload types from 0 to 127.  Unknown line types and attributes
    are kept, the order is not checked, lines may end in LF alone.  `str` and
    `bytes` of the result are what came.
    """
    sections: list[list[Line]] = [[]]
    for number, (at, text) in enumerate(split_lines(data)):
        if number >= MAX_LINES:
            raise ParseError(f"more than {MAX_LINES} lines", at=at)
        line = parse_line(text, at)
        if line.type and sections[-1] and not sections[-1][-1].type:
            raise ParseError("an empty line inside a description", at=at)
        if line.type == "m":
            if len(sections) > MAX_MEDIA:
                raise ParseError(f"more than {MAX_MEDIA} media descriptions", at=at)
            sections.append([])
        sections[-1].append(line)
    media = tuple(Media(tuple(lines)) for lines in sections[1:])
    return check_description(SessionDescription(tuple(sections[0]), media))


def split_lines(data: bytes | str) -> Iterator[tuple[int, str]]:
    """Where each line starts, and the line with its end."""
    if isinstance(data, str):
        yield from ((found.start(), found.group()) for found in TEXT_LINE.finditer(data))
    else:
        for found in OCTET_LINE.finditer(data):
            yield found.start(), found.group().decode("utf-8", "surrogateescape")


def parse_line(text: str, at: int) -> Line:
    body = text.removesuffix("\n").removesuffix("\r")
    end = text[len(body) :]
    if not body:
        return Line("", "", end)
    if FORBIDDEN.search(body) or body[1:2] != "=" or not body[0].isalpha():
        raise ParseError("a line that is not type=value", at=at)
    line = Line(body[0], body[2:], end)
    check = LINE_CHECKS.get(line.type)
    if check is not None:
        located(check, line.value, at)
    return line


def located(check: Callable[[str], object], value: str, at: int) -> None:
    """Run a check; its ParseError says where the line is."""
    try:
        check(value)
    except ParseError as error:
        raise ParseError(error.reason, at=at) from None


def check_description(description: SessionDescription) -> SessionDescription:
    """`description` as it is; a ParseError where a required line or a payload type is wrong."""
    if not description.lines or description.lines[0].type != "v" or description.lines[0].value.strip() != "0":
        raise ParseError("a description begins with v=0")
    for kind in "os":
        if len(description.all(kind)) != 1:
            raise ParseError(f"a description has one {kind}= line")
    for media in description.media:
        _ = media.codecs
    return description


def fields_of(text: str) -> list[str]:
    """What stands between spaces."""
    return [field for field in text.split(" ") if field]


def number_of(text: str, what: str, most: int) -> int:
    number = bounded_integer(text, most)
    if number is None:
        raise ParseError(f"{what} is not a number up to {most}: {text[:32]!r}")
    return number


def parse_origin(text: str) -> Origin:
    fields = fields_of(text)
    if len(fields) != 6:
        raise ParseError("o= has six fields")
    username, session_id, version, net_type, address_type, address = fields
    return Origin(
        username,
        number_of(session_id, "the session id", NUMBER_MOST),
        number_of(version, "the session version", NUMBER_MOST),
        address,
        address_type,
        net_type,
    )


def parse_connection(text: str) -> Connection:
    fields = fields_of(text)
    if len(fields) != 3:
        raise ParseError("c= has three fields")
    net_type, address_type, address = fields
    return Connection(address, address_type, net_type)


def parse_bandwidth(text: str) -> tuple[str, int]:
    kind, colon, value = text.partition(":")
    if not colon or not kind:
        raise ParseError("b= is type:value")
    return kind, number_of(value.strip(" "), "a bandwidth", NUMBER_MOST)


def parse_time(text: str) -> tuple[int, int]:
    fields = fields_of(text)
    if len(fields) != 2:
        raise ParseError("t= has two numbers")
    return number_of(fields[0], "a start", NUMBER_MOST), number_of(fields[1], "a stop", NUMBER_MOST)


def parse_attribute(text: str) -> Attribute:
    name, colon, value = text.partition(":")
    if not name:
        raise ParseError("an attribute without a name")
    return Attribute(name, value if colon else None)


def parse_media(text: str) -> tuple[str, int, int, str, tuple[str, ...]]:
    """(kind, port, number of ports, protocol, formats); RTP formats are payload types from 0 to 127."""
    fields = fields_of(text)
    if len(fields) < 4 or not TOKEN.fullmatch(fields[0]):
        raise ParseError("m= has a kind, a port, a protocol and a format")
    if len(fields) > 3 + MAX_FORMATS:
        raise ParseError(f"more than {MAX_FORMATS} formats")
    port, slash, count = fields[1].partition("/")
    ports = number_of(count, "a number of ports", PORT_MOST) if slash else 1
    if "RTP/" in fields[2]:
        for payload_type in fields[3:]:
            number_of(payload_type, "a payload type", PAYLOAD_TYPE_MOST)
    return fields[0], number_of(port, "a port", PORT_MOST), ports, fields[2], tuple(fields[3:])


def parse_payload_attribute(attribute: Attribute) -> tuple[int, str]:
    """`PAYLOAD_TYPE text` of rtpmap and fmtp."""
    payload_type, space, text = (attribute.value or "").partition(" ")
    if not space:
        raise ParseError(f"{attribute.name} has a payload type and a text")
    return number_of(payload_type, "a payload type", PAYLOAD_TYPE_MOST), text


def make_codec(payload_type: int, rtpmap: str | None, format_parameters: str | None) -> Codec:
    if rtpmap is None:
        static = STATIC_PAYLOAD_TYPES.get(payload_type, ("", 0, 1))
        return Codec(payload_type, *static, format_parameters)
    encoding, slash, rest = rtpmap.strip(" ").partition("/")
    clock_rate, slash_channels, channels = rest.partition("/")
    if not slash or not encoding:
        raise ParseError("rtpmap is encoding/clock rate")
    return Codec(
        payload_type,
        encoding,
        number_of(clock_rate, "a clock rate", 2**32 - 1),
        number_of(channels, "a number of channels", 255) if slash_channels else 1,
        format_parameters,
    )


def check_value(text: str) -> str:
    """`text` as it is; CR, LF and NUL are a UsageError (FAULTS 6)."""
    if FORBIDDEN.search(text):
        raise UsageError("CR, LF or NUL in a line of a description")
    return text


def check_origin(origin: Origin) -> str:
    return check_fields(str(origin), origin, parse_origin)


def check_connection(connection: Connection) -> str:
    return check_fields(str(connection), connection, parse_connection)


def check_fields(text: str, value: object, parse: Callable[[str], object]) -> str:
    """`text` as it is; a UsageError where it does not say `value`."""
    try:
        if parse(check_value(text)) == value:
            return text
    except ParseError:
        pass
    raise UsageError(f"cannot be written: {value!r}")


LINE_CHECKS: dict[str, Callable[[str], object]] = {
    "o": parse_origin,
    "c": parse_connection,
    "b": parse_bandwidth,
    "t": parse_time,
    "a": parse_attribute,
    "m": parse_media,
}
