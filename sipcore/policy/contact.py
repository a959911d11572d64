"""The address that a service's Contact shows (SPEC A1, A3, B14)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from sipcore.policy.forms import contact_of

Address = tuple[str, int]
SETTLES = 60.0
NEVER = float("-inf")


@lru_cache(maxsize=256)
def _shared(host: str, port: int) -> Address:
    """One pair for the many that are at the same address."""
    return host, port


@dataclass(frozen=True, slots=True)
class ContactAddress:
    """The `local` address, and the public one once an answer gave it; a value, which many may have in common.

    `unstable` is true after a second public address came within 60 s of the
    first; it was not followed.  A `fixed` Contact URI was given whole: addresses
    that are learnt or lost do not change it.
    """

    local: Address
    public: Address | None = None
    learnt_at: float = NEVER
    unstable: bool = False
    fixed: str = ""

    @property
    def shown(self) -> Address:
        return self.public or self.local

    def moved(self, host: str, port: int) -> ContactAddress:
        """The local address changed: what was learnt of the old one is void."""
        return contact_address(host, port, self.fixed)

    def learnt(self, now: float, received: str, rport: int | None) -> ContactAddress:
        """An answer says how we are seen from there (RFC 3581); "" and None where it is silent."""
        if self.fixed or (not received and not rport):
            return self
        seen = _shared(received or self.local[0], rport or self.local[1])
        if seen == self.shown:
            return self
        if now - self.learnt_at < SETTLES:
            return replace(self, unstable=True)
        return replace(self, public=seen, learnt_at=now, unstable=False)

    def settled(self) -> ContactAddress:
        """It was said that it is unstable."""
        return replace(self, unstable=False)

    def uri(self, scheme: str, user: str, transport: str) -> str:
        """The Contact URI."""
        return self.fixed or contact_of(scheme, user, *self.shown, transport)


@lru_cache(maxsize=256)
def contact_address(host: str, port: int, fixed: str = "") -> ContactAddress:
    """Nothing learnt yet; `fixed` is a Contact URI that was given whole."""
    return ContactAddress(_shared(host, port), fixed=fixed)
