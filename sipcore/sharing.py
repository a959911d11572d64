"""One object for equal texts: what thousands of registrations are told alike is kept once.

Bounded, and forgetful: a text that falls out is merely kept twice.
"""

from __future__ import annotations

from functools import lru_cache

LONGEST = 256


def share(text: str) -> str:
    """A text equal to `text`, the same object for equal ones that came lately."""
    return _share(text) if len(text) <= LONGEST else text


@lru_cache(maxsize=1024)
def _share(text: str) -> str:
    return text
