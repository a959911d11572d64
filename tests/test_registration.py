"""One registration, rule by rule and on all pairs (SPEC A1, A3, B1-B16, C6, F1)."""

import random

import pytest
from registration_kit import (
    HERE,
    MINUTE,
    answer,
    machine,
    none_sent,
    of,
    plan,
    refused,
    registered,
    sent,
)

from sipcore.digest import DigestClient, DigestServer
from sipcore.policy.actions import CancelTimer, Note, StartTimer
from sipcore.policy.register import (
    BoundContact,
    RegisterResponse,
    draw_refresh,
    plan_registration,
    read_granted,
)
from sipcore.policy.registration import (
    Registered,
    RegistrationMachine,
    State,
    Stopped,
    Unregistered,
    UsePort,
)
from sipcore.policy.registration_table import TABLE, Event
from sipcore.policy.settings import Profile, Service

# All pairs


def in_state(state: State) -> RegistrationMachine:
    """A stream's machine: every event can happen to it."""
    which = machine(transport="tcp")
    if state is State.IDLE:
        return which
    which.on_start(0.0)
    if state is State.OFFLINE:
        return which
    which.on_connected(0.0)
    if state is State.REGISTERING:
        return which
    if state in (State.WAITING, State.ORDERED):
        if state is State.WAITING:
            which.on_no_answer(0.0, which._token)
        else:
            answer(which, 0.0, RegisterResponse(403))
    else:
        answer(which, 0.0, MINUTE)
    if state is State.LEAVING:
        which.on_lost(0.0)
    if state in (State.LEAVING, State.STOPPING, State.STOPPED):
        which.on_stop(0.0)
    if state is State.STOPPED:
        answer(which, 0.0, RegisterResponse(200))
    assert which.state is state
    return which


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_ends_where_the_table_says(state: State, event: Event):
    which = in_state(state)
    which._failure = which._failure or type("F", (), {"text": "", "server": "", "retry_at": 0.0})()
    row = TABLE.get((state, event))
    which.connected = event is not Event.TIMER_OFFLINE
    actions = which._fire(event, 5000.0)
    if row is None:
        assert (which.state, actions) == (state, [])
    elif (state, event) == (State.IDLE, Event.START):
        assert which.state is State.REGISTERING
    else:
        assert which.state is row[0]


@pytest.mark.parametrize("state", [state for state in State if state not in (State.IDLE, State.STOPPED)])
def test_spec_b11_every_state_has_something_that_leads_on(state: State):
    events = {event for (of_state, event) in TABLE if of_state is state}
    assert events & {Event.CONNECTED, Event.TIMER, Event.UNANSWERED, Event.GRANTED}


# Form and grant


def test_spec_a9_and_b2_the_first_register():
    register = sent(machine().on_start(0.0))
    assert register.request_uri == "sip:example.com"
    assert (register.to, register.from_) == ("sip:alice@example.com", "sip:alice@example.com")
    assert register.contacts == ("<sip:alice@192.0.2.9:5060>;expires=60",)
    assert register.cseq == 1
    assert ("Supported", "path") in register.headers


def test_spec_b1_a_plan_follows_the_configuration():
    profile = Profile("A", proxy_server="sip.example.com", registration_period=300, outbound_proxy="edge.example.net",
                      outbound_proxy_transport="tcp", outbound_support=True)  # fmt: skip
    service = Service(2, profile, auth_user_name="alice", user_agent_port=5061, user_agent_ports=(5070, 5071))
    made = plan_registration(service, instance="urn:uuid:1")
    assert (made.request_uri, made.address_of_record) == ("sip:sip.example.com", "sip:alice@sip.example.com")
    assert (made.transport, made.stream, made.period, made.reg_id) == ("tcp", True, 300, 1)
    assert made.ports == (5061, 5070, 5071)
    assert plan_registration(service, instance="urn:uuid:1", secondary=True).reg_id == 2


