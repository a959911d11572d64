"""The location service: which contacts an address of record is bound to (RFC 3261 section 10.3).

Bindings live in memory, every size is bounded, and a REGISTER changes all of
its bindings or none.  Does not know messages, transports, digest or clocks:
`now` is given, and a refusal is an exception that carries the status code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sipcore.errors import SipError

CLOCK_GRAIN = 1e-6  # seconds; what floating point adds to a sum is no second more

Header = tuple[str, str]


class RegisterRefused(SipError):
    """A REGISTER that must be answered with `status_code` (RFC 3261 section 10.3); no binding was changed."""

    def __init__(self, status_code: int, reason_phrase: str | None = None, *, headers: Sequence[Header] = ()) -> None:
        super().__init__(status_code, reason_phrase)
        self.status_code = status_code
        self.reason_phrase = reason_phrase
        self.headers = tuple(headers)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one location service holds at most, and the life that it grants (seconds)."""

    minimum_expires: int = 60
    maximum_expires: int = 3600
    default_expires: int = 3600
    bindings_per_address: int = 10
    addresses: int = 100_000
    contact_size: int = 1024
    path_size: int = 4096


@dataclass(frozen=True, slots=True)
class Binding:
    """One contact of an address of record.

    `contact` is the URI as registered, `key` what tells it from others: its
    comparable form, or instance and reg-id where the client uses outbound (RFC
    5626 section 6).  `path` is the Path of its REGISTER (RFC 3327), `flow` the
    connection that REGISTER came in on (0: reach the contact by its URI).
    """

    key: str
    contact: str
    expires_at: float
    call_id: str
    sequence: int
    q: float = 1.0
    path: tuple[str, ...] = ()
    instance: str = ""
    reg_id: int = 0
    flow: int = 0

    def expires_in(self, now: float) -> int:
        """Whole seconds of life left, rounded up so that a live binding never shows 0."""
        return max(0, math.ceil(self.expires_at - now - CLOCK_GRAIN))


@dataclass(frozen=True, slots=True)
class Update:
    """What a REGISTER wants of one contact; `expires` is in seconds, None where it named none (the default holds)."""

    key: str
    contact: str
    expires: int | None
    q: float = 1.0
    instance: str = ""
    reg_id: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """The part of a REGISTER that all of its contacts share."""

    call_id: str
    sequence: int
    path: tuple[str, ...] = ()
    flow: int = 0


