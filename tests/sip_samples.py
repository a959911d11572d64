"""Messages that many tests use."""

from pathlib import Path

CORPUS = {path.stem: path.read_bytes() for path in sorted((Path(__file__).parent / "corpus").glob("*.sip"))}
TYPICAL = ("options", "register", "invite_sdp", "resp_180", "resp_200_invite", "ack", "bye")


def request(*lines: str, method: str = "OPTIONS", body: bytes = b"") -> bytes:
    """A well-formed request with more header lines."""
    head = [
        f"{method} sip:bob@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:bob@example.com>",
        "Call-ID: one@example.com",
        f"CSeq: 1 {method}",
        *lines,
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + body


def without(data: bytes, name: str) -> bytes:
    """The same message without the lines of a header, by the name as it is written."""
    lines = data.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(name.encode() + b":"))
