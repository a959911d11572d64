"""`sipcore parse FILE|-`: one message, what it says and, if it is refused, where and why.

Knows no network: the octets are taken for one datagram.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sipcore
from sipcore import Request, Response
from sipcore.cli.output import BAD_INPUT, DONE, print_result, say_error
from sipcore.errors import ParseError

EXCERPT = 24


def command(options: argparse.Namespace) -> int:
    """Print the message of `options.file`; 2 when it is not a SIP message or cannot be read."""
    try:
        octets = read_octets(options.file)
    except OSError as error:
        say_error(f"{options.file}: {error.strerror or error}", as_json=options.json)
        return BAD_INPUT
    try:
        message = sipcore.parse(octets)
    except ParseError as error:
        say_error(
            f"{options.file}: {error.reason} at octet {error.at}{_excerpt(octets, error.at)}; a server would answer "
            f"{error.status_hint}",
            as_json=options.json,
            reason=error.reason,
            at=error.at,
            status_hint=error.status_hint,
        )
        return BAD_INPUT
    print_result(message_as_dict(message), message_lines(message), as_json=options.json)
    return DONE


def read_octets(file: str) -> bytes:
    """All octets of a file, or of stdin for "-"."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def _excerpt(octets: bytes, at: int) -> str:
    seen = octets[at : at + EXCERPT]
    return f" ({seen!r})" if seen else " (the end)"


def message_as_dict(message: Request | Response) -> dict[str, object]:
    """The message as plain values; header values and body as text with surrogate escapes replaced."""
    return {
        **_start_line(message),
        "call_id": message.call_id,
        "cseq": _field(message, "cseq"),
        "from": _field(message, "from_"),
        "to": _field(message, "to"),
        "via": _field(message, "via"),
        "contacts": _field(message, "contacts"),
        "headers": [[name, _printable(value)] for name, value in message.headers],
        "size": len(bytes(message)),
        "body_size": len(message.body),
        "body": message.body.decode("utf-8", "replace"),
    }


def message_lines(message: Request | Response) -> list[str]:
    """The message for a person: what it is, who speaks to whom, every header, the body's size."""
    values = message_as_dict(message)
    if isinstance(message, Request):
        lines = [f"{message.method} {message.request_uri}  ({message.version} request, {values['size']} octets)"]
    else:
        lines = [
            f"{message.status_code} {message.reason_phrase}  ({message.version} response, {values['size']} octets)"
        ]
    lines += [f"  {name:<8} {_shown(values[name])}" for name in ("from", "to", "call_id", "cseq") if values[name]]
    lines += _list_lines("via", values["via"]) + _list_lines("contact", values["contacts"])
    lines.append("  headers")
    lines += [f"    {name}: {_printable(value)}" for name, value in message.headers]
    lines.append(f"  body     {len(message.body)} octets" + (f", {message.content_type}" if message.body else ""))
    return lines


def _start_line(message: Request | Response) -> dict[str, object]:
    if isinstance(message, Request):
        return {"kind": "request", "method": message.method, "request_uri": _printable(str(message.request_uri))}
    return {"kind": "response", "status_code": message.status_code, "reason_phrase": _printable(message.reason_phrase)}


def _field(message: Request | Response, attribute: str) -> object:
    """One typed attribute as text or a list of texts; a malformed one says so instead of hiding the rest."""
    try:
        value = getattr(message, attribute)
    except ParseError as error:
        return {"malformed": str(error)}
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [_printable(str(each)) for each in value]
    return _printable(str(value))


def _list_lines(label: str, values: object) -> list[str]:
    each = values if isinstance(values, list) else [values]
    return [f"  {label:<8} {_shown(value)}" for value in each]


def _shown(value: object) -> str:
    return f"malformed: {value['malformed']}" if isinstance(value, dict) else str(value)


def _printable(text: str) -> str:
    """Header text that a terminal and JSON can carry: octets that are no UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
