"""Decisions read as answers (SPEC D9)."""

import json
from dataclasses import replace

from sipcore.policy.decisions import Decision, DecisionRing, format_host_port
from sipcore.policy.questions import Answer, Failure, Question, Srv

ANSWERS = (
    Answer(Question("edge.example.net", "A"), (), 30.0, age=4.0, server="192.0.2.53:53"),
    Answer(Question("edge.example.net", "SRV"), (Srv(10, 5, 5070, "h.example.net"),), 60.0, server="192.0.2.53:53"),
    Failure(Question("h.example.net", "A"), "192.0.2.53:53: SERVFAIL"),
)
DECISION = Decision(
    10.0,
    "BYE sip:bob@example.com",
    "SRV record of edge.example.net, its port",
    "SPEC D2.2, D3",
    questions=ANSWERS,
    address="192.0.2.7",
    port=5070,
    transport="udp",
    connection="flow 7",
    bypassed="OutboundProxy edge.example.net (SPEC C8)",
    next_attempt=40.5,
)


def test_spec_d9_one_line_says_where_and_why():
    assert str(DECISION) == (
        "BYE sip:bob@example.com -> 192.0.2.7:5070 udp: SRV record of edge.example.net, its port (SPEC D2.2, D3);"
        " next attempt in 30.5s"
    )


def test_spec_d9_the_lines_name_questions_servers_ages_rule_and_what_was_passed_over():
    text = "\n".join(DECISION.lines())
    for part in (
        "goes to     192.0.2.7:5070 udp",
        "connection  flow 7",
        "because     SRV record of edge.example.net, its port (SPEC D2.2, D3)",
        "passed over OutboundProxy edge.example.net (SPEC C8)",
        "A edge.example.net: not found (from 192.0.2.53:53, 4s old, TTL 30s)",
        "SRV edge.example.net: 10 5 h.example.net:5070",
        "A h.example.net: failed, 192.0.2.53:53: SERVFAIL",
        "again       in 30.5s",
    ):
        assert part in text


def test_spec_d9_a_host_name_a_note_and_a_cname_are_told():
    alias = Answer(Question("alias.example.net", "A"), ("192.0.2.7",), 30.0, canonical="h.example.net")
    decision = replace(DECISION, host_name="h.example.net", notes=("one of two",), questions=(alias,))
    text = "\n".join(decision.lines())
    assert "goes to     192.0.2.7:5070 udp  (h.example.net)" in text
    assert "note        one of two" in text
    assert "asked DNS   A alias.example.net: CNAME h.example.net, 192.0.2.7 (" in text


def test_a_decision_without_an_address_goes_nowhere():
    decision = Decision(0.0, "REGISTER sip:example.com", "not found", "SPEC D2.3")
    assert "-> nowhere: not found" in str(decision)
    assert "  asked DNS   nothing" in decision.lines()


def test_a_decision_as_a_dictionary_is_plain_json():
    assert json.loads(json.dumps(DECISION.as_dict()))["questions"][0].startswith("A edge.example.net")


def test_the_ring_is_bounded_and_counts_all():
    ring = DecisionRing(maxlen=4)
    for number in range(10):
        ring.append(Decision(float(number), "x", "y", "z"))
    assert [decision.at for decision in ring] == [6.0, 7.0, 8.0, 9.0]
    assert ring.count == 10
    assert ring.latest is not None
    assert ring.latest.at == 9.0


def test_an_ipv6_address_stands_in_brackets():
    assert format_host_port("2001:db8::1", 5060) == "[2001:db8::1]:5060"
    assert format_host_port("[2001:db8::1]", None) == "[2001:db8::1]"
