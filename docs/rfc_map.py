"""Writes docs/rfc-map.md: which function stands where in which RFC.

A place is the innermost function, class or table whose docstring or comment
cites the section.  Run it after citing one: `python docs/rfc_map.py`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rfc-map.md"

RFCS = {
    1035: "DNS messages",
    2046: "MIME: media types, multipart bodies",
    2392: "cid URLs",
    2543: "SIP, the first edition",
    2782: "SRV records",
    3261: "SIP",
    3262: "Reliable provisional responses, PRACK",
    3263: "Locating SIP servers",
    3264: "Offer and answer",
    3311: "UPDATE",
    3323: "Privacy",
    3325: "Asserted identity",
    3326: "Reason",
    3327: "Path",
    3515: "REFER",
    3551: "RTP payload types",
    3581: "rport",
    3608: "Service-Route",
    3840: "Capabilities of user agents",
    3841: "Caller preferences",
    3891: "Replaces",
    3892: "Referred-By",
    3903: "PUBLISH",
    3911: "Join",
    3966: "tel URIs",
    4028: "Session timers",
    4320: "Non-INVITE transactions, amended",
    4475: "Torture test messages",
    4538: "Target-Dialog",
    5118: "Torture test messages for IPv6",
    5389: "STUN",
    5393: "Forking loops",
    5621: "Bodies of several parts",
    5626: "Outbound connections",
    5658: "Record-Route with two addresses",
    5737: "Addresses for documentation",
    5806: "Diversion",
    5922: "Certificates of SIP domains",
    5923: "Connection reuse",
    6026: "2xx to INVITE, amended",
    6086: "INFO",
    6223: "Keep-alive negotiation",
    6442: "Geolocation",
    6455: "WebSocket",
    6665: "Events",
    6809: "Feature-Caps",
    6891: "EDNS",
    7044: "History-Info",
    7118: "SIP over WebSocket",
    7235: "Authentication framework of HTTP",
    7315: "P- headers of 3GPP",
    7339: "Overload control",
    7615: "Authentication-Info",
    7616: "Digest authentication",
    8224: "Identity",
    8606: "Reason locations",
    8760: "Digest with SHA-256 and SHA-512-256",
    8866: "SDP",
    8898: "Bearer tokens",
}
NUMBER = r"[1-9]\d*(?:\.\d+)*"
CITED = re.compile(rf"RFC\s+(\d{{4}})(?:\s+sections?\s+({NUMBER}(?:(?:,\s+|\s+and\s+|,\s+and\s+){NUMBER})*))?")
COMPILED_NAME = re.compile(
    r"^(?:static\s+|inline\s+|cdef\s+|cpdef\s+)*(?:class\s+(\w+)|struct\s+(\w+)|def\s+(\w+)|[\w*][\w*\s\[\]:,]*?\b(\w+)\s*\()"
)

Citation = tuple[int, str, str]
"""(RFC, section or "", place)."""


def citations() -> Iterator[Citation]:
    """Every citation of an RFC in the package and its compiled rooms."""
    for path in sorted((ROOT / "sipcore").rglob("*.py")):
        yield from of_python(path.read_text(), str(path.relative_to(ROOT)))
    for path in sorted((ROOT / "src_pyx").rglob("*.*")):
        if path.suffix in (".pyx", ".pxd", ".c", ".h"):
            yield from of_compiled(path.read_text(), str(path.relative_to(ROOT)))


def of_python(text: str, file: str) -> Iterator[Citation]:
    """Citations of a Python file, each at its innermost class or function."""
    spans = [
        (node.lineno, node.end_lineno or node.lineno, node.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    for match in CITED.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        around = [span for span in spans if span[0] <= line <= span[1]]
        names = [name for _, _, name in sorted(around)]
        yield from expand(match, ":".join([file, ".".join(names)]) if names else file)


def of_compiled(text: str, file: str) -> Iterator[Citation]:
    """Citations of a Cython or C file: inside a function it is that one, in a comment between two the next."""
    lines = text.split("\n")
    for match in CITED.finditer(text):
        at = text.count("\n", 0, match.start())
        name = enclosing_name(lines, at)
        yield from expand(match, f"{file}:{name}" if name else file)


def enclosing_name(lines: list[str], at: int) -> str:
    """What a comment stands in front of, or else the definition around it; "" for what is said of the whole file."""
    end = end_of_comment(lines, at)
    if end is not None:
        return defined_on(" ".join(lines[end : end + 2]))
    indent = indent_of(lines[at])
    for line in reversed(lines[:at]):
        if line.strip() and indent_of(line) < indent:
            indent = indent_of(line)
            if name := defined_on(line):
                return name
    return ""


def end_of_comment(lines: list[str], at: int) -> int | None:
    """The first line after the comment at the margin that `at` is a line of; None when it is no such line."""
    if lines[at].startswith("#"):
        return next((i for i in range(at, len(lines)) if not lines[i].startswith("#")), None)
    above = next((line for line in reversed(lines[: at + 1]) if "/*" in line or "*/" in line[:-2]), "")
    if not above.startswith("/*"):
        return None
    return next((i + 1 for i in range(at, len(lines)) if "*/" in lines[i]), None)


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def defined_on(line: str) -> str:
    """The class, struct or function that a line begins, if it does."""
    match = COMPILED_NAME.match(line.strip())
    name = next(filter(None, match.groups()), "") if match else ""
    return "" if name in ("if", "for", "while", "switch", "return", "sizeof") else name


def expand(match: re.Match[str], place: str) -> Iterator[Citation]:
    """A citation of several sections, one by one."""
    rfc, sections = int(match[1]), match[2]
    for section in re.split(r",\s+and\s+|,\s+|\s+and\s+", sections) if sections else [""]:
        yield rfc, section, place


def order_of(section: str) -> list[int]:
    return [int(part) for part in section.split(".")] if section else []


def page() -> str:
    """The whole page."""
    found: dict[int, dict[str, list[str]]] = {}
    for rfc, section, place in citations():
        places = found.setdefault(rfc, {}).setdefault(section, [])
        if place not in places:
            places.append(place)
    lines = [
        "# The RFCs, section by section",
        "",
        "Written by `docs/rfc_map.py` from the code's citations; don't edit.",
        "",
    ]
    for rfc in sorted(found):
        title = f": {RFCS[rfc]}" if rfc in RFCS else ""
        lines += [f"## RFC {rfc}{title}", "", "| section | where |", "| --- | --- |"]
        for section in sorted(found[rfc], key=order_of):
            lines.append(f"| {section or 'as a whole'} | {', '.join(f'`{place}`' for place in found[rfc][section])} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
