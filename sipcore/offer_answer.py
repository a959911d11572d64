"""Offers and answers (RFC 3264): what both sides can do, written as an answer; hold and resume.

Pure functions over `sipcore.sdp` values.  Does not know messages, dialogs or
media; ports and addresses are the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sipcore.sdp import (
    Codec,
    Connection,
    Direction,
    Media,
    Origin,
    SessionDescription,
)

# Formats that carry no media of their own: an answer of these alone is no answer.
AUXILIARY = frozenset({"telephone-event", "cn", "red"})

MIRRORED: dict[Direction, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
SENDS = frozenset({"sendrecv", "sendonly"})
RECEIVES = frozenset({"sendrecv", "recvonly"})


@dataclass(frozen=True, slots=True)
class Capability:
    """What this side can do for one stream: where, by which protocol, with which codecs.

    For a protocol other than RTP (udptl, TCP/MSRP, ...) `formats` are compared
    as text and `codecs` is empty.  `attributes` are (name, value) pairs added to
    the answer.
    """

    kind: str
    port: int
    codecs: tuple[Codec, ...] = ()
    protocol: str = "RTP/AVP"
    formats: tuple[str, ...] = ()
    direction: Direction = "sendrecv"
    attributes: tuple[tuple[str, str | None], ...] = ()


def combine(sends: bool, receives: bool) -> Direction:
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def answered_direction(offered: Direction, able: Direction) -> Direction:
    """The most that both sides allow (RFC 3264 section 6.1): we send only what they receive, and so on."""
    mirrored = MIRRORED[offered]
    return combine(mirrored in SENDS and able in SENDS, mirrored in RECEIVES and able in RECEIVES)


def offered_direction(offer: SessionDescription, media: Media) -> Direction:
    """The direction of a stream; an unspecified address takes its receiving away (RFC 3264 section 8.4)."""
    direction = offer.direction_of(media)
    connection = offer.connection_of(media)
    if connection is not None and connection.is_unspecified:
        return combine(direction in SENDS, receives=False)
    return direction


def intersect_codecs(offered: Iterable[Codec], supported: Sequence[Codec]) -> tuple[Codec, ...]:
    """The codecs that both have, in the offerer's order with the offerer's payload types (RFC 3264 section 6.1).

    Format parameters are ours where we have some.  Empty when nothing but
    auxiliary formats (telephone-event, CN, red) is common.
    """
    by_key = {codec.key: codec for codec in reversed(supported)}
    common = tuple(
        replace(codec, format_parameters=by_key[codec.key].format_parameters)
        for codec in offered
        if codec.encoding and codec.key in by_key
    )
    return common if any(codec.key[0] not in AUXILIARY for codec in common) else ()


def make_media(capability: Capability, codecs: Sequence[Codec], direction: Direction) -> Media:
    """A media description for a capability with these codecs (or its formats)."""
    formats = [str(codec.payload_type) for codec in codecs] or capability.formats
    media = Media.of(capability.kind, capability.port, capability.protocol, formats)
    for codec in codecs:
        media = media.with_attribute("rtpmap", codec.rtpmap)
        if codec.format_parameters is not None:
            media = media.with_attribute("fmtp", f"{codec.payload_type} {codec.format_parameters}")
    for name, value in capability.attributes:
        media = media.with_attribute(name, value)
    return media.with_attribute(direction)


def make_offer(origin: Origin, address: Connection, capabilities: Iterable[Capability]) -> SessionDescription:
    """An offer of these streams."""
    media = (make_media(capability, capability.codecs, capability.direction) for capability in capabilities)
    return SessionDescription.of(origin, address, media)


def make_answer(
    offer: SessionDescription, origin: Origin, address: Connection, capabilities: Iterable[Capability]
) -> SessionDescription:
    """An answer (RFC 3264 section 6): one stream for each offered one, in its order, refused ones with port 0.

    Each capability serves one stream.  Whether every stream was refused (an
    INVITE then gets a 488) is `accepts_something`.
    """
    left = list(capabilities)
    media = [answer_media(offer, offered, left) for offered in offer.media]
    answer = SessionDescription.of(origin, address, media)
    times = offer.first("t")
    return answer if times is None else answer.replaced("t", times)


def answer_media(offer: SessionDescription, offered: Media, left: list[Capability]) -> Media:
    """The answer to one stream; the capability that serves it is taken from `left`."""
    if offered.port != 0:
        for capability in left:
            codecs = intersect_codecs(offered.codecs, capability.codecs) if offered.is_rtp else ()
            if serves(capability, offered, codecs):
                left.remove(capability)
                formats = tuple(text for text in offered.formats if text in capability.formats)
                direction = answered_direction(offered_direction(offer, offered), capability.direction)
                return make_media(replace(capability, formats=formats), codecs, direction)
    return Media.of(offered.kind, 0, offered.protocol, offered.formats)


def serves(capability: Capability, offered: Media, codecs: Sequence[Codec]) -> bool:
    if capability.kind.lower() != offered.kind.lower() or capability.protocol.lower() != offered.protocol.lower():
        return False
    return bool(codecs) if offered.is_rtp else any(text in capability.formats for text in offered.formats)


def accepts_something(answer: SessionDescription) -> bool:
    """Whether a stream of an answer is not refused."""
    return any(media.port != 0 for media in answer.media)


def hold(description: SessionDescription) -> SessionDescription:
    """A new offer that asks the other side to send nothing (RFC 3264 section 8.4); its version is one higher."""
    return redirected(description, {"sendrecv": "sendonly", "recvonly": "inactive"})


def resume(description: SessionDescription) -> SessionDescription:
    """A new offer that takes `hold` back; its version is one higher."""
    return redirected(description, {"sendonly": "sendrecv", "inactive": "recvonly"})


def redirected(description: SessionDescription, change: dict[Direction, Direction]) -> SessionDescription:
    """With the direction of every live stream changed, said at the media level."""
    media = []
    for one in description.media:
        direction = description.direction_of(one)
        changed = change.get(direction, direction)
        media.append(one.with_direction(changed) if one.port != 0 else one)
    return description.with_media(media).next_version()


def is_held(offer: SessionDescription) -> bool:
    """Whether an offer asks us to send nothing on any of its live streams."""
    live = [media for media in offer.media if media.port != 0]
    return bool(live) and all(offered_direction(offer, media) not in RECEIVES for media in live)


def answer_faults(offer: SessionDescription, answer: SessionDescription) -> tuple[str, ...]:
    """What is wrong with an answer (RFC 3264 section 6), in words; () for nothing."""
    if len(answer.media) != len(offer.media):
        return (f"{len(answer.media)} streams answer {len(offer.media)}",)
    faults = []
    for number, (offered, answered) in enumerate(zip(offer.media, answer.media, strict=True)):
        faults += [f"stream {number}: {fault}" for fault in media_faults(offer, offered, answer, answered)]
    return tuple(faults)


def media_faults(
    offer: SessionDescription, offered: Media, answer: SessionDescription, answered: Media
) -> Iterable[str]:
    if answered.kind.lower() != offered.kind.lower() or answered.protocol.lower() != offered.protocol.lower():
        yield f"{answered.kind} {answered.protocol} answers {offered.kind} {offered.protocol}"
    if answered.port == 0:
        return
    if offered.port == 0:
        yield "a refused stream is answered with a port"
    direction = answer.direction_of(answered)
    if answered_direction(offer.direction_of(offered), direction) != direction:
        yield f"{direction} answers {offer.direction_of(offered)}"
    if (
        offered.is_rtp
        and answered.is_rtp
        and not {codec.key for codec in offered.codecs} & {codec.key for codec in answered.codecs}
    ):
        yield "no codec in common"
