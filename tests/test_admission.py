"""Whose requests are taken (SPEC E3)."""

from __future__ import annotations

import pytest

from sipcore.admission import make_source_filter
from sipcore.policy.settings import Profile, Service

REGISTRAR, PEER, LISTED, STRANGER = "192.0.2.10", "192.0.2.20", "198.51.100.7", "203.0.113.1"


def welcome(host: str, **keys: object) -> bool:
    service = Service(1, Profile("A"), **keys)  # type: ignore[arg-type]
    accepts = make_source_filter(service, lambda host: host == REGISTRAR, lambda host: host == PEER)
    return accepts is None or accepts(host)


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        ({}, {REGISTRAR, PEER, LISTED, STRANGER}),
        ({"accept_sip_from_registrar_only": True}, {REGISTRAR, PEER}),
        ({"access_list": ("198.51.100.0/24",)}, {LISTED}),
        ({"access_list": (LISTED, "2001:db8::/32"), "accept_sip_from_registrar_only": True}, {REGISTRAR, PEER, LISTED}),
    ],
)
def test_the_list_and_the_own_servers_are_taken(keys: dict[str, object], taken: set[str]) -> None:
    assert {host for host in (REGISTRAR, PEER, LISTED, STRANGER) if welcome(host, **keys)} == taken


def test_what_is_no_address_is_not_listed() -> None:
    assert not welcome("not an address", access_list=("0.0.0.0/0",))
