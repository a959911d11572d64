"""Contact (RFC 3261 section 20.10) and the parameters of bindings: q, expires, +sip.instance, reg-id (RFC 5626).

Does not know which bindings there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore._fields import Address
from sipcore._uri import Uri
from sipcore.errors import ParseError, UsageError
from sipcore.headers.addresses import bracketed, check_number_parameter, format_address, read_address
from sipcore.headers.grammar import (
    DELTA_SECONDS_MOST,
    Cursor,
    bounded_integer,
    format_qvalue,
    parse_list,
    parse_whole,
)

MALFORMED_EXPIRES = 3600
"""What a malformed expires parameter counts as (RFC 3261 section 20.10)."""

REG_ID_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact, or `*` (`address` None): every binding of an address of record (section 10.2.2)."""

    address: Address | None

    @classmethod
    def build(
        cls,
        uri: Uri | str,
        display_name: str | None = None,
        *,
        q: float | None = None,
        expires: int | None = None,
        instance: str | None = None,
        reg_id: int | None = None,
    ) -> Contact:
        """From values; `instance` is a URN without brackets.  UsageError for what cannot be written."""
        if expires is not None and not 0 <= expires <= DELTA_SECONDS_MOST:
            raise UsageError(f"expires {expires} is not between 0 and {DELTA_SECONDS_MOST}")
        if reg_id is not None and not 1 <= reg_id <= REG_ID_MOST:
            raise UsageError(f"reg-id {reg_id} is not between 1 and {REG_ID_MOST}")
        values = {
            "q": None if q is None else format_qvalue(q),
            "expires": None if expires is None else str(expires),
            "+sip.instance": None if instance is None else bracketed(instance),
            "reg-id": None if reg_id is None else str(reg_id),
        }
        parameters = {name: value for name, value in values.items() if value is not None}
        return cls(Address.build(uri, display_name, parameters))

    @property
    def is_wildcard(self) -> bool:
        return self.address is None

    @property
    def uri(self) -> Uri | None:
        return None if self.address is None else self.address.uri

    @property
    def parameters(self) -> dict[str, str | None]:
        return {} if self.address is None else self.address.parameters

    @property
    def q(self) -> float | None:
        """0 to 1; None when absent."""
        text = self.parameters.get("q", "")
        return None if text == "" else parse_whole(text or "", Cursor.qvalue)

    @property
    def expires(self) -> int | None:
        """Seconds; None when absent, 3600 when malformed or too large (RFC 3261 section 20.10)."""
        if "expires" not in self.parameters:
            return None
        number = bounded_integer(self.parameters["expires"] or "", DELTA_SECONDS_MOST)
        return MALFORMED_EXPIRES if number is None else number

    @property
    def instance(self) -> str | None:
        """The URN of +sip.instance without its brackets (RFC 5626 section 4.1)."""
        text = self.parameters.get("+sip.instance")
        return None if text is None else text.removeprefix("<").removesuffix(">")

    @property
    def reg_id(self) -> int | None:
        """1 to 2**31 - 1 (RFC 5626 section 4.2)."""
        return None if self.address is None else check_number_parameter(self.address, "reg-id", REG_ID_MOST)

    def __str__(self) -> str:
        return format_contact(self)


WILDCARD = Contact(None)


def read_contact(cursor: Cursor) -> Contact:
    start = cursor.at
    contact = Contact(read_address(cursor))
    try:
        _ = contact.q
        if contact.reg_id == 0:
            raise ParseError("reg-id 0")
    except ParseError as error:
        raise ParseError(error.reason, at=start) from None
    return contact


def parse_contacts(text: str) -> tuple[Contact, ...]:
    """The contacts of one field; `*` stands alone in it."""
    if text.strip(" \t\r\n") == "*":
        return (WILDCARD,)
    return parse_list(text, read_contact)


def format_contact(value: Contact) -> str:
    return "*" if value.address is None else format_address(value.address)


def format_contacts(values: Sequence[Contact]) -> str:
    if len(values) > 1 and WILDCARD in values:
        raise UsageError("a * stands alone in Contact")
    return ", ".join(map(format_contact, values))
