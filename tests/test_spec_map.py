"""Every rule has a test, and the map of rules to tests can be written."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "spec_map.py"))


def test_every_rule_of_policy_has_a_test():
    held = {rule for _, _, rules in SCRIPT["tests"]() for rule in rules}
    assert not {rule for rule in SCRIPT["RULES"] if rule[0] in "ABD"} - held


def test_the_page_has_every_rule_with_its_tests():
    page = SCRIPT["page"]()
    for rule, title in SCRIPT["RULES"].items():
        assert f"## {rule}. {title}\n" in page
    assert "`test_spec_d2_an_a_record_ends_the_search` (tests/test_locate.py)" in page
    assert SCRIPT["PAGE"].read_text().startswith(page.partition("##")[0])


@pytest.mark.parametrize(
    ("cited", "rules"), [("B5", ["B5"]), ("B5, D6", ["B5", "D6"]), ("C6-C8 and D1", ["C6", "C7", "C8", "D1"])]
)
def test_citations_are_read(cited: str, rules: list[str]):
    assert list(SCRIPT["expand"](cited)) == rules
