"""Workers of one program: which of them a key falls to, when one is started again, how their reports add up.

Knows numbers and words only; processes and sockets are `serving`'s business.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sipcore.policy.backoff import BackOff

GOOD_RUN = 10.0  # seconds; who lived that long is started again at once


def worker_for(key: str, workers: Sequence[int], secret: bytes = b"") -> int:
    """The one of `workers` that owns `key`, the same in each of them; `secret` keeps strangers from aiming at one."""
    hashed = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=secret).digest()
    return workers[int.from_bytes(hashed) % len(workers)]


def free_numbers(count: int, taken: Iterable[int], limit: int = 256) -> tuple[int, ...]:
    """The lowest `count` numbers that nobody has; ValueError when there are not so many."""
    used = set(taken)
    free = [number for number in range(limit) if number not in used]
    if len(free) < count:
        raise ValueError(f"only {len(free)} of {limit} numbers are free, {count} are wanted")
    return tuple(free[:count])


class Restarts:
    """How long a worker that died waits before it is started again: no storm of restarts."""

    __slots__ = ("_back_off", "deaths")

    def __init__(self, source: random.Random) -> None:
        self._back_off = BackOff(source)
        self.deaths = 0

    def wait_after(self, lived: float) -> float:
        """Seconds to wait after a run of `lived` seconds; each call is one more death."""
        self.deaths += 1
        if lived >= GOOD_RUN:
            self._back_off.reset()
            return 0.0
        return self._back_off.next_wait()


def merge_reports(reports: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One report of many: numbers are added, lists joined, mappings merged; of anything else the last one holds."""
    whole: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            whole[name] = _merged(whole[name], value) if name in whole else value
    return whole


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return merge_reports((one, other))
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    if _is_number(one) and _is_number(other):
        return one + other
    return other


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
