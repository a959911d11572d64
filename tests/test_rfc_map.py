"""The map of RFC sections to code is read from the citations in it."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "rfc_map.py"))


def test_every_rfc_that_the_code_cites_has_a_title():
    assert {rfc for rfc, _, _ in SCRIPT["citations"]()} <= SCRIPT["RFCS"].keys()


def test_every_place_names_a_file():
    for _, _, place in SCRIPT["citations"]():
        assert (SCRIPT["ROOT"] / place.partition(":")[0]).is_file()


def test_a_python_citation_belongs_to_its_innermost_definition():
    text = '"""RFC 3261"""\nclass A:\n    def f(self):\n        """RFC 3261 sections 8.1 and 17.1.1."""\n'
    assert list(SCRIPT["of_python"](text, "a.py")) == [
        (3261, "", "a.py"),
        (3261, "8.1", "a.py:A.f"),
        (3261, "17.1.1", "a.py:A.f"),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/* a.h - all of it (RFC 3261 section 7). */\n#ifndef A_H\n", "a.h"),
        ("/* What this does\n * (RFC 3261 section 7). */\nstatic inline int f(int a)\n", "a.h:f"),
        ("struct s {\n    int a; /* RFC 3261 section 7 */\n};\n", "a.h:s"),
        ('cdef class C:\n    """RFC 3261 section 7"""\n', "a.h:C"),
        ('cdef class C:\n    cdef object f(self):\n        """\n\n        RFC 3261 section 7"""\n', "a.h:f"),
    ],
)
def test_a_compiled_citation_belongs_to_what_it_describes(text: str, place: str):
    assert list(SCRIPT["of_compiled"](text, "a.h")) == [(3261, "7", place)]
