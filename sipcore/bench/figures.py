"""Figures, what makes one invalid, and how two runs compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table: `ns` a piece of `what`, the yardstick's `yardstick_ns`, both medians of `rounds`.

    `invalid` says why the figure must not be used; its times are then left out.
    """

    name: str
    what: str
    yardstick: str
    ns: float | None
    yardstick_ns: float | None
    rounds: int
    invalid: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the yardstick's cost."""
        return self.ns / self.yardstick_ns if self.ns and self.yardstick_ns else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


def figure(
    name: str, what: str, yardstick: str, *, ours: Sequence[float] = (), theirs: Sequence[float] = (), invalid: str = ""
) -> Figure:
    """The figure of interleaved rounds, nanoseconds each."""
    if invalid or not ours:
        return Figure(name, what, yardstick, None, None, len(ours), invalid or "no round was measured")
    return Figure(name, what, yardstick, median(ours), median(theirs) if theirs else None, len(ours))


def table(figures: list[Figure], old: dict[str, Any] | None = None) -> list[str]:
    """Lines for a terminal; with `old`, a column with the change of each ratio against that run."""
    widths = [max((len(text) for text in column), default=0) for column in zip(*map(_words, figures), strict=True)]
    name, what, yardstick = widths or (0, 0, 0)
    head = f"{'':{name}}{'ns':>10}  {'of':{what}}  {'yardstick':{yardstick}}{'ratio':>8}"
    return [head + ("      then  change" if old else "")] + [_row(one, widths, old) for one in figures]


def _words(one: Figure) -> tuple[str, str, str]:
    return one.name, one.what, one.yardstick or "yardstick"


def _row(one: Figure, widths: list[int], old: dict[str, Any] | None) -> str:
    name, what, yardstick = widths
    if one.ns is None:
        return f"{one.name:{name}}{'invalid':>10}  {one.invalid}"
    ratio = f"{one.ratio:8.2f}" if one.ratio is not None else f"{'-':>8}"
    return f"{one.name:{name}}{one.ns:10.0f}  {one.what:{what}}  {one.yardstick:{yardstick}}{ratio}{_change(one, old)}"


def _change(one: Figure, old: dict[str, Any] | None) -> str:
    before = next((row for row in (old or {}).get("figures", ()) if row.get("name") == one.name), None)
    if before is None:
        return ""
    then, now = before.get("ratio") or before.get("ns"), one.ratio or one.ns
    if not then or not now:
        return "         -       -"
    return f"{then:10.2f}  {100 * (now / then - 1):+5.1f}%"
