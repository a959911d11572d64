"""What a typed header and a session description cost, parsed and printed."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore.headers import format_header, parse_header
from sipcore.sdp import parse_sdp

CORPUS = Path(__file__).parent.parent / "tests" / "corpus"
VALUES = {
    "Authorization": (
        'Digest username="bob", realm="biloxi.example.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'uri="sip:bob@biloxi.example.com", qop=auth, nc=00000001, cnonce="0a4f113b", '
        'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    ),
    "Contact": '<sip:alice@192.0.2.2;transport=tcp;ob>;reg-id=1;expires=600;+sip.instance="<urn:uuid:0-1-2>"',
    "Route": "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>",
    "Session-Expires": "1800;refresher=uac",
    "Supported": "100rel, timer, replaces, outbound, path",
}


@pytest.mark.parametrize("name", VALUES)
def bench_parse_header(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(parse_header, name, [VALUES[name]])


@pytest.mark.parametrize("name", VALUES)
def bench_format_header(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(format_header, name, parse_header(name, [VALUES[name]]))


def bench_parse_sdp(benchmark: BenchmarkFixture) -> None:
    body = (CORPUS / "invite_sdp.sip").read_bytes().partition(b"\r\n\r\n")[2]
    benchmark(parse_sdp, body)


def bench_print_sdp(benchmark: BenchmarkFixture) -> None:
    body = (CORPUS / "invite_sdp.sip").read_bytes().partition(b"\r\n\r\n")[2]
    assert benchmark(bytes, parse_sdp(body)) == body
