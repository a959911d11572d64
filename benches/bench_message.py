"""What messages cost from Python: parsing, reading, framing, writing, editing; yardstick_message.py has ratios."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sipcore._framing import StreamFramer
from sipcore._message import Request, build_response, parse, serialize_response
from sipcore._serialize import serialize_request

CORPUS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parents[1] / "tests/corpus").glob("*.sip"))}
TYPICAL = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")
MIX = [CORPUS[name] for name in TYPICAL]


@pytest.mark.parametrize("name", CORPUS)
def bench_parse(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(parse, CORPUS[name])


def bench_parse_mix(benchmark: BenchmarkFixture) -> None:
    benchmark(lambda: [parse(data) for data in MIX])
    benchmark.extra_info.update(operations=len(MIX))


@pytest.mark.parametrize("count", [10, 100, 1_000])
def bench_parse_headers(benchmark: BenchmarkFixture, count: int) -> None:
    """The cost a header is what must not grow with their number."""
    head, _, body = CORPUS["options"].partition(b"\r\n\r\n")
    lines = b"".join(b"\r\nX-Number-%d: value %d" % (number, number) for number in range(count))
    benchmark(parse, head + lines + b"\r\n\r\n" + body)
    benchmark.extra_info.update(operations=count + 10)


def bench_parse_and_touch_mix(benchmark: BenchmarkFixture) -> None:
    """Top Via branch, From tag, To tag, Call-ID, CSeq and Contact URI as Python values."""

    def touch() -> None:
        for data in MIX:
            message = parse(data)
            assert message.top_via and message.from_ and message.to
            assert message.top_via.branch and message.from_.tag and message.call_id and message.cseq
            assert message.to.tag is None or message.to.tag
            for contact in message.contacts[:1]:
                assert contact.uri

    benchmark(touch)
    benchmark.extra_info.update(operations=len(MIX))


@pytest.mark.parametrize("size", [64, 1_460, 65_536])
def bench_frame(benchmark: BenchmarkFixture, size: int) -> None:
    """A stream of the mix, in chunks of this size."""
    stream = b"".join(MIX) * 20
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]

    def frame() -> None:
        framer = StreamFramer()
        assert sum(len(framer.feed(chunk)) for chunk in chunks) == 20 * len(MIX)

    benchmark(frame)
    benchmark.extra_info.update(operations=20 * len(MIX))


@pytest.mark.parametrize("name", ["options", "register", "invite_sdp", "ack", "bye"])
def bench_serialise(benchmark: BenchmarkFixture, name: str) -> None:
    message = parse(CORPUS[name])
    assert isinstance(message, Request)
    benchmark(serialize_request, message.method, str(message.request_uri), message.headers, message.body)


def bench_answer(benchmark: BenchmarkFixture) -> None:
    request = parse(CORPUS["options"])
    assert isinstance(request, Request)
    benchmark(serialize_response, request, 200, to_tag="abcdef0123456789")


def bench_build_response(benchmark: BenchmarkFixture) -> None:
    request = parse(CORPUS["invite_sdp"])
    assert isinstance(request, Request)
    benchmark(build_response, request, 180, to_tag="abcdef0123456789")


def bench_forward(benchmark: BenchmarkFixture) -> None:
    """A Via on top and one hop less: what a proxy changes."""
    request = parse(CORPUS["invite_sdp"])

    def forward() -> None:
        request.edit().insert("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx").replace("Max-Forwards", "66").build()

    benchmark(forward)
