"""What policy reads of a response to a REGISTER, sane and insane."""

import pytest

import sipcore
from sipcore.policy.register import BoundContact, RegisterResponse
from sipcore.register_response import read_register_response


def read(*lines: str, via: str = ";received=203.0.113.5;rport=40000") -> RegisterResponse:
    head = [
        "SIP/2.0 200 OK",
        f"Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1{via}",
        "From: <sip:alice@example.com>;tag=1",
        "To: <sip:alice@example.com>;tag=2",
        "Call-ID: 1",
        "CSeq: 1 REGISTER",
        *lines,
    ]
    response = sipcore.parse("\r\n".join([*head, "Content-Length: 0", "", ""]).encode())
    assert isinstance(response, sipcore.Response)
    return read_register_response(response)


def test_everything_that_a_registrar_says_is_read():
    response = read(
        'Contact: <sip:alice@192.0.2.9:5060>;expires=33;q=0.5;+sip.instance="<urn:uuid:1>";reg-id=1, <sip:b@b.example>',
        "Expires: 60",
        "Min-Expires: 90",
        "Retry-After: 120 (maintenance);duration=5",
        "Service-Route: <sip:p1.example;lr>, <sip:p2.example;lr>",
    )
    assert response.contacts == (
        BoundContact("sip:alice@192.0.2.9:5060", 33, "urn:uuid:1", 1, 0.5),
        BoundContact("sip:b@b.example"),
    )
    assert (response.expires, response.min_expires, response.retry_after) == (60, 90, 120)
    assert (response.received, response.rport) == ("203.0.113.5", 40000)
    assert response.service_route == ("<sip:p1.example;lr>", "<sip:p2.example;lr>")


def test_what_is_absent_is_none_or_empty():
    response = read(via="")
    assert response == RegisterResponse(200, "OK", headers=response.headers)


@pytest.mark.parametrize("value", ["", "x", "-5", "1.5", "٣", "0x10"])
def test_numbers_that_are_none_count_as_absent(value: str):
    assert read(f"Expires: {value}", f"Min-Expires: {value}", f"Retry-After: {value}").expires is None


def test_numbers_beyond_all_measure_are_cut_off():
    assert read(f"Expires: {10**100}").expires == 2**32 - 1
    assert read("Contact: <sip:a@b.example>;expires=99999999999").contacts[0].expires == 2**32 - 1


@pytest.mark.parametrize("contact", ["<sip:a@b", "::::", "*", '"x <sip:a@b.example>', "<sip:a@b.example>;expires"])
def test_a_contact_that_cannot_be_read_does_no_harm(contact: str):
    assert all(found.expires is None for found in read(f"Contact: {contact}", "Expires: 60").contacts)


@pytest.mark.parametrize(("q", "expected"), [("0.3", 0.3), ("7", 1.0), ("nan", 1.0), ("x", 1.0)])
def test_a_qvalue_that_is_none_counts_as_one(q: str, expected: float):
    assert read(f"Contact: <sip:a@b.example>;q={q}").contacts[0].q == expected


def test_contacts_and_routes_are_bounded():
    many = ", ".join(f"<sip:a{number}@b.example>" for number in range(200))
    response = read(f"Contact: {many}", f"Service-Route: {many}")
    assert (len(response.contacts), len(response.service_route)) == (64, 16)


@pytest.mark.parametrize(
    ("via", "lines", "expected"),
    [
        (";keep=30", (), 30),
        (";keep=0", (), 0),
        (";keep=x", (), 0),
        (";keep", (), None),
        ("", ("Require: outbound",), 0),
        ("", ("Require: path, OUTBOUND", "Flow-Timer: 25"), 25),
        ("", ("Supported: outbound", "Flow-Timer: 25"), None),
    ],
)
def test_spec_b15_keep_alives_are_agreed_on_by_a_value_or_by_outbound_support(
    via: str, lines: tuple[str, ...], expected: int | None
):
    """RFC 6223 section 8; RFC 5626 sections 4.4.1 and 6: Flow-Timer."""
    assert read(*lines, via=via).keep == expected
