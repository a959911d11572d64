"""All messages of RFC 4475 and RFC 5118: whole, in every truncation, octet by octet on a stream (FAULTS 1)."""

import hashlib

import pytest
from torture_checks import BY_NAME, IF_ACCEPTED, MESSAGES, NAMES, check_value, octets_of

from sipcore._framing import StreamFramer
from sipcore._message import Request, Response, parse, salvage, serialize_response
from sipcore.constants import CANONICAL_NAMES
from sipcore.errors import ParseError

CHECKS = [(name, key) for name in NAMES for key in BY_NAME[name].get("check", {})]
# Datagrams whose end is that of the octets, since nothing says how long the body is: no stream can carry them.
WITHOUT_LENGTH = {"inv2543"}


@pytest.mark.parametrize("name", NAMES)
def test_the_octets_are_the_published_ones(name):
    data = octets_of(BY_NAME[name])[: BY_NAME[name]["size"]]
    assert len(data) == BY_NAME[name]["size"]
    assert hashlib.sha256(data).hexdigest() == BY_NAME[name]["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_the_datagram_is_accepted_or_refused_as_the_manifest_says(name):
    entry = BY_NAME[name]
    data = octets_of(entry)
    try:
        message = parse(data)
    except ParseError as error:
        assert entry["parse"] in ("reject", "either")
        assert 0 <= error.at <= len(data)
        if entry["kind"] == "request" and "drop" not in entry["expect_uas"]:
            assert error.status_hint in entry["expect_uas"]
            assert error.status_hint == entry.get("preferred", error.status_hint)
    else:
        assert entry["parse"] in ("accept", "either")
        assert isinstance(message, Request if entry["kind"] == "request" else Response)
        assert data.startswith(bytes(message))


@pytest.mark.parametrize(("name", "key"), CHECKS)
def test_the_value_is_reported(name, key):
    entry = BY_NAME[name]
    data = octets_of(entry)
    try:
        message = parse(data)
    except ParseError:
        message = salvage(data)
        if key in IF_ACCEPTED:
            return
    assert message is not None
    check_value(message, key, entry["check"][key], data)


@pytest.mark.parametrize("name", [name for name in NAMES if "drop" not in BY_NAME[name].get("expect_uas", ["drop"])])
def test_the_answer_to_a_refused_request_is_routable(name):
    data = octets_of(BY_NAME[name])
    request = salvage(data)
    assert request is not None
    lines = serialize_response(request, 400, to_tag="unknown").decode("utf-8", "surrogateescape").split("\r\n")
    assert lines[0] == "SIP/2.0 400 Bad Request"
    for header in ("Via", "From", "Call-ID", "CSeq"):
        answered = [value for line in lines[1:] if not line.startswith(" ") for value in values_of(line, header)]
        assert len(answered) == len(request.get_lines(header))


def values_of(line, header):
    """The value of a line, in a list, if it is one of this header in any spelling."""
    name, colon, value = line.partition(":")
    return [value] if colon and CANONICAL_NAMES.get(name.strip().lower()) == header else []


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_refused_or_is_a_shorter_message(name):
    data = octets_of(BY_NAME[name])
    for size in range(len(data)):
        cut = data[:size]
        try:
            message = parse(cut)
        except ParseError as error:
            assert 0 <= error.at <= size
            salvage(cut)
        else:
            assert cut.startswith(bytes(message))
            assert b"\r\n\r\n" in cut


@pytest.mark.parametrize("name", NAMES)
def test_octet_by_octet_on_a_stream_gives_what_the_whole_gives(name):
    data = octets_of(BY_NAME[name])
    whole, single = StreamFramer(), StreamFramer()
    expected = whole.feed(data)
    found = []
    for at in range(len(data)):
        if single.error is not None:
            break
        found += single.feed(data[at : at + 1])
    assert [item for item in found if isinstance(item, Request | Response)] == [
        item for item in expected if isinstance(item, Request | Response)
    ]
    assert (single.error is None) == (whole.error is None)
    if whole.error is not None:
        assert (single.error.reason, single.error.status_hint) == (whole.error.reason, whole.error.status_hint)


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_delivers_closes_or_waits(name):
    entry = BY_NAME[name]
    data = octets_of(entry)
    framer = StreamFramer()
    found = framer.feed(data)
    if "wait-then-close" in entry.get("expect_stream", ()):
        assert (found, framer.error, framer.waiting) == ([], None, len(data))
    elif entry["parse"] == "reject" or name in WITHOUT_LENGTH:
        assert found == []
        assert framer.error is not None
        assert framer.waiting == len(data)
    elif entry["parse"] == "accept":
        # dblreq ends in five octets that are no message: they end the stream.
        assert (framer.error is not None) == ("stream_leftover_octets" in entry["check"])
        assert bytes(found[0]) == bytes(parse(data))


def test_no_message_of_the_manifest_is_left_out():
    assert len(MESSAGES) == 62
    assert len(set(NAMES)) == 62
