"""The live table of services, drawn in place.  Imported only where rich is installed and there is a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sipcore.cli.screen import Step, StepState, details, reason
from sipcore.status import NOT_CONFIGURED, NOT_REQUIRED, STOPPED, ServiceStatus, format_active_calls

MARKS: dict[StepState, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("›", "yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}
STATUS_WIDTH = 50


class LiveScreen:
    """A table that is drawn anew in place, the story's steps below it."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._live = Live(console=Console(file=stream), auto_refresh=False, vertical_overflow="visible")
        self._live.start()

    def show(self, at: float, services: Sequence[ServiceStatus], steps: Sequence[Step] = ()) -> None:
        self._live.update(draw(f"{self._title}  [dim]{at:.0f} s[/dim]", services, steps), refresh=True)

    def close(self) -> None:
        self._live.stop()


def draw(title: str, services: Sequence[ServiceStatus], steps: Sequence[Step]) -> Group:
    """The whole picture for rich."""
    return Group(_draw_services(title, services), *(_draw_step(step) for step in steps))


def _draw_step(step: Step) -> Text:
    mark, style = MARKS[step.state]
    return Text.assemble((f" {mark} {step.title:<24}", style), step.detail)


def _draw_services(title: str, services: Sequence[ServiceStatus]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, expand=True, padding=(0, 1))
    table.add_column("SP", no_wrap=True)
    table.add_column("status and connection", ratio=1, min_width=STATUS_WIDTH)
    table.add_column("why", ratio=1, style="dim")
    told: dict[str, int] = {}
    for service in services:
        why = reason(service)
        first = told.setdefault(why, service.sp)
        shown = why if first == service.sp or not why else f"as SP{first}"
        table.add_row(f"SP{service.sp}", _status(service), shown)
    return table


def _status(service: ServiceStatus) -> Text:
    text = Text(service.status, style=_colour(service))
    if service.calls:
        text.append(f", {format_active_calls(service.calls)}", style="bold cyan")
    if service.connection and service.connection != service.status:
        text.append(f"\n{service.connection}", style="dim")
    for line in details(service):
        text.append(f"\n{line}", style="yellow" if line.startswith("warning") else "dim")
    return text


def _colour(service: ServiceStatus) -> str:
    if service.registered or service.status == NOT_REQUIRED:
        return "green"
    if service.status in (NOT_CONFIGURED, STOPPED):
        return "dim"
    return "yellow" if service.retry_in is None else "red"