@dataclass(slots=True)
class LocationService:
    """Addresses of record and their bindings."""

    limits: Limits = field(default_factory=Limits)
    _bindings: dict[str, dict[str, Binding]] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many addresses of record have a binding, those that ended unnoticed included."""
        return len(self._bindings)

    def bindings(self, address_of_record: str, now: float) -> tuple[Binding, ...]:
        """The live bindings, best q first, then the newest registration of equals."""
        held = self._live(address_of_record, now)
        return tuple(sorted(held.values(), key=lambda binding: (-binding.q, -binding.expires_at)))

    def addresses(self, now: float) -> list[str]:
        """The addresses of record that are bound now, in the order they came."""
        return [address for address in list(self._bindings) if self._live(address, now)]

    def update(
        self, address_of_record: str, updates: Sequence[Update], registration: Registration, now: float
    ) -> tuple[Binding, ...]:
        """Apply all `updates`, or none and raise RegisterRefused (RFC 3261 section 10.3 steps 6 and 7)."""
        self._check_sizes(updates, registration)
        held = dict(self._live(address_of_record, now))
        for update in updates:
            self._apply(held, update, registration, now)
        if len(held) > self.limits.bindings_per_address:
            raise RegisterRefused(403, "Too Many Contacts")
        return self._commit(address_of_record, held, now)

    def remove_all(self, address_of_record: str, registration: Registration, now: float) -> None:
        """`Contact: *` with expires 0; refused as a whole when one binding is newer (RFC 3261 section 10.3 step 6)."""
        for binding in self._live(address_of_record, now).values():
            _check_order(binding, registration)
        self._bindings.pop(address_of_record, None)

    def restore(self, address_of_record: str, bindings: Iterable[Binding]) -> None:
        """Have these bindings and no others: what was kept elsewhere."""
        held = {binding.key: binding for binding in bindings}
        self._bindings.pop(address_of_record, None)
        if held:
            self._bindings[address_of_record] = held

    def forget_flow(self, flow: int) -> int:
        """Drop the bindings that could only be reached on this connection (RFC 5626 section 6); their count."""
        dropped = 0
        for address_of_record, held in list(self._bindings.items()):
            for key in [key for key, binding in held.items() if flow and binding.flow == flow]:
                del held[key]
                dropped += 1
            if not held:
                del self._bindings[address_of_record]
        return dropped

    def expire(self, now: float) -> int:
        """Drop every binding whose time is over; returns how many addresses of record were left without one."""
        before = len(self._bindings)
        for address_of_record in list(self._bindings):
            self._live(address_of_record, now)
        return before - len(self._bindings)

    def _live(self, address_of_record: str, now: float) -> dict[str, Binding]:
        held = self._bindings.get(address_of_record)
        if held is None:
            return {}
        for key in [key for key, binding in held.items() if binding.expires_at <= now]:
            del held[key]
        if not held:
            del self._bindings[address_of_record]
        return held

    def _check_sizes(self, updates: Sequence[Update], registration: Registration) -> None:
        if len(updates) > self.limits.bindings_per_address:
            raise RegisterRefused(403, "Too Many Contacts")
        if any(len(update.contact) + len(update.instance) > self.limits.contact_size for update in updates):
            raise RegisterRefused(403, "Contact Too Large")
        if sum(map(len, registration.path)) > self.limits.path_size:
            raise RegisterRefused(403, "Path Too Large")

    def _apply(self, held: dict[str, Binding], update: Update, registration: Registration, now: float) -> None:
        granted = self._granted(update.expires)
        if update.key in held:
            _check_order(held[update.key], registration)
        if granted == 0:
            held.pop(update.key, None)
            return
        held[update.key] = Binding(
            key=update.key,
            contact=update.contact,
            expires_at=now + granted,
            call_id=registration.call_id,
            sequence=registration.sequence,
            q=update.q,
            path=registration.path,
            instance=update.instance,
            reg_id=update.reg_id,
            flow=registration.flow,
        )

    def _granted(self, asked: int | None) -> int:
        if asked is None:
            return self.limits.default_expires
        if 0 < asked < self.limits.minimum_expires:
            raise RegisterRefused(423, headers=[("Min-Expires", str(self.limits.minimum_expires))])
        return min(asked, self.limits.maximum_expires)

    def _commit(self, address_of_record: str, held: dict[str, Binding], now: float) -> tuple[Binding, ...]:
        if not held:
            self._bindings.pop(address_of_record, None)
            return ()
        if address_of_record not in self._bindings and len(self._bindings) >= self.limits.addresses:
            raise RegisterRefused(503, headers=[("Retry-After", "60")])
        self._bindings[address_of_record] = held
        return self.bindings(address_of_record, now)


def _check_order(binding: Binding, registration: Registration) -> None:
    """A REGISTER of the same Call-ID that is not newer changes nothing (RFC 3261 section 10.3 step 7, FAULTS 44)."""
    if binding.call_id == registration.call_id and registration.sequence <= binding.sequence:
        raise RegisterRefused(500, "CSeq Out Of Order")


def format_contacts(bindings: Iterable[Binding], now: float) -> list[Header]:
    """The Contact headers of a 200 to REGISTER: every live binding with its life (RFC 3261 section 10.3 step 8)."""
    return [("Contact", _format_contact(binding, now)) for binding in bindings]


def _format_contact(binding: Binding, now: float) -> str:
    text = f"<{binding.contact}>;expires={binding.expires_in(now)}"
    if binding.q != 1.0:
        text += f";q={binding.q:g}"
    if binding.instance:
        text += f';+sip.instance="{binding.instance}"'
    if binding.reg_id:
        text += f";reg-id={binding.reg_id}"
    return text
