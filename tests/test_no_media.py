"""Inactive session descriptions (RFC 3264, RFC 8866)."""

from __future__ import annotations

import pytest

from sipcore.no_media import make_silent_answer, make_silent_offer
from sipcore.sdp import parse_sdp

VIDEO = ("m=video 4002 RTP/AVP 99", "a=rtpmap:99 VP8/90000")


def lines(*media: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0", *media, ""]).encode()


@pytest.mark.parametrize(("address", "kind"), [("192.0.2.1", "IP4"), ("2001:db8::1", "IP6")])
def test_an_offer_is_one_inactive_audio_stream(address: str, kind: str) -> None:
    offer = parse_sdp(make_silent_offer(address, 7))
    (audio,) = offer.media
    assert (audio.kind, audio.port, audio.direction) == ("audio", 9, "inactive")
    assert (offer.origin.session_id, offer.origin.address_type, offer.origin.address) == (7, kind, address)


def test_every_audio_stream_is_answered_and_video_is_refused() -> None:
    offer = lines(
        "m=audio 4000 RTP/AVP 8 0", "m=video 4002 RTP/AVP 99", "a=rtpmap:99 VP8/90000", "m=audio 4004 RTP/AVP 0"
    )
    answer = make_silent_answer(offer, "192.0.2.1", 1)
    assert answer is not None
    assert [(media.kind, media.port) for media in parse_sdp(answer).media] == [("audio", 9), ("video", 0), ("audio", 9)]
    assert parse_sdp(answer).media[0].formats == ("8", "0")


@pytest.mark.parametrize("offer", [b"", b"nonsense", lines(), lines(*VIDEO)])
def test_what_cannot_be_answered_is_told_apart(offer: bytes) -> None:
    """The call gets 488."""
    assert make_silent_answer(offer, "192.0.2.1", 1) is None
