"""The three orders of SPEC D, told by literals."""

import random
from collections import Counter

import pytest
from dns_script import Records, Script, run
from hypothesis import given
from hypothesis import strategies as st

from sipcore.errors import LocateError
from sipcore.policy.locate import (
    MAXIMUM_ADDRESSES,
    MAXIMUM_TARGETS,
    DrawOncePerAnswer,
    Located,
    Site,
    draw_order,
    fresh_draw,
    locate,
)
from sipcore.policy.questions import Answer, Naptr, Question, Srv

SERVFAIL = RuntimeError("192.0.2.53:53: SERVFAIL")
EDGE = Srv(10, 5, 5070, "edge.example.net")


def find(site: Site, script: Script, asked: list[Question] | None = None) -> Located:
    return run(locate(site, fresh_draw(random.Random(7))), script, asked)


def places(located: Located) -> list[tuple[str, int, str]]:
    return [(target.address, target.port, target.transport) for target in located.targets]


def names(asked: list[Question]) -> list[tuple[str, str]]:
    return [(question.type, question.name) for question in asked]


def fails(site: Site, script: Script, asked: list[Question] | None = None) -> LocateError:
    with pytest.raises(LocateError) as caught:
        find(site, script, asked)
    return caught.value


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"])
@pytest.mark.parametrize("order", ["a-first", "srv-first", "rfc3263"])
def test_spec_d1_a_literal_address_is_used_as_it_is(host: str, order: str):
    asked: list[Question] = []
    located = find(Site(host, order=order), {}, asked)
    assert places(located) == [(host.strip("[]"), 5060, "udp")]
    assert located.rule == "SPEC D1"
    assert not asked


def test_spec_d2_an_a_record_ends_the_search():
    asked: list[Question] = []
    script = {
        ("sip.example.com", "A"): ["192.0.2.1", "192.0.2.2"],
        ("sip.example.com", "SRV"): [EDGE],
    }
    located = find(Site("sip.example.com"), script, asked)
    assert places(located) == [("192.0.2.1", 5060, "udp"), ("192.0.2.2", 5060, "udp")]
    assert names(asked) == [("A", "sip.example.com")]
    assert located.rule == "SPEC D2.1, D3"


def test_spec_d2_without_an_a_record_the_name_itself_is_asked_as_srv():
    asked: list[Question] = []
    script = {("example.com", "SRV"): [EDGE], ("edge.example.net", "A"): ["192.0.2.7"]}
    located = find(Site("example.com", 5090), script, asked)
    assert places(located) == [("192.0.2.7", 5070, "udp")]
    assert names(asked) == [("A", "example.com"), ("SRV", "example.com"), ("A", "edge.example.net")]
    assert located.rule == "SPEC D2.2, D3"


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_spec_d2_the_last_prefix_is_sip_udp_whatever_the_transport(transport: str):
    asked: list[Question] = []
    script = {("_sip._udp.example.com", "SRV"): [EDGE], ("edge.example.net", "A"): ["192.0.2.7"]}
    located = find(Site("example.com", transport=transport), script, asked)
    assert places(located) == [("192.0.2.7", 5070, transport)]
    assert names(asked)[:3] == [("A", "example.com"), ("SRV", "example.com"), ("SRV", "_sip._udp.example.com")]
    assert located.rule == "SPEC D2.3, D3"


def test_spec_d2_all_three_steps_without_a_record_fail():
    asked: list[Question] = []
    error = fails(Site("example.com"), {}, asked)
    assert names(asked) == [("A", "example.com"), ("SRV", "example.com"), ("SRV", "_sip._udp.example.com")]
    assert "not found" in str(error)


def test_spec_d2_an_ipv6_device_asks_aaaa_instead_of_a():
    asked: list[Question] = []
    script: Script = {("example.com", "A"): ["192.0.2.1"], ("_sip._udp.example.com", "SRV"): [EDGE]}
    script = {**script, ("edge.example.net", "AAAA"): ["2001:db8::7"]}
    located = find(Site("example.com", address_types=("AAAA",)), script, asked)
    assert places(located) == [("2001:db8::7", 5070, "udp")]
    assert "A" not in {question.type for question in asked}


