"""What both sides of the engine share: the batch's time, callbacks, names, counters, direct answers."""

from collections.abc import Callable, Iterable
from typing import Any, final

from sipcore.limits import Limits

COUNTER_NAMES: tuple[str, ...]

def derive_key(key: bytes, purpose: bytes, /) -> bytes:
    """A key of 16 octets for one purpose, from the engine's own."""

@final
class Agent:
    def __new__(cls, number: int, events: Any) -> Agent: ...
    def set_stateless(self, methods: Iterable[str]) -> None:
        """UsageError for INVITE, ACK and CANCEL, which are nothing without a transaction."""

@final
class Core:
    def __new__(
        cls,
        key: bytes,
        now: float,
        on_wake: Callable[[], None] | None,
        clock: Callable[[], float] | None,
        limits: Limits | None = None,
    ) -> Core: ...
