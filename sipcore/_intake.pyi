"""Datagrams in: each is looked at while the one before it is handled, then given to the side that it is for."""

from typing import final

from sipcore._client import Client
from sipcore._core import Core
from sipcore._group import Group
from sipcore._server import Server

@final
class Intake:
    def __new__(cls, core: Core, server: Server, client: Client, group: Group) -> Intake: ...

def outline(data: bytes) -> tuple[bytes, bytes, bytes, bytes, list[bytes]] | None:
    """What a refusal would be made of: (top Via, sent-by, branch, Call-ID, names of the lines copied); None where the
    request has to be read first."""