@pytest.mark.parametrize(
    ("port", "transport", "default_port", "expected"),
    [(None, "udp", 5060, 5060), (5090, "udp", 5060, 5090), (None, "tls", 5060, 5060), (None, "tls", 5061, 5061)],
)
def test_spec_d3_the_port_without_srv(port: int | None, transport: str, default_port: int, expected: int):
    site = Site("sip.example.com", port, transport, default_port=default_port)
    assert find(site, {("sip.example.com", "A"): ["192.0.2.1"]}).targets[0].port == expected


def test_spec_d3_the_port_of_an_srv_record_beats_the_configured_one():
    script = {("example.com", "SRV"): [EDGE], ("edge.example.net", "A"): ["192.0.2.7"]}
    assert find(Site("example.com", 5090), script).targets[0].port == 5070


def test_spec_d4_srv_beats_a():
    script = {
        ("example.com", "A"): ["192.0.2.1"],
        ("example.com", "SRV"): [EDGE],
        ("edge.example.net", "A"): ["192.0.2.7"],
    }
    asked: list[Question] = []
    located = find(Site("example.com", order="srv-first"), script, asked)
    assert places(located) == [("192.0.2.7", 5070, "udp")]
    assert names(asked)[:2] == [("SRV", "example.com"), ("A", "example.com")]


def test_spec_d4_srv_first_falls_back_to_a():
    located = find(Site("example.com", order="srv-first"), {("example.com", "A"): ["192.0.2.1"]})
    assert places(located) == [("192.0.2.1", 5060, "udp")]


@pytest.mark.parametrize(
    ("transport", "prefixes"),
    [("udp", ["_sip._udp."]), ("tcp", ["_sip._tcp."]), ("tls", ["_sip._tls.", "_sips._tcp."])],
)
def test_spec_d4_the_prefixed_srv_beats_both(transport: str, prefixes: list[str]):
    asked: list[Question] = []
    script = {
        (f"{prefixes[-1]}example.com", "SRV"): [EDGE],
        ("example.com", "SRV"): [Srv(0, 0, 5099, "other.example.net")],
        ("example.com", "A"): ["192.0.2.1"],
        ("edge.example.net", "A"): ["192.0.2.7"],
    }
    site = Site("example.com", transport=transport, order="srv-first", auto_prefix=True)
    assert places(find(site, script, asked)) == [("192.0.2.7", 5070, transport)]
    expected = [("SRV", f"{prefix}example.com") for prefix in prefixes]
    assert names(asked)[: len(prefixes) + 2] == [*expected, ("SRV", "example.com"), ("A", "example.com")]


def test_spec_d4_a_failed_higher_ranked_question_is_a_failure():
    script = {("example.com", "SRV"): SERVFAIL, ("example.com", "A"): ["192.0.2.1"]}
    assert "SERVFAIL" in fails(Site("example.com", order="srv-first"), script).why


def test_spec_d4_a_failed_lower_ranked_question_does_not_matter():
    script = {("example.com", "SRV"): [EDGE], ("example.com", "A"): SERVFAIL, ("edge.example.net", "A"): ["192.0.2.7"]}
    assert places(find(Site("example.com", order="srv-first"), script)) == [("192.0.2.7", 5070, "udp")]


NAPTR = [
    Naptr(20, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
    Naptr(10, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
    Naptr(5, 50, "u", "E2U+sip", "example.com"),
]


def test_spec_d5_naptr_orders_the_transports_and_targets_of_all_follow():
    script: dict[tuple[str, str], Records] = {
        ("example.com", "NAPTR"): NAPTR,
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "udp.example.com")],
        ("_sip._tcp.example.com", "SRV"): [Srv(0, 0, 5062, "tcp.example.com")],
        ("udp.example.com", "A"): ["192.0.2.1"],
        ("tcp.example.com", "A"): ["192.0.2.2"],
    }
    located = find(Site("example.com", transport=None, order="rfc3263"), script)
    assert places(located) == [("192.0.2.2", 5062, "tcp"), ("192.0.2.1", 5060, "udp")]


