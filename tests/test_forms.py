"""How requests are written (SPEC A2, A9, C4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.policy.forms import (
    address_of_record_uri,
    callee_uri,
    contact_uri,
    outbound_value_in,
    register_uri,
    same_host,
    uri_host,
)
from sipcore.policy.settings import Profile, Service

HOST = "edge.example.net"


def service(uri: str = "", **changes: object) -> Service:
    profile = Profile("A", proxy_server="sip.example.com", **changes)  # type: ignore[arg-type]
    return Service(1, profile, auth_user_name="alice", uri=uri)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "sip:sip.example.com"),
        ({"proxy_server_port": 5070}, "sip:sip.example.com:5070"),
        ({"proxy_server_transport": "tcp"}, "sip:sip.example.com;transport=tcp"),
        ({"proxy_server_transport": "tls", "proxy_server_port": 5061}, "sip:sip.example.com:5061;transport=tls"),
        ({"registrar_server": "reg.example.com", "registrar_server_port": 5080}, "sip:reg.example.com:5080"),
        ({"outbound_proxy": HOST, "outbound_proxy_transport": "tcp"}, "sip:sip.example.com"),
        ({"registrar_server": "2001:db8::1"}, "sip:[2001:db8::1]"),
    ],
)
def test_spec_a9_the_request_uri_of_register(changes: dict[str, object], expected: str):
    assert register_uri(service(**changes)) == expected


def test_spec_a9_to_and_from_carry_neither_port_nor_transport():
    assert address_of_record_uri(service(proxy_server_port=5070, proxy_server_transport="tcp")) == (
        "sip:alice@sip.example.com"
    )


def test_spec_a9_sips_only_if_the_user_wrote_it():
    secure = service("sips:alice@sip.example.com", proxy_server_transport="tls")
    assert address_of_record_uri(secure) == "sips:alice@sip.example.com"
    assert register_uri(secure).startswith("sips:")
    assert register_uri(service(proxy_server_transport="tls")).startswith("sip:")


@pytest.mark.parametrize(
    ("callee", "expected"),
    [
        ("15550100", "sip:15550100@sip.example.com:5070;transport=tcp"),
        ("bob@b.example", "sip:bob@b.example"),
        ("sip:bob@b.example;x=y", "sip:bob@b.example;x=y"),
        ("tel:+15550100", "tel:+15550100"),
    ],
)
def test_spec_c4_the_request_uri_of_a_call(callee: str, expected: str):
    assert callee_uri(service(proxy_server_port=5070, proxy_server_transport="tcp"), callee) == expected


def test_spec_c4_contact_shows_the_transport_it_can_be_reached_on():
    assert contact_uri(service(), "192.0.2.9", 5062, "tls") == "sip:alice@192.0.2.9:5062;transport=tls"
    assert contact_uri(service(), "2001:db8::9", 5062, "udp") == "sip:alice@[2001:db8::9]:5062"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("REGISTER sip:edge.example.net SIP/2.0", True),
        ("Route: <sip:EDGE.example.NET.;lr>", True),
        ("Via: SIP/2.0/UDP edge.example.net:5060", True),
        ("To: <sip:alice@edge.example.net>", True),
        ("To: <sip:alice@my.edge.example.net>", False),
        ("To: <sip:alice@edge.example.net.org>", False),
        ("To: <sip:alice@xedge.example.net>", False),
        ("To: <sip:alice@edge-example-net>", False),
        ("", False),
    ],
)
def test_spec_c4_only_whole_host_tokens_count(text: str, found: bool):
    assert outbound_value_in(text, "Edge.Example.net") is found


def test_spec_c4_an_ipv6_proxy_is_found_in_brackets_only_whole():
    assert outbound_value_in("Route: <sip:[2001:DB8::1]:5060>", "2001:db8::1")
    assert not outbound_value_in("Route: <sip:[2001:db8::12]:5060>", "2001:db8::1")


def test_spec_c4_hosts_compare_without_case_and_trailing_dot():
    assert same_host("Edge.Example.net.", "edge.example.NET")
    assert not same_host("edge.example.net", "edge.example.org")


@pytest.mark.parametrize(
    ("uri", "host"),
    [("sip:a@b.example:5060;x=y", "b.example"), ("sips:[2001:db8::1]:5061", "2001:db8::1"), ("tel:1", ""), ("", "")],
)
def test_the_host_of_a_uri(uri: str, host: str):
    assert uri_host(uri) == host


hosts = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9]{0,8}){1,3}", fullmatch=True)
services = st.builds(
    Service,
    st.integers(1, 8),
    st.builds(
        Profile,
        st.just("A"),
        proxy_server=hosts,
        proxy_server_port=st.none() | st.integers(1, 65535),
        proxy_server_transport=st.sampled_from(["udp", "tcp", "tls"]),
        registrar_server=st.just("") | hosts,
        user_agent_domain=st.just("") | hosts,
        outbound_proxy=hosts,
        outbound_proxy_port=st.none() | st.integers(1, 65535),
        outbound_proxy_transport=st.sampled_from(["udp", "tcp", "tls"]),
    ),
    auth_user_name=st.sampled_from(["alice", "15550100"]),
    uri=st.sampled_from(["", "bob", "sips:bob"]),
)


@given(services, st.sampled_from(["15550100", "bob"]))
def test_spec_c4_the_outbound_proxy_is_in_no_form(configured: Service, callee: str):
    profile = configured.profile
    own = (profile.proxy_server, profile.registrar_server, profile.user_agent_domain)
    forms = [
        register_uri(configured),
        address_of_record_uri(configured),
        callee_uri(configured, callee),
        contact_uri(configured, "192.0.2.9", configured.user_agent_port or 5060, profile.outbound_proxy_transport),
    ]
    if not any(outbound_value_in(host, profile.outbound_proxy) for host in own):
        assert not any(outbound_value_in(form, profile.outbound_proxy) for form in forms)