@pytest.mark.parametrize(
    ("response", "granted"),
    [
        (RegisterResponse(200, contacts=(BoundContact("sip:alice@192.0.2.9:5060", 33),), expires=99), 33),
        (RegisterResponse(200, contacts=(BoundContact("sip:ALICE@192.0.2.9:5060", 33),), expires=99), 99),
        (RegisterResponse(200, contacts=(BoundContact("SIP:alice@192.0.2.9:5060", 33),), expires=99), 33),
        (RegisterResponse(200, contacts=(BoundContact("sip:alice@10.0.0.1:5060", 33, "urn:uuid:1"),), expires=99), 33),
        (RegisterResponse(200, contacts=(BoundContact("sip:bob@10.0.0.1:5060", 33),), expires=99), 99),
        (RegisterResponse(200, contacts=(BoundContact("sip:alice@192.0.2.9:5060"),), expires=99), 99),
        (RegisterResponse(200, expires=99), 99),
        (RegisterResponse(200), 60),
    ],
)
def test_spec_b2_where_the_granted_value_is_found(response: RegisterResponse, granted: int):
    found = read_granted(response, contact="sip:alice@192.0.2.9:5060", instance="urn:uuid:1", asked=60)
    assert found.expires == granted


def test_spec_b2_a_200_without_our_contact_is_noted_in_the_trace():
    which = machine()
    which.on_start(0.0)
    notes = [action for action in answer(which, 0.0, RegisterResponse(200)) if isinstance(action, Note)]
    assert "says nothing of our Contact" in notes[0].what


def test_spec_b2_granted_zero_is_a_failure():
    which, wait = refused(200, expires=0, reason="OK")
    assert wait == 30
    assert which.status(0.0) == f"Register Failed: 200 OK, but granted 0s (server={HERE}; retry in 30s)"


def test_spec_b3_the_refresh_is_drawn_from_its_range():
    source = random.Random(1)
    for granted in (10, 20, 40, 60, 120, 600, 3600):
        drawn = [draw_refresh(granted, source) for _ in range(300)]
        latest = max(granted - max(5, granted / 10), granted / 2)
        earliest = max(granted / 2, latest - granted / 10)
        assert max(5.0, earliest) <= min(drawn) <= max(drawn) <= max(5.0, latest)


@pytest.mark.parametrize(("granted", "low", "high"), [(1, 5, 5), (4, 5, 5), (10**9, 86400, 86400)])
def test_spec_b3_never_more_often_than_every_five_seconds_and_at_least_daily(granted: int, low: int, high: int):
    assert low <= draw_refresh(granted, random.Random(1)) <= high


def test_spec_b4_one_call_id_and_a_rising_cseq():
    which = machine()
    first = sent(which.on_start(0.0))
    answer(which, 0.0, MINUTE)
    assert which.next_attempt is not None
    second = sent(which.on_timer(which.next_attempt, "refresh"))
    assert (second.call_id, second.from_tag, second.cseq) == (first.call_id, first.from_tag, 2)


def test_spec_b4_instance_and_reg_id_stand_in_contact():
    register = sent(machine(instance="urn:uuid:1", reg_id=1).on_start(0.0))
    assert register.contacts == ('<sip:alice@192.0.2.9:5060>;+sip.instance="<urn:uuid:1>";reg-id=1;expires=60',)
    assert ("Supported", "path, outbound") in register.headers


def test_spec_b4_one_register_outstanding_whatever_triggers_pile_up():
    which = machine(transport="tcp")
    which.on_start(0.0)
    assert not none_sent(which.on_connected(0.0))
    for _ in range(10):
        assert none_sent(which.on_connected(0.0) + which.on_timer(0.0, "refresh") + which.on_timer(0.0, "retry"))
    assert len(which._outstanding) == 1


# Failures


def test_spec_b5_900_is_no_answer():
    which = machine()
    which.on_start(0.0)
    which.on_no_answer(32.0, which._token, server=HERE)
    assert which.next_attempt is not None
    assert 120 <= which.next_attempt - 32.0 <= 200
    assert which.status(32.0).startswith(f"Register Failed: 900 No Answer (server={HERE}; retry in 1")


