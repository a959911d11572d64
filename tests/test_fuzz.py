"""Every fuzz target on its corpus, without the fuzzer: what was found once is never found again (FAULTS 9)."""

import sys
from pathlib import Path

import pytest
from header_samples import MALFORMED, WELL_FORMED
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "fuzz"))

from targets import TARGETS  # noqa: E402

SAMPLES = [
    *(HERE / "corpus").glob("*.sip"),
    *(HERE / "torture").glob("rfc*/*.dat"),
    *(HERE / "fuzz" / "corpus" / "scan").iterdir(),
]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_keeps_its_promises_on_its_corpus(name: str) -> None:
    inputs = [path for path in (HERE / "fuzz" / "corpus" / name).glob("*") if path.is_file()]
    assert inputs, f"the corpus of {name} is empty"
    for path in inputs:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_messages_keep_the_promises_of_all_targets(path: Path) -> None:
    data = path.read_bytes()
    for name in ("parse", "differential", "framer"):
        TARGETS[name](data)
    TARGETS["framer"](b"\x00\x01\x40\x03" + data * 3)
    TARGETS["sdp"](data.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("name", WELL_FORMED)
def test_header_samples_keep_the_promises(name: str) -> None:
    for text in WELL_FORMED[name] + MALFORMED.get(name, []):
        data = text.encode("utf-8", "surrogateescape")
        TARGETS["headers"](name.encode() + b": " + data)
        TARGETS["uri"](data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=300))
def test_any_octets_keep_the_promises(name: str, data: bytes) -> None:
    TARGETS[name](data)
