"""Dialogs as values: RFC 3261 section 12."""

from __future__ import annotations

import pytest

from sipcore import Request, Response, build_request, build_response, parse
from sipcore.dialog import Dialog, DialogState, is_loose, request_uri_from, route_uri
from sipcore.errors import ParseError, UsageError

CONTACT = "<sip:alice@192.0.2.1:5060>"


def invite(*headers: tuple[str, str], contact: str | None = CONTACT, sequence: int = 7, tag: str = "a1") -> Request:
    base = [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", f'"Alice B." <sip:alice@example.com>;tag={tag}'),
        ("To", "<sip:bob@example.com>"),
        ("Call-ID", "c1@192.0.2.1"),
        ("CSeq", f"{sequence} INVITE"),
    ]
    if contact is not None:
        base.append(("Contact", contact))
    return build_request("INVITE", "sip:bob@example.com", [*base, *headers])


def response(
    request: Request, status_code: int = 200, *headers: tuple[str, str], contact: str | None = "<sip:bob@192.0.2.2>"
) -> Response:
    given = list(headers) if contact is None else [("Contact", contact), *headers]
    return build_response(request, status_code, to_tag="b1", headers=given)


def inside(dialog: Dialog, method: str, sequence: int, *headers: tuple[str, str]) -> Request:
    return build_request(
        method,
        "sip:bob@192.0.2.2",
        [
            ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2"),
            ("From", "<sip:alice@example.com>;tag=a1"),
            ("To", "<sip:bob@example.com>;tag=b1"),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{sequence} {method}"),
            *headers,
        ],
    )


def test_the_caller_takes_record_route_reversed_and_the_callee_as_it_stands() -> None:
    routes = [("Record-Route", "<sip:p2.example.com;lr>"), ("Record-Route", "<sip:p1.example.com;lr>, <sip:p0;lr>")]
    uas = Dialog.from_uas(invite(*routes), "b1")
    uac = Dialog.from_uac(invite(), response(invite(), 200, *routes))
    assert uas.route_set == ("<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>", "<sip:p0;lr>")
    assert uac.route_set == ("<sip:p0;lr>", "<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>")


def test_both_sides_know_the_same_dialog() -> None:
    request = invite()
    uas, uac = Dialog.from_uas(request, "b1"), Dialog.from_uac(request, response(request))
    assert uas.key == ("c1@192.0.2.1", "b1", "a1")
    assert uac.key == ("c1@192.0.2.1", "a1", "b1")
    assert uas.from_value() == uac.to_value() == "<sip:bob@example.com>;tag=b1"
    assert uas.to_value() == uac.from_value() == '"Alice B." <sip:alice@example.com>;tag=a1'
    assert uas.remote_target == "sip:alice@192.0.2.1:5060"
    assert uac.remote_target == "sip:bob@192.0.2.2"


def test_a_1xx_makes_an_early_dialog_that_a_2xx_confirms_with_its_own_routes() -> None:
    request = invite()
    early = Dialog.from_uac(request, response(request, 180, ("Record-Route", "<sip:old;lr>")))
    assert early.state is DialogState.EARLY
    early.confirm(response(request, 200, ("Record-Route", "<sip:new;lr>"), contact="<sip:bob@192.0.2.9>"))
    assert early.state is DialogState.CONFIRMED
    assert early.route_set == ("<sip:new;lr>",)
    assert early.remote_target == "sip:bob@192.0.2.9"


def test_requests_go_to_the_remote_target_by_loose_routers() -> None:
    dialog = Dialog.from_uas(invite(("Record-Route", "<sip:p1.example.com;lr>")), "b1")
    assert dialog.request_parts() == ("sip:alice@192.0.2.1:5060", ("<sip:p1.example.com;lr>",))
    assert Dialog.from_uas(invite(), "b1").request_parts() == ("sip:alice@192.0.2.1:5060", ())


