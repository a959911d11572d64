"""Draw the machines of transactions and of policy from their tables: one SVG each, in this folder.

    python docs/machines/draw.py

A row of the table is a line beside its state, "event / actions"; transitions
with the same ends share an arrow.  The files are committed; a test draws them
again and compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from sipcore.machines import MACHINES  # noqa: E402
from sipcore.policy import registration_table, supervisor  # noqa: E402

State = Enum
Steps = Iterable[Enum | str]
Machine = Mapping[Any, tuple[Any, Steps]]  # (state, event) to (state, steps), each room with enums of its own

TABLES: dict[str, Machine] = {
    **MACHINES,
    "connection_supervisor": supervisor.TABLE,
    "registration": registration_table.TABLE,
}

FIGURES = {
    "invite_client": "INVITE client transaction: RFC 3261 figure 5, RFC 6026",
    "non_invite_client": "Non-INVITE client transaction: RFC 3261 figure 6",
    "invite_server": "INVITE server transaction: RFC 3261 figure 7 and section 13.3.1.4, RFC 6026",
    "non_invite_server": "Non-INVITE server transaction: RFC 3261 figure 8, RFC 4320",
    "connection_supervisor": "The connection to one server: SPEC C5, C6, C7",
    "registration": "One registration of one service: SPEC B, C6",
}
LINE, BOX, LEFT, TEXT_WIDTH, LANE, TOP = 16, 130, 30, 560, 16, 60


class Arrow(NamedTuple):
    """All transitions from one state to another (or itself)."""

    source: State
    target: State
    lines: list[str]


def words(member: Enum | str) -> str:
    name = str(member.name) if isinstance(member, Enum) else member
    return name.lower().replace("_", " ")


def describe(event: Enum, actions: Steps) -> str:
    return f"{words(event)} / {', '.join(words(action) for action in actions) or '-'}"


def arrows_of(machine: Machine) -> list[Arrow]:
    arrows: dict[tuple[State, State], Arrow] = {}
    for (state, event), (after, actions) in machine.items():
        arrow = arrows.setdefault((state, after), Arrow(state, after, []))
        arrow.lines.append(describe(event, actions))
    return list(arrows.values())


def states_of(machine: Machine) -> list[State]:
    """In the order of the table, those that nothing leads out of last."""
    return [*dict.fromkeys([*(state for state, _ in machine), *(after for after, _ in machine.values())])]


class Drawing:
    """States below each other, their transitions as text beside them, arrows in lanes to the right of the text."""

    def __init__(self, title: str, machine: Machine) -> None:
        self.arrows = arrows_of(machine)
        self.parts: list[str] = []
        self.text(LEFT, 30, title, "title")
        self.tops: dict[State, int] = {}
        y = TOP
        for state in states_of(machine):
            self.tops[state] = y
            lines = sum(len(arrow.lines) for arrow in self.arrows if arrow.source == state)
            y += max(3, lines + 2) * LINE + LINE
        self.height = y
        self.width = LEFT + BOX + TEXT_WIDTH + (len(self.arrows) + 1) * LANE
        self.arrivals: dict[State, int] = {}
        for state in self.tops:
            self.state(state)

    def text(self, x: int, y: int, text: str, kind: str = "row") -> None:
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>')

    def state(self, state: State) -> None:
        top = self.tops[state]
        self.parts.append(f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{2 * LINE}" rx="8"/>')
        self.text(LEFT + BOX // 2, top + LINE + 5, words(state).capitalize(), "state")
        y = top + LINE + 5
        for lane, arrow in enumerate(self.arrows):
            if arrow.source == state:
                for line in arrow.lines:
                    self.text(LEFT + BOX + 30, y, line)
                    y += LINE
                self.arrow(arrow, lane, y - LINE - 4)

    def arrow(self, arrow: Arrow, lane: int, y: int) -> None:
        """From the last line of the transition's text to its lane, along it, and back to the target's box."""
        start = LEFT + BOX + TEXT_WIDTH - 40
        if arrow.source == arrow.target:
            self.text(start, y + 5, "\N{CLOCKWISE OPEN CIRCLE ARROW}", "loop")
            return
        x = LEFT + BOX + TEXT_WIDTH + lane * LANE
        nth = self.arrivals.get(arrow.target, 0)
        self.arrivals[arrow.target] = nth + 1
        end = self.tops[arrow.target] - 3 - 4 * nth if nth < 4 else self.tops[arrow.target] - 15
        into = LEFT + BOX - 12 - 8 * nth
        top = self.tops[arrow.target]
        self.parts.append(f'<path d="M{start} {y} H{x} V{end - 2} H{into} V{top}" marker-end="url(#tip)"/>')

    def svg(self) -> str:
        style = (
            "rect{fill:#eef4fb;stroke:#234}path{fill:none;stroke:#567;stroke-width:1.1}text{font:12px sans-serif}"
            ".title{font-weight:bold;font-size:15px}.state{font-weight:bold;text-anchor:middle}"
        )
        shape = '<path d="M0 0L8 4L0 8"/>'
        tip = f'<marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">{shape}</marker>'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}">'
        body = "\n".join(self.parts)
        ground = '<rect x="0" y="0" width="100%" height="100%" style="fill:#fff;stroke:none"/>'
        return f"{head}\n<style>{style}</style><defs>{tip}</defs>\n{ground}\n{body}\n</svg>\n"


def draw() -> dict[str, str]:
    """The text of each file by its name."""
    return {f"{name}.svg": Drawing(FIGURES[name], machine).svg() for name, machine in TABLES.items()}


if __name__ == "__main__":
    for name, svg in draw().items():
        (HERE / name).write_text(svg)
