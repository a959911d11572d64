"""What is read at most, and what is read although the grammar of RFC 3261 does not have it.

Words and numbers alone; the scan acts on them (`c/scan.h`, `c/strict.h`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntFlag


class Lenience(IntFlag):
    """Departures from RFC 3261 section 25 that a message may have and be read, one flag each.

    They are about what `parse` checks: the start line, the top Via, From, To, Call-ID, CSeq and Content-Length.  Other
    values are read as liberally as they can be, when they are asked for.  Nothing that is written departs.
    """

    STRICT = 0
    """None of them."""
    DISPLAY_NAME = 1
    """A display name without quotes that is more than tokens, or has no white space behind it: `caller<sip:a@b.c>`."""
    HOST = 2
    """"_" in host names, and in brackets any text of hexadecimal digits, colons and dots: `[2001:db8:::1]`."""
    URI = 4
    """Octets in a URI that need an escape there, UTF-8 among them: `sip:a#b@c.d`."""
    PARAMETER_VALUE = 8
    """UTF-8 in a parameter's value without quotes."""
    CALL_ID = 16
    """A Call-ID of any visible octets: UTF-8, two at signs."""
    STATUS_LINE = 32
    """A status line that ends after its code, without the space before an empty reason phrase."""
    USUAL = DISPLAY_NAME | HOST | URI | PARAMETER_VALUE | CALL_ID | STATUS_LINE
    """All of the above: what is read unless told otherwise."""
    START_LINE_SPACE = 64
    """Several spaces between the parts of a request line, or some at its end."""
    REQUEST_URI_BRACKETS = 128
    """A Request-URI in angle brackets, which are no part of it."""
    REQUEST_URI_HEADERS = 256
    """Headers in a Request-URI.  They are carried and mean nothing."""
    EQUAL_LENGTHS = 512
    """Content-Length more than once, always with the same number."""
    EVERYTHING = USUAL | START_LINE_SPACE | REQUEST_URI_BRACKETS | REQUEST_URI_HEADERS | EQUAL_LENGTHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a message may have; beyond it a ParseError says 513, and a stream is closed."""

    max_size: int = 131_072
    """Octets of a message, body included."""
    max_head_size: int = 65_535
    """Octets of its start line and headers; at most 65,535."""
    max_headers: int = 2_048
    """Header lines; at most 65,535."""
    max_header_size: int = 16_384
    """Octets of one header, folds included."""
    max_name_size: int = 128
    """Octets of a header's name; at most 255."""
    max_parameters: int = 128
    """Parameters of one value that `parse` reads (top Via, From, To)."""
    lenience: Lenience = Lenience.USUAL
    """What is read although the grammar does not have it."""

    @property
    def arguments(self) -> dict[str, int]:
        """For `parse` and `StreamFramer`: `parse(data, **limits.arguments)`."""
        return asdict(self)
