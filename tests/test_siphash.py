"""The keyed hash of the tables and flow tokens, against its paper, a reference and the interpreter."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from siphash_reference import siphash

from sipcore._connections import ConnectionTable, keyed_hash
from sipcore.errors import UsageError

KEY = bytes(range(16))


def test_the_reference_agrees_with_the_vectors_of_the_paper() -> None:
    assert siphash(KEY, bytes(range(15)), 2, 4) == 0xA129CA6149BE45E5
    assert siphash(KEY, b"", 2, 4) == 0x726FDB47DD0E0E31


def test_siphash_1_3_agrees_with_known_values() -> None:
    assert keyed_hash(bytes(16), b"") == 0xD1FBA762150C532C
    assert keyed_hash(bytes(16), b"siphash") == 0x8264CEECCB16BCBE
    assert keyed_hash(KEY, b"").to_bytes(8, "little").hex() == "dcc40f055801acab"


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=80))
def test_siphash_1_3_agrees_with_the_reference(key: bytes, octets: bytes) -> None:
    assert keyed_hash(key, octets) == siphash(key, octets, 1, 3)


@pytest.mark.native
@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this interpreter hashes otherwise")
def test_siphash_1_3_agrees_with_the_interpreter() -> None:
    script = "import sys; print([hash(sys.argv[1].encode()[:n]) for n in range(8, 40)])"
    text = "z9hG4bK776asdhds" * 3
    run = subprocess.run(
        [sys.executable, "-c", script, text], env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=True
    )
    ours = [keyed_hash(bytes(16), text.encode()[:n]) for n in range(8, 40)]
    assert [value % 2**64 for value in eval(run.stdout)] == ours


def test_a_key_of_another_size_is_refused() -> None:
    for size in (0, 15, 17):
        with pytest.raises(UsageError):
            ConnectionTable(bytes(size))
        with pytest.raises(UsageError):
            keyed_hash(bytes(size), b"")
