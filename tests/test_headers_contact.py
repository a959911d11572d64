"""Contact and the headers of addresses: sipcore/headers/contact.py, addresses.py, refer.py, history.py."""

import pytest

from sipcore.errors import ParseError, UsageError
from sipcore.headers import WILDCARD, Contact, Reason, Replaces, format_header, parse_contacts, parse_header


def test_a_contact_has_the_parameters_of_a_binding() -> None:
    (contact,) = parse_contacts(
        '"A, B" <sip:a@192.0.2.1;transport=tcp>;q=0.7;Expires=60;reg-id=2;+sip.instance="<urn:uuid:f81d4fae-7dec>"'
    )
    assert str(contact.uri) == "sip:a@192.0.2.1;transport=tcp"
    assert (contact.q, contact.expires, contact.reg_id) == (0.7, 60, 2)
    assert contact.instance == "urn:uuid:f81d4fae-7dec"
    assert not contact.is_wildcard


def test_what_is_absent_is_none() -> None:
    (contact,) = parse_contacts("<sip:a@b>")
    assert (contact.q, contact.expires, contact.reg_id, contact.instance) == (None, None, None, None)


@pytest.mark.parametrize("text", ["five", "-1", "", "4294967296", "1" + "0" * 100, "1.5"])
def test_a_malformed_expires_counts_as_an_hour(text: str) -> None:
    """RFC 3261 section 20.10, FAULTS 7: never wrapped, never refused."""
    (contact,) = parse_contacts(f'<sip:a@b>;expires="{text}"')
    assert contact.expires == 3600


def test_the_largest_expires_is_kept() -> None:
    assert parse_contacts("<sip:a@b>;expires=4294967295")[0].expires == 2**32 - 1
    assert parse_contacts("<sip:a@b>;expires=0")[0].expires == 0


def test_a_star_stands_alone() -> None:
    assert parse_contacts(" * ") == (WILDCARD,)
    assert WILDCARD.is_wildcard
    assert WILDCARD.uri is None
    assert (WILDCARD.q, WILDCARD.expires, WILDCARD.reg_id) == (None, None, None)
    assert format_header("Contact", (WILDCARD,)) == "*"
    with pytest.raises(UsageError):
        format_header("Contact", (WILDCARD, *parse_contacts("<sip:a@b>")))


def test_a_contact_is_built_from_values() -> None:
    contact = Contact.build("sip:a@b", "A", q=0.5, expires=60, instance="urn:uuid:1", reg_id=1)
    assert str(contact) == '"A" <sip:a@b>;q=0.5;expires=60;+sip.instance="<urn:uuid:1>";reg-id=1'
    assert parse_contacts(str(contact)) == (contact,)


@pytest.mark.parametrize(
    "values",
    [
        {"q": 1.1},
        {"q": -0.1},
        {"expires": -1},
        {"expires": 2**32},
        {"reg_id": 0},
        {"reg_id": 2**31},
        {"instance": "a>b"},
    ],
)
def test_values_out_of_range_cannot_be_built(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Contact.build("sip:a@b", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a\r\nVia: x", "a\n", "a\0"])
def test_line_ends_cannot_be_built_in(text: str) -> None:
    """FAULTS 6."""
    with pytest.raises(UsageError):
        Contact.build("sip:a@b", text)
    with pytest.raises(UsageError):
        Contact.build("sip:a@b", instance=text)
    with pytest.raises(UsageError):
        Contact.build(f"sip:{text}@b")


def test_commas_inside_quotes_and_brackets_separate_nothing() -> None:
    routes = parse_header("Route", ['"a, <b" <sip:a,b@c;lr>;x="y,z" , <sip:d@e>', "<sip:f@g>"])
    assert [str(route.uri) for route in routes] == ["sip:a,b@c;lr", "sip:d@e", "sip:f@g"]


def test_the_error_of_a_later_value_is_where_it_stands() -> None:
    with pytest.raises(ParseError) as caught:
        parse_header("Route", ["<sip:a@b>, <sip:c@d:99999>"])
    assert caught.value.at >= len("<sip:a@b>, ")


def test_refer_to_gives_the_method_and_the_dialog_to_replace() -> None:
    value = parse_header(
        "Refer-To", ["<sip:a@b;method=SUBSCRIBE?rePlaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2%3Bearly-only>"]
    )
    assert value.method == "SUBSCRIBE"
    assert value.replaces == Replaces("x@y", "1", "2", early_only=True)
    plain = parse_header("r", ["sip:a@b"])
    assert (plain.method, plain.replaces, str(plain.uri)) == ("INVITE", None, "sip:a@b")


def test_referred_by_names_its_proof() -> None:
    assert parse_header("Referred-By", ['<sip:a@b>;cid="2.UWQ@c"']).content_id == "2.UWQ@c"
    assert parse_header("Referred-By", ["<sip:a@b>"]).content_id is None


def test_history_has_a_tree_of_targets() -> None:
    first, second = parse_header(
        "History-Info", ["<sip:a@b?Reason=SIP%3Bcause%3D302>;index=1", "<sip:c@d>;index=1.2.1;mp=1"]
    )
    assert (first.index, first.reasons) == ((1,), (Reason.of("SIP", 302),))
    assert (second.index, second.mapped_from, second.recursed_from, second.not_changed_from) == (
        (1, 2, 1),
        (1,),
        (),
        (),
    )


def test_a_diversion_says_who_and_why() -> None:
    (diversion,) = parse_header("Diversion", ["<sip:a@b>;reason=User-Busy;counter=3;limit=5;privacy=OFF;screen=yes"])
    assert (diversion.reason, diversion.counter, diversion.limit) == ("user-busy", 3, 5)
    assert (diversion.privacy, diversion.screen) == ("off", "yes")
    assert parse_header("Diversion", ["<sip:a@b>"])[0].counter is None
