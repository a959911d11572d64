"""A slow, obvious SIP parser: the oracle that sipcore's one is compared with (FAULTS 10).

Written from RFC 3261 sections 7, 19.1, 20 and 25, one grammar rule a regular
expression, nothing shared with the compiled rooms.  Reads one datagram whole and
at once; a leniency that goes beyond the RFC's grammar says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MESSAGE_SIZE = 131_072
HEAD_SIZE = 65_535
LINE_COUNT = 2_048
LINE_SIZE = 16_384
NAME_SIZE = 128
PARAMETER_COUNT = 128

COMPACT = {
    b"v": b"via",
    b"f": b"from",
    b"t": b"to",
    b"i": b"call-id",
    b"m": b"contact",
    b"l": b"content-length",
    b"c": b"content-type",
}
ONCE = (b"from", b"to", b"call-id", b"cseq", b"max-forwards", b"content-length")

TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]+"
WHITE = rb"[ \t\r\n]*"
QUOTED = rb'"(?:[^"\\]|\\[\x00-\xff])*"'
# Leniency: IPv6 references and octets of UTF-8 in an unquoted parameter value (RFC 5118 section 4.5).
BARE_VALUE = rb"[A-Za-z0-9\-.!%*_+`'~\[\]:\x80-\xff]+"
PARAMETER = re.compile(rb";%s(%s)(?:%s=%s(%s|%s))?%s" % (WHITE, TOKEN, WHITE, WHITE, QUOTED, BARE_VALUE, WHITE))

# Leniency: every visible octet but the delimiters of a header may stand in a URI, octets of UTF-8 too.
URI_OCTET = rb"[A-Za-z0-9\-_.!~*'()&=+$,;?/:@\[\]#`\x80-\xff]"
ESCAPED = rb"%[0-9A-Fa-f]{2}"
URI_TEXT = rb"(?:%s|%s)" % (URI_OCTET, ESCAPED)
USER = rb"(?:(?![:@])%s)+" % URI_TEXT
PASSWORD = rb"(?:(?!@)%s)*" % URI_TEXT
# Leniency: "_" in host names, any text of hexadecimal digits, ":" and "." in brackets (RFC 5118 section 4.10).
HOST = rb"(?:[A-Za-z0-9\-._]+|\[[0-9A-Fa-f:.]+\])"
PORT = rb"[0-9]+"
URI_PARAMETER = rb";(?!=)(?:(?![;?])%s)+" % URI_TEXT
SIP_URI = re.compile(
    rb"(?i:sips?):(?:%s(?::%s)?@|(?!.*@))%s(?::(%s))?(?:%s)*(\?%s*)?"
    % (USER, PASSWORD, HOST, PORT, URI_PARAMETER, URI_TEXT),
    re.DOTALL,
)
OTHER_URI = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*):((?:%s|%%)+)" % URI_OCTET)
TEL_URI = re.compile(rb"(?i:tel):(?:(?!;)(?:%s|%%))+(?:%s)*" % (URI_OCTET, URI_PARAMETER))

# Leniency: white space and most separators in a display name without quotes (RFC 4475 section 3.1.1.6).
DISPLAY = rb"[A-Za-z0-9\-.!%*_+`'~\[\]:$&()/=?@#\\^{|} \t\r\n\x80-\xff]*"
BRACKETED = re.compile(rb"(?:(%s)%s|(%s))<([^>]*)>%s" % (QUOTED, WHITE, DISPLAY, WHITE))
BARE_ADDRESS = re.compile(rb"([^;, \t\r\n]+)%s" % WHITE)
VIA = re.compile(
    rb"(%s)%s/%s(%s)%s/%s(%s)[ \t\r\n]+((%s)(?:%s:%s(%s))?)%s"
    % (TOKEN, WHITE, WHITE, TOKEN, WHITE, WHITE, TOKEN, HOST, WHITE, WHITE, PORT, WHITE)
)
CSEQ = re.compile(rb"([0-9]+)[ \t\r\n]+(%s)" % TOKEN)
# Leniency: any visible octet in a Call-ID, more than one "@" too.
CALL_ID = re.compile(rb"[\x21-\x7e\x80-\xff]+")
HEADER = re.compile(rb"(%s)[ \t]*:(.*)" % TOKEN, re.DOTALL)
REQUEST_LINE = re.compile(rb"(%s) ([^ ]+) (.*)" % TOKEN, re.DOTALL)
# Leniency: a status line may end after the code, without the space that RFC 3261 section 7.2 wants.
STATUS_LINE = re.compile(rb"(?i:SIP/2\.0) ([1-6][0-9]{2})(?: (.*))?", re.DOTALL)
FOLD = re.compile(rb"[ \t]*(?:\r\n[ \t]+)+")


class Refused(Exception):
    """The octets are no SIP message."""


@dataclass
class Message:
    """What was read, as octets; None for what is absent."""

    method: bytes | None = None
    request_uri: bytes | None = None
    status_code: int | None = None
    reason_phrase: bytes | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    raw: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    transport: bytes | None = None
    sent_by: bytes | None = None
    branch: bytes | None = None
    from_uri: bytes | None = None
    from_tag: bytes | None = None
    to_uri: bytes | None = None
    to_tag: bytes | None = None
    call_id: bytes | None = None
    cseq_number: int | None = None
    cseq_method: bytes | None = None

    def first(self, name: bytes) -> bytes | None:
        """The first value of a header, folds in it."""
        return next((value for found, value in self.raw if found == name), None)


def want(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def number(digits: bytes, most: int) -> int:
    """Decimal digits, up to `most`."""
    want(re.fullmatch(rb"[0-9]+", digits), "number")
    significant = digits.lstrip(b"0") or b"0"
    want(len(significant) <= len(str(most)) and int(significant) <= most, "number too large")
    return int(significant)


def parse(data: bytes) -> Message:
    """The message in one datagram; Refused if it is none."""
    want(data, "empty")
    want(len(data) <= MESSAGE_SIZE, "message size")
    head, empty_line, body = data.partition(b"\r\n\r\n")
    want(empty_line, "no empty line")
    want(len(head) + 4 <= HEAD_SIZE, "head size")
    want(not re.search(rb"\r(?!\n)|(?<!\r)\n", head), "CR or LF alone")
    start_line, _, rest = head.partition(b"\r\n")
    message = Message()
    read_start_line(start_line, message)
    read_headers(rest, message)
    read_values(message)
    read_body(body, message)
    return message


def read_start_line(line: bytes, message: Message) -> None:
    if line[:4].upper() == b"SIP/":
        found = STATUS_LINE.fullmatch(line)
        want(found, "status line")
        message.status_code = int(found[1])
        message.reason_phrase = found[2] or b""
        return
    found = REQUEST_LINE.fullmatch(line)
    want(found and found[3].upper() == b"SIP/2.0", "request line")
    message.method, message.request_uri = found[1], found[2]
    want(b"?" not in read_uri(found[2]), "headers in the Request-URI")


def read_headers(text: bytes, message: Message) -> None:
    """Lines that begin with white space go with the line before."""
    lines: list[bytes] = []
    for line in text.split(b"\r\n") if text else []:
        if line[:1] in (b" ", b"\t") and lines:
            lines[-1] += b"\r\n" + line
        else:
            lines.append(line)
    want(len(lines) <= LINE_COUNT, "line count")
    for line in lines:
        want(len(line) <= LINE_SIZE, "line size")
        found = HEADER.fullmatch(line)
        want(found, "header name")
        want(len(found[1]) <= NAME_SIZE, "name size")
        value = found[2].strip(b" \t\r\n")
        name = found[1].lower()
        message.headers.append((found[1], FOLD.sub(b" ", value)))
        message.raw.append((COMPACT.get(name, name), value))
    for name in ONCE:
        want(sum(1 for found, _ in message.raw if found == name) <= 1, "repeated header")


def read_uri(text: bytes) -> bytes:
    """Check a URI; its headers with their "?", b"" without any."""
    if re.match(rb"(?i)sips?:", text):
        found = SIP_URI.fullmatch(text)
        want(found, "URI")
        want(found[1] is None or number(found[1], 65535) > 0, "port")
        return found[2] or b""
    want(OTHER_URI.fullmatch(text), "URI")
    want(not re.match(rb"(?i)tel:", text) or TEL_URI.fullmatch(text), "tel URI")
    return b""


def read_parameters(text: bytes) -> tuple[list[tuple[bytes, bytes | None]], bytes]:
    """Parameters from the beginning of `text`, and what follows them."""
    found = []
    while match := PARAMETER.match(text):
        found.append((match[1].lower(), match[2]))
        want(len(found) <= PARAMETER_COUNT, "parameter count")
        text = text[match.end() :]
    return found, text


def first_of(parameters: list[tuple[bytes, bytes | None]], name: bytes) -> bytes | None:
    return next((value for found, value in parameters if found == name and value is not None), None)


def read_address(text: bytes) -> tuple[bytes, bytes | None]:
    """(URI, tag) of From or To: one value and nothing behind it."""
    found = BRACKETED.match(text)
    if found:
        uri = found[3]
        read_uri(uri)
    else:
        found = BARE_ADDRESS.match(text)
        want(found, "address")
        uri = found[1]
        read_uri(uri)
        want(b"?" not in uri, "a question mark outside brackets")
    parameters, rest = read_parameters(text[found.end() :])
    want(not rest, "text after an address")
    return uri, first_of(parameters, b"tag")


def read_via(text: bytes, message: Message) -> None:
    """The first value; what follows its comma is not looked at."""
    found = VIA.match(text)
    want(found, "Via")
    want(found[6] is None or number(found[6], 65535) > 0, "port of a Via")
    parameters, rest = read_parameters(text[found.end() :])
    want(rest[:1] in (b"", b","), "text after a Via")
    message.transport, message.sent_by = found[3], found[4]
    message.branch = first_of(parameters, b"branch")


def read_values(message: Message) -> None:
    """The values that every message is routed and matched by."""
    if (text := message.first(b"via")) is not None:
        read_via(text, message)
    if (text := message.first(b"from")) is not None:
        message.from_uri, message.from_tag = read_address(text)
    if (text := message.first(b"to")) is not None:
        message.to_uri, message.to_tag = read_address(text)
    if (text := message.first(b"call-id")) is not None:
        want(CALL_ID.fullmatch(text), "Call-ID")
        message.call_id = text
    if (text := message.first(b"cseq")) is not None:
        found = CSEQ.fullmatch(text)
        want(found, "CSeq")
        message.cseq_number, message.cseq_method = number(found[1], 2**31 - 1), found[2]
        want(message.method in (None, message.cseq_method), "CSeq names another method")
    if (text := message.first(b"contact")) is not None and text[:1] not in (b"<", b'"'):
        want(b"?" not in re.split(rb'[<;,"]', text)[0], "a question mark outside brackets")


def read_body(body: bytes, message: Message) -> None:
    """By Content-Length, else all that is left; what is behind it is noise (RFC 3261 section 18.3)."""
    message.body = body
    text = message.first(b"content-length")
    if text is not None:
        size = number(text, 2**31 - 1)
        want(size <= len(body), "body too short")
        message.body = body[:size]
