"""Refer-To (RFC 3515) and Referred-By (RFC 3892)."""

from __future__ import annotations

from dataclasses import dataclass

from sipcore._fields import Address
from sipcore._uri import Uri, unescape
from sipcore.errors import ParseError
from sipcore.headers.addresses import format_address, parse_address
from sipcore.headers.dialogs import Replaces, parse_replaces


@dataclass(frozen=True, slots=True)
class ReferTo:
    """Where a REFER sends its recipient."""

    address: Address

    @property
    def uri(self) -> Uri:
        return self.address.uri

    @property
    def method(self) -> str:
        """The method to use there, INVITE where the URI names none."""
        return self.uri.parameters.get("method") or "INVITE"

    @property
    def replaces(self) -> Replaces | None:
        """The Replaces header embedded in the URI (RFC 3891 section 4); ParseError when malformed."""
        for name, value in self.uri.headers.items():
            if unescape(name).lower() == "replaces":
                return parse_replaces(unescape(value))
        return None

    def __str__(self) -> str:
        return format_refer_to(self)


@dataclass(frozen=True, slots=True)
class ReferredBy:
    """Who sent the REFER; `content_id` names the body part that proves it."""

    address: Address

    @property
    def uri(self) -> Uri:
        return self.address.uri

    @property
    def content_id(self) -> str | None:
        return self.address.parameters.get("cid")

    def __str__(self) -> str:
        return format_referred_by(self)


def parse_refer_to(text: str) -> ReferTo:
    value = ReferTo(parse_address(text))
    try:
        _ = value.replaces
    except ParseError as error:
        raise ParseError(f"the Replaces of Refer-To: {error.reason}") from None
    return value


def parse_referred_by(text: str) -> ReferredBy:
    return ReferredBy(parse_address(text))


def format_refer_to(value: ReferTo) -> str:
    return format_address(value.address)


def format_referred_by(value: ReferredBy) -> str:
    return format_address(value.address)
