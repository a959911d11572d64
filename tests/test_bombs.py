"""FAULTS 3: an octet of 64 KiB of attack costs what one of 1 KiB does, and memory stays a few times the message."""

import time
import tracemalloc
from collections.abc import Callable

import pytest

from sipcore import Limits, ParseError, StreamFramer, parse
from sipcore._message import salvage

UNLIMITED = Limits(
    max_size=1 << 30, max_headers=65_535, max_header_size=65_535, max_name_size=255, max_parameters=65_535
).arguments
START = b"OPTIONS sip:bob@example.com SIP/2.0\r\n"


def message(*lines: bytes) -> bytes:
    return START + b"\r\n".join(lines) + b"\r\nContent-Length: 0\r\n\r\n"


# name -> the bomb of about so many octets
BOMBS: dict[str, Callable[[int], bytes]] = {
    "short lines": lambda size: message(*[b"a:b"] * (size // 5)),
    "Via lines": lambda size: message(*[b"v: SIP/2.0/UDP a;branch=z9hG4bK"] * (size // 33)),
    "Via values": lambda size: message(b"Via: " + b",".join([b"SIP/2.0/UDP a;branch=z9hG4bK"] * (size // 29))),
    "Via parameters": lambda size: message(b"Via: SIP/2.0/UDP a" + b";b=c" * (size // 4)),
    "empty parameters": lambda size: message(b"From: <sip:a@b>" + b"; b " * (size // 4)),
    "folds": lambda size: message(b"Subject: a" + b"\r\n b" * (size // 4)),
    "folds of white space": lambda size: message(b"To: " + b"\r\n \t" * (size // 4) + b"<sip:a@b>"),
    "one token": lambda size: message(b"Subject: " + b"x" * size),
    "one Call-ID": lambda size: message(b"Call-ID: " + b"x" * size),
    "one URI": lambda size: message(b"From: <sip:" + b"a" * size + b"@b>;tag=1"),
    "a URI of parameters": lambda size: message(b"From: <sip:a@b" + b";c=d" * (size // 4) + b">;tag=1"),
    "at signs": lambda size: message(b"From: <sip:" + b"@" * size + b">;tag=1"),
    "open quotes": lambda size: message(b'From: "' + b'\\"' * (size // 2)),
    "quoted pairs": lambda size: message(b'From: "' + b"\\\\" * (size // 2) + b'" <sip:a@b>;tag=1'),
    "white space": lambda size: message(b"From: " + b" " * size + b"<sip:a@b>;tag=1"),
    "digits": lambda size: message(b"CSeq: " + b"0" * size + b"1 OPTIONS"),
    "names": lambda size: message(*[b"x" * 120 + b": y"] * (size // 125)),
    "unknown names": lambda size: message(*[b"X-%05d:" % number for number in range(size // 10)]),
    "no line end": lambda size: START + b"x" * size,
    "carriage returns": lambda size: START + b"\r" * size,
    "line feeds": lambda size: START + b"\n" * size,
}


def look(data: bytes) -> None:
    """Parse with hardly a limit; what is refused is salvaged, as for an answer."""
    try:
        parse(data, **UNLIMITED)
    except ParseError:
        salvage(data)


def seconds_an_octet(data: bytes) -> float:
    """The least of many: what else the machine does only adds."""
    rounds = max(1, 65_536 // len(data))
    best = float("inf")
    for _ in range(12):
        begin = time.perf_counter()
        for _ in range(rounds):
            look(data)
        best = min(best, (time.perf_counter() - begin) / rounds / len(data))
    return best


@pytest.mark.parametrize("name", BOMBS)
def test_an_octet_of_a_large_message_costs_what_one_of_a_small_does(name: str) -> None:
    small, large = BOMBS[name](1_000), BOMBS[name](63_000)
    for _ in range(5):
        ratio = seconds_an_octet(large) / seconds_an_octet(small)
        if ratio <= 3:
            return
    pytest.fail(f"{ratio:.1f} times as much an octet at 63,000 octets as at 1,000, five times over")


@pytest.mark.parametrize("name", BOMBS)
def test_a_message_keeps_no_more_than_eight_times_its_octets(name: str) -> None:
    data = BOMBS[name](63_000)
    tracemalloc.start()
    try:
        look(data)
        framer = StreamFramer(**UNLIMITED)
        framer.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 8 * len(data)


def test_a_megabyte_of_line_ends_keeps_nothing() -> None:
    framer = StreamFramer()
    data = b"\r\n" * 500_000
    tracemalloc.start()
    try:
        framer.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert framer.waiting == 0
    assert peak <= 8 * len(data)


@pytest.mark.parametrize("name", BOMBS)
def test_a_stream_in_small_chunks_costs_its_octets_once(name: str) -> None:
    """No chunk makes the framer look at what it has looked at: ten times the chunks, about the same time an octet."""
    data = BOMBS[name](60_000)

    def feed(size: int) -> float:
        best = float("inf")
        for _ in range(3):
            framer = StreamFramer()
            begin = time.perf_counter()
            for at in range(0, len(data), size):
                if framer.error is not None:
                    break
                framer.feed(data[at : at + size])
            best = min(best, time.perf_counter() - begin)
        return best

    for _ in range(5):
        small, large = feed(64), feed(640)
        if small <= 20 * large + 0.002:
            return
    pytest.fail(f"{small:.4f} s in chunks of 64 octets, {large:.4f} s in chunks of 640")