def test_spec_d5_sips_uses_only_sips_services():
    script: dict[tuple[str, str], Records] = {
        ("example.com", "NAPTR"): [*NAPTR, Naptr(30, 1, "s", "SIPS+D2T", "_sips._tcp.example.com")],
        ("_sips._tcp.example.com", "SRV"): [Srv(0, 0, 5061, "tls.example.com")],
        ("tls.example.com", "A"): ["192.0.2.3"],
    }
    located = find(Site("example.com", transport=None, order="rfc3263", secure=True), script)
    assert places(located) == [("192.0.2.3", 5061, "tls")]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (Site("example.com", None, None, "rfc3263"), [("192.0.2.1", 5060, "udp")]),
        (Site("example.com", None, None, "rfc3263", secure=True), [("192.0.2.1", 5061, "tls")]),
        (Site("example.com", None, "tls", "rfc3263"), [("192.0.2.1", 5061, "tls")]),
        (Site("example.com", 5080, None, "rfc3263"), [("192.0.2.1", 5080, "udp")]),
        (Site("example.com", 5080, "tcp", "rfc3263"), [("192.0.2.1", 5080, "tcp")]),
    ],
)
def test_spec_d5_addresses_when_there_is_neither_naptr_nor_srv(site: Site, expected: list[tuple[str, int, str]]):
    assert places(find(site, {("example.com", "A"): ["192.0.2.1"]})) == expected


def test_spec_d5_a_port_means_no_srv_question():
    asked: list[Question] = []
    find(Site("example.com", 5080, "tcp", "rfc3263"), {("example.com", "A"): ["192.0.2.1"]}, asked)
    assert names(asked) == [("A", "example.com")]


def test_spec_d5_one_failed_service_leaves_the_others():
    script: dict[tuple[str, str], Records | Exception] = {
        ("_sip._udp.example.com", "SRV"): SERVFAIL,
        ("_sip._tcp.example.com", "SRV"): [Srv(0, 0, 5062, "tcp.example.com")],
        ("tcp.example.com", "A"): ["192.0.2.2"],
    }
    assert places(find(Site("example.com", None, None, "rfc3263"), script)) == [("192.0.2.2", 5062, "tcp")]


@pytest.mark.parametrize("step", [("example.com", "A"), ("example.com", "SRV"), ("_sip._udp.example.com", "SRV")])
def test_spec_d6_a_failure_of_any_step_is_not_not_found(step: tuple[str, str]):
    asked: list[Question] = []
    error = fails(Site("example.com"), {step: SERVFAIL}, asked)
    assert "SERVFAIL" in error.why
    assert (asked[-1].name, asked[-1].type) == step


def test_spec_d6_srv_dot_is_found_and_means_not_available():
    asked: list[Question] = []
    script = {("example.com", "SRV"): [Srv(0, 0, 0, ".")], ("_sip._udp.example.com", "SRV"): [EDGE]}
    error = fails(Site("example.com"), script, asked)
    assert "not available" in error.why
    assert len(asked) == 2


def test_spec_d6_srv_whose_targets_have_no_address_ends_the_search():
    asked: list[Question] = []
    script = {("example.com", "SRV"): [EDGE], ("_sip._udp.example.com", "SRV"): [EDGE]}
    error = fails(Site("example.com"), script, asked)
    assert error.rule == "SPEC D6"
    assert ("SRV", "_sip._udp.example.com") not in names(asked)


def test_spec_d6_one_target_without_address_leaves_the_others():
    script = {
        ("example.com", "SRV"): [EDGE, Srv(20, 5, 5080, "spare.example.net")],
        ("edge.example.net", "A"): SERVFAIL,
        ("spare.example.net", "A"): ["192.0.2.8"],
    }
    assert places(find(Site("example.com"), script)) == [("192.0.2.8", 5080, "udp")]


def test_spec_d7_forty_targets_are_cut_to_sixteen_best_first():
    records = [Srv(40 - number, 0, 5060, f"host{number}.example.net") for number in range(40)]
    script: dict[tuple[str, str], Records] = {("example.com", "SRV"): records}
    for number in range(40):
        script[f"host{number}.example.net", "A"] = [f"192.0.2.{number}"]
    targets = find(Site("example.com"), script).targets
    assert len(targets) == MAXIMUM_TARGETS
    assert [target.address for target in targets[:2]] == ["192.0.2.39", "192.0.2.38"]


def test_spec_d7_addresses_are_cut_to_thirty_two():
    script = {("example.com", "A"): [f"192.0.2.{number}" for number in range(200)]}
    assert len(find(Site("example.com"), script).targets) == MAXIMUM_ADDRESSES