def test_spec_b5_901_is_not_resolved_or_not_reachable():
    which = machine()
    which.on_start(0.0)
    which.on_unreachable(1.0, which._token, "example.com: not found")
    assert which.status(1.0).startswith("Register Failed: 901 example.com: not found (server=none; retry in 1")


def test_spec_b6_a_redirection_is_followed_at_once_and_the_fifth_is_an_error():
    which = machine()
    which.on_start(0.0)
    for number in range(4):
        contacts = (BoundContact(f"sip:r{number}.example", q=0.2), BoundContact(f"sip:best{number}.example", q=0.9))
        register = sent(answer(which, 0.0, RegisterResponse(302, "Moved", contacts=contacts)))
        assert (register.request_uri, register.redirected) == (f"sip:best{number}.example", True)
    actions = answer(which, 0.0, RegisterResponse(302, "Moved", contacts=(BoundContact("sip:r.example"),)))
    assert none_sent(actions)
    assert "302 Moved: redirection 5 in a row" in which.status(0.0)
    assert which.next_attempt == 30.0
    assert sent(which.on_timer(30.0, "retry")).request_uri == "sip:example.com"


def test_spec_b6_a_redirection_without_contact_is_an_error():
    which, wait = refused(302, reason="Moved")
    assert wait == 30
    assert "a redirection without Contact" in which.status(0.0)


def with_digest(**changes: object) -> tuple[RegistrationMachine, DigestServer]:
    there = DigestServer("example.com", {"alice": "secret"}.get, b"0123456789abcdef")
    who = DigestClient("alice", "secret", random=random.Random(1))
    which = RegistrationMachine(
        plan(**changes), host="192.0.2.9", port=5060, random=random.Random(1), authenticator=who
    )
    return which, there


def challenged(there: DigestServer) -> RegisterResponse:
    headers = tuple(("WWW-Authenticate", value) for value in there.challenge(0.0, "x"))
    return RegisterResponse(401, "Unauthorized", headers=headers)


def test_spec_b7_a_challenge_is_answered_at_once_and_refused_only_once():
    which, there = with_digest()
    which.on_start(0.0)
    register = sent(answer(which, 0.0, challenged(there)))
    fields = [value for name, value in register.headers if name == "Authorization"]
    verdict = there.verify(fields, method="REGISTER", uri="sip:example.com", body=b"", now=0.0, source="x")
    assert verdict.user_name == "alice"
    assert none_sent(answer(which, 0.0, challenged(there)))
    assert which.next_attempt == 120.0
    assert "401 Unauthorized: realm 'example.com' did not accept the credentials" in which.status(0.0)


def test_spec_b7_without_a_password_a_challenge_is_a_failure():
    which = machine()
    which.on_start(0.0)
    answer(which, 0.0, challenged(with_digest()[1]))
    assert "there is no password to answer with" in which.status(0.0)


def test_spec_b7_a_refresh_uses_the_nonce_again():
    which, there = with_digest()
    which.on_start(0.0)
    answer(which, 0.0, challenged(there))
    answer(which, 0.0, MINUTE)
    assert which.next_attempt is not None
    refresh = sent(which.on_timer(which.next_attempt, "refresh"))
    assert any("nc=00000002" in value for name, value in refresh.headers if name == "Authorization")


def test_faults_34_no_credentials_follow_a_redirection_to_another_host():
    which, there = with_digest(own_hosts=("example.com",))
    which.on_start(0.0)
    answer(which, 0.0, challenged(there))
    away = RegisterResponse(302, "Moved", contacts=(BoundContact("sip:evil.example"),))
    register = sent(answer(which, 0.0, away))
    assert not any("authorization" in name.lower() for name, _ in register.headers)
    assert none_sent(answer(which, 0.0, challenged(there)))
    assert "left the service's own servers" in which.status(0.0)


