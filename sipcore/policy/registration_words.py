"""A registration in the device's words (SPEC F1)."""

from __future__ import annotations

from sipcore.policy.decisions import format_seconds
from sipcore.policy.register import RegisterFailure
from sipcore.policy.registration_table import State

WORDS = {
    State.IDLE: "Not Started",
    State.OFFLINE: "Waiting for the Connection",
    State.LEAVING: "Unregistering",
    State.STOPPING: "Unregistering",
    State.STOPPED: "Stopped",
}


def describe(
    now: float,
    *,
    state: State,
    server: str,
    bound_until: float | None,
    failure: RegisterFailure | None,
    next_attempt: float | None,
) -> str:
    """One line: registered until when and where, or what went wrong and when it is tried again."""
    if state in (State.LEAVING, State.STOPPING, State.STOPPED):
        return WORDS[state]
    if bound_until is not None and now < bound_until and failure is None:
        return f"Registered (server={server or 'none'}; expire in {format_seconds(bound_until - now)})"
    if failure is None:
        return WORDS.get(state, "Registering")
    text = f"Register Failed: {failure.text} (server={failure.server or 'none'}"
    if next_attempt is None or state not in (State.WAITING, State.ORDERED):
        return f"{text}; trying)"
    return f"{text}; retry in {format_seconds(next_attempt - now)})"
