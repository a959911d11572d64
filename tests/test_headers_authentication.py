"""Challenges and credentials: sipcore/headers/authentication.py (RFC 3261 section 22, RFC 7616)."""

import pytest

from sipcore.errors import ParseError, UsageError
from sipcore.headers import (
    Challenge,
    Credentials,
    Parameters,
    format_challenge,
    format_credentials,
    parse_challenges,
    parse_credentials,
    parse_header,
)

DIGEST = (
    'Digest username="bob", realm="biloxi.example.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'uri="sip:bob@biloxi.example.com", qop=auth, nc=00000001, cnonce="0a4f113b", '
    'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


def test_a_digest_challenge_gives_its_parts() -> None:
    (challenge,) = parse_challenges(
        'Digest realm="atlanta.example.com", domain="sip:boxesbybob.example.com", qop="auth,auth-int", '
        'nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=SHA-256'
    )
    assert challenge.scheme == "Digest"
    assert challenge.realm == "atlanta.example.com"
    assert challenge.qop == ("auth", "auth-int")
    assert challenge.nonce == "f84f1cec41e6cbe5aea9c8e88d359"
    assert challenge.opaque == ""
    assert challenge.stale is False
    assert challenge.algorithm == "SHA-256"


def test_names_are_found_in_any_case_and_printed_as_they_came() -> None:
    (challenge,) = parse_challenges('digest REALM="a", Nonce = "b" , STALE=true')
    assert (challenge.realm, challenge.nonce, challenge.stale) == ("a", "b", True)
    assert format_challenge(challenge) == 'digest REALM="a", Nonce="b", STALE=true'


def test_several_challenges_in_one_field_are_told_apart() -> None:
    challenges = parse_challenges(
        'Digest realm="a, b", nonce="n", Negotiate, Bearer abc.def==, Digest realm="c", nonce="m"'
    )
    assert [challenge.scheme for challenge in challenges] == ["Digest", "Negotiate", "Bearer", "Digest"]
    assert [challenge.realm for challenge in challenges] == ["a, b", None, None, "c"]
    assert challenges[2].token68 == "abc.def=="


def test_fields_of_one_header_are_joined_in_order() -> None:
    challenges = parse_header("www-authenticate", ['Digest realm="a", nonce="1"', 'Digest realm="b", nonce="2"'])
    assert [challenge.realm for challenge in challenges] == ["a", "b"]


def test_credentials_print_as_they_came() -> None:
    credentials = parse_credentials(DIGEST)
    assert credentials.username == "bob"
    assert credentials.uri == "sip:bob@biloxi.example.com"
    assert credentials.nonce_count == 1
    assert credentials.qop == "auth"
    assert format_credentials(credentials) == DIGEST


def test_quotes_go_where_rfc_7616_wants_them() -> None:
    challenge = Challenge.digest({"realm": 'a "b"', "nonce": "n", "algorithm": "MD5", "qop": "auth", "stale": "true"})
    assert str(challenge) == 'Digest realm="a \\"b\\"", nonce="n", algorithm=MD5, qop="auth", stale=true'
    assert parse_challenges(str(challenge)) == (challenge,)
    credentials = Credentials.digest({"username": "bob", "qop": "auth", "nc": "0000000a", "x": "a b"})
    assert str(credentials) == 'Digest username="bob", qop=auth, nc=0000000a, x="a b"'


def test_secrets_do_not_show_in_the_repr() -> None:
    shown = repr(parse_credentials(DIGEST)) + repr(parse_credentials("Bearer c2VjcmV0"))
    assert "6629fae4" not in shown
    assert "0a4f113b" not in shown
    assert "c2VjcmV0" not in shown
    assert "biloxi.example.com" in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        "Digest ",
        "Digest x=",
        "Digest realm",
        'Digest realm="a',
        'Digest realm="a\\"',
        'Digest realm="a",',
        'Digest realm="a" nonce="b"',
        'Digest realm="a", realm="b"',
        'Digest ="a"',
        "Digest nc=1",
        "Digest nc=0000000g",
        'Digest a="1", Basic abc',
    ],
)
def test_malformed_credentials_are_refused(text: str) -> None:
    """FAULTS 8."""
    with pytest.raises(ParseError) as caught:
        parse_credentials(text)
    assert 0 <= caught.value.at <= len(text)


@pytest.mark.parametrize("value", ["a\r\nVia: x", "a\nb", "a\0b"])
def test_line_ends_and_nul_cannot_be_written(value: str) -> None:
    """FAULTS 6."""
    with pytest.raises(UsageError):
        format_challenge(Challenge.digest({"realm": value}))
    with pytest.raises(UsageError):
        format_credentials(Credentials("Digest", Parameters.of({"x": value})))
    with pytest.raises(UsageError):
        format_credentials(Credentials(value, Parameters.of({"x": "y"})))
    with pytest.raises(UsageError):
        format_credentials(Credentials.digest({value: "y"}))


def test_unquoted_parameters_cannot_smuggle_others() -> None:
    credentials = Credentials.digest({"algorithm": 'MD5, response="x"'})
    assert format_credentials(credentials) == 'Digest algorithm="MD5, response=\\"x\\""'
    assert parse_credentials(format_credentials(credentials)) == credentials
    with pytest.raises(UsageError):
        format_credentials(Credentials("Bearer", token68="abc, def"))
