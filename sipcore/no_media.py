"""Session descriptions of a device that has no media of its own: every stream is there, and inactive.

A caller hears nothing and sends nothing, but the call is a whole one (RFC 3264,
RFC 8866).  Knows no message and opens no port: 9 is the discard port.
"""

from __future__ import annotations

from sipcore.errors import ParseError
from sipcore.offer_answer import Capability, accepts_something, make_answer, make_offer
from sipcore.sdp import Codec, Connection, Origin, parse_sdp

DISCARD_PORT = 9
CODECS = (Codec(0, "PCMU", 8000), Codec(8, "PCMA", 8000), Codec(101, "telephone-event", 8000, format_parameters="0-15"))


def make_silent_offer(address: str, session_id: int) -> bytes:
    """One inactive audio stream; `address` is a literal, `session_id` any number of this call's own."""
    return bytes(make_offer(_origin(address, session_id), _connection(address), [_capability()]))


def make_silent_answer(offer: bytes, address: str, session_id: int) -> bytes | None:
    """The inactive answer to `offer`, or None when there is no stream in it that could be answered (488)."""
    try:
        description = parse_sdp(offer)
    except ParseError:
        return None
    capabilities = [_capability() for _ in description.media]
    answer = make_answer(description, _origin(address, session_id), _connection(address), capabilities)
    return bytes(answer) if accepts_something(answer) else None


def _capability() -> Capability:
    return Capability("audio", DISCARD_PORT, CODECS, direction="inactive")


def _kind(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _origin(address: str, session_id: int) -> Origin:
    return Origin("-", session_id, 1, address, _kind(address))


def _connection(address: str) -> Connection:
    return Connection(address, _kind(address))
