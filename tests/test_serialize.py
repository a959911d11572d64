"""Requests, responses and edited messages (RFC 3261 sections 7.3.1, 8.1.1, 8.2.6; FAULTS 5, 6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_samples import CORPUS, request

from sipcore._message import Editor, build_request, build_response, parse, serialize_response
from sipcore._serialize import Change, serialize_request
from sipcore._uri import Uri
from sipcore.errors import UsageError

HEADERS = [
    ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
    ("From", "<sip:a@b.c>;tag=1"),
    ("To", "<sip:d@e.f>"),
    ("Call-ID", "x@y"),
    ("CSeq", "7 MESSAGE"),
]


def test_a_built_request_is_what_was_given():
    message = build_request("MESSAGE", Uri("sip:d@e.f"), [*HEADERS, ("X-Ж", "Ж")][:5], b"hello")
    assert bytes(message) == (
        b"MESSAGE sip:d@e.f SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b.c>;tag=1\r\n"
        b"To: <sip:d@e.f>\r\nCall-ID: x@y\r\nCSeq: 7 MESSAGE\r\nContent-Length: 5\r\n\r\nhello"
    )
    assert message.method == "MESSAGE"
    assert message.body == b"hello"


def test_a_content_length_that_is_given_does_not_count():
    message = build_request("MESSAGE", "sip:d@e.f", [("Content-Length", "999"), *HEADERS, ("l", "1")], b"hello")
    assert message.get_all("Content-Length") == ["5"]


def test_text_that_is_no_ascii_survives():
    message = build_request("MESSAGE", "sip:d@e.f", [*HEADERS, ("Subject", "Привет \udce9")])
    assert message["Subject"] == "Привет \udce9"
    assert bytes(message).count("Привет ".encode() + b"\xe9\r\n") == 1


def test_a_large_request_is_written_whole():
    headers = [(f"X-{number}", "v" * 100) for number in range(500)]
    message = build_request("MESSAGE", "sip:d@e.f", [*HEADERS, *headers], b"x" * 100000)
    assert len(message.headers) == 506
    assert len(message.body) == 100000


# FAULTS 6: injection.
BAD_TEXTS = ["\ud800", "a\rb", "a\nb", "a\r\nX: y", "a\0b", "\r\n", "\n"]


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_line_ends_and_nul_are_refused_everywhere(bad):
    options = parse(CORPUS["options"])
    attempts = [
        lambda: build_request(bad, "sip:d@e.f", HEADERS),
        lambda: build_request("MESSAGE", f"sip:{bad}@e.f", HEADERS),
        lambda: build_request("MESSAGE", "sip:d@e.f", [*HEADERS, ("X", bad)]),
        lambda: build_request("MESSAGE", "sip:d@e.f", [*HEADERS, (bad, "x")]),
        lambda: serialize_request("MESSAGE", bad, HEADERS),
        lambda: build_response(options, 200, bad),
        lambda: build_response(options, 200, to_tag=bad),
        lambda: build_response(options, 200, headers=[("X", bad)]),
        lambda: build_response(options, 200, headers=[(bad, "x")]),
        lambda: serialize_response(options, 200, bad),
        lambda: options.edit().add("X", bad),
        lambda: options.edit().add(bad, "x"),
        lambda: options.edit().insert("X", bad),
        lambda: options.edit().replace("X", bad),
        lambda: options.edit().set_request_uri(bad),
        lambda: options.edit().set_body(b"", bad),
        lambda: parse(CORPUS["resp_180"]).edit().set_status(200, bad),
    ]
    for attempt in attempts:
        with pytest.raises(UsageError):
            attempt()


@pytest.mark.parametrize("name", ["", "X A", "X:", "X\t", "(x)", "Ж", "X\x0b"])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(UsageError):
        build_request("MESSAGE", "sip:d@e.f", [*HEADERS, (name, "x")])
    with pytest.raises(UsageError):
        parse(request()).edit().add(name, "x")


@pytest.mark.parametrize(
    ("method", "uri", "headers"),
    [
        ("ME SSAGE", "sip:d@e.f", HEADERS),
        ("", "sip:d@e.f", HEADERS),
        ("INVITE", "sip:d@e.f", HEADERS),
        ("MESSAGE", "", HEADERS),
        ("MESSAGE", "sip:d@e.f x", HEADERS),
        ("MESSAGE", "<sip:d@e.f>", HEADERS),
        ("MESSAGE", "sip:d@e.f", [*HEADERS, ("To", "<sip:x@y>")]),
        ("MESSAGE", "sip:d@e.f", [("From", "nobody"), *HEADERS[2:]]),
        ("MESSAGE", "sip:d@e.f", [("Via", "SIP/2.0/UDP"), *HEADERS[1:]]),
    ],
)
def test_what_makes_no_message_is_refused(method, uri, headers):
    with pytest.raises(UsageError):
        build_request(method, uri, headers)


@pytest.mark.parametrize("value", [None, 5, b"x", ["x"]])
def test_values_are_text(value):
    with pytest.raises(UsageError):
        build_request("MESSAGE", "sip:d@e.f", [*HEADERS, ("X", value)])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=50))
def test_any_other_text_is_carried_in_one_line(value):
    message = build_request("MESSAGE", "sip:d@e.f", [*HEADERS, ("X", value), ("Y", "end")])
    assert message["X"] == value.strip(" \t")
    assert message["Y"] == "end"
    assert parse(bytes(message)) == message


# ---- responses


def test_a_response_copies_what_the_rfc_says():
    invite = parse(CORPUS["invite_sdp"])
    response = build_response(invite, 200, to_tag="t", headers=[("Contact", "<sip:me@h>")], body=b"v=0\r\n")
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert response.via == invite.via
    assert response.record_routes == invite.record_routes
    assert response.from_ == invite.from_
    assert response.to.tag == "t"
    assert (response.call_id, response.cseq) == (invite.call_id, invite.cseq)
    assert response.body == b"v=0\r\n"
    assert [name for name, _ in response.headers][-2:] == ["Contact", "Content-Length"]


def test_a_100_has_no_new_to_tag_and_copies_the_timestamp():
    message = parse(request("Timestamp: 54"))
    trying = build_response(message, 100, to_tag="t")
    assert trying.to.tag is None
    assert trying["Timestamp"] == "54"
    assert "Timestamp" not in build_response(message, 180, to_tag="t")


def test_a_to_tag_that_is_there_stays():
    assert build_response(parse(CORPUS["bye"]), 200, to_tag="other").to.tag == "gK0c4d1e92"


@pytest.mark.parametrize(
    ("status_code", "copied"), [(100, False), (180, True), (200, True), (302, False), (486, False)]
)
def test_record_route_is_copied_where_a_dialog_begins(status_code, copied):
    assert bool(build_response(parse(CORPUS["invite_sdp"]), status_code, to_tag="t").record_routes) == copied


def test_a_bye_gets_no_record_route():
    assert build_response(parse(request("Record-Route: <sip:p;lr>", method="BYE")), 200).record_routes == []


@pytest.mark.parametrize(
    ("code", "phrase"), [(200, "OK"), (486, "Busy Here"), (299, "Successful"), (699, "Global Failure")]
)
def test_every_status_code_has_a_phrase(code, phrase):
    assert build_response(parse(CORPUS["options"]), code, to_tag="t").reason_phrase == phrase
    assert build_response(parse(CORPUS["options"]), code, "Other", to_tag="t").reason_phrase == "Other"


@pytest.mark.parametrize("code", [-1, 0, 99, 700, 1000])
def test_a_status_code_out_of_range_is_refused(code):
    with pytest.raises(UsageError):
        build_response(parse(CORPUS["options"]), code)


def test_a_request_without_via_cannot_be_answered():
    with pytest.raises(UsageError):
        build_response(parse(b"OPTIONS sip:a@b.c SIP/2.0\r\n\r\n"), 200)


def test_a_large_response_is_written_whole():
    message = parse(request("X: " + "x" * 10000))
    response = build_response(message, 200, headers=[("Y", "y" * 20000)], body=b"z" * 70000)
    assert (len(response["Y"]), len(response.body)) == (20000, 70000)


# ---- editing


def test_an_edited_message_copies_what_was_not_touched():
    invite = parse(CORPUS["invite_big"])
    edited = invite.edit().insert("Via", "SIP/2.0/UDP me;branch=z9hG4bKnew").replace("Max-Forwards", "9").build()
    assert edited.top_via.branch == "z9hG4bKnew"
    assert edited.edit().remove_first("Via").replace("Max-Forwards", invite["Max-Forwards"]).build().via == invite.via
    head = bytes(invite).split(b"\r\n")
    kept = [line for line in bytes(edited).split(b"\r\n") if b"z9hG4bKnew" not in line and line != b"Max-Forwards: 9"]
    assert kept == [line for line in head if not line.lower().startswith(b"max-forwards")]


@pytest.mark.parametrize("name", CORPUS)
def test_an_edit_of_nothing_is_the_same_message(name):
    message = parse(CORPUS[name])
    assert message.edit().build() == message
    assert bytes(message.edit()) == CORPUS[name]
    assert message.diff(message.edit().build()) == []


def test_every_way_of_editing():
    message = parse(request("A: 1", "B: 2", "a: 3", "Route: <sip:x>, <sip:y>", "C: 4"))
    edited = message.edit().add("D", "5").insert("E", "0").replace("A", "9").remove("B").remove_first("Route").build()
    names = [name for name, _ in edited.headers]
    assert names[0] == "E"
    assert names[-1] == "D"
    assert edited.get_all("A") == ["9"]
    assert "B" not in edited
    assert [str(route.uri) for route in edited.routes] == ["sip:y"]
    assert edited.edit().remove_first("Route").build().routes == []
    assert edited.edit().remove_first("X").remove("X").replace("X", "1").remove_first("X").build() == edited


def test_new_lines_are_edited_like_old_ones():
    edited = parse(request()).edit().add("s", "one").add("X", "a").replace("Subject", "two").remove("x").build()
    assert edited.get_all("Subject") == ["two"]
    assert "X" not in edited
    edited = parse(request()).edit().add("m", "<sip:a>,<sip:b>").remove_first("Contact").build()
    assert [str(contact.uri) for contact in edited.contacts] == ["sip:b"]


def test_a_folded_list_loses_its_first_value():
    message = parse(request("Route: <sip:x>,\r\n <sip:y>,\r\n\t<sip:z>"))
    assert [str(route.uri) for route in message.edit().remove_first("Route").build().routes] == ["sip:y", "sip:z"]


def test_the_start_line_and_the_body_can_be_set():
    message = parse(CORPUS["invite_sdp"])
    edited = message.edit().set_request_uri("sip:x@y.z").set_body(b"hello", "text/plain").build()
    assert (str(edited.request_uri), edited.body, edited.content_type) == ("sip:x@y.z", b"hello", "text/plain")
    assert edited.content_length == 5
    assert "Content-Type" not in message.edit().set_body(b"").build()
    assert message.edit().set_body(b"x").build().content_type == "application/sdp"
    response = parse(CORPUS["resp_180"]).edit().set_status(183).build()
    assert (response.status_code, response.reason_phrase) == (183, "Session Progress")
    with pytest.raises(UsageError):
        message.edit().set_status(200)
    with pytest.raises(UsageError):
        parse(CORPUS["resp_180"]).edit().set_request_uri("sip:a@b.c")
    with pytest.raises(UsageError):
        parse(CORPUS["resp_180"]).edit().set_status(99)


def test_an_edit_that_makes_no_message_is_refused():
    with pytest.raises(UsageError):
        parse(CORPUS["options"]).edit().add("To", "<sip:second@b.c>").build()
    with pytest.raises(UsageError):
        parse(CORPUS["options"]).edit().set_request_uri("no uri").build()


def test_an_editor_of_nothing_is_harmless():
    empty = Editor.__new__(Editor, None)
    for attempt in (lambda: bytes(empty), lambda: empty.set_request_uri("sip:a@b.c"), lambda: empty.set_status(200)):
        with pytest.raises(UsageError):
            attempt()


def test_a_difference_names_what_changed():
    message = parse(request("X: 1"))
    edited = message.edit().replace("X", "2").set_body(b"hi").build()
    assert message.diff(edited) == [
        Change("-", "X", "1"),
        Change("-", "Content-Length", "0"),
        Change("-", "body", ""),
        Change("+", "X", "2"),
        Change("+", "Content-Length", "2"),
        Change("+", "body", "hi"),
    ]
    assert str(Change("+", "X", "2")) == "+X: 2"


@given(st.sampled_from(sorted(CORPUS.values())), st.lists(st.sampled_from(["v", "Route", "To", "Max-Forwards", "X"])))
def test_any_removals_leave_the_rest_as_it_was(data, names):
    message = parse(data)
    editor = message.edit()
    for name in names:
        editor.remove(name)
    edited = editor.build()
    for name in names:
        assert name not in edited
    kept = [pair for pair in message.headers if pair[0] in edited]
    assert edited.headers == kept
    assert edited.body == message.body
