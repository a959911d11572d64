"""The address that a service's Contact shows (SPEC A1, A3, B14)."""

from __future__ import annotations

from functools import lru_cache

from sipcore.policy.forms import contact_of

Address = tuple[str, int]
SETTLES = 60.0
NEVER = float("-inf")


@lru_cache(maxsize=256)
def _shared(host: str, port: int) -> Address:
    """One pair for the many that are at the same address."""
    return host, port


class ContactAddress:
    """The local address, and the public one once an answer gave it.

    `unstable` is true after a second public address came within 60 s of the
    first; it was not followed.
    """

    __slots__ = ("_changed_at", "_public", "local", "unstable")

    def __init__(self, host: str, port: int) -> None:
        self.local: Address = _shared(host, port)
        self.unstable = False
        self._public: Address | None = None
        self._changed_at = NEVER

    @property
    def shown(self) -> Address:
        return self._public or self.local

    def move(self, host: str, port: int) -> None:
        """The local address changed: what was learnt of the old one is void."""
        self.local, self._public = _shared(host, port), None
        self._changed_at = NEVER

    def learn(self, now: float, received: str, rport: int | None) -> None:
        """An answer says how we are seen from there (RFC 3581); "" and None where it is silent."""
        if not received and not rport:
            return
        seen = _shared(received or self.local[0], rport or self.local[1])
        if seen == self.shown:
            return
        self.unstable = now - self._changed_at < SETTLES
        if not self.unstable:
            self._public, self._changed_at = seen, now

    def uri(self, scheme: str, user: str, transport: str) -> str:
        """The Contact URI."""
        host, port = self.shown
        return contact_of(scheme, user, host, port, transport)


class FixedContact(ContactAddress):
    """A Contact URI that was given whole: addresses that are learnt or lost do not change it."""

    __slots__ = ("_uri",)

    def __init__(self, uri: str, host: str, port: int) -> None:
        super().__init__(host, port)
        self._uri = uri

    def learn(self, now: float, received: str, rport: int | None) -> None:
        """What an answer says of us makes no difference."""

    def uri(self, scheme: str, user: str, transport: str) -> str:
        return self._uri
