"""Which next hop a request takes (SPEC C1-C4, C7-C9, B12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.policy.locate import Target
from sipcore.policy.outbound import NextHop, RequestFacts, UriTarget, choose_next_hop
from sipcore.policy.settings import Profile

PEER = UriTarget("192.0.2.77", 5080, "udp")
METHODS = ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "BYE", "ACK", "CANCEL", "PRACK", "UPDATE", "INFO"]
IN_CALL = ["ACK", "PRACK", "UPDATE", "INVITE", "INFO", "REFER", "BYE"]


def profile(**changes: object) -> Profile:
    base = {"proxy_server": "sip.example.com", "outbound_proxy": "edge.example.net"}
    return Profile("A", **{**base, **changes})  # type: ignore[arg-type]


def choose(configured: Profile, method: str, **changes: object) -> NextHop:
    return choose_next_hop(configured, RequestFacts(method, **changes))  # type: ignore[arg-type]


def place(hop: NextHop) -> tuple[str, int | None, str]:
    return hop.host, hop.port, hop.transport


@pytest.mark.parametrize("method", METHODS)
def test_spec_c1_every_request_goes_to_the_outbound_proxy(method: str):
    configured = profile(registrar_server="reg.example.com")
    for facts in (
        RequestFacts(method),
        RequestFacts(method, in_dialog=True, in_invite_dialog=True, destination=PEER),
        RequestFacts(method, destination=PEER, redirected=True),
    ):
        hop = choose_next_hop(configured, facts)
        assert (place(hop), hop.owner, hop.rule) == (("edge.example.net", None, "udp"), "outbound", "SPEC C1")


def test_spec_c2_the_outbound_port_is_used_and_the_default_is_that_of_d3():
    assert choose(profile(outbound_proxy_port=5099), "INVITE").port == 5099
    assert choose(profile(proxy_server_port=5070), "INVITE").site.default_port == 5060
    secure = profile(outbound_proxy_transport="tls", tls_default_port=5061)
    assert choose(secure, "INVITE").site.default_port == 5061
    assert choose(profile(tls_default_port=5061), "INVITE").site.default_port == 5060


@pytest.mark.parametrize("outbound", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("proxy", ["udp", "tcp", "tls"])
def test_spec_c3_the_outbound_transport_is_independent(outbound: str, proxy: str):
    hop = choose(profile(outbound_proxy_transport=outbound, proxy_server_transport=proxy), "INVITE")
    assert hop.transport == outbound


@pytest.mark.parametrize("size", [1_301, 65_000])
def test_spec_c3_the_configured_transport_stands_whatever_the_size(size: int):
    hop = choose(profile(), "INVITE", size=size)
    assert (hop.transport, hop.by_tcp) == ("udp", "")


def test_spec_c3_what_is_large_goes_by_tcp_if_the_profile_wants_it():
    """RFC 3261 section 18.1.1: more than 1,300 octets."""
    configured = profile(udp_switch_to_tcp=True)
    assert choose(configured, "INVITE", size=1_300).by_tcp == ""
    hop = choose(configured, "INVITE", size=1_301)
    assert hop.by_tcp == "X_UDPSwitchToTCP is on and 1301 octets are more than 1300 (SPEC C3)"
    assert place(hop) == ("edge.example.net", None, "udp")
    secure = profile(udp_switch_to_tcp=True, outbound_proxy_transport="tls")
    assert choose(secure, "INVITE", size=9_000).by_tcp == ""


def test_spec_c7_without_an_outbound_proxy_register_goes_to_the_registrar_and_the_rest_to_the_proxy():
    configured = profile(outbound_proxy="", registrar_server="reg.example.com", registrar_server_port=5090)
    assert place(choose(configured, "REGISTER")) == ("reg.example.com", 5090, "udp")
    assert choose(configured, "REGISTER").owner == "registrar"
    assert place(choose(configured, "INVITE")) == ("sip.example.com", None, "udp")


def test_spec_c7_a_registrar_like_the_proxy_shares_its_connection():
    configured = profile(outbound_proxy="", proxy_server_transport="tcp", registrar_server="sip.example.com")
    assert choose(configured, "REGISTER").owner == "registrar"
    same = profile(outbound_proxy="", proxy_server_transport="tcp")
    assert choose(same, "REGISTER").owner == "proxy"
    named = profile(outbound_proxy="", registrar_server="SIP.Example.com.")
    assert choose(named, "REGISTER").owner == "proxy"
    assert choose(profile(outbound_proxy="", registrar_server_port=5070), "REGISTER").owner == "proxy"
    elsewhere = profile(outbound_proxy="", registrar_server="sip.example.com", registrar_server_port=5070)
    assert choose(elsewhere, "REGISTER").owner == "registrar"


def test_spec_c7_on_udp_a_dialog_follows_its_route_and_on_streams_it_stays():
    facts = RequestFacts("BYE", in_dialog=True, in_invite_dialog=True, destination=PEER)
    assert place(choose_next_hop(profile(outbound_proxy=""), facts)) == ("192.0.2.77", 5080, "udp")
    stream = profile(outbound_proxy="", proxy_server_transport="tcp")
    assert choose_next_hop(stream, facts).owner == "proxy"


@pytest.mark.parametrize("method", IN_CALL)
def test_spec_c8_inside_a_call_the_outbound_proxy_is_passed_over(method: str):
    configured = profile(bypass_outbound_proxy_in_call=True, dns_order="srv-first")
    hop = choose(configured, method, in_dialog=True, in_invite_dialog=True, destination=PEER)
    assert (place(hop), hop.rule, hop.owner) == (("192.0.2.77", 5080, "udp"), "SPEC C8", "")
    assert hop.order == "srv-first"
    assert "edge.example.net" in hop.bypassed


@pytest.mark.parametrize(
    "facts",
    [
        RequestFacts("INVITE", destination=PEER),
        RequestFacts("CANCEL", destination=PEER, in_invite_dialog=True),
        RequestFacts("SUBSCRIBE", in_dialog=True, destination=PEER),
        RequestFacts("NOTIFY", in_dialog=True, destination=PEER),
        RequestFacts("MESSAGE", destination=PEER),
        RequestFacts("REGISTER", destination=PEER),
    ],
)
def test_spec_c8_everything_else_still_goes_to_the_outbound_proxy(facts: RequestFacts):
    hop = choose_next_hop(profile(bypass_outbound_proxy_in_call=True), facts)
    assert (hop.owner, hop.bypassed) == ("outbound", "")


def test_spec_c8_off_means_the_outbound_proxy():
    assert choose(profile(), "BYE", in_invite_dialog=True, destination=PEER).owner == "outbound"


@pytest.mark.parametrize(
    ("target", "transport"),
    [
        (UriTarget("b.example"), "udp"),
        (UriTarget("b.example", secure=True), "tls"),
        (UriTarget("b", None, "tcp"), "tcp"),
    ],
)
def test_spec_c8_host_port_and_transport_are_those_of_the_uri(target: UriTarget, transport: str):
    configured = profile(bypass_outbound_proxy_in_call=True)
    hop = choose(configured, "BYE", in_invite_dialog=True, destination=target)
    assert place(hop) == (target.host, target.port, transport)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("method", IN_CALL)
def test_spec_c9_the_bypass_has_no_effect_on_tcp_and_tls(transport: str, method: str):
    configured = profile(bypass_outbound_proxy_in_call=True, outbound_proxy_transport=transport)
    hop = choose(configured, method, in_dialog=True, in_invite_dialog=True, destination=PEER)
    assert (hop.owner, hop.transport) == ("outbound", transport)


def test_spec_b12_invite_goes_to_the_server_that_holds_the_registration():
    held = Target("edge.example.net", "192.0.2.8", 5077, "udp", 10)
    facts = RequestFacts("INVITE")
    hop = choose_next_hop(profile(proxy_server_redundancy=True), facts, registered_with=held)
    assert (place(hop), hop.rule) == (("192.0.2.8", 5077, "udp"), "SPEC B12")
    assert choose_next_hop(profile(), facts, registered_with=held).rule == "SPEC C1"


def test_spec_b6_a_redirected_register_keeps_the_outbound_proxy_and_else_follows():
    facts = RequestFacts("REGISTER", destination=PEER, redirected=True)
    assert choose_next_hop(profile(), facts).owner == "outbound"
    followed = choose_next_hop(profile(outbound_proxy=""), facts)
    assert (place(followed), followed.rule) == (("192.0.2.77", 5080, "udp"), "SPEC B6")


def test_spec_b7_credentials_answer_only_the_services_own_servers():
    bypassed = choose(profile(bypass_outbound_proxy_in_call=True), "BYE", in_invite_dialog=True, destination=PEER)
    assert not bypassed.is_own_server
    assert choose(profile(), "INVITE").is_own_server


facts_of_any_kind = st.builds(
    RequestFacts,
    st.sampled_from(METHODS),
    st.booleans(),
    st.booleans(),
    st.none() | st.builds(UriTarget, st.sampled_from(["b.example", "192.0.2.77"]), st.none() | st.integers(1, 65535),
                          st.sampled_from([None, "udp", "tcp", "tls"]), st.booleans()),
    st.booleans(),
)  # fmt: skip


@given(facts_of_any_kind, st.booleans(), st.sampled_from(["tcp", "tls"]))
def test_spec_c5_on_streams_nothing_goes_anywhere_but_to_the_outbound_proxy(
    facts: RequestFacts, bypass: bool, transport: str
):
    configured = profile(outbound_proxy_transport=transport, bypass_outbound_proxy_in_call=bypass)
    hop = choose_next_hop(configured, facts)
    assert place(hop) == ("edge.example.net", None, transport)
