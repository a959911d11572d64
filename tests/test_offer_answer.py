"""Offers and answers: sipcore/offer_answer.py (RFC 3264)."""

import time

import pytest

from sipcore.offer_answer import (
    Capability,
    accepts_something,
    answer_faults,
    answered_direction,
    hold,
    intersect_codecs,
    is_held,
    make_answer,
    make_offer,
    offered_direction,
    resume,
)
from sipcore.sdp import MAX_LINES, MAX_MEDIA, Codec, Connection, Direction, Origin, SessionDescription, parse_sdp

HERE = Origin("-", 7, 1, "192.0.2.7")
ADDRESS = Connection("192.0.2.7")
PCMU = Codec(0, "PCMU")
PCMA = Codec(8, "PCMA")
OPUS = Codec(111, "opus", 48000, 2, "useinbandfec=1")
EVENTS = Codec(101, "telephone-event", 8000, 1, "0-16")
AUDIO = Capability("audio", 4000, (PCMA, OPUS, EVENTS))
OFFER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=5 6\r\n"
    "m=audio 5000 RTP/AVP 96 0 8 97\r\na=rtpmap:96 OPUS/48000/2\r\na=rtpmap:97 telephone-event/8000\r\na=sendonly\r\n"
    "m=video 5002 RTP/AVP 31\r\n"
    "m=image 5004 udptl t38\r\n"
    "m=audio 0 RTP/AVP 8\r\n"
)


def answer_to(text: str, *capabilities: Capability) -> SessionDescription:
    offer = parse_sdp(text)
    answer = make_answer(offer, HERE, ADDRESS, capabilities)
    assert answer_faults(offer, answer) == ()
    assert parse_sdp(str(answer)) == answer
    return answer


def test_an_answer_uses_the_offered_payload_types_and_order() -> None:
    answer = answer_to(OFFER, AUDIO)
    assert answer.media[0].codecs == (
        Codec(96, "OPUS", 48000, 2, "useinbandfec=1"),
        PCMA,
        Codec(97, "telephone-event", 8000, 1, "0-16"),
    )
    assert answer.media[0].port == 4000
    assert answer.times == ((5, 6),)
    assert answer.origin == HERE


def test_streams_that_nobody_serves_are_refused_with_port_0() -> None:
    answer = answer_to(OFFER, AUDIO, AUDIO)
    assert [media.port for media in answer.media] == [4000, 0, 0, 0]
    assert [media.formats for media in answer.media[1:]] == [("31",), ("t38",), ("8",)]
    assert accepts_something(answer)
    assert not accepts_something(answer_to(OFFER))


def test_other_protocols_are_compared_by_format() -> None:
    fax = Capability("image", 4100, protocol="UDPTL", formats=("t38",), attributes=(("T38FaxVersion", "0"),))
    media = answer_to(OFFER, fax).media[2]
    assert (media.port, media.protocol, media.attribute("T38FaxVersion")) == (4100, "UDPTL", "0")


def test_telephone_events_alone_are_no_codec() -> None:
    assert intersect_codecs([Codec(97, "telephone-event"), PCMU], [EVENTS]) == ()
    assert not accepts_something(answer_to(OFFER, Capability("audio", 4000, (EVENTS,))))


def test_a_dynamic_payload_type_without_a_map_is_never_common() -> None:
    assert intersect_codecs([Codec(120, "", 0)], [Codec(120, "", 0)]) == ()


@pytest.mark.parametrize(
    ("offered", "able", "answered"),
    [
        ("sendrecv", "sendrecv", "sendrecv"),
        ("sendonly", "sendrecv", "recvonly"),
        ("recvonly", "sendrecv", "sendonly"),
        ("inactive", "sendrecv", "inactive"),
        ("sendrecv", "recvonly", "recvonly"),
        ("sendrecv", "sendonly", "sendonly"),
        ("sendonly", "sendonly", "inactive"),
        ("recvonly", "recvonly", "inactive"),
        ("sendrecv", "inactive", "inactive"),
    ],
)
def test_a_direction_is_what_both_allow(offered: Direction, able: Direction, answered: Direction) -> None:
    """RFC 3264 section 6.1."""
    assert answered_direction(offered, able) == answered


def test_hold_and_resume_are_new_offers() -> None:
    offer = make_offer(
        HERE, ADDRESS, [AUDIO, Capability("video", 4002, (Codec(31, "H261", 90000),), direction="recvonly")]
    )
    held = hold(offer)
    assert [held.direction_of(media) for media in held.media] == ["sendonly", "inactive"]
    assert held.origin.version == 2
    assert is_held(held)
    assert not is_held(offer)
    back = resume(held)
    assert [back.direction_of(media) for media in back.media] == ["sendrecv", "recvonly"]
    assert back.origin.version == 3
    answer = make_answer(held, Origin("-", 9, 1, "x"), Connection("x"), [AUDIO])
    assert answer.direction_of(answer.media[0]) == "recvonly"


def test_an_unspecified_address_holds_too() -> None:
    """RFC 3264 section 8.4."""
    offer = parse_sdp(OFFER.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0").replace("a=sendonly\r\n", ""))
    assert offered_direction(offer, offer.media[0]) == "sendonly"
    assert is_held(offer)


def test_a_session_level_direction_is_held_at_the_media_level() -> None:
    offer = parse_sdp(OFFER.replace("t=5 6\r\n", "t=5 6\r\na=sendrecv\r\n").replace("a=sendonly\r\n", ""))
    assert is_held(hold(offer))
    assert not is_held(resume(hold(offer)))


def test_faults_of_an_answer_are_named() -> None:
    offer = parse_sdp(OFFER)
    answer = answer_to(OFFER, AUDIO)
    assert answer_faults(offer, answer.with_media(answer.media[:1])) == ("1 streams answer 4",)
    wrong = [
        answer.media[0].with_direction("sendrecv"),
        answer.media[2],
        answer.media[2],
        answer.media[0].with_port(9).with_direction("sendrecv"),
    ]
    faults = answer_faults(offer, answer.with_media(wrong))
    assert faults == (
        "stream 0: sendrecv answers sendonly",
        "stream 1: image udptl answers video RTP/AVP",
        "stream 3: a refused stream is answered with a port",
    )
    other = answer_to(OFFER, AUDIO).media[0].replaced("m", "audio 1 RTP/AVP 4")
    assert "stream 0: no codec in common" in answer_faults(offer, answer.with_media([other, *answer.media[1:]]))


def test_a_large_offer_is_answered_in_a_moment() -> None:
    """FAULTS 3: the most lines and the most streams that are read at all."""
    head, media = OFFER.split("m=", 1)[0], "m=audio 5000 RTP/AVP 0\r\n"
    text = head + "a=x\r\n" * (MAX_LINES - MAX_MEDIA - head.count("\n")) + media * MAX_MEDIA
    start = time.perf_counter()
    answer_to(text, *([Capability("audio", 4000, (PCMU,))] * MAX_MEDIA))
    assert is_held(hold(parse_sdp(text)))
    assert time.perf_counter() - start < 5.0