def test_faults_34_behind_an_outbound_proxy_a_redirection_stays_with_the_own_servers():
    which, there = with_digest(behind_proxy=True)
    which.on_start(0.0)
    sent(answer(which, 0.0, RegisterResponse(302, contacts=(BoundContact("sip:other.example"),))))
    register = sent(answer(which, 0.0, challenged(there)))
    assert any('uri="sip:other.example"' in value for _, value in register.headers)


def test_credentials_never_show_in_a_repr():
    which, there = with_digest()
    which.on_start(0.0)
    assert "response=" not in repr(sent(answer(which, 0.0, challenged(there))))


def test_spec_b8_423_is_retried_at_once_and_remembered():
    which = machine()
    which.on_start(0.0)
    register = sent(answer(which, 0.0, RegisterResponse(423, min_expires=300)))
    assert register.contacts == ("<sip:alice@192.0.2.9:5060>;expires=300",)
    answer(which, 0.0, RegisterResponse(200, expires=300))
    assert which.next_attempt is not None
    assert sent(which.on_timer(which.next_attempt, "refresh")).expires == 300


@pytest.mark.parametrize("wanted", [None, 0, 30, 60, 86401])
def test_spec_b8_a_useless_min_expires_is_an_error(wanted: int | None):
    which, wait = refused(423, min_expires=wanted)
    assert wait == 30
    assert which.state is State.ORDERED


def test_spec_b8_at_most_two_in_a_row():
    which = machine()
    which.on_start(0.0)
    sent(answer(which, 0.0, RegisterResponse(423, min_expires=300)))
    sent(answer(which, 0.0, RegisterResponse(423, min_expires=400)))
    assert none_sent(answer(which, 0.0, RegisterResponse(423, min_expires=500)))


@pytest.mark.parametrize(("asked", "waited"), [(0, 1), (7, 7), (3600, 3600), (10**9, 3600)])
def test_spec_b9_retry_after_is_waited_for_within_bounds(asked: int, waited: int):
    assert refused(500, retry_after=asked)[1] == waited


@pytest.mark.parametrize(("code", "wait"), [(401, 120), (403, 120), (404, 120), (407, 120), (500, 30), (603, 30)])
def test_spec_b10_a_failure_waits_by_the_map(code: int, wait: int):
    which, waited = refused(code, reason="Because")
    assert waited == wait
    assert which.status(0.0).endswith(f"(server={HERE}; retry in {wait}s)")


def test_spec_b11_a_failure_is_never_the_end():
    which = machine()
    now = 0.0
    which.on_start(now)
    for number in range(2000):
        now += 1.0
        if number % 3:
            answer(which, now, RegisterResponse((403, 500, 603, 302, 423)[number % 5]))
        else:
            which.on_no_answer(now, which._token)
        assert which.next_attempt is not None
        now = which.next_attempt
        sent(which.on_timer(now, "retry"))
    answer(which, now, MINUTE)
    assert which.is_registered


def test_an_early_timer_is_started_again():
    which = registered()
    assert which.next_attempt is not None
    assert which.on_timer(1.0, "refresh") == [StartTimer("refresh", which.next_attempt)]


def test_late_answers_and_provisional_ones_are_ignored():
    which = registered()
    assert answer(which, 1.0, RegisterResponse(403), token=1) == []
    assert answer(which, 1.0, RegisterResponse(100), token=which._token) == []
    assert which.is_registered


# Streams


def test_spec_c6_on_a_stream_nothing_is_sent_before_the_connection_is_up():
    which = machine(transport="tcp")
    assert none_sent(which.on_start(0.0))
    assert sent(which.on_connected(5.0)).contacts == ("<sip:alice@192.0.2.9:5060;transport=tcp>;expires=60",)


def test_spec_c6_a_new_connection_registers_at_once():
    which = registered(transport="tcp")
    assert none_sent(which.on_lost(10.0))
    sent(which.on_connected(12.0))


