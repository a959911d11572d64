"""Connections in: read, framed where the octets lie, handed to the server and client side."""

from typing import final

from sipcore._intake import Intake

@final
class Streams:
    def __new__(cls, intake: Intake) -> Streams: ...
