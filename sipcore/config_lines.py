"""Which line of a TOML text a key stands on.

The standard library's reader gives values without places; this small index finds
table headers and `key =` lines again.  It knows no configuration key, and it
guesses for values spread over inline tables: there the table's own line counts.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[?\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_MESSAGE_LINE = re.compile(r"line (\d+)")


class LineIndex:
    """Path of names, as ("sp", "1", "Enable"), to line number, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        self._count = text.count("\n") + 1
        self._index(text)

    def _index(self, text: str) -> None:
        table: tuple[str, ...] = ()
        fence = ""
        for number, line in enumerate(text.splitlines(), 1):
            if fence:
                fence = "" if line.count(fence) % 2 else fence
                continue
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = _parts(header.group(1))
                self._lines.setdefault(table, number)
            elif key:
                self._lines.setdefault(table + _parts(key.group(1)), number)
            fence = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")

    def line_of(self, path: tuple[str, ...]) -> int:
        """The line of `path`, else of the nearest table around it, else 1."""
        for size in range(len(path), 0, -1):
            if path[:size] in self._lines:
                return self._lines[path[:size]]
        return 1

    def line_of_message(self, message: str) -> int:
        """The line that a TOML error names; the last line for "at end of document"."""
        found = _MESSAGE_LINE.search(message)
        return int(found.group(1)) if found else self._count


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