def test_spec_c6_a_wait_ordered_by_a_sip_answer_is_not_cut_short():
    which = machine(transport="tcp")
    which.on_start(0.0)
    which.on_connected(0.0)
    answer(which, 0.0, RegisterResponse(403, "Forbidden"))
    which.on_lost(10.0)
    assert none_sent(which.on_connected(12.0))
    sent(which.on_timer(120.0, "retry"))


def test_spec_c6_a_wait_after_silence_is_cut_short_by_a_new_connection():
    which = machine(transport="tcp")
    which.on_start(0.0)
    which.on_connected(0.0)
    which.on_no_answer(32.0, which._token)
    which.on_lost(40.0)
    sent(which.on_connected(42.0))


def test_spec_c6_an_ordered_wait_that_ends_without_a_connection_registers_when_there_is_one():
    which = machine(transport="tcp")
    which.on_start(0.0)
    which.on_connected(0.0)
    answer(which, 0.0, RegisterResponse(403))
    which.on_lost(10.0)
    assert none_sent(which.on_timer(120.0, "retry"))
    sent(which.on_connected(125.0))


# Addresses


def test_spec_a1_a_changed_address_registers_again_at_once_and_once():
    which = registered()
    register = sent(which.on_address_changed(10.0, "192.0.2.99", 5060))
    assert register.contacts[0] == "<sip:alice@192.0.2.99:5060>;expires=60"
    assert register.contacts[1] == "<sip:alice@192.0.2.9:5060>;expires=0"
    assert which.on_address_changed(10.0, "192.0.2.99", 5060) == []


def test_spec_a3_after_silence_each_attempt_uses_the_next_port():
    which = machine(ports=(5060, 5070, 5071))
    which.on_start(0.0)
    seen = []
    for _ in range(4):
        which.on_no_answer(0.0, which._token)
        assert which.next_attempt is not None
        actions = which.on_timer(which.next_attempt, "retry")
        seen.extend(action.port for action in actions if isinstance(action, UsePort))
        assert f":{seen[-1]}>" in sent(actions).contacts[0]
    assert seen == [5070, 5071, 5060, 5070]
    answer(which, 0.0, RegisterResponse(403))
    assert which.next_attempt is not None
    assert not of(UsePort, which.on_timer(which.next_attempt, "retry"))


def test_spec_a3_no_other_port_while_a_call_is_up():
    which = machine(ports=(5060, 5070))
    which.active_calls = 1
    which.on_start(0.0)
    which.on_no_answer(0.0, which._token)
    assert which.next_attempt is not None
    assert not of(UsePort, which.on_timer(which.next_attempt, "retry"))


def seen_as(host: str, port: int) -> RegisterResponse:
    return RegisterResponse(200, "OK", expires=60, received=host, rport=port)


def test_spec_b14_the_public_address_replaces_the_contact_and_the_old_one_is_removed():
    which = machine(discover_public_address=True)
    which.on_start(0.0)
    register = sent(answer(which, 0.0, seen_as("203.0.113.5", 40000)))
    assert register.contacts == (
        "<sip:alice@203.0.113.5:40000>;expires=60",
        "<sip:alice@192.0.2.9:5060>;expires=0",
    )
    assert none_sent(answer(which, 0.0, seen_as("203.0.113.5", 40000)))


def test_spec_b14_reg_id_needs_no_removal_of_the_old_contact():
    which = machine(discover_public_address=True, instance="urn:uuid:1", reg_id=1)
    which.on_start(0.0)
    assert len(sent(answer(which, 0.0, seen_as("203.0.113.5", 40000))).contacts) == 1


def test_spec_b14_a_second_change_within_a_minute_is_logged_and_not_followed():
    which = machine(discover_public_address=True)
    which.on_start(0.0)
    answer(which, 0.0, seen_as("203.0.113.5", 40000))
    actions = answer(which, 1.0, seen_as("203.0.113.5", 40001))
    assert none_sent(actions)
    assert any(isinstance(action, Note) and "not followed" in action.what for action in actions)
    assert which.next_attempt is not None
    now = which.next_attempt + 30
    which.on_timer(now, "refresh")
    assert ":40001>" in sent(answer(which, now, seen_as("203.0.113.5", 40001))).contacts[0]