def test_a_strict_router_becomes_the_request_uri_and_the_target_the_last_route() -> None:
    routes = ("Record-Route", "<sip:strict.example.com;method=INVITE;x=1?h=v>, <sip:p2;lr>")
    dialog = Dialog.from_uas(invite(routes), "b1")
    assert dialog.request_parts() == (
        "sip:strict.example.com;x=1",
        ("<sip:p2;lr>", "<sip:alice@192.0.2.1:5060>"),
    )


def test_sequence_numbers_rise_and_start_from_the_invite() -> None:
    uac = Dialog.from_uac(invite(sequence=7), response(invite(sequence=7)))
    assert [uac.next_sequence(), uac.next_sequence()] == [8, 9]
    assert Dialog.from_uas(invite(), "b1").next_sequence() == 1


def test_sequence_numbers_end_before_they_wrap() -> None:
    dialog = Dialog.from_uas(invite(), "b1")
    dialog.local_sequence = 2**31 - 1
    with pytest.raises(UsageError):
        dialog.next_sequence()


def test_a_request_with_a_lower_sequence_is_out_of_order() -> None:
    dialog = Dialog.from_uas(invite(sequence=7), "b1")
    assert not dialog.accepts(inside(dialog, "INFO", 6))
    assert dialog.accepts(inside(dialog, "INFO", 9))
    assert not dialog.accepts(inside(dialog, "INFO", 8))


def test_only_target_refreshes_move_the_remote_target() -> None:
    dialog = Dialog.from_uas(invite(), "b1")
    moved = ("Contact", "<sip:alice@192.0.2.77>")
    dialog.refresh_target(inside(dialog, "INFO", 8, moved), "INFO")
    assert dialog.remote_target == "sip:alice@192.0.2.1:5060"
    dialog.refresh_target(inside(dialog, "UPDATE", 9, moved), "UPDATE")
    assert dialog.remote_target == "sip:alice@192.0.2.77"
    dialog.refresh_target(inside(dialog, "UPDATE", 10), "UPDATE")
    assert dialog.remote_target == "sip:alice@192.0.2.77"


def test_an_invite_without_contact_makes_no_dialog_but_a_2xx_without_one_can_be_ended() -> None:
    """FAULTS 29."""
    with pytest.raises(ParseError):
        Dialog.from_uas(invite(contact=None), "b1")
    dialog = Dialog.from_uac(invite(), response(invite(), contact=None))
    assert dialog.request_parts().request_uri == "sip:bob@example.com"


def test_a_far_side_without_tag_is_of_rfc_2543() -> None:
    raw = bytes(invite()).replace(b";tag=a1", b"")
    request = parse(raw)
    assert isinstance(request, Request)
    dialog = Dialog.from_uas(request, "b1")
    assert dialog.remote_tag == ""
    assert dialog.to_value() == '"Alice B." <sip:alice@example.com>'


def test_a_display_name_is_quoted_again() -> None:
    raw = bytes(invite()).replace(b'"Alice B."', b'"A \\"q\\" \\\\ b"')
    request = parse(raw)
    assert isinstance(request, Request)
    dialog = Dialog.from_uas(request, "b1")
    assert dialog.to_value() == '"A \\"q\\" \\\\ b" <sip:alice@example.com>;tag=a1'


@pytest.mark.parametrize(
    ("uri", "loose"),
    [
        ("sip:p;lr", True),
        ("sip:p;LR=on;x", True),
        ("sip:p", False),
        ("sip:p;lrx", False),
        ("sip:p?x=;lr", False),
        ("sip:lr@p;transport=tcp", False),
    ],
)
def test_the_lr_parameter_makes_a_router_loose(uri: str, loose: bool) -> None:
    assert is_loose(uri) is loose


def test_route_values_give_their_uri() -> None:
    assert route_uri('"P" <sip:p;lr>;x=1') == "sip:p;lr"
    assert route_uri("sip:p;lr") == "sip:p;lr"
    assert request_uri_from("sip:a@b;method=BYE;lr?x=y") == "sip:a@b;lr"
