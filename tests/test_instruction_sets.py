"""Every way of indexing header lines gives the same index, and reads nothing behind the octets (FAULTS 1)."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sip_samples import CORPUS, request
from torture_checks import MESSAGES, octets_of

from sipcore._message import instruction_sets, parse, salvage, use_instruction_set
from sipcore.errors import ParseError, UsageError

SETS = instruction_sets()
SAMPLES = [*CORPUS.values(), *map(octets_of, MESSAGES)]
SCAN = Path(__file__).parents[1] / "src_pyx" / "sipcore" / "c" / "scan.c"


@pytest.fixture(autouse=True)
def best_again():
    yield
    use_instruction_set(SETS[0])


def described(data):
    """All that a parse tells of some octets."""
    try:
        message = parse(data)
    except ParseError as error:
        kept = salvage(data)
        return (error.reason, error.at, error.status_hint, kept and kept.headers, kept and kept.call_id)
    values = (message.call_id, message.cseq, str(message.top_via), str(message.from_), str(message.to))
    return (message.headers, message.body, bytes(message), values)


def agree(data):
    found = []
    for name in SETS:
        use_instruction_set(name)
        found.append(described(data))
    assert all(one == found[0] for one in found), (data, found)


def test_the_plain_one_is_always_there():
    assert "scalar" in SETS
    with pytest.raises(UsageError):
        use_instruction_set("abacus")


@pytest.mark.parametrize("at", range(len(SAMPLES)))
def test_all_agree_on_every_sample(at):
    agree(SAMPLES[at])


@pytest.mark.parametrize("name", ["options", "invite_big"])
def test_all_agree_on_every_size_of_a_line(name):
    head, body = CORPUS[name].split(b"\r\n\r\n", 1)
    for size in range(140):
        for line in (b"X: " + b"y" * size, b"X" * (size + 1) + b":", b"Subject:" + b" " * size + b"z" + b"\t" * size):
            agree(head + b"\r\n" + line + b"\r\n\r\n" + body)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=300)
def test_all_agree_on_mutated_samples(data, draw):
    at = draw.draw(st.integers(0, len(data)))
    octets = draw.draw(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n ", b"\r\n\r\n", b":", b"\0", b"\x01", b"\xff", b"A", b""])
    )
    agree(data[:at] + octets + data[at + draw.draw(st.integers(0, 3)) :])


@given(st.text("Viaf:-\r\n \tX\x01é", max_size=200))
@settings(max_examples=300)
def test_all_agree_on_any_lines(text):
    agree(b"OPTIONS sip:a@b.c SIP/2.0\r\n" + text.encode("latin-1") + b"\r\n\r\n")


def test_all_agree_on_many_headers():
    for count in (41, 1000, 2100):
        agree(request(*(f"X-{number}: {number}" for number in range(count))))


# ---- the same without Python, at guard pages


@pytest.mark.native
def test_all_agree_on_truncations_mutations_and_noise(tmp_path):
    """instruction_sets.c, for this machine; tests/interop/test_arm.py runs it for another."""
    program = tmp_path / "instruction_sets"
    source = Path(__file__).with_name("instruction_sets.c")
    subprocess.run(["cc", "-O2", f"-I{SCAN.parent}", "-o", program, source, SCAN], check=True)
    files = [path for folder in ("corpus", "torture") for path in Path(__file__).with_name(folder).rglob("*.*")]
    done = subprocess.run([program, "30", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[: len(SETS)] == SETS
