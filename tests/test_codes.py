"""The language of X_RegisterRetryResponseCodes (SPEC B10)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcore.policy.codes import DEFAULT_RETRY_CODES, parse_retry_codes

SOURCE = random.Random(5)


@pytest.mark.parametrize(
    ("code", "low", "high"),
    [(401, 120, 120), (407, 120, 120), (403, 120, 120), (404, 120, 120), (900, 120, 200), (901, 120, 200)],
)
def test_spec_b10_the_default_map_waits(code: int, low: int, high: int):
    waits = [DEFAULT_RETRY_CODES.wait(code, 30.0, SOURCE)[0] for _ in range(200)]
    assert low <= min(waits) <= max(waits) <= high
    assert (max(waits) > min(waits)) == (low != high)


@pytest.mark.parametrize("code", [400, 486, 500, 503, 603, 302, 200])
def test_spec_b10_no_wait_means_register_retry_interval(code: int):
    assert DEFAULT_RETRY_CODES.wait(code, 30.0, SOURCE)[0] == 30.0


def test_spec_b10_the_first_element_that_matches_rules():
    codes = parse_retry_codes("(<50[0-2]:w7>|<5xx:w9>)")
    assert codes.wait(501, 30.0, SOURCE)[0] == 7
    assert codes.wait(503, 30.0, SOURCE)[0] == 9


def test_spec_b10_99x_is_a_spelling_of_90x():
    codes = parse_retry_codes("<99[01]:w33>")
    assert codes.wait(900, 30.0, SOURCE)[0] == 33
    assert codes.wait(901, 30.0, SOURCE)[0] == 33


@pytest.mark.parametrize(
    "text",
    ["", "()", "4", "4xx|", "<4xx>", "<4xx:w>", "<4xx:w0>", "<4xx:w9-3>", "<4xx:w999999>", "4[31]x|[]xx", "[4-2]xx",
     "[4--6]xx", "xxx", "200", "<40[34]:w120", "40[34]:w120", "4xx" + "|4xx" * 64],
)  # fmt: skip
def test_a_wrong_map_is_refused(text: str):
    with pytest.raises(ValueError, match=r".+"):
        parse_retry_codes(text)


@given(st.text(alphabet="<>()|[]xw:-0123456789 ", max_size=60))
def test_any_text_is_parsed_or_refused(text: str):
    try:
        codes = parse_retry_codes(text)
    except ValueError:
        return
    for code in (401, 503, 900):
        wait, why = codes.wait(code, 30.0, SOURCE)
        assert 1 <= wait <= 86400
        assert why
