"""Address, Via and CSeq values (RFC 3261 section 20)."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore._fields import Address, CSeq, Via
from sipcore._uri import Uri
from sipcore.errors import ParseError, UsageError


@pytest.mark.parametrize(
    ("text", "name", "uri", "parameters"),
    [
        ("<sip:a@b.c>;tag=1", "", "sip:a@b.c", {"tag": "1"}),
        ("sip:a@b.c;tag=1", "", "sip:a@b.c", {"tag": "1"}),
        ('"A \\"quoted\\" name" <sip:a@b.c;x=1>;Expires=60;ob', 'A "quoted" name', "sip:a@b.c;x=1",
         {"expires": "60", "ob": None}),
        ("Alice Smith <sip:a@b.c>", "Alice Smith", "sip:a@b.c", {}),
        ("Alice<sip:a@b.c>", "Alice", "sip:a@b.c", {}),
        ("Алиса <sip:a@b.c>", "Алиса", "sip:a@b.c", {}),
        ('"a,b;c<d" <sip:a@b.c> ; q = 0.5 ; x = "1;2"', "a,b;c<d", "sip:a@b.c", {"q": "0.5", "x": "1;2"}),
        ('"folded\r\n name"\r\n <sip:a@b.c>\r\n ;x=1', "folded name", "sip:a@b.c", {"x": "1"}),
        ("<tel:+1234>;x", "", "tel:+1234", {"x": None}),
    ],
)  # fmt: skip
def test_an_address_is_read(text, name, uri, parameters):
    address = Address(text)
    assert (address.display_name, str(address.uri), address.parameters) == (name, uri, parameters)
    assert address.tag == parameters.get("tag")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "<sip:a@b.c",
        "< sip:a@b.c >",
        '"open <sip:a@b.c>',
        '"closed" sip:a@b.c',
        "Bell, Alexander <sip:a@b.c>",
        "sip:a@b.c?x=y",
        "<sip:a@b.c>;;x",
        "<sip:a@b.c>;=x",
        "<sip:a@b.c>;x=",
        "<sip:a@b.c> x",
        "<sip:a@b.c>,<sip:d@e.f>",
        "<sip:a@b.c>" + ";x" * 1000,
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ParseError):
        Address(text)


def test_a_built_address_is_quoted():
    address = Address.build(Uri("sip:a@b.c"), 'say "hi"\\', {"tag": "x", "reason": "a b", "ob": None})
    assert str(address) == '"say \\"hi\\"\\\\" <sip:a@b.c>;tag=x;reason="a b";ob'
    assert address.display_name == 'say "hi"\\'
    assert address.parameters == {"tag": "x", "reason": "a b", "ob": None}
    assert str(address.with_parameters(tag=None, q="0.1")) == '"say \\"hi\\"\\\\" <sip:a@b.c>;reason="a b";ob;q=0.1'


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "a\r\nX: y"])
def test_line_ends_and_nul_never_get_into_a_built_value(bad):
    with pytest.raises(UsageError):
        Address.build("sip:a@b.c", bad)
    with pytest.raises(UsageError):
        Address.build("sip:a@b.c", None, {"x": bad})
    with pytest.raises(UsageError):
        Address.build(f"sip:{bad}@b.c")
    with pytest.raises(UsageError):
        Via.build("UDP", f"b.c{bad}")
    with pytest.raises(UsageError):
        Via.build("UDP", "b.c", {"branch": bad})
    with pytest.raises(UsageError):
        CSeq(1, f"INVITE{bad}")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=30))
def test_any_display_name_survives(name):
    assert Address(str(Address.build("sip:a@b.c", name))).display_name == name


def test_a_via_is_read():
    via = Via("SIP/2.0/udp [2001:db8::9]:6050 ;branch=z9hG4bK7;Received=[2001:db8::1];rport=5061;alias;ttl=16")
    assert (via.transport, via.sent_by, via.host, via.port) == ("UDP", "[2001:db8::9]:6050", "2001:db8::9", 6050)
    assert (via.branch, via.received, via.received_address) == ("z9hG4bK7", "[2001:db8::1]", "2001:db8::1")
    assert (via.rport, via.alias, via.effective_port) == (5061, True, 6050)
    assert via.parameters["ttl"] == "16"


def test_a_via_with_white_space_everywhere_is_read():
    via = Via("SIP / 2.0\r\n / TLS  host.example.com : 5061 ; branch = z9 ; rport")
    assert (via.transport, via.host, via.port, via.branch, via.rport) == ("TLS", "host.example.com", 5061, "z9", 0)


def test_the_default_port_is_that_of_the_transport():
    assert Via("SIP/2.0/TLS a.b").effective_port == 5061
    assert Via("SIP/2.0/UDP a.b").effective_port == 5060
    assert Via("SIP/2.0/XYZ a.b").effective_port == 5060
    assert Via("SIP/2.0/UDP a.b").port is None
    assert Via("SIP/2.0/UDP a.b").rport is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 a.b",
        "SIP/2.0/UDPa.b",
        "SIP/2.0/UDP ;branch=x",
        "SIP/2.0/UDP a.b:0",
        "SIP/2.0/UDP a.b:65536",
        "SIP/2.0/UDP a.b:x",
        "SIP/2.0/UDP a.b;;branch=x",
        "SIP/2.0/UDP a.b;",
        "SIP/2.0/UDP a.b c.d",
        "SIP/2.0/UDP a.b,SIP/2.0/UDP c.d",
        "SIP/2.0/UDP 192.0.2.15;;,;,,",
        "SIP/2.0/UDP a.b" + ";x" * 5000,
    ],
)
def test_what_is_no_via_is_refused(text):
    with pytest.raises(ParseError):
        Via(text)


def test_a_built_via_is_read_back():
    via = Via.build("TCP", "192.0.2.1:5070", {"branch": "z9hG4bKx", "rport": None})
    assert str(via) == "SIP/2.0/TCP 192.0.2.1:5070;branch=z9hG4bKx;rport"
    assert via == Via(str(via))
    assert hash(via) == hash(Via(str(via)))
    assert via != Via("SIP/2.0/TCP 192.0.2.1:5070")


# FAULTS 7: no number wraps.
@pytest.mark.parametrize("number", ["2147483648", "4294967296", "36893488147419103232", "-1", "0x10", "", "1.0"])
def test_a_cseq_number_that_is_none_is_refused(number):
    with pytest.raises(ParseError):
        CSeq.parse(f"{number} INVITE")


def test_a_cseq_is_read_and_built():
    assert CSeq.parse("0009\r\n  INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(2147483647, "BYE")) == "2147483647 BYE"
    assert repr(CSeq(1, "ACK")) == "CSeq(1, 'ACK')"
    with pytest.raises(UsageError):
        CSeq(2**31, "ACK")
    with pytest.raises(UsageError):
        CSeq(1, "A B")


@pytest.mark.parametrize("value", [Address("<sip:a@b.c>"), Via("SIP/2.0/UDP a.b"), CSeq(1, "ACK")])
def test_values_are_immutable_and_can_be_pickled(value):
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(AttributeError):
        value.anything = 1
    with pytest.raises(UsageError):
        value.__init__(*value.__reduce__()[1])


@pytest.mark.parametrize("value", ["0", "65536", "x", "00000"])
def test_a_broken_rport_is_none_and_asks_for_nothing(value: str) -> None:
    """RFC 3581 section 3: only the parameter without a value asks."""
    assert Via(f"SIP/2.0/UDP a.b;rport={value}").rport is None


def test_what_makes_no_value_is_refused_when_it_is_made():
    with pytest.raises(UsageError, match="no address"):
        Address.build("sip:a b@c>")
    with pytest.raises(UsageError, match="no parameter name"):
        Address.build("sip:a@b", parameters={"a b": "1"})
    with pytest.raises(UsageError):
        Address.build("sip:a@b\r\n")
    assert Via("SIP/2.0/UDP a") != "SIP/2.0/UDP a"
    assert CSeq(1, "ACK") != "1 ACK"
