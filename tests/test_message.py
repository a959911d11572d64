"""Messages over their octets (RFC 3261 section 7): reading, limits, hostile input (FAULTS 2, 3, 5, 7)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_samples import CORPUS, request, without

from sipcore._message import Message, Request, Response, build_response, parse, salvage
from sipcore.errors import ParseError, SipError, UsageError
from sipcore.headers import HEADER_TYPES


@pytest.mark.parametrize("name", CORPUS)
def test_a_message_is_its_octets(name):
    data = CORPUS[name]
    message = parse(data)
    assert bytes(message) == data
    assert parse(bytes(message)) == message
    assert hash(parse(data)) == hash(message)
    assert parse(bytearray(data)) == parse(memoryview(data)) == message


def test_what_a_request_says():
    message = parse(CORPUS["invite_sdp"])
    assert isinstance(message, Request)
    assert (message.method, message.version) == ("INVITE", "SIP/2.0")
    assert str(message.request_uri) == "sip:+12025550143@192.0.2.80:5060;user=phone"
    assert message.top_via.branch == "z9hG4bKd1f4.8c20a7b5.0"
    assert [via.host for via in message.via] == ["203.0.113.9", "198.51.100.4", "203.0.113.5"]
    assert message.from_.display_name == "Harbor Desk"
    assert (message.from_.tag, message.to.tag) == ("gK0c4d1e92", None)
    assert message.call_id == "1744830591_98213377@203.0.113.5"
    assert (message.cseq.number, message.cseq.method) == (20931, "INVITE")
    assert [str(contact.uri) for contact in message.contacts] == ["sip:+12025550117@203.0.113.5:5060"]
    assert [route.uri.host for route in message.record_routes] == ["203.0.113.9", "198.51.100.4"]
    assert message.routes == []
    assert (message.max_forwards, message.expires, message.content_length) == (67, None, 289)
    assert message.content_type == "application/sdp"
    assert len(message.body) == 289
    assert (message.flow, message.transaction, message.responder) == (0, 0, None)


def test_what_a_response_says():
    message = parse(CORPUS["resp_180"])
    assert isinstance(message, Response)
    assert (message.status_code, message.reason_phrase, message.version) == (180, "Ringing", "SIP/2.0")
    assert message.cseq.method == "INVITE"


def test_headers_are_found_in_every_spelling():
    message = parse(request("s: one", "SUBJECT : two", "X-Any:\tthree ", "x-any: four"))
    assert message["Subject"] == message["s"] == message["SuBjEcT"] == "one"
    assert message.get_all("subject") == ["one", "two"]
    assert message["X-ANY"] == "three"
    assert message.get_lines("x-any") == ["three", "four"]
    assert "subject" in message
    assert "X-Other" not in message
    assert message.get("X-Other") is None
    assert message.get("X-Other", "none") == "none"
    with pytest.raises(KeyError):
        message["X-Other"]
    assert ("SUBJECT", "two") in message.headers


def test_comma_lists_are_split_where_the_header_allows_lists():
    message = parse(
        request("Allow: INVITE,ACK , BYE,,", 'Route: <sip:a;x=",">,"b,c" <sip:d>', "Subject: one, two", "X-A: a, b")
    )
    assert message.get_all("Allow") == ["INVITE", "ACK", "BYE"]
    assert message.get_all("Route") == ['<sip:a;x=",">', '"b,c" <sip:d>']
    assert message.get_all("Subject") == ["one, two"]
    assert message.get_all("X-A") == ["a, b"]
    assert message.get_lines("Allow") == ["INVITE,ACK , BYE,,"]


def test_folded_values_are_unfolded():
    message = parse(request("Subject: one  \r\n\t two\r\n three", "X:\r\n  a"))
    assert message["Subject"] == "one two three"
    assert message["X"] == "a"


def test_octets_that_are_no_utf_8_survive():
    message = parse(request("X-A: caf\udce9"))
    assert message["X-A"] == "caf\udce9"
    assert message["X-A"].encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_wildcard_contact_is_no_address():
    message = parse(request("Contact: *", method="REGISTER"))
    assert message.contacts == []
    assert message["Contact"] == "*"


def test_typed_attributes_are_none_when_absent_and_raise_when_malformed():
    message = parse(b"OPTIONS sip:a@b.c SIP/2.0\r\n\r\n")
    assert message.top_via is message.from_ is message.to is message.call_id is message.cseq is None
    assert message.max_forwards is message.expires is message.content_length is message.content_type is None
    assert (message.via, message.contacts, message.routes, message.body) == ([], [], [], b"")
    message = parse(request("Contact: <sip:a", "Route: x", "Expires: soon", "Max-Forwards: 256"))
    for name in ("contacts", "routes", "expires", "max_forwards"):
        with pytest.raises(ParseError) as caught:
            getattr(message, name)
        assert caught.value.at > 0
    second = parse(request("Via: x"))
    assert second.top_via.branch == "z9hG4bK1"
    with pytest.raises(ParseError):
        assert second.via


def test_a_list_that_is_changed_leaves_the_message_alone():
    message = parse(CORPUS["ack"])
    message.routes.clear()
    message.via.clear()
    message.headers.clear()
    assert len(message.routes) == 2
    assert len(message.via) == 1
    assert len(message.headers) == 10


def test_less_frequent_headers_are_typed_on_demand():
    message = parse(request("Session-Expires: 1800;refresher=uac", "Min-Expires: x"))
    assert message.typed("Session-Expires").seconds == 1800
    assert message.typed("Session-Expires") is message.typed("Session-Expires")
    assert message.typed("Retry-After") is None
    with pytest.raises(ParseError):
        message.typed("Min-Expires")
    with pytest.raises(KeyError):
        message.typed("X-Unknown")


def test_a_message_cannot_be_made_of_nothing():
    for kind in (Request, Response, Message):
        empty = kind.__new__(kind)
        assert bytes(empty) == b""
        assert empty.headers == []
        assert empty.get("Via") is None
        assert empty.body == b""


def test_a_request_that_nobody_received_cannot_be_answered():
    with pytest.raises(UsageError):
        parse(CORPUS["options"]).reply(200)


def test_the_repr_shows_what_identifies_a_message():
    assert repr(parse(CORPUS["options"])) == "<Request OPTIONS 5b1f2d0c-77aa@192.0.2.10 a1c93e77>"
    assert "180" in repr(parse(CORPUS["resp_180"]))


# ---- FAULTS 2: Content-Length

BAD_LENGTHS = ["-999", "five", "+5", "5 5", "5,5", "0x10", "4294967328", str(2**63), str(2**64 + 5), "", "5;x", "９"]


@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_a_content_length_that_is_no_number_is_refused(length):
    data = without(request(), "Content-Length").replace(
        b"\r\n\r\n", f"\r\nContent-Length: {length}\r\n\r\nhello".encode()
    )
    with pytest.raises(ParseError) as caught:
        parse(data)
    assert caught.value.status_hint == 400


@pytest.mark.parametrize("second", ["5", "7"])
def test_a_repeated_content_length_is_refused_even_when_equal(second):
    with pytest.raises(ParseError) as caught:
        parse(request(f"l: {second}", body=b"hello"))
    assert caught.value.status_hint == 400


def test_a_datagram_shorter_than_its_content_length_is_refused():
    data = request(body=b"hello")
    with pytest.raises(ParseError, match="shorter") as caught:
        parse(data[:-1])
    assert (caught.value.at, caught.value.status_hint) == (len(data) - 1, 400)


def test_octets_after_the_body_of_a_datagram_are_noise():
    data = request(body=b"hello")
    assert bytes(parse(data + b"noise\r\n\r\n")) == data


def test_a_datagram_without_content_length_ends_with_its_body():
    data = without(request(), "Content-Length") + b"all of this"
    assert parse(data).body == b"all of this"


# ---- FAULTS 3: header bombs

BOMBS = {
    "lines": b"a:b\r\n" * 13000,
    "via": b"Via: SIP/2.0/UDP a.b\r\n" * 2100,
    "parameters": b"Via: SIP/2.0/UDP a.b" + b";x" * 5000 + b"\r\n",
    "token": b"X: " + b"x" * 60000 + b"\r\n",
    "name": b"x" * 300 + b": y\r\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_header_bomb_is_refused_at_the_limit(bomb):
    data = b"OPTIONS sip:a@b.c SIP/2.0\r\n" + BOMBS[bomb] + b"\r\n"
    tracemalloc.start()
    try:
        with pytest.raises(ParseError) as caught:
            parse(data)
        assert tracemalloc.get_traced_memory()[1] <= 8 * len(data)
    finally:
        tracemalloc.stop()
    assert caught.value.status_hint == 513


def test_a_thousand_folds_are_one_header():
    value = "\r\n x" * 1000
    assert parse(request(f"Subject:{value}"))["Subject"] == " ".join("x" * 1000)


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        ({"max_size": 300}, request(body=b"x" * 300)),
        ({"max_head_size": 200}, request("X: " + "y" * 200)),
        ({"max_headers": 5}, request()),
        ({"max_header_size": 40}, request("Subject: " + "y" * 40)),
        ({"max_name_size": 14}, request("X-Longer-Name-Than-14: y")),
        ({"max_parameters": 1}, request().replace(b";branch=z9hG4bK1", b";branch=z9hG4bK1;rport")),
    ],
)
def test_every_limit_is_an_argument(limits, data):
    assert parse(data)
    with pytest.raises(ParseError) as caught:
        parse(data, **limits)
    assert caught.value.status_hint == 513


@pytest.mark.parametrize("count", [39, 40, 41, 1000])
def test_any_number_of_headers_is_kept(count):
    message = parse(request(*(f"X-{number}: {number}" for number in range(count))))
    assert len(message.headers) == count + 6
    assert message[f"X-{count - 1}"] == str(count - 1)
    assert message["Content-Length"] == "0"
    assert message.edit().remove("X-0").build().get("X-0") is None


# ---- FAULTS 5: names


@pytest.mark.parametrize("name", ["X-A\x0b", "X-A\0", "X A", "", "X-A\r\n ", "X(A)", "Ж", '"X-A"', "@"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(ParseError) as caught:
        parse(request(f"{name}: v"))
    assert caught.value.status_hint == 400


@pytest.mark.parametrize("line", ["X-A : v", "X-A\t:v", "x-a: v", "X-A:\r\n v", "X-A \t: v\r\n\tw"])
def test_a_deleted_header_is_gone_in_every_spelling(line):
    message = parse(request(line, "X-B: kept"))
    assert message["X-A"].startswith("v")
    edited = message.edit().remove("X-A").build()
    assert "X-A" not in edited
    assert b"x-a" not in bytes(edited).lower()
    assert edited["X-B"] == "kept"


@pytest.mark.parametrize("line", ["no colon", "X: a\rb", "X: a\nb", "\r\rX: a", "X: a\n", "X: a\r"])
def test_a_line_end_other_than_cr_lf_is_refused(line):
    with pytest.raises(ParseError):
        parse(request(line))


# ---- FAULTS 7: numbers


@pytest.mark.parametrize("code", ["99", "700", "4294967301", "1000", "20", "2000", "abc", "-20", ""])
def test_a_status_code_out_of_range_is_refused(code):
    data = CORPUS["resp_180"].replace(b"180 Ringing", f"{code} Ringing".encode())
    with pytest.raises(ParseError):
        parse(data)


def test_a_status_line_without_a_reason_phrase_is_read():
    assert parse(CORPUS["resp_180"].replace(b"180 Ringing", b"180 ")).reason_phrase == ""
    assert parse(CORPUS["resp_180"].replace(b"180 Ringing", b"180")).status_code == 180


@pytest.mark.parametrize("number", [2**31, 2**32, 2**64 + 1])
def test_a_cseq_that_does_not_fit_is_refused(number):
    with pytest.raises(ParseError, match="CSeq"):
        parse(request().replace(b"CSeq: 1 ", f"CSeq: {number} ".encode()))


@pytest.mark.parametrize("port", ["0", "65536", "99999999999"])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ParseError, match="Via"):
        parse(request().replace(b"192.0.2.1:5060", f"192.0.2.1:{port}".encode()))
    with pytest.raises(ParseError, match="URI"):
        parse(request().replace(b"sip:bob@example.com SIP", f"sip:bob@example.com:{port} SIP".encode()))


def test_an_overlarge_expires_is_malformed_not_wrapped():
    message = parse(request("Expires: " + "1" + "0" * 100))
    with pytest.raises(ParseError):
        assert message.expires
    assert parse(request("Expires: 4294967295")).expires == 4294967295


# ---- start lines


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"OPTIONS sip:a@b.c SIP/7.0", 505),
        (b"OPTIONS sip:a@b.c SIP/2.00", 505),
        (b"OPTIONS sip:a@b.c HTTP/1.1", 400),
        (b"OPTIONS sip:a@b.c", 400),
        (b"OPTIONS", 400),
        (b" OPTIONS sip:a@b.c SIP/2.0", 400),
        (b"OPTIONS  sip:a@b.c SIP/2.0", 400),
        (b"OPTIONS sip:a@b.c SIP/2.0 ", 400),
        (b"OPT(IONS sip:a@b.c SIP/2.0", 400),
        (b"SIP/3.0 200 OK", 505),
        (b"", 400),
    ],
)
def test_a_start_line_that_is_none_is_refused(line, status):
    with pytest.raises(ParseError) as caught:
        parse(line + b"\r\n" + request().split(b"\r\n", 1)[1])
    assert caught.value.status_hint == status


def test_the_version_is_compared_without_case():
    assert parse(request().replace(b"SIP/2.0\r\nVia", b"sIp/2.0\r\nVia")).version == "sIp/2.0"
    assert parse(CORPUS["resp_180"].replace(b"SIP/2.0 180", b"sip/2.0 180")).status_code == 180


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\xff" * 100, b"SIP", b"SIP/2.0"])
def test_octets_that_are_no_message_are_refused(data):
    with pytest.raises(ParseError):
        parse(data)


@given(st.binary(max_size=300))
def test_any_octets_are_a_message_or_refused(data):
    check_any(data)


@given(st.sampled_from(sorted(CORPUS.values())), st.data())
def test_a_mutated_message_is_a_message_or_refused(data, draw):
    at = draw.draw(st.integers(0, len(data)))
    size = draw.draw(st.integers(0, 5))
    check_any(data[:at] + draw.draw(st.binary(max_size=5)) + data[at + size :])


def check_any(data):
    try:
        message = parse(data)
    except ParseError as error:
        assert 0 <= error.at <= len(data)
        salvage(data)
        return
    assert data.startswith(bytes(message))
    assert parse(bytes(message)) == message
    names = ("via", "top_via", "from_", "to", "cseq", "contacts", "routes", "record_routes", "expires", "headers")
    for name in names:
        try:
            getattr(message, name)
        except ParseError:
            # What parse checks itself never fails later.
            assert name not in ("top_via", "from_", "to", "cseq")
    if isinstance(message, Request) and message.top_via is not None:
        try:
            build_response(message, 200)
        except SipError:
            assert "via" in names


def test_every_typed_header_is_an_attribute():
    message = parse(request("Session-Expires: 1800;refresher=uac", "Supported: 100rel, timer", "Retry-After: x"))
    for header in HEADER_TYPES:
        assert hasattr(Message, header.attribute), header.name
    assert message.session_expires.seconds == 1800
    assert message.supported == ("100rel", "timer")
    assert message.refer_to is None
    assert message.p_asserted_identity == ()
    with pytest.raises(ParseError):
        assert message.retry_after


# ---- passing on (RFC 3261 sections 16.6 and 16.7)

VIA = "SIP/2.0/UDP proxy.example.com;branch=z9hG4bKpassed"


@pytest.mark.parametrize("name", CORPUS)
def test_a_via_that_was_put_on_top_comes_off_again(name):
    message = parse(CORPUS[name])
    passed = parse(message.with_via(VIA))
    assert str(passed.top_via) == VIA
    assert [str(via) for via in passed.via] == [VIA, *(str(via) for via in message.via)]
    assert (passed.body, passed.headers[1:]) == (message.body, message.headers)
    assert passed.without_via() == bytes(message)


TOP = b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (b"Via: SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;x=1\r\n", b"Via: SIP/2.0/UDP b;x=1\r\n"),
        (b"VIA : SIP/2.0/UDP a;branch=z9hG4bK1\r\nvia: SIP/2.0/UDP b\r\n", b"via: SIP/2.0/UDP b\r\n"),
        (b"v: SIP/2.0/UDP a\r\n ;branch=z9hG4bK1\r\nX-A: 1\r\n", b"X-A: 1\r\n"),
    ],
)
def test_only_the_top_via_value_comes_off(written, left):
    data = request()
    assert TOP in data
    assert parse(data.replace(TOP, written)).without_via() == data.replace(TOP, left)


def test_a_folded_list_loses_its_top_via():
    data = request().replace(TOP, b"v: SIP/2.0/UDP a;branch=z9hG4bK1 ,\r\n SIP/2.0/UDP b\r\n")
    assert [str(via) for via in parse(parse(data).without_via()).via] == ["SIP/2.0/UDP b"]


def test_what_cannot_be_passed_on_is_refused():
    message = parse(request())
    for bad in ("a\r\nX: 1", "a\n", "a\0"):
        with pytest.raises(UsageError):
            message.with_via(bad)
    with pytest.raises(UsageError, match="without Via"):
        salvage(without(request(), "Via")).without_via()
    with pytest.raises(UsageError, match="end of its headers"):
        salvage(request().removesuffix(b"\r\n")).with_via(VIA)


def test_a_request_of_our_own_cannot_be_answered():
    with pytest.raises(UsageError, match="not received"):
        parse(request()).reply(200)


def test_names_and_octets_of_another_kind_are_a_type_error():
    with pytest.raises(TypeError, match="not str"):
        parse("OPTIONS sip:a SIP/2.0")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str"):
        parse(request()).get(b"Via")  # type: ignore[arg-type]
    assert parse(request()).get("Viå") is None
