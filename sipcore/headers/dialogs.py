"""Headers that name a dialog: Replaces (RFC 3891), Join (RFC 3911), Target-Dialog (RFC 4538)."""

from __future__ import annotations

from dataclasses import dataclass

from sipcore.headers.grammar import TOKEN, Cursor, check_token, parse_whole
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters
from sipcore.headers.tokens import format_call_id, read_call_id


@dataclass(frozen=True, slots=True)
class Replaces:
    """The dialog to replace, as its user agent sees it: `to_tag` is the local one there.

    `early_only`: only while it is early.  Join has the same shape without `early_only`.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return format_replaces(self)


@dataclass(frozen=True, slots=True)
class TargetDialog:
    """The dialog that a request belongs with; local and remote as the recipient sees them."""

    call_id: str
    local_tag: str
    remote_tag: str
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return format_target_dialog(self)


def take_tag(cursor: Cursor, parameters: Parameters, name: str) -> str:
    """A required tag; it stands exactly once (RFC 3891 section 6.1)."""
    if sum(1 for item in parameters.items_in_order if item.name.lower() == name) != 1:
        cursor.fault(f"{name} does not stand exactly once")
    tag = parameters[name]
    if not tag or not TOKEN.fullmatch(tag):
        cursor.fault(f"{name} is not a token")
    return tag


def read_replaces(cursor: Cursor) -> Replaces:
    call_id = read_call_id(cursor)
    parameters = read_parameters(cursor)
    to_tag = take_tag(cursor, parameters, "to-tag")
    from_tag = take_tag(cursor, parameters, "from-tag")
    early_only = "early-only" in parameters
    others = parameters.without("to-tag").without("from-tag").without("early-only")
    return Replaces(call_id, to_tag, from_tag, early_only, others)


def read_target_dialog(cursor: Cursor) -> TargetDialog:
    call_id = read_call_id(cursor)
    parameters = read_parameters(cursor)
    local_tag = take_tag(cursor, parameters, "local-tag")
    remote_tag = take_tag(cursor, parameters, "remote-tag")
    return TargetDialog(call_id, local_tag, remote_tag, parameters.without("local-tag").without("remote-tag"))


def parse_replaces(text: str) -> Replaces:
    return parse_whole(text, read_replaces)


def parse_target_dialog(text: str) -> TargetDialog:
    return parse_whole(text, read_target_dialog)


def format_replaces(value: Replaces) -> str:
    tags = f";to-tag={check_token(value.to_tag)};from-tag={check_token(value.from_tag)}"
    early_only = ";early-only" if value.early_only else ""
    return f"{format_call_id(value.call_id)}{tags}{early_only}{value.parameters}"


def format_target_dialog(value: TargetDialog) -> str:
    tags = f";local-tag={check_token(value.local_tag)};remote-tag={check_token(value.remote_tag)}"
    return f"{format_call_id(value.call_id)}{tags}{value.parameters}"
