"""Writes docs/spec-map.md: which tests hold which rule of the specification.

A test holds a rule when its name says so (`test_spec_d2_...`) or its docstring
does (`SPEC B5, D6: ...`).  Run it after adding one: `python docs/spec_map.py`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "spec-map.md"

RULES = {
    "A1": "One local address; when it changes, every service registers again at once, once",
    "A2": "A contact port for each service",
    "A3": "Alternative UDP ports while REGISTER gets no answer",
    "A4": "What a service needs to run",
    "A5": "The address of record",
    "A6": "Profiles A to H, shared",
    "A7": "An empty RegistrarServer means the proxy in every respect",
    "A8": "Each service is a user agent of its own",
    "A9": "The form of requests",
    "B1": "REGISTER, or no registration wanted",
    "B2": "The granted value counts",
    "B3": "When the refresh is sent",
    "B4": "One Call-ID, CSeq and outstanding REGISTER; instance and reg-id",
    "B5": "900 no answer, 901 not resolved or not reachable",
    "B6": "Redirections",
    "B7": "Challenges and credentials",
    "B8": "423 and Min-Expires",
    "B9": "Retry-After",
    "B10": "How long a failure waits",
    "B11": "Registration never gives up; a burst of triggers yields one attempt",
    "B12": "Redundancy and fallback",
    "B13": "The secondary registration",
    "B14": "The public address",
    "B15": "Keep-alives",
    "B16": "Path, Service-Route, de-registration",
    "C1": "Every request goes to the OutboundProxy",
    "C2": "OutboundProxyPort",
    "C3": "OutboundProxyTransport is independent",
    "C4": "The OutboundProxy stands in no request",
    "C5": "One connection for everything",
    "C6": "Reconnection with back-off; requests wait",
    "C7": "Without an outbound proxy",
    "C8": "The bypass inside calls",
    "C9": "No bypass on TCP and TLS",
    "C10": "TLS verification",
    "D1": "Literal addresses, and which name is resolved",
    "D2": "The order a-first",
    "D3": "Which port",
    "D4": "The order srv-first",
    "D5": "The order rfc3263",
    "D6": "Not found, and failure",
    "D7": "Cache and bounds",
    "D8": "One address, or failover",
    "D9": "Every decision leaves a trace",
    "F1": "The status in the device's words",
}
IN_NAME = re.compile(r"spec_([a-f]\d+)|(?<=_and_)([a-f]\d+)(?=_)")
IN_TEXT = re.compile(r"SPEC ([A-F]\d+(?:(?:, | and |-)[A-F]\d+)*)")


def tests() -> Iterator[tuple[str, str, set[str]]]:
    """(file, test, rules) of every test function."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield str(path.relative_to(ROOT)), node.name, rules_of(node)


def rules_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The rules that a test's name and docstring cite."""
    found = {(one or other).upper() for one, other in IN_NAME.findall(node.name)}
    for cited in IN_TEXT.findall(ast.get_docstring(node) or ""):
        found |= set(expand(cited))
    return found & RULES.keys()


def expand(cited: str) -> Iterator[str]:
    """ "B5, D6" or "C6-C8" to each of its rules."""
    for part in re.split(r", | and ", cited):
        first, _, last = part.partition("-")
        numbers = range(int(first[1:]), int(last[1:] if last else first[1:]) + 1)
        yield from (f"{first[0]}{number}" for number in numbers)


def page() -> str:
    """The whole page."""
    held: dict[str, list[str]] = {rule: [] for rule in RULES}
    for file, name, rules in tests():
        for rule in rules:
            held[rule].append(f"`{name}` ({file})")
    lines = [
        "# The rules and the tests that hold them",
        "",
        "Written by `docs/spec_map.py` from the tests; don't edit.",
        "",
    ]
    for rule, title in RULES.items():
        lines += [f"## {rule}. {title}", "", *(f"- {test}" for test in held[rule]), ""]
        if not held[rule]:
            lines[-1:] = ["- no test yet", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
