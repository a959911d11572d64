"""URIs (RFC 3261 section 19.1, RFC 3966)."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore._uri import Uri, unescape
from sipcore.errors import ParseError, UsageError


def test_the_parts_of_a_sip_uri():
    uri = Uri("SIP:al%69ce:se%20cret@example.com:5070;transport=tcp;LR;maddr=1.2.3.4?Subject=a%20b&Priority=urgent")
    assert uri.scheme == "sip"
    assert (uri.user, uri.unescaped_user, uri.password) == ("al%69ce", "alice", "se%20cret")
    assert (uri.host, uri.port, uri.host_port) == ("example.com", 5070, "example.com:5070")
    assert uri.parameters == {"transport": "tcp", "lr": None, "maddr": "1.2.3.4"}
    assert uri.headers == {"Subject": "a%20b", "Priority": "urgent"}
    assert (uri.transport, uri.is_sip, uri.is_loose_route) == ("TCP", True, True)
    assert str(uri).startswith("SIP:al%69ce")


def test_the_parts_of_an_ipv6_uri():
    uri = Uri("sips:[2001:db8::10]:5071")
    assert (uri.user, uri.host, uri.port, uri.host_port) == (None, "2001:db8::10", 5071, "[2001:db8::10]:5071")


def test_the_parts_of_a_tel_uri():
    uri = Uri("tel:+1-201-555-0123;phone-context=example.com")
    assert (uri.scheme, uri.user, uri.host) == ("tel", "+1-201-555-0123", "")
    assert uri.parameters == {"phone-context": "example.com"}


def test_another_uri_is_opaque():
    uri = Uri("urn:service:sos")
    assert (uri.scheme, uri.opaque, uri.user, uri.host, uri.port) == ("urn", "service:sos", None, "", None)
    assert uri.parameters == {}
    assert not uri.is_sip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        ":bob",
        "1sip:bob@example.com",
        "sip:@example.com",
        "sip:bob@",
        "sip:bob@exa mple.com",
        "sip:bob@@example.com",
        "sip:bob@example.com:",
        "sip:bob@example.com:0",
        "sip:bob@example.com:65536",
        "sip:bob@example.com:4294967301",
        "sip:bob@example.com;",
        "sip:bob@example.com;;lr",
        "sip:bob@example.com;=x",
        "sip:b%4@example.com",
        "sip:b%zz@example.com",
        "sip:2001:db8::10",
        "sip:[2001:db8::10",
        "sip:[]",
        "sip:[2001:db8::g]",
        "<sip:bob@example.com>",
        "sip:bob@example.com\r\nX: y",
        "sip:bob\0@example.com",
        'sip:"bob"@example.com',
        "tel:",
        "tel:;x",
        "urn: x",
        "sip:\ud800@b.c",
    ],
)
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(ParseError) as caught:
        Uri(text)
    assert 0 <= caught.value.at <= len(text)


# RFC 3261 section 19.1.4.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
         "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com"),
        ("sip:alice@atlanta.com?subject=project%20x&priority=urgent",
         "sip:alice@atlanta.com?priority=urgent&subject=project%20x"),
    ],
)  # fmt: skip
def test_uris_that_match(one, other):
    assert Uri(one).matches(Uri(other))
    assert Uri(other).matches(Uri(one))
    assert Uri(one) != Uri(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;maddr=192.0.2.4"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;user=phone"),
        ("sip:bob@biloxi.com;security=on", "sip:bob@biloxi.com;security=off"),
        ("tel:+12015550123", "tel:+12015550124"),
    ],
)
def test_uris_that_do_not_match(one, other):
    assert not Uri(one).matches(Uri(other))
    assert not Uri(other).matches(Uri(one))


def test_equality_hash_and_copies_go_by_the_text():
    one, same, other = Uri("sip:a@b.c"), Uri("sip:a@b.c"), Uri("sip:a@b.c;x")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "sip:a@b.c"
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one


def test_a_password_stays_out_of_the_repr():
    assert repr(Uri("sip:alice:secret@example.com")) == "Uri('sip:alice:***@example.com')"
    assert repr(Uri("sip:alice@example.com")) == "Uri('sip:alice@example.com')"


def test_a_uri_does_not_change():
    uri = Uri("sip:a@b.c")
    with pytest.raises(UsageError):
        uri.__init__("sip:d@e.f")
    with pytest.raises(AttributeError):
        uri.host = "x"
    assert str(Uri.__new__(Uri)) == ""


def test_a_built_uri_is_escaped():
    uri = Uri.build("2001:db8::1", "a b@c", port=5070, parameters={"transport": "tcp", "lr": None}, headers={"X": "a?"})
    assert str(uri) == "sip:a%20b%40c@[2001:db8::1]:5070;transport=tcp;lr?X=a?"
    assert uri.unescaped_user == "a b@c"
    assert str(Uri.build("example.com", scheme="sips", user="u", password="p:w")) == "sips:u:p%3Aw@example.com"


@pytest.mark.parametrize("host", ["", "a b", "a;b", "a\r\nX: y", "a@b", "[::1]"])
def test_a_host_that_is_none_makes_no_uri(host):
    with pytest.raises(UsageError):
        Uri.build(host, "bob")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), st.text(max_size=10))
def test_any_user_and_parameter_survive_building(user, value):
    uri = Uri.build("example.com", user, parameters={"p": value} if value.isprintable() and value else None)
    assert uri.unescaped_user == user
    assert Uri(str(uri)) == uri


@given(st.text(max_size=40))
def test_unescaping_never_fails(text):
    assert unescape(text.replace("%", "")) == text.replace("%", "")
    assert isinstance(unescape(text), str)


@given(st.text("sip:@[];=%aA0.?&<> ", max_size=30))
def test_any_text_is_a_uri_or_refused(text):
    try:
        uri = Uri(text)
    except ParseError:
        return
    assert str(uri) == text
    assert uri.parameters is not None
    assert uri.host_port is not None
