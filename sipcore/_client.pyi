"""The client side of the engine: requests out, responses in (RFC 3261 sections 8.1, 9.1 and 17.1)."""

from typing import final

from sipcore._core import Core

@final
class Client:
    def __new__(cls, core: Core, key: bytes, wheel_tag: int) -> Client: ...
