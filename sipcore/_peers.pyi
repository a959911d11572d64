"""How many connections each far side has: an IPv4 address, or an IPv6 /64."""

from typing import final

@final
class PeerTable:
    def __new__(cls, key: bytes) -> PeerTable: ...
