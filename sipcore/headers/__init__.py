"""Typed values of header fields, one file a header family.

`parse_header(name, fields)` and `format_header(name, value)` go by the table in
`registry`; each family's own `parse_` and `format_` functions can be used alone.
Values are frozen.  Malformed text is a ParseError with the offset in the value;
a value that cannot be written is a UsageError.  Does not know messages.

Reading is wider than the RFCs' grammar in these places, writing never is:
unquoted parameter values may hold any visible character but the delimiters; a
repeated parameter counts the first time (not in credentials, where it is an
error); Privacy may use commas; several challenges may share a field.
"""

from sipcore._fields import Address, CSeq, Via
from sipcore._uri import Uri
from sipcore.headers.authentication import (
    Challenge,
    Credentials,
    format_challenge,
    format_credentials,
    parse_challenges,
    parse_credentials,
)
from sipcore.headers.contact import WILDCARD, Contact, parse_contacts
from sipcore.headers.content import Disposition, MediaType, parse_content_type
from sipcore.headers.dates import Timestamp
from sipcore.headers.dialogs import Replaces, TargetDialog, parse_replaces
from sipcore.headers.events import Event, SubscriptionState
from sipcore.headers.features import FeatureSet
from sipcore.headers.history import Diversion, HistoryEntry
from sipcore.headers.identity import Identity
from sipcore.headers.parameters import Parameter, Parameters
from sipcore.headers.reason import Reason
from sipcore.headers.refer import ReferredBy, ReferTo
from sipcore.headers.references import Reference
from sipcore.headers.registry import (
    BY_ATTRIBUTE,
    HEADER_TYPES,
    HeaderType,
    format_header,
    header_type,
    parse_header,
)
from sipcore.headers.reliability import RAck
from sipcore.headers.seconds import (
    MinSE,
    RetryAfter,
    SessionExpires,
    parse_min_se,
    parse_retry_after,
    parse_seconds,
    parse_session_expires,
)
from sipcore.headers.tokens import TokenValue
from sipcore.headers.warning import Warning

__all__ = [
    "BY_ATTRIBUTE",
    "HEADER_TYPES",
    "WILDCARD",
    "Address",
    "CSeq",
    "Challenge",
    "Contact",
    "Credentials",
    "Disposition",
    "Diversion",
    "Event",
    "FeatureSet",
    "HeaderType",
    "HistoryEntry",
    "Identity",
    "MediaType",
    "MinSE",
    "Parameter",
    "Parameters",
    "RAck",
    "Reason",
    "ReferTo",
    "Reference",
    "ReferredBy",
    "Replaces",
    "RetryAfter",
    "SessionExpires",
    "SubscriptionState",
    "TargetDialog",
    "Timestamp",
    "TokenValue",
    "Uri",
    "Via",
    "Warning",
    "format_challenge",
    "format_credentials",
    "format_header",
    "header_type",
    "parse_challenges",
    "parse_contacts",
    "parse_content_type",
    "parse_credentials",
    "parse_header",
    "parse_min_se",
    "parse_replaces",
    "parse_retry_after",
    "parse_seconds",
    "parse_session_expires",
]
