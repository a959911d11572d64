"""Which header is read and written by which functions: the one table of typed headers.

Adding a header: write `parse_` and `format_` functions in the file of its
family and add a row here.  Headers without a row stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sipcore.constants import CANONICAL_NAMES
from sipcore.errors import ParseError
from sipcore.headers import (
    addresses,
    authentication,
    contact,
    content,
    dates,
    dialogs,
    events,
    features,
    history,
    identity,
    reason,
    refer,
    references,
    reliability,
    seconds,
    tokens,
    warning,
)


@dataclass(frozen=True, slots=True)
class HeaderType:
    """How one header is typed.

    `parse` takes one field value; for a `many` header it gives a tuple, and the
    tuples of several fields are joined.  `attribute` is its name on a message.
    """

    name: str
    attribute: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str]
    many: bool = False


def single(name: str, parse: Callable[[str], Any], format_value: Callable[[Any], str]) -> HeaderType:
    return HeaderType(name, name.lower().replace("-", "_"), parse, format_value)


def many(name: str, parse: Callable[[str], Any], format_values: Callable[[Any], str]) -> HeaderType:
    return HeaderType(name, name.lower().replace("-", "_"), parse, format_values, many=True)


def token_list(name: str) -> HeaderType:
    return many(name, tokens.parse_tokens, tokens.format_tokens)


def weighted_list(name: str) -> HeaderType:
    return many(name, content.parse_weighted_list, tokens.format_token_values)


def token_values(name: str) -> HeaderType:
    return many(name, tokens.parse_token_values, tokens.format_token_values)


def one_token(name: str) -> HeaderType:
    return single(name, tokens.parse_token, tokens.format_token)


def plain_text(name: str) -> HeaderType:
    return single(name, tokens.parse_text, tokens.format_text)


def duration(name: str) -> HeaderType:
    return single(name, seconds.parse_seconds, seconds.format_seconds)


def challenges(name: str) -> HeaderType:
    return many(name, authentication.parse_challenges, authentication.format_challenges)


def credentials(name: str) -> HeaderType:
    return many(name, authentication.parse_credentials_field, authentication.format_credentials_field)


def authentication_info(name: str) -> HeaderType:
    return single(name, authentication.parse_authentication_info, authentication.format_authentication_info)


def references_list(name: str) -> HeaderType:
    return many(name, references.parse_references, references.format_references)


def address(name: str) -> HeaderType:
    return single(name, addresses.parse_address, addresses.format_address)


def address_list(name: str) -> HeaderType:
    return many(name, addresses.parse_addresses, addresses.format_addresses)


HEADER_TYPES = (
    many("Accept", content.parse_accept, content.format_accept),
    many("Accept-Contact", features.parse_feature_sets, features.format_feature_sets),
    weighted_list("Accept-Encoding"),
    weighted_list("Accept-Language"),
    references_list("Alert-Info"),
    token_list("Allow"),
    token_list("Allow-Events"),
    single("Answer-Mode", tokens.parse_token_value, tokens.format_token_value),
    authentication_info("Authentication-Info"),
    credentials("Authorization"),
    single("Call-ID", tokens.parse_call_id, tokens.format_call_id),
    references_list("Call-Info"),
    HeaderType("Contact", "contact_values", contact.parse_contacts, contact.format_contacts, many=True),
    single("Content-Disposition", content.parse_content_disposition, content.format_disposition),
    token_list("Content-Encoding"),
    token_list("Content-Language"),
    HeaderType("Content-Type", "media_type", content.parse_content_type, content.format_media_type),
    single("CSeq", addresses.parse_cseq, addresses.format_cseq),
    single("Date", dates.parse_date, dates.format_date),
    many("Diversion", history.parse_diversions, history.format_diversions),
    references_list("Error-Info"),
    single("Event", events.parse_event, events.format_event),
    duration("Expires"),
    many("Feature-Caps", features.parse_feature_sets, features.format_feature_sets),
    duration("Flow-Timer"),
    HeaderType("From", "from_", addresses.parse_address, addresses.format_address),
    references_list("Geolocation"),
    single("Geolocation-Error", references.parse_geolocation_error, references.format_geolocation_error),
    one_token("Geolocation-Routing"),
    many("History-Info", history.parse_history, history.format_history),
    many("Identity", identity.parse_identities, identity.format_identities),
    many("In-Reply-To", tokens.parse_call_ids, tokens.format_call_ids),
    single("Info-Package", tokens.parse_token_value, tokens.format_token_value),
    single("Join", dialogs.parse_replaces, dialogs.format_replaces),
    single("Max-Breadth", tokens.parse_octet, tokens.format_octet),
    single("Max-Forwards", tokens.parse_octet, tokens.format_octet),
    duration("Min-Expires"),
    single("Min-SE", seconds.parse_min_se, seconds.format_min_se),
    one_token("MIME-Version"),
    plain_text("Organization"),
    token_values("P-Access-Network-Info"),
    address_list("P-Asserted-Identity"),
    address_list("P-Associated-URI"),
    address("P-Called-Party-ID"),
    token_list("P-Early-Media"),
    address_list("P-Preferred-Identity"),
    address_list("Path"),
    one_token("Priority"),
    many("Privacy", identity.parse_privacy, identity.format_privacy),
    challenges("Proxy-Authenticate"),
    authentication_info("Proxy-Authentication-Info"),
    credentials("Proxy-Authorization"),
    token_list("Proxy-Require"),
    single("RAck", reliability.parse_rack, reliability.format_rack),
    many("Reason", reason.parse_reasons, reason.format_reasons),
    address_list("Record-Route"),
    token_values("Recv-Info"),
    single("Refer-Sub", tokens.parse_token_value, tokens.format_token_value),
    single("Refer-To", refer.parse_refer_to, refer.format_refer_to),
    single("Referred-By", refer.parse_referred_by, refer.format_referred_by),
    many("Reject-Contact", features.parse_feature_sets, features.format_feature_sets),
    address_list("Remote-Party-ID"),
    single("Replaces", dialogs.parse_replaces, dialogs.format_replaces),
    address("Reply-To"),
    token_list("Request-Disposition"),
    token_list("Require"),
    token_list("Resource-Priority"),
    single("Retry-After", seconds.parse_retry_after, seconds.format_retry_after),
    address_list("Route"),
    single("RSeq", reliability.parse_rseq, reliability.format_rseq),
    token_values("Security-Client"),
    token_values("Security-Server"),
    token_values("Security-Verify"),
    plain_text("Server"),
    address_list("Service-Route"),
    single("Session-Expires", seconds.parse_session_expires, seconds.format_session_expires),
    single("Session-ID", tokens.parse_token_value, tokens.format_token_value),
    one_token("SIP-ETag"),
    one_token("SIP-If-Match"),
    plain_text("Subject"),
    single("Subscription-State", events.parse_subscription_state, events.format_subscription_state),
    token_list("Supported"),
    one_token("Suppress-If-Match"),
    single("Target-Dialog", dialogs.parse_target_dialog, dialogs.format_target_dialog),
    single("Timestamp", dates.parse_timestamp, dates.format_timestamp),
    address("To"),
    token_list("Unsupported"),
    plain_text("User-Agent"),
    token_values("User-to-User"),
    many("Via", addresses.parse_vias, addresses.format_vias),
    many("Warning", warning.parse_warnings, warning.format_warnings),
    challenges("WWW-Authenticate"),
)

BY_NAME = {header.name.lower(): header for header in HEADER_TYPES}
BY_NAME |= {form: BY_NAME[name.lower()] for form, name in CANONICAL_NAMES.items() if name.lower() in BY_NAME}
BY_ATTRIBUTE = {header.attribute: header for header in HEADER_TYPES}


def header_type(name: str) -> HeaderType | None:
    """The row of a header by its name or compact form in any case; None for a header that stays text."""
    return BY_NAME.get(name.lower())


def parse_header(name: str, fields: Sequence[str]) -> Any:
    """The typed value of all fields of one header, in the order they stand in the message.

    `fields` are unfolded values, one for each field (or each list element).  A
    `many` header gives a tuple, () without fields; another gives its value, None
    without fields.  KeyError for a header without a row; ParseError for a value
    that is malformed and for a second field where one is allowed.
    """
    header = BY_NAME[name.lower()]
    if header.many:
        return tuple(value for text in fields for value in header.parse(text))
    if len(fields) > 1:
        raise ParseError(f"{header.name} stands {len(fields)} times")
    return header.parse(fields[0]) if fields else None


def format_header(name: str, value: Any) -> str:
    """A typed value as the text of one field.  KeyError for a header without a row, UsageError for a bad value."""
    return BY_NAME[name.lower()].format(value)
