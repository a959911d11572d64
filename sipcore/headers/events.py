"""Event and Subscription-State (RFC 6665 sections 8.2.1 and 8.2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from sipcore.headers.grammar import Cursor, check_token, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters


@dataclass(frozen=True, slots=True)
class Event:
    """An event type `package[.template]` with its parameters; package and id are compared with case (section 8.2.1)."""

    type: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def package(self) -> str:
        return self.type.partition(".")[0]

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(self.type.split(".")[1:])

    @property
    def id(self) -> str | None:
        return self.parameters.get("id")

    def matches(self, other: Event) -> bool:
        """Whether both name one subscription's events: same type and id."""
        return (self.type, self.id) == (other.type, other.id)

    def __str__(self) -> str:
        return format_event(self)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """`active`, `pending`, `terminated` or another token, in lower case, and why."""

    state: str
    parameters: Parameters = NO_PARAMETERS

    @property
    def reason(self) -> str | None:
        """In lower case: deactivated, probation, rejected, timeout, giveup, noresource, invariant."""
        reason = self.parameters.get("reason")
        return None if reason is None else reason.lower()

    @property
    def expires(self) -> int | None:
        """Seconds left."""
        return self.parameters.integer("expires")

    @property
    def retry_after(self) -> int | None:
        """Seconds to wait before subscribing again."""
        return self.parameters.integer("retry-after")

    def __str__(self) -> str:
        return format_subscription_state(self)


def read_subscription_state(cursor: Cursor) -> SubscriptionState:
    value = SubscriptionState(cursor.token("a subscription state").lower(), read_parameters(cursor))
    value.parameters.integer("expires")
    value.parameters.integer("retry-after")
    return value


def parse_event(text: str) -> Event:
    return parse_whole(text, lambda cursor: Event(cursor.token("an event type"), read_parameters(cursor)))


def parse_subscription_state(text: str) -> SubscriptionState:
    return parse_whole(text, read_subscription_state)


def format_event(value: Event) -> str:
    return f"{check_token(value.type)}{value.parameters}"


def format_subscription_state(value: SubscriptionState) -> str:
    return f"{check_token(value.state)}{value.parameters}"
