"""The code on the how-to pages runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parent.parent / "docs/how-to"
PAGES = ("messages.md", "stack.md", "calls.md", "test-kit.md", "policy.md", "registrations.md")
BLOCKS = [
    pytest.param(code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL), start=1)
]


def test_every_page_has_code() -> None:
    assert len(BLOCKS) >= 9


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "how-to", "exec"), {"__name__": "__main__"})
