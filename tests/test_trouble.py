"""What a service says and how long it waits when the far side misbehaves: one clear line, a bounded wait."""

import pytest
from registration_kit import HERE, answer, machine, registered

from sipcore.policy.locate import Target
from sipcore.policy.register import BoundContact, RegisterResponse
from sipcore.policy.registration import RegistrationMachine
from sipcore.policy.supervisor import ConnectionSupervisor

LONGEST_WAIT = 3600.0


def started(**changes: object) -> RegistrationMachine:
    which = machine(**changes)
    which.on_start(0.0)
    which.on_connected(0.0)
    return which


def one_line(which: RegistrationMachine, now: float) -> str:
    status = which.status(now)
    assert "\n" not in status
    assert len(status) < 200
    assert which.next_attempt is not None
    assert now < which.next_attempt <= now + LONGEST_WAIT
    return status


def test_a_domain_that_does_not_resolve():
    which = started()
    which.on_unreachable(8.0, 1, "example.com: not found: no A, no SRV, and no SRV of _sip._udp.example.com")
    assert one_line(which, 8.0).startswith("Register Failed: 901 example.com: not found: no A, no SRV, and no SRV")


def test_a_proxy_that_accepts_and_says_nothing():
    which = started(transport="tcp")
    which.on_no_answer(32.0, 1, server=HERE)
    assert one_line(which, 32.0).startswith(f"Register Failed: 900 No Answer (server={HERE}; retry in ")


@pytest.mark.parametrize(
    "response",
    [
        RegisterResponse(299, ""),
        RegisterResponse(399, "?"),
        RegisterResponse(401, "Unauthorized", headers=(("WWW-Authenticate", "gibberish ,,= \x01"),)),
        RegisterResponse(407),
        RegisterResponse(423, "Interval Too Brief", min_expires=0),
        RegisterResponse(699, "Nonsense", retry_after=2**32 - 1),
    ],
)
def test_a_registrar_that_answers_nonsense(response: RegisterResponse):
    which = started()
    answer(which, 0.0, response)
    assert str(response.status_code) in one_line(which, 0.0) or which.is_registered


def test_a_redirect_loop():
    which = started()
    for _ in range(5):
        answer(which, 0.0, RegisterResponse(302, "Moved", contacts=(BoundContact("sip:example.com"),)))
    assert one_line(which, 0.0) == (f"Register Failed: 302 Moved: redirection 5 in a row (server={HERE}; retry in 30s)")


def test_a_registrar_that_grants_nothing():
    which = started()
    answer(which, 0.0, RegisterResponse(200, "OK", expires=0))
    assert one_line(which, 0.0) == f"Register Failed: 200 OK, but granted 0s (server={HERE}; retry in 30s)"


def test_a_registrar_that_grants_a_billion_seconds():
    which = started()
    answer(which, 0.0, RegisterResponse(200, "OK", expires=10**9))
    assert which.status(0.0) == f"Registered (server={HERE}; expire in 1000000000s)"
    assert which.next_attempt == 86400.0


def test_a_certificate_for_another_name():
    link = ConnectionSupervisor("OutboundProxy edge.example.net", random=machine()._random)
    link.on_start(0.0)
    link.on_located(0.0, 1, Target("edge.example.net", "192.0.2.1", 5061, "tls"))
    link.on_failed(0.0, 1, "the certificate is not for edge.example.net")
    assert link.status(0.0) == "Backing Off (1): the certificate is not for edge.example.net"
    assert link.next_attempt is not None
    assert link.next_attempt <= 60.0


def test_faults_52_a_clock_that_jumps_ahead_makes_one_attempt():
    which = registered()
    sends = len(which.on_timer(10**6, "refresh")) + len(which.on_timer(10**6, "refresh"))
    assert sends == 1
