"""The one home of names: headers with their compact forms, methods, reason phrases, default ports.

Knows no message and no rule.  The compiled rooms use the same names: `src_pyx/sipcore/c/names.h` is written from this
file by `src_pyx/sipcore/c/make_names.py`, and a test holds the two together.
"""

from typing import Final, NamedTuple


class HeaderName(NamedTuple):
    """One header field: its usual spelling, its compact form ("" for none), whether commas separate values."""

    name: str
    compact: str = ""
    is_list: bool = False


# The order gives each header its number in the compiled rooms.  The first fifteen are those that every message
# has or every element asks for: their first line is remembered, so that reading them needs no search.
HEADERS: Final = (
    HeaderName("Via", "v", True),
    HeaderName("From", "f"),
    HeaderName("To", "t"),
    HeaderName("Call-ID", "i"),
    HeaderName("CSeq"),
    HeaderName("Max-Forwards"),
    HeaderName("Contact", "m", True),
    HeaderName("Content-Length", "l"),
    HeaderName("Content-Type", "c"),
    HeaderName("Route", "", True),
    HeaderName("Record-Route", "", True),
    HeaderName("Expires"),
    HeaderName("Require", "", True),
    HeaderName("Supported", "k", True),
    HeaderName("Session-Expires", "x"),
    HeaderName("Accept", "", True),
    HeaderName("Accept-Contact", "a", True),
    HeaderName("Accept-Encoding", "", True),
    HeaderName("Accept-Language", "", True),
    HeaderName("Accept-Resource-Priority", "", True),
    HeaderName("Alert-Info", "", True),
    HeaderName("Allow", "", True),
    HeaderName("Allow-Events", "u", True),
    HeaderName("Answer-Mode"),
    HeaderName("Authentication-Info"),
    HeaderName("Authorization"),
    HeaderName("Call-Info", "", True),
    HeaderName("Content-Disposition"),
    HeaderName("Content-Encoding", "e", True),
    HeaderName("Content-ID"),
    HeaderName("Content-Language", "", True),
    HeaderName("Date"),
    HeaderName("Diversion", "", True),
    HeaderName("Error-Info", "", True),
    HeaderName("Event", "o"),
    HeaderName("Feature-Caps", "", True),
    HeaderName("Flow-Timer"),
    HeaderName("Geolocation", "", True),
    HeaderName("Geolocation-Error"),
    HeaderName("Geolocation-Routing"),
    HeaderName("History-Info", "", True),
    HeaderName("Identity", "y", True),
    HeaderName("Identity-Info", "n"),
    HeaderName("In-Reply-To", "", True),
    HeaderName("Info-Package"),
    HeaderName("Join"),
    HeaderName("Max-Breadth"),
    HeaderName("MIME-Version"),
    HeaderName("Min-Expires"),
    HeaderName("Min-SE"),
    HeaderName("Organization"),
    HeaderName("P-Access-Network-Info", "", True),
    HeaderName("P-Asserted-Identity", "", True),
    HeaderName("P-Asserted-Service", "", True),
    HeaderName("P-Associated-URI", "", True),
    HeaderName("P-Called-Party-ID"),
    HeaderName("P-Charging-Function-Addresses"),
    HeaderName("P-Charging-Vector"),
    HeaderName("P-Early-Media", "", True),
    HeaderName("P-Preferred-Identity", "", True),
    HeaderName("P-Preferred-Service", "", True),
    HeaderName("P-Visited-Network-ID", "", True),
    HeaderName("Path", "", True),
    HeaderName("Permission-Missing", "", True),
    HeaderName("Policy-Contact", "", True),
    HeaderName("Priority"),
    HeaderName("Privacy"),
    HeaderName("Proxy-Authenticate"),
    HeaderName("Proxy-Authentication-Info"),
    HeaderName("Proxy-Authorization"),
    HeaderName("Proxy-Require", "", True),
    HeaderName("RAck"),
    HeaderName("Reason", "", True),
    HeaderName("Recv-Info", "", True),
    HeaderName("Refer-Sub"),
    HeaderName("Refer-To", "r"),
    HeaderName("Referred-By", "b"),
    HeaderName("Reject-Contact", "j", True),
    HeaderName("Remote-Party-ID", "", True),
    HeaderName("Replaces"),
    HeaderName("Reply-To"),
    HeaderName("Request-Disposition", "d", True),
    HeaderName("Resource-Priority", "", True),
    HeaderName("Retry-After"),
    HeaderName("RSeq"),
    HeaderName("Security-Client", "", True),
    HeaderName("Security-Server", "", True),
    HeaderName("Security-Verify", "", True),
    HeaderName("Server"),
    HeaderName("Service-Route", "", True),
    HeaderName("Session-ID"),
    HeaderName("SIP-ETag"),
    HeaderName("SIP-If-Match"),
    HeaderName("Subject", "s"),
    HeaderName("Subscription-State"),
    HeaderName("Suppress-If-Match"),
    HeaderName("Target-Dialog"),
    HeaderName("Timestamp"),
    HeaderName("Unsupported", "", True),
    HeaderName("User-Agent"),
    HeaderName("User-to-User", "", True),
    HeaderName("Warning", "", True),
    HeaderName("WWW-Authenticate"),
)

# Lower-case name or compact form -> the usual spelling.
CANONICAL_NAMES: Final[dict[str, str]] = {
    spelling.lower(): header.name for header in HEADERS for spelling in (header.name, header.compact) if spelling
}
COMPACT_FORMS: Final[dict[str, str]] = {header.name: header.compact for header in HEADERS if header.compact}
LIST_HEADERS: Final[frozenset[str]] = frozenset(header.name for header in HEADERS if header.is_list)

# The order gives each method its number in the compiled rooms; any other method is number 0.
METHODS: Final = (
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "UPDATE",
    "INFO",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
)

# The order gives each transport its number in the compiled rooms; any other transport is number 0.
TRANSPORTS: Final = ("UDP", "TCP", "TLS", "SCTP", "WS", "WSS", "TLS-SCTP")

SIP_PORT: Final = 5060
SIPS_PORT: Final = 5061
# RFC 3261 section 18.2.1; RFC 7118 section 5 for WebSocket.
DEFAULT_PORTS: Final[dict[str, int]] = {
    "UDP": SIP_PORT,
    "TCP": SIP_PORT,
    "SCTP": SIP_PORT,
    "TLS": SIPS_PORT,
    "TLS-SCTP": SIPS_PORT,
    "WS": 80,
    "WSS": 443,
}


def transport_parameter(transport: str) -> str:
    """What a URI says of a transport, "" for UDP; "ws" is WebSocket with TLS and without (RFC 7118 section 5.3)."""
    return {"udp": "", "wss": ";transport=ws"}.get(transport, f";transport={transport}")


# RFC 3261 section 21 and the registered extensions.
REASON_PHRASES: Final[dict[int, str]] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    424: "Bad Location Information",
    425: "Bad Alert Message",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    555: "Push Notification Service Not Supported",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
REASON_CLASSES: Final = (
    "",
    "Trying",
    "Successful",
    "Redirection",
    "Request Failure",
    "Server Failure",
    "Global Failure",
)


def reason_phrase(status_code: int) -> str:
    """The usual reason phrase of a status code; that of its class when it has none of its own."""
    return REASON_PHRASES.get(status_code) or REASON_CLASSES[status_code // 100]
