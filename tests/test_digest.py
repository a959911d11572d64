"""Digest on both sides: RFC examples, choice, refusals, replays (SPEC B7, FAULTS 30-35)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.config import Secret
from sipcore.digest import (
    MAXIMUM_NONCES,
    DigestAttempt,
    DigestClient,
    DigestInput,
    DigestRefused,
    DigestServer,
    Header,
    make_ha1,
)
from sipcore.headers.authentication import parse_credentials

REALM = "example.com"
URI = "sip:example.com"
HERE = "192.0.2.9"


def client(password: str = "secret", realms: tuple[str, ...] = ()) -> DigestClient:
    return DigestClient("alice", Secret(password), random=random.Random(1), allowed_realms=realms)


def server(**changes: object) -> DigestServer:
    users = {"alice": "secret", "bob": {"SHA-256": make_ha1("SHA-256", "bob", REALM, "builder")}}
    return DigestServer(REALM, users.get, b"0123456789abcdef", **changes)  # type: ignore[arg-type]


def challenge(
    realm: str = REALM, nonce: str = "n1", algorithm: str | None = None, *, stale: bool = False, qop: str = "auth"
) -> Header:
    parts = [f'Digest realm="{realm}"', f'nonce="{nonce}"']
    parts += [f'qop="{qop}"'] if qop else []
    parts += [f"algorithm={algorithm}"] if algorithm else []
    return "WWW-Authenticate", ", ".join([*parts, *(["stale=true"] if stale else [])])


def register(who: DigestClient) -> DigestAttempt:
    return who.attempt(method="REGISTER", uri=URI)


def credentials_of(headers: list[Header]) -> dict[str, str | None]:
    return dict(parse_credentials(headers[0][1]).parameters)


# RFC 2617 section 3.5, RFC 7616 section 3.9.1


def test_the_example_of_rfc_2617_holds():
    asked = DigestInput(
        None, "dcd98b7102dd2f0e8b11d0f600bfb0c093", "GET", "/dir/index.html", b"", "auth", "00000001", "0a4f113b"
    )
    ha1 = make_ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    assert asked.response(ha1) == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_hold(algorithm: str, expected: str):
    asked = DigestInput(
        algorithm,
        "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "GET",
        "/dir/index.html",
        qop="auth",
        nonce_count="00000001",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )
    assert asked.response(make_ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")) == expected


@pytest.mark.parametrize("qop", [("auth",), ("auth-int",), ("auth", "auth-int"), ()])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
@pytest.mark.parametrize("session", ["", "-sess"])
def test_client_and_server_agree(algorithm: str, session: str, qop: tuple[str, ...]):
    there = server(algorithms=(algorithm,), qop=qop)
    fields = [
        value.replace(f"algorithm={algorithm}", f"algorithm={algorithm}{session}")
        for value in there.challenge(1000.0, HERE)
    ]
    attempt = client().attempt(method="MESSAGE", uri=URI, body=b"hello")
    headers = attempt.answer(401, [("WWW-Authenticate", value) for value in fields])
    verdict = there.verify([headers[0][1]], method="MESSAGE", uri=URI, body=b"hello", now=1001.0, source=HERE)
    assert verdict.user_name == "alice", verdict.why
    if qop == ("auth-int",):
        other = there.verify([headers[0][1]], method="MESSAGE", uri=URI, body=b"hullo", now=1001.0, source=HERE)
        assert not other.user_name


def test_spec_b7_the_strongest_algorithm_is_chosen():
    offered = [challenge(algorithm="MD5"), challenge(algorithm="SHA-256"), challenge(algorithm="AKAv1-MD5")]
    headers = register(client()).answer(401, offered)
    assert len(headers) == 1
    assert credentials_of(headers)["algorithm"] == "SHA-256"
    assert headers[0][0] == "Authorization"


def test_spec_b7_several_challenges_in_one_header_are_read():
    joined = ("WWW-Authenticate", f"{challenge()[1]}, {challenge(algorithm='SHA-256')[1]}")
    assert credentials_of(register(client()).answer(401, [joined]))["algorithm"] == "SHA-256"


def test_spec_b7_one_try_per_realm():
    attempt = register(client())
    attempt.answer(401, [challenge()])
    with pytest.raises(DigestRefused, match="did not accept"):
        attempt.answer(401, [challenge(nonce="n2")])


def test_spec_b7_one_more_try_for_stale_with_a_new_nonce():
    attempt = register(client())
    attempt.answer(401, [challenge()])
    assert credentials_of(attempt.answer(401, [challenge(nonce="n2", stale=True)]))["nonce"] == "n2"
    with pytest.raises(DigestRefused, match="two nonces stale"):
        attempt.answer(401, [challenge(nonce="n3", stale=True)])


def test_spec_b7_stale_with_the_same_nonce_gets_no_second_try():
    attempt = register(client())
    attempt.answer(401, [challenge()])
    with pytest.raises(DigestRefused):
        attempt.answer(401, [challenge(stale=True)])


def test_spec_b7_several_realms_accumulate():
    attempt = register(client())
    attempt.answer(401, [challenge()])
    proxy = ("Proxy-Authenticate", challenge("edge")[1])
    headers = attempt.answer(407, [proxy])
    assert [name for name, _ in headers] == ["Authorization", "Proxy-Authorization"]


def test_faults_35_at_most_four_challenges_a_request():
    attempt = register(client())
    for number in range(4):
        attempt.answer(401, [challenge(f"realm{number}")])
    with pytest.raises(DigestRefused, match="more than 4 challenges"):
        attempt.answer(401, [challenge("realm5")])


def test_faults_35_an_endless_challenger_ends():
    attempt = register(client())
    tries = 0
    with pytest.raises(DigestRefused):
        for tries in range(20):
            attempt.answer(401, [challenge(nonce=f"n{tries}", stale=True)])
    assert tries <= 2


def test_faults_34_md5_alone_is_refused_once_a_realm_offered_sha_256():
    who = client()
    register(who).answer(401, [challenge(algorithm="SHA-256"), challenge()])
    with pytest.raises(DigestRefused, match="now MD5 alone"):
        register(who).answer(401, [challenge(nonce="n2")])
    assert register(who).answer(401, [challenge("other.example")])


def test_faults_34_a_foreign_realm_in_a_dialog_gets_nothing():
    who = client()
    register(who).answer(401, [challenge()])
    bye = who.attempt(method="BYE", uri="sip:bob@192.0.2.7", in_dialog=True)
    with pytest.raises(DigestRefused, match="never seen outside a dialog"):
        bye.answer(401, [challenge("evil.example")])
    again = who.attempt(method="BYE", uri="sip:bob@192.0.2.7", in_dialog=True)
    assert again.answer(401, [challenge(nonce="n9")])


def test_spec_b7_x_auth_realms_limits_the_realms():
    who = client(realms=("example.com",))
    with pytest.raises(DigestRefused, match="not in X_AuthRealms"):
        register(who).answer(401, [challenge("evil.example")])
    assert register(who).answer(401, [challenge("evil.example"), challenge()])


def test_spec_b7_a_nonce_is_used_again_with_a_rising_count():
    who = client()
    first = register(who).answer(401, [challenge()])
    second = register(who).first_headers()
    assert [credentials_of(headers)["nc"] for headers in (first, second)] == ["00000001", "00000002"]
    assert credentials_of(first)["cnonce"] == credentials_of(second)["cnonce"]


def test_a_next_nonce_is_heeded():
    who = client()
    attempt = register(who)
    attempt.answer(401, [challenge()])
    attempt.accepted([("Authentication-Info", 'nextnonce="n7", qop=auth')])
    credentials = credentials_of(register(who).first_headers())
    assert (credentials["nonce"], credentials["nc"]) == ("n7", "00000001")


@pytest.mark.parametrize(
    "value",
    ["", "Digest", "Basic realm=x", 'Digest realm="x"', 'Digest nonce="x"', 'Digest realm="a", nonce="', "Digest x=",
     'Digest realm="a", nonce="b", algorithm=SHA3', 'Digest realm="a", nonce="b", qop="other"', "Digest " + "," * 500],
)  # fmt: skip
def test_faults_8_an_unusable_challenge_is_refused(value: str):
    with pytest.raises(DigestRefused):
        register(client()).answer(401, [("WWW-Authenticate", value)])


def test_a_401_without_a_challenge_is_refused():
    with pytest.raises(DigestRefused, match="a 401 without a challenge"):
        register(client()).answer(401, [("Proxy-Authenticate", challenge()[1])])


def test_no_secret_is_in_any_repr():
    who = client("sw0rdfish")
    attempt = register(who)
    headers = attempt.answer(401, [challenge()])
    shown = repr(who) + repr(attempt) + repr(server()) + repr(parse_credentials(headers[0][1]))
    assert "sw0rdfish" not in shown
    assert "0123456789abcdef" not in shown
    assert str(credentials_of(headers)["response"]) not in shown


# The server


def answered(there: DigestServer, who: DigestClient, now: float, source: str = HERE) -> str:
    fields = [("WWW-Authenticate", value) for value in there.challenge(now, source)]
    return register(who).answer(401, fields)[0][1]


def verify(there: DigestServer, value: str, **changes: object) -> tuple[str, bool]:
    facts: dict[str, object] = {"method": "REGISTER", "uri": URI, "body": b"", "now": 1001.0, "source": HERE}
    verdict = there.verify([value], **{**facts, **changes})  # type: ignore[arg-type]
    return verdict.user_name, verdict.stale


def test_faults_33_a_replay_is_stale_and_never_accepted():
    there = server()
    value = answered(there, client(), 1000.0)
    assert verify(there, value) == ("alice", False)
    assert verify(there, value) == ("", True)


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"now": 1000.0 + 301}, True),
        ({"now": 999.0}, True),
        ({"source": "192.0.2.66"}, True),
        ({"method": "INVITE"}, False),
        ({"uri": "sip:other.example"}, False),
    ],
)
def test_faults_33_old_nonces_other_sources_methods_and_uris_are_refused(changes: dict[str, object], stale: bool):
    there = server()
    assert verify(there, answered(there, client(), 1000.0), **changes) == ("", stale)


def test_faults_33_a_nonce_of_another_server_is_stale():
    other = DigestServer(REALM, {"alice": "secret"}.get, b"another key 1234")
    assert verify(server(), answered(other, client(), 1000.0)) == ("", True)


def test_faults_32_nothing_is_kept_for_a_challenge():
    there = server()
    for number in range(1000):
        there.challenge(1000.0 + number / 1000, HERE)
    assert not there._used


def test_used_nonces_are_bounded_and_forgotten_ones_are_stale():
    there = server(algorithms=("MD5",))
    first = answered(there, client(), 1000.0)
    assert verify(there, first) == ("alice", False)
    for number in range(MAXIMUM_NONCES):
        there._use(there._make_nonce(1000.001, HERE), number)
    assert len(there._used) == MAXIMUM_NONCES
    assert verify(there, first) == ("", True)


def test_two_challenges_in_one_millisecond_have_different_nonces():
    there = server()
    assert there.challenge(1000.0, HERE) != there.challenge(1000.0, HERE)


def test_faults_30_an_unknown_user_and_a_wrong_password_look_alike():
    there = server()
    unknown = DigestClient("mallory", "secret", random=random.Random(1))
    assert verify(there, answered(there, unknown, 1000.0)) == ("", False)
    assert verify(there, answered(there, client("wrong"), 1000.0)) == ("", False)


def test_an_empty_stored_password_of_an_unknown_user_does_not_let_in():
    there = server()
    unknown = DigestClient("mallory", "", random=random.Random(1))
    assert verify(there, answered(there, unknown, 1000.0)) == ("", False)


def test_a_stored_ha1_serves_its_own_algorithm_only():
    there = server()
    bob = DigestClient("bob", "builder", random=random.Random(1))
    assert verify(there, answered(there, bob, 1000.0)) == ("bob", False)
    weak = server(algorithms=("MD5",))
    another = DigestClient("bob", "builder", random=random.Random(2))
    assert verify(weak, answered(weak, another, 1000.0)) == ("", False)


def test_an_algorithm_that_was_not_offered_is_refused():
    there = server(algorithms=("SHA-256",))
    value = answered(server(algorithms=("MD5",)), client(), 1000.0)
    assert verify(there, value) == ("", False)


@given(st.text(max_size=200))
def test_any_authorization_value_gets_a_verdict(text: str):
    assert server().verify([text], method="REGISTER", uri=URI, body=b"", now=1.0, source=HERE).user_name == ""