def test_spec_d7_additional_records_spare_a_question():
    answer = Answer(Question("example.com", "SRV"), (EDGE,), 60.0, additional=(("edge.example.net", ("192.0.2.7",)),))
    asked: list[Question] = []
    located = find(Site("example.com"), {("example.com", "SRV"): answer}, asked)
    assert places(located) == [("192.0.2.7", 5070, "udp")]
    assert ("A", "edge.example.net") not in names(asked)


def test_spec_d7_the_shortest_ttl_of_what_was_used_counts():
    script = {
        ("example.com", "SRV"): Answer(Question("example.com", "SRV"), (EDGE,), 300.0),
        ("edge.example.net", "A"): Answer(Question("edge.example.net", "A"), ("192.0.2.7",), 20.0),
    }
    assert find(Site("example.com"), script).ttl == 20.0


def test_spec_d8_one_answer_is_drawn_from_once():
    records = tuple(Srv(0, 1, 5060 + number, f"host{number}.example.net") for number in range(8))
    draw = DrawOncePerAnswer(random.Random(3))
    first = draw(Answer(Question("example.com", "SRV"), records, 60.0, serial=1))
    assert all(draw(Answer(Question("example.com", "SRV"), records, 10.0, serial=1)) == first for _ in range(20))
    others = {draw(Answer(Question("example.com", "SRV"), records, 60.0, serial=number)) for number in range(2, 12)}
    assert len(others) > 1


def test_rfc_2782_priorities_come_in_order_and_weights_decide_within_one():
    records = [Srv(10, 60, 1, "a"), Srv(10, 30, 2, "b"), Srv(10, 10, 3, "c"), Srv(20, 99, 4, "d")]
    source = random.Random(1)
    firsts = Counter(draw_order(records, source)[0].target for _ in range(4000))
    assert 0.55 < firsts["a"] / 4000 < 0.65
    assert 0.25 < firsts["b"] / 4000 < 0.35
    assert all(draw_order(records, source)[3].target == "d" for _ in range(50))


def test_rfc_2782_a_weight_of_zero_has_a_small_chance_beside_others():
    records = [Srv(1, 0, 1, "zero"), Srv(1, 9, 2, "nine")]
    source = random.Random(1)
    firsts = Counter(draw_order(records, source)[0].target for _ in range(4000))
    assert 0.05 < firsts["zero"] / 4000 < 0.16


def test_faults_38_srv_with_port_zero_leads_nowhere():
    error = fails(Site("example.com"), {("example.com", "SRV"): [Srv(0, 0, 0, "edge.example.net")]})
    assert error.rule == "SPEC D6"


HOSTS = ["a.example", "b.example", "_sip._udp.a.example", "_sip._tcp.a.example", "_sips._tcp.a.example"]
record_sets = st.one_of(
    st.just(SERVFAIL),
    st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]), max_size=40),
    st.lists(
        st.builds(
            Srv, st.integers(0, 3), st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([*HOSTS, ".", ""])
        ),
        max_size=40,
    ),
    st.lists(
        st.builds(
            Naptr,
            st.integers(0, 3),
            st.integers(0, 3),
            st.sampled_from(["s", "S", "a", ""]),
            st.sampled_from(["SIP+D2U", "SIP+D2T", "SIPS+D2T", "x"]),
            st.sampled_from(HOSTS),
        ),
        max_size=6,
    ),
)
scripts = st.dictionaries(
    st.tuples(st.sampled_from(HOSTS), st.sampled_from(["A", "AAAA", "SRV", "NAPTR"])), record_sets, max_size=12
)
sites = st.builds(
    Site,
    st.just("a.example"),
    st.one_of(st.none(), st.integers(1, 65535)),
    st.sampled_from(["udp", "tcp", "tls"]),
    st.sampled_from(["a-first", "srv-first", "rfc3263"]),
    st.sampled_from([("A",), ("AAAA",)]),
    auto_prefix=st.booleans(),
)


@given(sites, scripts, st.randoms(use_true_random=False))
def test_every_lookup_ends_with_bounded_targets_or_a_locate_error(site: Site, script: Script, source: random.Random):
    asked: list[Question] = []
    try:
        located = run(locate(site, fresh_draw(source)), script, asked)
    except LocateError:
        return
    finally:
        assert len(asked) <= 4 + 3 * MAXIMUM_TARGETS
    assert 1 <= len(located.targets) <= MAXIMUM_ADDRESSES
    assert all(0 < target.port < 65536 for target in located.targets)
    assert all(("AAAA" in site.address_types) == (":" in target.address) for target in located.targets)
