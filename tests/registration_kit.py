"""What the tests of the registration machine share."""

import random

from sipcore.policy.locate import Target
from sipcore.policy.register import (
    RegisterResponse,
    RegistrationPlan,
    SendRegister,
)
from sipcore.policy.registration import (
    Action,
    RegistrationMachine,
    State,
)

HERE = "192.0.2.10:5060"
FIRST = Target("a.example", "192.0.2.1", 5060, "udp", priority=10)
SECOND = Target("b.example", "192.0.2.2", 5060, "udp", priority=20)
EQUAL = Target("c.example", "192.0.2.3", 5060, "udp", priority=10)
MINUTE = RegisterResponse(200, "OK", expires=60)


def plan(**changes: object) -> RegistrationPlan:
    base = {"request_uri": "sip:example.com", "address_of_record": "sip:alice@example.com", "contact_user": "alice"}
    return RegistrationPlan(**{**base, **changes})  # type: ignore[arg-type]


def machine(seed: int = 1, **changes: object) -> RegistrationMachine:
    return RegistrationMachine(plan(**changes), host="192.0.2.9", port=5060, random=random.Random(seed))


def sent(actions: list[Action]) -> SendRegister:
    found = [action for action in actions if isinstance(action, SendRegister)]
    assert len(found) == 1, actions
    return found[0]


def none_sent(actions: list[Action]) -> bool:
    return not any(isinstance(action, SendRegister) for action in actions)


def of(kind: type, actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def answer(which: RegistrationMachine, now: float, response: RegisterResponse, token: int = 0) -> list[Action]:
    return which.on_response(now, token or which._token, response, server=HERE)


def registered(now: float = 0.0, **changes: object) -> RegistrationMachine:
    which = machine(**changes)
    which.on_start(now)
    which.on_connected(now)
    answer(which, now, MINUTE)
    assert which.state is State.REGISTERED
    return which


def refused(code: int, now: float = 0.0, reason: str = "", **extra: object) -> tuple[RegistrationMachine, float]:
    """(machine, seconds it waits) after this failure."""
    which = machine()
    which.on_start(now)
    answer(which, now, RegisterResponse(code, reason, **extra))  # type: ignore[arg-type]
    assert which.next_attempt is not None
    return which, which.next_attempt - now
