"""Messages out of a stream (RFC 3261 section 18.3): any chunking, CRLF keep-alives (RFC 5626 section 3.5.1), limits."""

from enum import Enum
from typing import final

from sipcore._message import Request, Response
from sipcore.errors import ParseError

class KeepAlive(Enum):
    """Octets between messages: `PING` is CRLFCRLF, `PONG` a CRLF alone (RFC 5626 section 3.5.1)."""

    PING = "ping"
    PONG = "pong"

@final
class StreamFramer:
    """Splits one direction of one connection into messages.  Limits as `parse` has them."""

    def __new__(
        cls,
        *,
        max_size: int = 131072,
        max_head_size: int = 65535,
        max_headers: int = 2048,
        max_header_size: int = 16384,
        max_name_size: int = 128,
        max_parameters: int = 128,
        lenience: int = ...,
    ) -> StreamFramer: ...
    @property
    def error(self) -> ParseError | None:
        """What ended the stream: answer `failed` with error.status_hint if it is a request, then close."""
    @property
    def failed(self) -> Request | Response | None: ...
    @property
    def waiting(self) -> int:
        """Octets held of a message that is not whole; the deadline of a connection runs while there are any."""
    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Request | Response | KeepAlive]:
        """Messages and keep-alives that `chunk` completes, in order; UsageError once the stream is over."""
