"""What the torture manifest says of a message, one function for each key of `[message.check]`."""

import hashlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipcore import body, sdp
from sipcore._framing import StreamFramer
from sipcore._message import Message
from sipcore.errors import ParseError

FOLDER = Path(__file__).parent / "torture"
MESSAGES: list[dict[str, Any]] = tomllib.loads((FOLDER / "manifest.toml").read_text())["message"]
NAMES = [entry["file"].rpartition("/")[2].removesuffix(".dat") for entry in MESSAGES]
BY_NAME = dict(zip(NAMES, MESSAGES, strict=True))


def octets_of(entry: dict[str, Any]) -> bytes:
    """The datagram of a manifest entry."""
    return (FOLDER / entry["file"]).read_bytes() + bytes.fromhex(entry.get("wire_append_hex", ""))


def written_uri(message: Message) -> str:
    """The Request-URI as it stands in the start line, well formed or not."""
    return bytes(message).split(b"\r\n")[0].split(b" ", 1)[1].rpartition(b" ")[0].decode()


def via_text(via: Any) -> str:
    """`TRANSPORT sent-by parameters`, as the manifest writes it."""
    parameters = [name if value is None else f"{name}={value}" for name, value in via.parameters.items()]
    return f"{via.transport} {via.sent_by} {';'.join(parameters)}".strip()


def counted(message: Message, wanted: dict[str, int]) -> dict[str, int]:
    return {name: len(message.get_lines(name)) for name in wanted}


def plain(parameters: dict[str, str | None]) -> dict[str, str]:
    return {name: value or "" for name, value in parameters.items()}


def lowered(parameters: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in parameters.items()}


def media_types(message: Message, name: str) -> list[str]:
    return [str(value) for value in message.get_all(name)]


def description(message: Message) -> sdp.SessionDescription:
    return sdp.parse_sdp(message.body)


def parts(message: Message) -> list[Any]:
    return list(body.walk_parts(message.body, message.typed("Content-Type")))


def media_connections(message: Message) -> list[str]:
    return [f"IN {media.connection.address_type} {media.connection.address}" for media in description(message).media]


def session_connection(message: Message) -> str:
    return description(message).first("c")


def streamed(data: bytes) -> tuple[list[Message], int]:
    """The messages of one stream without its keep-alives, and the octets left over."""
    framer = StreamFramer()
    found = [item for item in framer.feed(data) if isinstance(item, Message)]
    return found, framer.waiting


READERS: dict[str, Callable[[Any], Any]] = {
    "method": lambda m: m.method,
    "status": lambda m: m.status_code,
    "reason": lambda m: m.reason_phrase,
    "version": lambda m: m.version,
    "uri": written_uri,
    "uri_if_accepted": lambda m: str(m.request_uri),
    "uri_scheme": lambda m: m.request_uri.scheme.lower(),
    "uri_user": lambda m: m.request_uri.user,
    "uri_user_decoded": lambda m: m.request_uri.unescaped_user,
    "uri_password": lambda m: m.request_uri.password,
    "uri_host": lambda m: m.request_uri.host,
    "uri_host_if_accepted": lambda m: m.request_uri.host,
    "uri_port": lambda m: -1 if m.request_uri.port is None else m.request_uri.port,
    "uri_params": lambda m: plain(m.request_uri.parameters),
    "to_uri": lambda m: str(m.to.uri),
    "to_uri_if_accepted": lambda m: str(m.to.uri),
    "to_user_decoded": lambda m: m.to.uri.unescaped_user,
    "to_display": lambda m: m.to.display_name,
    "to_tag": lambda m: m.to.tag,
    "from_uri": lambda m: str(m.from_.uri),
    "from_user_decoded": lambda m: m.from_.uri.unescaped_user,
    "from_display": lambda m: m.from_.display_name,
    "from_tag": lambda m: m.from_.tag,
    "from_params": lambda m: {k: v for k, v in plain(m.from_.parameters).items() if k != "tag"},
    "call_id": lambda m: m.call_id,
    "cseq_number": lambda m: m.cseq.number,
    "cseq_method": lambda m: m.cseq.method,
    "max_forwards": lambda m: m.max_forwards,
    "content_length": lambda m: m.content_length,
    "content_type": lambda m: m.content_type,
    "subject": lambda m: m["Subject"],
    "via": lambda m: [via_text(via) for via in m.via],
    "via_count": lambda m: len(m.via),
    "via_first": lambda m: f"{m.top_via.transport} {m.top_via.sent_by}",
    "via_last_branch": lambda m: m.via[-1].branch,
    "via_received": lambda m: [via.received for via in m.via],
    "via_received_address": lambda m: m.top_via.received_address,
    "route": lambda m: [str(route.uri) for route in m.routes],
    "record_route": lambda m: [str(route.uri) for route in m.record_routes],
    "contact_count": lambda m: len(m.contacts),
    "contact_display": lambda m: [contact.display_name for contact in m.contacts],
    "contact_uri": lambda m: [str(contact.uri) for contact in m.contacts],
    "contact_user_decoded": lambda m: [contact.uri.unescaped_user for contact in m.contacts],
    "contact_uri_params": lambda m: plain(m.contacts[0].uri.parameters),
    "contact_uri_params_decoded": lambda m: plain(m.contacts[0].uri.parameters),
    "contact_uri_headers": lambda m: m.contacts[0].uri.headers,
    "contact_q": lambda m: m.contacts[0].parameters["q"],
    "accept": lambda m: media_types(m, "Accept"),
    "require": lambda m: m.get_all("Require"),
    "proxy_require": lambda m: m.get_all("Proxy-Require"),
    "response_unsupported_uas": lambda m: m.get_all("Require"),
    "response_unsupported_proxy": lambda m: m.get_all("Proxy-Require"),
    "body_length": lambda m: len(m.body),
    "body_sha256": lambda m: hashlib.sha256(m.body).hexdigest(),
    "body_parts": lambda m: len(parts(m)),
    "body_part_types": lambda m: [f"{part.media_type.type}/{part.media_type.subtype}" for part in parts(m)],
    "sdp_connection": session_connection,
    "sdp_media": lambda m: len(description(m).media),
    "sdp_media_connection": media_connections,
}
IF_ACCEPTED = {key for key in READERS if key.endswith("_if_accepted")}


def check_value(message: Message, key: str, expected: Any, data: bytes) -> None:
    """One key of `[message.check]`; `data` is the whole datagram."""
    if key == "header":
        assert {name: message[name] for name in expected} == expected
    elif key == "absent":
        assert [name for name in expected if name in message] == []
    elif key == "must_not_have_header":
        assert expected not in message
    elif key == "count":
        assert counted(message, expected) == expected
    elif key == "contact_params":
        found = {name: value for name, value in plain(message.contacts[0].parameters).items() if name != "q"}
        assert found == lowered(expected)
    elif key == "from_params":
        assert READERS[key](message) == lowered(expected)
    elif key == "uri_scheme":
        assert message.request_uri.scheme == expected.lower()
    elif key == "date_parse":
        assert expected == "fail"
        with pytest.raises(ParseError):
            message.typed("Date")
    elif key == "datagram_trailing_octets":
        assert len(data) - len(bytes(message)) == expected
    elif key.startswith("stream_"):
        check_stream(key, expected, data)
    else:
        assert READERS[key](message) == expected


def check_stream(key: str, expected: Any, data: bytes) -> None:
    found, left = streamed(data)
    values = {
        "stream_message_count": len(found),
        "stream_leftover_octets": left,
        "stream_second_method": found[1].method,
        "stream_second_call_id": found[1].call_id,
    }
    assert values[key] == expected
