"""The C side of the constants is the one that make_names.py writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from sipcore import constants

FOLDER = Path(__file__).parents[1] / "src_pyx" / "sipcore" / "c"


@pytest.mark.native
def test_names_h_is_what_the_constants_say():
    written = subprocess.run([sys.executable, FOLDER / "make_names.py"], capture_output=True, text=True, check=True)
    assert written.stdout == (FOLDER / "names.h").read_text()


def test_no_spelling_stands_for_two_headers():
    spellings = [spelling.lower() for header in constants.HEADERS for spelling in (header.name, header.compact)]
    spellings = [spelling for spelling in spellings if spelling]
    assert len(spellings) == len(set(spellings))
    assert constants.CANONICAL_NAMES["v"] == "Via"
    assert constants.COMPACT_FORMS["Session-Expires"] == "x"


def test_a_status_code_without_a_phrase_of_its_own_has_that_of_its_class():
    assert constants.reason_phrase(486) == "Busy Here"
    assert constants.reason_phrase(499) == "Request Failure"
