"""What a person sees of a running device: a live table where rich and a terminal are there, plain lines elsewhere.

Knows `ServiceStatus` and steps of a story; knows no device, no clock of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TextIO

from sipcore.cli.output import show_lines
from sipcore.status import STOPPED, ServiceStatus, format_active_calls, without_countdown

StepState = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a story wants to see happen, and what was seen."""

    title: str
    state: StepState = "waiting"
    detail: str = ""


class Screen(Protocol):
    """Where a running device is shown."""

    def show(self, at: float, services: Sequence[ServiceStatus], steps: Sequence[Step] = ()) -> None:
        """The state now; `at` is in seconds since the start."""
        ...

    def close(self) -> None:
        """The last state stays readable."""
        ...


def open_screen(title: str, *, stream: TextIO | None = None) -> Screen:
    """A live table on a terminal with rich installed, lines otherwise; on stdout unless `stream` is given."""
    stream = sys.stdout if stream is None else stream
    if stream.isatty() and importlib.util.find_spec("rich") is not None:
        live: Screen = importlib.import_module("sipcore.cli.live").LiveScreen(title, stream)
        return live
    return PlainScreen(title, stream)


class SilentScreen:
    """Shows nothing: `--json` prints its object at the end."""

    def show(self, at: float, services: Sequence[ServiceStatus], steps: Sequence[Step] = ()) -> None: ...

    def close(self) -> None: ...


class PlainScreen:
    """One line for each thing that changed, its reason indented below."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self._stream = stream
        self._shown: dict[int, str] = {}
        self._reasons: dict[int, str] = {}
        self._details: dict[int, list[str]] = {}
        self._told: dict[str, int] = {}
        self._steps: dict[str, Step] = {}
        self._write(title)

    def show(self, at: float, services: Sequence[ServiceStatus], steps: Sequence[Step] = ()) -> None:
        for step in steps:
            self._show_step(at, step)
        for service in services:
            self._show_service(at, service)

    def close(self) -> None:
        """Each line went out at once."""

    def _show_service(self, at: float, service: ServiceStatus) -> None:
        line = without_countdown(service_line(service))
        if self._shown.get(service.sp) != line:
            self._shown[service.sp] = line
            self._write(f"{at:6.2f}s  SP{service.sp}  {service_line(service)}")
        self._show_details(service)
        why = reason(service)
        if why and self._reasons.get(service.sp) != why:
            self._reasons[service.sp] = why
            first = self._told.setdefault(why, service.sp)
            self._write(f"{'':14}{why if first == service.sp else f'as SP{first}'}")

    def _show_details(self, service: ServiceStatus) -> None:
        """Those that are new, whatever their seconds say."""
        known = self._details.get(service.sp, [])
        lines = details(service)
        self._details[service.sp] = [without_countdown(line) for line in lines]
        for line in lines:
            if without_countdown(line) not in known:
                self._write(f"{'':14}{line}")

    def _show_step(self, at: float, step: Step) -> None:
        known = self._steps.get(step.title)
        self._steps[step.title] = step
        if step.state != "waiting" and (known is None or known.state != step.state):
            word = {"running": "now", "done": "done", "failed": "FAILED"}[step.state]
            detail = f": {step.detail}" if step.detail else ""
            self._write(f"{at:6.2f}s  {word:<6} {step.title}{detail}")

    def _write(self, line: str) -> None:
        show_lines([line], self._stream)


def service_line(service: ServiceStatus) -> str:
    """One service in one line: status, then calls and connection where they say more."""
    parts = [service.status]
    if service.calls:
        parts.append(format_active_calls(service.calls))
    if service.connection and service.connection != service.status:
        parts.append(service.connection)
    return ", ".join(parts)


def details(service: ServiceStatus) -> list[str]:
    """What else there is to see of it: warnings, the servers to fall back on, the second registration (SPEC F1)."""
    if service.status == STOPPED:
        return []
    lines = [f"warning: {warning}" for warning in service.warnings]
    if service.candidates:
        lines.append(f"servers: {'; '.join(service.candidates)}")
    second = service.secondary
    if second is not None:
        parts = [second.status]
        if second.connection and second.connection != second.status:
            parts.append(second.connection)
        lines.append(f"secondary: {', '.join(parts)}")
        if second.candidates:
            lines.append(f"secondary's servers: {'; '.join(second.candidates)}")
    return lines


def reason(service: ServiceStatus) -> str:
    """Why it is so: while it waits the last thing that happened, else the last destination that was chosen."""
    if service.status == STOPPED or not service.decisions:
        return ""
    if service.retry_in is not None:
        return service.decisions[-1]
    return next((text for text in reversed(service.decisions) if " -> " in text), service.decisions[-1])
