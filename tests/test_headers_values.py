"""What the smaller header families say: reason, events, dialogs, dates, warnings, identity, features, tokens."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sipcore.errors import UsageError
from sipcore.headers import (
    Event,
    Identity,
    Parameters,
    RAck,
    Reason,
    Reference,
    Replaces,
    Timestamp,
    TokenValue,
    Warning,
    format_header,
    parse_header,
)


def test_a_reason_has_a_cause_and_a_text() -> None:
    sip, q850 = parse_header("Reason", ['SIP;cause=600;text="Busy, \\"really\\""', "Q.850 ;cause=16"])
    assert (sip.protocol, sip.cause, sip.text) == ("SIP", 600, 'Busy, "really"')
    assert (q850.cause, q850.text, q850.location) == (16, None, None)
    assert str(Reason.of("SIP", 200, "Call completed elsewhere")) == 'SIP;cause=200;text="Call completed elsewhere"'


def test_events_match_by_type_and_id() -> None:
    event = parse_header("o", ["presence.winfo;id=7"])
    assert (event.package, event.templates, event.id) == ("presence", ("winfo",), "7")
    assert event.matches(Event("presence.winfo", Parameters.of({"x": None, "id": "7"})))
    assert not event.matches(Event("presence.winfo"))


def test_a_subscription_ends_for_a_reason() -> None:
    state = parse_header("Subscription-State", ["Terminated;Reason=Probation;retry-after=5"])
    assert (state.state, state.reason, state.retry_after, state.expires) == ("terminated", "probation", 5, None)


def test_rack_names_a_response() -> None:
    assert parse_header("RAck", ["776656  1\tINVITE"]) == RAck(776656, 1, "INVITE")
    for wrong in (RAck(0, 1, "INVITE"), RAck(1, 2**31, "INVITE"), RAck(1, 1, "A B")):
        with pytest.raises(UsageError):
            format_header("RAck", wrong)


def test_replaces_names_a_dialog() -> None:
    value = parse_header("Replaces", ["a@b ; From-Tag=1;to-tag=2"])
    assert value == Replaces("a@b", "2", "1")
    with pytest.raises(UsageError):
        format_header("Replaces", Replaces("a@b", "2;early-only", "1"))
    with pytest.raises(UsageError):
        format_header("Replaces", Replaces("a@b;x", "2", "1"))


def test_a_date_is_an_instant_in_gmt() -> None:
    value = parse_header("Date", ["Sat, 13 Nov 2010 23:29:00 GMT"])
    assert value == datetime(2010, 11, 13, 23, 29, tzinfo=UTC)
    east = value.astimezone(timezone(timedelta(hours=5)))
    assert format_header("Date", east) == "Sat, 13 Nov 2010 23:29:00 GMT"
    assert format_header("Date", datetime(1, 1, 1, tzinfo=UTC)) == "Mon, 01 Jan 0001 00:00:00 GMT"
    with pytest.raises(UsageError):
        format_header("Date", datetime(2010, 11, 13))


def test_a_timestamp_is_echoed_digit_for_digit() -> None:
    value = parse_header("Timestamp", ["0054.20 .5"])
    assert value == Timestamp("0054.20", ".5")
    assert value.delay_seconds == 0.5
    assert str(Timestamp("54")) == "54"
    with pytest.raises(UsageError):
        format_header("Timestamp", Timestamp("54\r\nX: y"))


def test_a_warning_has_code_agent_and_text() -> None:
    (value,) = parse_header("Warning", ['370 devnull:5060 "Choose, please"'])
    assert value == Warning(370, "devnull:5060", "Choose, please")
    for wrong in (Warning(99, "a", "b"), Warning(300, "a b", "c"), Warning(300, "a", "b\r\n")):
        with pytest.raises(UsageError):
            format_header("Warning", (wrong,))


def test_identity_says_where_its_certificate_is() -> None:
    (value,) = parse_header("y", ["abc..def ;info=<https://cert.example.org/a.pem;x>;alg=ES256;ppt=shaken"])
    assert (value.digest, value.info) == ("abc..def", "https://cert.example.org/a.pem;x")
    assert (value.algorithm, value.extension) == ("ES256", "shaken")
    assert Identity("a", "b:c").algorithm == "ES256"
    with pytest.raises(UsageError):
        format_header("Identity", (Identity("a", "b>;x=<c"),))


def test_privacy_is_read_with_commas_too() -> None:
    assert parse_header("Privacy", ["ID;header, session"]) == ("id", "header", "session")
    assert format_header("Privacy", ("id", "critical")) == "id;critical"
    with pytest.raises(UsageError):
        format_header("Privacy", ())


def test_feature_sets_keep_their_values_quoted() -> None:
    (value,) = parse_header("Accept-Contact", ['*;+sip.x="<a,b>";audio;require;explicit'])
    assert (value.features["+sip.x"], value.require, value.explicit) == ("<a,b>", True, True)
    assert str(value) == '*;+sip.x="<a,b>";audio;require;explicit'


def test_a_reference_may_have_any_scheme() -> None:
    first, second = parse_header("Call-Info", ["<http://a/b,c?d>;purpose=Icon , <cid:x@y>"])
    assert (first.uri, first.purpose, second.uri, second.purpose) == ("http://a/b,c?d", "icon", "cid:x@y", "info")
    with pytest.raises(UsageError):
        format_header("Call-Info", (Reference("a:b>, <c:d"),))


def test_geolocation_errors_have_a_text() -> None:
    assert parse_header("Geolocation-Error", ['100;code="Cannot Process Location"']).text == "Cannot Process Location"


def test_tokens_cannot_smuggle_others_in() -> None:
    """FAULTS 6."""
    for value in (("a, b",), ("a\r\nb",), ("",)):
        with pytest.raises(UsageError):
            format_header("Supported", value)
    with pytest.raises(UsageError):
        format_header("Info-Package", TokenValue("a;b"))
    with pytest.raises(UsageError):
        format_header("Call-ID", "a@b c")


def test_parameters_are_an_ordered_mapping() -> None:
    parameters = Parameters.of([("A", "1"), ("b", None), ("a", "2")])
    assert parameters["a"] == "1"
    assert "B" in parameters
    assert 1 not in parameters
    assert list(parameters) == ["A", "b", "a"]
    assert str(parameters.replaced("B", "x y")) == ';A=1;b="x y";a=2'.replace("b=", "B=")
    assert str(parameters.without("a").replaced("c", None)) == ";b;c"
    assert parameters.get("missing") is None
    with pytest.raises(KeyError):
        parameters["missing"]
