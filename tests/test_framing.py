"""Messages out of a stream (RFC 3261 sections 7.5 and 18.3, RFC 5626 section 3.5.1; FAULTS 2, 3, 13)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_samples import CORPUS, request, without
from test_message import BAD_LENGTHS

from sipcore._framing import KeepAlive, StreamFramer
from sipcore._message import Message, Request, parse, serialize_response
from sipcore.errors import UsageError


def messages_of(items):
    return [item for item in items if isinstance(item, Message)]


def feed_in_pieces(framer, data, cuts):
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += framer.feed(data[begin:end])
    return found


@given(st.data())
def test_chunks_make_no_difference(data):
    names = data.draw(st.lists(st.sampled_from(sorted(CORPUS)), min_size=1, max_size=5))
    stream = b"".join(CORPUS[name] for name in names)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    framer = StreamFramer()
    assert feed_in_pieces(framer, stream, cuts) == [parse(CORPUS[name]) for name in names]
    assert framer.waiting == 0
    assert framer.error is None


def test_ten_thousand_pipelined_messages_arrive_once_and_in_order():
    draw = random.Random(13)
    sent = [request(f"X-Number: {number}", body=b"x" * (number % 50)) for number in range(10000)]
    stream = b"".join(data + b"\r\n\r\n" * draw.randrange(2) for data in sent)
    framer, found, at = StreamFramer(), [], 0
    while at < len(stream):
        size = draw.choice((1, 7, 300, 1460, 65536))
        found += messages_of(framer.feed(stream[at : at + size]))
        at += size
    assert [bytes(message) for message in found] == sent


def test_keep_alives_between_messages_are_told():
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == [KeepAlive.PING]
    assert framer.feed(b"\r\n") == [KeepAlive.PONG]
    data = request()
    assert framer.feed(data + b"\r\n\r\n" + data) == [parse(data), KeepAlive.PING, parse(data)]
    assert framer.feed(b"\r\n" + data) == [KeepAlive.PONG, parse(data)]


def test_a_ping_in_two_pieces_is_still_told():
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == [KeepAlive.PONG]
    assert framer.feed(b"\r\n") == [KeepAlive.PING]
    framer = StreamFramer()
    found = [item for octet in (b"\r", b"\n", b"\r", b"\n") for item in framer.feed(octet)]
    assert found[-1] is KeepAlive.PING


def test_a_megabyte_of_line_ends_is_one_ping():
    framer = StreamFramer()
    assert framer.feed(b"\r\n" * 524288) == [KeepAlive.PING]
    assert framer.waiting == 0


def test_an_empty_line_in_a_body_does_not_end_a_message():
    data = request(body=b"\r\n\r\nINVITE sip:a@b.c SIP/2.0\r\n\r\n")
    framer = StreamFramer()
    assert feed_in_pieces(framer, data * 2, range(1, 2 * len(data))) == [parse(data)] * 2


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_a_content_length_that_is_no_number_ends_the_stream(length):
    bad = without(request(), "Content-Length").replace(b"\r\n\r\n", f"\r\nl: {length}\r\n\r\n".encode())
    framer = StreamFramer()
    assert framer.feed(request() + bad + request()) == [parse(request())]
    assert framer.error.status_hint == 400
    assert isinstance(framer.failed, Request)
    assert serialize_response(framer.failed, framer.error.status_hint).startswith(
        b"SIP/2.0 400 Bad Request\r\nVia: SIP"
    )
    with pytest.raises(UsageError):
        framer.feed(request())


@pytest.mark.parametrize("lines", [["l: 5"], ["l: 5", "Content-Length: 5"]])
def test_a_repeated_content_length_ends_the_stream(lines):
    framer = StreamFramer()
    assert framer.feed(request(*lines, body=b"hello") + request()) == []
    assert framer.error.status_hint == 400


def test_a_stream_needs_a_content_length():
    framer = StreamFramer()
    assert framer.feed(without(request(), "Content-Length") + request()) == []
    assert framer.error.reason == "no Content-Length on a stream"


def test_leftover_octets_never_become_a_message():
    short = request(body=b"hello").replace(b"Content-Length: 5", b"Content-Length: 3")
    framer = StreamFramer()
    found = framer.feed(short + request())
    assert [message.body for message in found] == [b"hel"]
    assert framer.error is not None
    assert framer.waiting == len(b"lo" + request())


def test_a_long_content_length_waits():
    framer = StreamFramer()
    data = request(body=b"x" * 1000)
    assert framer.feed(data[:-1]) == []
    assert framer.waiting == len(data) - 1
    assert framer.feed(data[-1:]) == [parse(data)]


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        ({"max_size": 300}, request(body=b"x" * 300)),
        ({"max_head_size": 200}, request("X: " + "y" * 200)),
        ({"max_head_size": 200}, b"x" * 201),
        ({"max_headers": 5}, request()),
        ({"max_header_size": 40}, request("Subject: " + "y" * 40)),
        ({"max_name_size": 14}, request("X-Longer-Name-Than-14: y")),
        ({}, request().replace(b"Content-Length: 0", b"Content-Length: 2000000000")),
        ({}, b"OPTIONS sip:a@b.c SIP/2.0\r\n" + b"a:b\r\n" * 14000),
    ],
)
def test_a_stream_ends_at_every_limit(limits, data):
    framer = StreamFramer(**limits)
    for at in range(0, len(data), 100):
        if framer.error is None:
            assert framer.feed(data[at : at + 100]) == []
    assert framer.error.status_hint == 513
    assert framer.waiting <= len(data)


def test_a_response_that_fails_is_kept_as_one():
    framer = StreamFramer()
    framer.feed(CORPUS["resp_180"].replace(b"180 Ringing", b"999 X"))
    assert framer.error.reason == "malformed status code"
    assert not isinstance(framer.failed, Request)


def test_octets_without_a_start_line_fail_with_nothing():
    framer = StreamFramer()
    framer.feed(b"(\r\n\r\n")
    assert framer.error is not None
    assert framer.failed is None


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_octets_in_any_chunks_are_framed_or_refused(data, size):
    framer = StreamFramer()
    for at in range(0, len(data), size):
        if framer.error is None:
            framer.feed(data[at : at + size])
