"""Local addresses: where octets come to and leave from."""

from typing import Any, final

TRANSPORTS: tuple[str, ...]
"""Lower case, numbered as `enum sip_transport`; the first is none."""

@final
class Local:
    """One address that octets come to and leave from."""

    handle: int
    index: int
    transport: str
    host: str
    port: int
    user_agent: int
    sent_by: str
    sender: Any
    parent: Local | None
    is_open: bool

@final
class LocalTable:
    """The local addresses of one connection table, by handle and by index."""

    def __new__(cls) -> LocalTable: ...
    def __len__(self) -> int: ...
