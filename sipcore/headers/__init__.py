"""Typed values of header fields, one file a header family.

`parse_header(name, fields)` and `format_header(name, value)` go by the table in
`registry`; each family's own `parse_` and `format_` functions can be used alone.
Values are frozen.  Malformed text is a ParseError with the offset in the value;
a value that cannot be written is a UsageError.  Does not know messages.
"""

from sipcore.headers.authentication import (
    Challenge,
    Credentials,
    format_challenge,
    format_credentials,
    parse_challenges,
    parse_credentials,
)
from sipcore.headers.content import Disposition, MediaType, parse_content_type
from sipcore.headers.parameters import Parameter, Parameters
from sipcore.headers.registry import (
    BY_ATTRIBUTE,
    HEADER_TYPES,
    HeaderType,
    format_header,
    header_type,
    parse_header,
)
from sipcore.headers.seconds import (
    MinSE,
    RetryAfter,
    SessionExpires,
    parse_min_se,
    parse_retry_after,
    parse_seconds,
    parse_session_expires,
)

__all__ = [
    "BY_ATTRIBUTE",
    "HEADER_TYPES",
    "Challenge",
    "Credentials",
    "Disposition",
    "HeaderType",
    "MediaType",
    "MinSE",
    "Parameter",
    "Parameters",
    "RetryAfter",
    "SessionExpires",
    "format_challenge",
    "format_credentials",
    "format_header",
    "header_type",
    "parse_challenges",
    "parse_content_type",
    "parse_credentials",
    "parse_header",
    "parse_min_se",
    "parse_retry_after",
    "parse_seconds",
    "parse_session_expires",
]
