"""The location service: RFC 3261 section 10.3, FAULTS 43 and 44."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.location import Limits, LocationService, RegisterRefused, Registration, Update, format_contacts

BOB = "sip:bob@example.com"
FIRST = "sip:bob@192.0.2.1:5060"
SECOND = "sip:bob@192.0.2.2:5060"


def registration(sequence: int = 1, call_id: str = "one") -> Registration:
    return Registration(call_id=call_id, sequence=sequence)


def bind(contact: str, expires: int | None = 60) -> Update:
    return Update(key=contact, contact=contact, expires=expires)


def contacts(service: LocationService, now: float = 0.0) -> set[str]:
    return {binding.contact for binding in service.bindings(BOB, now)}


def test_a_binding_lives_for_the_time_that_was_granted() -> None:
    service = LocationService()
    service.update(BOB, [bind(FIRST, 90)], registration(), now=100.0)
    assert contacts(service, 189.9) == {FIRST}
    assert contacts(service, 190.0) == set()
    assert len(service) == 0


def test_a_contact_without_expires_gets_the_default_and_a_long_one_the_maximum() -> None:
    service = LocationService(Limits(default_expires=300, maximum_expires=600))
    first, second = service.update(BOB, [bind(FIRST, None), bind(SECOND, 10**100)], registration(), now=0.0)[::-1]
    assert (first.expires_in(0.0), second.expires_in(0.0)) == (300, 600)


def test_a_too_short_interval_is_answered_with_423_and_the_minimum() -> None:
    service = LocationService(Limits(minimum_expires=60))
    with pytest.raises(RegisterRefused) as refused:
        service.update(BOB, [bind(FIRST, 59)], registration(), now=0.0)
    assert refused.value.status_code == 423
    assert refused.value.headers == (("Min-Expires", "60"),)


def test_expires_zero_removes_one_binding_and_leaves_the_other() -> None:
    service = LocationService()
    service.update(BOB, [bind(FIRST), bind(SECOND)], registration(1), now=0.0)
    left = service.update(BOB, [bind(FIRST, 0)], registration(2), now=1.0)
    assert [binding.contact for binding in left] == [SECOND]


def test_a_refused_register_changes_nothing() -> None:
    """FAULTS 43: all or nothing, whichever contact of the message is the bad one."""
    service = LocationService()
    service.update(BOB, [bind(FIRST)], registration(1), now=0.0)
    with pytest.raises(RegisterRefused):
        service.update(BOB, [bind(FIRST, 0), bind(SECOND, 3)], registration(2), now=1.0)
    assert contacts(service, 1.0) == {FIRST}


def test_ten_thousand_contacts_on_one_address_are_refused() -> None:
    """FAULTS 43."""
    service = LocationService(Limits(bindings_per_address=10))
    many = [bind(f"sip:bob@192.0.2.1:{port}") for port in range(10_000)]
    with pytest.raises(RegisterRefused) as refused:
        service.update(BOB, many, registration(), now=0.0)
    assert refused.value.status_code == 403
    assert contacts(service) == set()


def test_contacts_added_one_by_one_meet_the_same_limit() -> None:
    service = LocationService(Limits(bindings_per_address=2))
    for number in (1, 2):
        service.update(BOB, [bind(f"sip:bob@192.0.2.{number}")], registration(number), now=0.0)
    with pytest.raises(RegisterRefused) as refused:
        service.update(BOB, [bind("sip:bob@192.0.2.3")], registration(3), now=0.0)
    assert refused.value.status_code == 403
    service.update(BOB, [bind("sip:bob@192.0.2.1", 0), bind("sip:bob@192.0.2.3")], registration(4), now=0.0)
    assert contacts(service) == {"sip:bob@192.0.2.2", "sip:bob@192.0.2.3"}


def test_a_contact_or_path_of_sixty_kilobytes_is_refused() -> None:
    """FAULTS 43."""
    service = LocationService()
    with pytest.raises(RegisterRefused, match="Contact Too Large"):
        service.update(BOB, [bind("sip:" + "b" * 60_000)], registration(), now=0.0)
    with pytest.raises(RegisterRefused, match="Path Too Large"):
        service.update(BOB, [bind(FIRST)], Registration("one", 1, path=("<sip:" + "p" * 60_000 + ">",)), now=0.0)
    assert len(service) == 0


def test_an_older_or_repeated_register_of_the_same_call_id_rolls_nothing_back() -> None:
    """FAULTS 44: reordered on UDP."""
    service = LocationService()
    service.update(BOB, [bind(FIRST, 600)], registration(5), now=0.0)
    for sequence in (4, 5):
        with pytest.raises(RegisterRefused) as refused:
            service.update(BOB, [bind(FIRST, 0)], registration(sequence), now=1.0)
        assert refused.value.status_code == 500
    assert contacts(service, 1.0) == {FIRST}


def test_another_call_id_may_start_at_any_sequence() -> None:
    service = LocationService()
    service.update(BOB, [bind(FIRST)], registration(5, "one"), now=0.0)
    service.update(BOB, [bind(FIRST, 0)], registration(1, "two"), now=1.0)
    assert contacts(service, 1.0) == set()


def test_the_asterisk_removes_every_binding_unless_one_is_newer() -> None:
    service = LocationService()
    service.update(BOB, [bind(FIRST)], registration(5, "one"), now=0.0)
    service.update(BOB, [bind(SECOND)], registration(1, "two"), now=0.0)
    with pytest.raises(RegisterRefused):
        service.remove_all(BOB, registration(5, "one"), now=1.0)
    assert contacts(service, 1.0) == {FIRST, SECOND}
    service.remove_all(BOB, registration(6, "one"), now=1.0)
    assert contacts(service, 1.0) == set()


def test_addresses_of_record_are_bounded_and_a_full_store_says_when_to_come_back() -> None:
    service = LocationService(Limits(addresses=1))
    service.update(BOB, [bind(FIRST)], registration(), now=0.0)
    with pytest.raises(RegisterRefused) as refused:
        service.update("sip:eve@example.com", [bind(SECOND)], registration(), now=0.0)
    assert refused.value.status_code == 503
    assert dict(refused.value.headers) == {"Retry-After": "60"}
    service.expire(now=61.0)
    service.update("sip:eve@example.com", [bind(SECOND)], registration(), now=61.0)


def test_the_bindings_of_a_lost_connection_go_with_it() -> None:
    service = LocationService()
    service.update(BOB, [bind(FIRST)], Registration("one", 1, flow=7), now=0.0)
    service.update(BOB, [bind(SECOND)], Registration("two", 1), now=0.0)
    assert service.forget_flow(0) == 0
    assert service.forget_flow(7) == 1
    assert contacts(service) == {SECOND}


def test_the_answer_lists_every_binding_with_its_life_best_q_first() -> None:
    service = LocationService()
    low = Update(key="low", contact=FIRST, expires=60, q=0.5)
    high = Update(key="high", contact=SECOND, expires=61, instance="<urn:uuid:1>", reg_id=1)
    bindings = service.update(BOB, [low, high], registration(), now=0.0)
    assert format_contacts(bindings, 0.5) == [
        ("Contact", f'<{SECOND}>;expires=61;+sip.instance="<urn:uuid:1>";reg-id=1'),
        ("Contact", f"<{FIRST}>;expires=60;q=0.5"),
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from([0, 60, 3600])), max_size=40))
def test_only_a_newer_register_ever_changes_a_binding(steps: list[tuple[str, int, int]]) -> None:
    """FAULTS 44 against an obvious model, any order of arrivals."""
    service, model = LocationService(), dict[str, int]()
    for name, sequence, expires in steps:
        try:
            service.update(BOB, [bind(f"sip:{name}@192.0.2.1", expires)], registration(sequence), now=0.0)
        except RegisterRefused:
            assert sequence <= model[name]
            continue
        assert sequence > model.get(name, -1)
        if expires:
            model[name] = sequence
        else:
            model.pop(name, None)
    assert contacts(service) == {f"sip:{name}@192.0.2.1" for name in model}
