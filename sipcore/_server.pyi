"""The server side of the engine: requests in, responses out (RFC 3261 sections 8.2 and 17.2)."""

from typing import final

from sipcore._core import Core
from sipcore._message import Responder

@final
class Server(Responder):
    def __new__(cls, core: Core, key: bytes, wheel_tag: int) -> Server: ...
