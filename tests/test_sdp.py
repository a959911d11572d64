"""Session descriptions: sipcore/sdp.py (RFC 8866, FAULTS 8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.errors import ParseError, UsageError
from sipcore.sdp import (
    MAX_FORMATS,
    MAX_LINES,
    MAX_MEDIA,
    Attribute,
    Codec,
    Connection,
    Media,
    Origin,
    SessionDescription,
    parse_sdp,
)

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
PLAIN = (
    "v=0\r\n"
    "o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n"
    "s=Call to a friend\r\n"
    "i=SDP Offer #1\r\n"
    "u=http://www.jdoe.example.com/home.html\r\n"
    "c=IN IP4 198.51.100.1\r\n"
    "b=AS:128\r\n"
    "b=X-YZ:64\r\n"
    "t=0 0\r\n"
    "Q=a line of tomorrow\r\n"
    "a=recvonly\r\n"
    "m=audio 49170 RTP/AVP 0 97 101 9 120\r\n"
    "a=rtpmap:97 opus/48000/2\r\n"
    "a=fmtp:97 useinbandfec=1\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-15\r\n"
    "a=sendonly\r\n"
    "m=audio 49180/2 RTP/AVP 0\r\n"
    "m=image 0 udptl t38\r\n"
    "c=IN IP6 2001:db8::2\r\n"
    "a=T38FaxVersion:0\r\n"
)


def test_a_description_gives_its_parts() -> None:
    description = parse_sdp(PLAIN.encode())
    assert description.origin == Origin("jdoe", 3724394400, 3724394405, "198.51.100.1")
    assert (description.name, description.information) == ("Call to a friend", "SDP Offer #1")
    assert description.connection == Connection("198.51.100.1")
    assert description.bandwidths == (("AS", 128), ("X-YZ", 64))
    assert description.times == ((0, 0),)
    assert description.first("u") == "http://www.jdoe.example.com/home.html"
    audio, second, image = description.media
    assert (audio.kind, audio.port, audio.port_count, audio.protocol) == ("audio", 49170, 1, "RTP/AVP")
    assert (second.port, second.port_count) == (49180, 2)
    assert (image.formats, image.codecs, image.attribute("T38FaxVersion")) == (("t38",), (), "0")


def test_codecs_come_from_rtpmap_fmtp_and_the_static_table() -> None:
    assert parse_sdp(PLAIN).media[0].codecs == (
        Codec(0, "PCMU"),
        Codec(97, "opus", 48000, 2, "useinbandfec=1"),
        Codec(101, "telephone-event", 8000, 1, "0-15"),
        Codec(9, "G722"),
        Codec(120, "", 0),
    )


def test_the_media_level_goes_before_the_session_level() -> None:
    description = parse_sdp(PLAIN)
    audio, second, image = description.media
    assert [description.direction_of(media) for media in description.media] == ["sendonly", "recvonly", "recvonly"]
    assert description.connection_of(audio) == description.connection
    assert description.connection_of(image) == Connection("2001:db8::2", "IP6")
    assert parse_sdp(HEAD + "m=audio 1 RTP/AVP 0\r\n").direction_of(second) == "sendrecv"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\r\n", "\n"),
        PLAIN + "\r\n\r\n",
        PLAIN[:-2],
        HEAD,
        HEAD[:-2],
        "v=0 \no=- 1  1 IN IP4 x\r\ns=\nm=audio 1  RTP/AVP 0 \r\na=x: \n",
    ],
)
def test_what_is_not_changed_prints_as_it_came(text: str) -> None:
    assert str(parse_sdp(text)) == text
    assert bytes(parse_sdp(text.encode())) == text.encode()


def test_octets_that_are_no_utf_8_survive() -> None:
    octets = HEAD.encode() + b"i=\xff\xfe\r\na=x:\xe9\r\n"
    assert bytes(parse_sdp(octets)) == octets


@pytest.mark.parametrize(
    "line",
    [
        "a=",
        "a=:x",
        "m=audio 1 RTP/AVP 4294967296",
        "m=audio 1 RTP/AVP 128",
        "m=audio 1 RTP/AVP x",
        "m=audio 1 RTP/AVP",
        "m=audio 65536 RTP/AVP 0",
        "m=audio -1 RTP/AVP 0",
        "m=audio 1/70000 RTP/AVP 0",
        "m=audio",
        "m=",
        "m=audio 1 RTP/AVP" + " 0" * (MAX_FORMATS + 1),
        "m=audio 1 RTP/AVP 0\r\na=rtpmap:4294967296 x/8000",
        "m=audio 1 RTP/AVP 96\r\na=rtpmap:96",
        "m=audio 1 RTP/AVP 96\r\na=rtpmap",
        "m=audio 1 RTP/AVP 96\r\na=rtpmap:96 x",
        "m=audio 1 RTP/AVP 96\r\na=rtpmap:96 x/4294967296",
        "m=audio 1 RTP/AVP 96\r\na=rtpmap:96 x/8000/y",
        "m=audio 1 RTP/AVP 96\r\na=fmtp:96",
        "m=audio 1 RTP/AVP 96\r\na=fmtp:96 a\0b",
        "c=IN IP4",
        "c=IN IP4 a b",
        "b=AS",
        "b=AS:-1",
        "t=0",
        "t=0 " + "9" * 5000,
        "s=twice",
        "o=- 1 1 IN IP4 192.0.2.1",
        "=x",
        "no line",
        " a=x",
        "\r\na=after an empty line",
        "a=a\rb",
        "1=x",
    ],
)
def test_malformed_descriptions_are_refused(line: str) -> None:
    """FAULTS 8."""
    with pytest.raises(ParseError):
        parse_sdp(f"{HEAD}{line}\r\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n",
        "o=- 1 1 IN IP4 x\r\n",
        "v=1\r\no=- 1 1 IN IP4 x\r\ns=-\r\n",
        "v=0\r\ns=-\r\n",
        "v=0\r\no=- x 1 IN IP4 x\r\ns=-",
    ],
)
def test_a_description_has_version_origin_and_name(text: str) -> None:
    with pytest.raises(ParseError):
        parse_sdp(text)


def test_the_error_says_where_the_line_is() -> None:
    with pytest.raises(ParseError) as caught:
        parse_sdp(HEAD.replace("s=-", "s=é").encode() + b"a=\r\n")
    assert caught.value.at == len(HEAD) + 1


def test_lines_are_counted() -> None:
    with pytest.raises(ParseError, match="more than"):
        parse_sdp(HEAD + "a=x\r\n" * MAX_LINES)
    assert len(parse_sdp(HEAD + "m=audio 1 RTP/AVP 0\r\n" * MAX_MEDIA).media) == MAX_MEDIA
    with pytest.raises(ParseError, match="more than"):
        parse_sdp(HEAD + "m=audio 1 RTP/AVP 0\r\n" * (MAX_MEDIA + 1))


def test_a_new_description_has_the_required_lines_in_order() -> None:
    media = Media.of("audio", 4000, "RTP/AVP", ["0", "8"]).with_attribute("ptime", "20").replaced("b", "AS:64")
    media = media.replaced("c", "IN IP4 192.0.2.9")
    description = SessionDescription.of(Origin("-", 1, 2, "192.0.2.1"), Connection("192.0.2.1"), [media])
    assert str(description) == (
        "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 0 8\r\nc=IN IP4 192.0.2.9\r\nb=AS:64\r\na=ptime:20\r\n"
    )
    assert parse_sdp(str(description)) == description


def test_a_change_touches_its_line_alone() -> None:
    description = parse_sdp(PLAIN)
    changed = description.replaced("c", "IN IP4 203.0.113.9").next_version()
    expected = PLAIN.replace("c=IN IP4 198.51.100.1", "c=IN IP4 203.0.113.9").replace("405 IN", "406 IN")
    assert str(changed) == expected
    assert str(description) == PLAIN


def test_a_line_is_added_where_the_text_ended_early() -> None:
    description = parse_sdp(HEAD + "m=audio 1 RTP/AVP 0\r\n\r\n")
    media = description.media[0].with_attribute("x")
    assert str(description.with_media([media])) == HEAD + "m=audio 1 RTP/AVP 0\r\na=x\r\n"
    assert str(parse_sdp(HEAD[:-2]).with_attribute("x")) == HEAD + "a=x\r\n"
    assert str(parse_sdp(HEAD[:-2]).with_media([media])) == HEAD + "m=audio 1 RTP/AVP 0\r\na=x\r\n"


def test_a_port_is_replaced_in_place() -> None:
    media = parse_sdp(PLAIN).media[0].with_port(0)
    assert media.lines[0].value == "audio 0 RTP/AVP 0 97 101 9 120"
    assert media.without_attributes("rtpmap", "fmtp").attributes == (Attribute("sendonly"),)


@pytest.mark.parametrize("value", ["x\r\nm=audio 1 RTP/AVP 0", "x\ny", "x\0"])
def test_lines_cannot_be_smuggled_in(value: str) -> None:
    """FAULTS 6."""
    description = parse_sdp(PLAIN)
    with pytest.raises(UsageError):
        description.with_attribute("x", value)
    with pytest.raises(UsageError):
        description.replaced("s", value)
    with pytest.raises(UsageError):
        SessionDescription.of(Origin("-", 1, 2, value), None, [])
    with pytest.raises(UsageError):
        SessionDescription.of(Origin("- x", 1, 2, "a"), None, [])
    with pytest.raises(UsageError):
        SessionDescription.of(Origin("-", 1, 2, "a"), Connection(value), [])
    with pytest.raises(UsageError):
        Media.of("audio", 1, "RTP/AVP", [value])


LINES = st.sampled_from(
    [*PLAIN.split("\r\n"), "a=", "a=inactive", "m=audio 1 RTP/AVP 96", "b=x", "t=", "c=", "x=y", "\0"]
)


@given(
    lines=st.lists(LINES, max_size=12),
    ends=st.lists(st.sampled_from(["\r\n", "\n", "\r\n\r\n"]), min_size=12, max_size=12),
)
def test_any_lines_are_refused_or_print_as_they_came(lines: list[str], ends: list[str]) -> None:
    text = HEAD + "".join(line + end for line, end in zip(lines, ends, strict=False))
    try:
        description = parse_sdp(text)
    except ParseError:
        return
    assert str(description) == text
    changed = description.with_direction("inactive").with_media(media.with_port(7) for media in description.media)
    assert parse_sdp(str(changed)) == changed


@given(octets=st.binary(max_size=200))
def test_any_octets_are_refused_or_print_as_they_came(octets: bytes) -> None:
    for data in (octets, HEAD.encode() + octets):
        try:
            assert bytes(parse_sdp(data)) == data
        except ParseError as error:
            assert 0 <= error.at <= len(data)


def test_a_description_that_stops_within_a_line_end_can_be_added_to():
    cut = parse_sdp(f"{HEAD}t=0 0\r\nm=audio 4000 RTP/AVP 0\r".encode())
    held = cut.with_media([cut.media[0].with_direction("sendonly")])
    assert parse_sdp(bytes(held)) == held
    assert bytes(held).endswith(b"m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n")
