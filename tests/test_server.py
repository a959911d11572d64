"""Requests that lack a header which every request has: answered from what is there, or dropped, never handed on."""

import pytest
from engine_kit import Bench, request

LINES = ("Via", "From", "To", "Call-ID", "CSeq")


def without(name: str) -> bytes:
    """A well-formed OPTIONS less one header."""
    lines = request("OPTIONS").encode().split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(name.lower().encode() + b":")]
    assert len(kept) == len(lines) - 1
    return b"\r\n".join(kept)


@pytest.mark.parametrize("name", LINES)
def test_a_request_without_an_identifying_header_does_not_reach_the_application(name):
    """RFC 3261 section 8.1.1, RFC 4475 section 3.3.1."""
    bench = Bench()
    bench.receive(without(name))
    assert bench.events.requests == []
    assert bench.sent.statuses() == ([] if name == "Via" else [400])
    assert bench.live() == 0
    assert bench.engine.stats()["malformed_requests"] == 1


def test_a_bare_start_line_is_dropped():
    bench = Bench()
    bench.receive(b"INVITE sip:user1@192.0.2.1 SIP/2.0\r\n\r\n")
    assert bench.events.requests == []
    assert bench.sent == []
    assert bench.live() == 0
