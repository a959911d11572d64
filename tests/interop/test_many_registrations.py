"""Thousands of registrations of one process, kept up on a real registrar for three periods (SPEC B3, B7, B11)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent.parent / "benches/registrations_kamailio.py"

pytestmark = [pytest.mark.interop, pytest.mark.slow]


def test_two_thousand_registrations_stay_up_and_are_taken_back():
    command = [sys.executable, str(BENCH), "--count", "2000", "--period", "20", "--periods", "3", "--spread", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["registered_throughout"] == result["bindings_on_registrar"] == result["count"] == 2200
    assert 3.0 <= result["registers_each"] <= 6.5  # drawn from 70 to 90 % of 20 s, nonces reused
    assert result["tasks"] <= 1 and result["left_on_registrar"] == 0