def test_spec_b14_without_the_option_the_local_contact_stays():
    which = machine()
    which.on_start(0.0)
    assert none_sent(answer(which, 0.0, seen_as("203.0.113.5", 40000)))
    assert which.contact == "sip:alice@192.0.2.9:5060"


# The end, and what is shown


def test_spec_b16_stopping_takes_the_binding_back():
    which = registered()
    actions = which.on_stop(10.0)
    register = sent(actions)
    assert (register.contacts, register.expires) == (("<sip:alice@192.0.2.9:5060>;expires=0",), 0)
    assert StartTimer("stop", 14.0) in actions
    assert Stopped(deregistered=True) in answer(which, 10.1, RegisterResponse(200))


def test_spec_b16_the_wait_for_de_registration_is_bounded():
    which = registered()
    which.on_stop(10.0)
    assert Stopped(deregistered=False) in which.on_timer(14.0, "stop")
    assert which.on_timer(20.0, "stop") == []


def test_spec_b16_without_a_connection_the_stop_waits_for_one_as_long_as_for_an_answer():
    which = registered(transport="tcp")
    which.on_lost(1.0)
    assert of(StartTimer, which.on_stop(10.0)) == [StartTimer("stop", 14.0)]
    assert which.status(10.0) == "Unregistering"
    removal = sent(which.on_connected(12.0))
    assert removal.expires == 0
    assert of(Stopped, answer(which, 12.0, RegisterResponse(200), removal.token)) == [Stopped(deregistered=True)]


def test_spec_b16_the_wait_for_a_connection_and_an_answer_is_bounded_as_a_whole():
    which = registered(transport="tcp")
    which.on_lost(1.0)
    which.on_stop(10.0)
    assert of(StartTimer, which.on_connected(13.0)) == [StartTimer("stop", 14.0)]
    assert of(Stopped, which.on_timer(14.0, "stop")) == [Stopped(deregistered=False)]
    late = registered(transport="tcp")
    late.on_lost(1.0)
    late.on_stop(10.0)
    assert of(Stopped, late.on_timer(14.0, "stop")) == [Stopped(deregistered=False)]


def test_spec_b16_a_binding_that_has_run_out_needs_no_connection_to_be_taken_back():
    which = registered(transport="tcp")
    which.on_lost(1.0)
    assert of(Stopped, which.on_stop(100.0)) == [Stopped(deregistered=False)]


def test_spec_b16_a_challenge_to_the_de_registration_is_answered():
    which, there = with_digest()
    which.on_start(0.0)
    answer(which, 0.0, MINUTE)
    which.on_stop(10.0)
    assert sent(answer(which, 10.0, challenged(there))).contacts[0].endswith("expires=0")


def test_spec_b16_service_route_is_told():
    which = machine()
    which.on_start(0.0)
    response = RegisterResponse(200, expires=60, service_route=("<sip:p.example;lr>",))
    assert Registered(None, 60, ("<sip:p.example;lr>",)) in answer(which, 0.0, response)
    assert which.service_route == ("<sip:p.example;lr>",)


def test_spec_f1_the_status_in_the_devices_words():
    which = registered()
    assert which.status(26.0) == f"Registered (server={HERE}; expire in 34s)"
    which, _ = refused(403, reason="Forbidden")
    assert which.status(0.0) == f"Register Failed: 403 Forbidden (server={HERE}; retry in 120s)"


def test_a_failed_refresh_is_told():
    which = registered()
    assert which.next_attempt is not None
    which.on_timer(which.next_attempt, "refresh")
    assert Unregistered("500 Oops") in answer(which, 55.0, RegisterResponse(500, "Oops"))


def test_a_better_contact_cancels_the_timers_it_replaces():
    assert CancelTimer("refresh") in registered().on_address_changed(1.0, "192.0.2.77", 5060)
