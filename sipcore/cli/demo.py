"""`sipcore demo`: eight services register, refresh, lose their connections, get them back, and call each other.

The provider is `demo_network`, the device an ordinary one from a TOML text.
`--once` plays the story once and judges it; without it the story goes on until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sipcore import aio
from sipcore.call import Call
from sipcore.cli.demo_network import EDGE, DemoNetwork
from sipcore.cli.output import DONE, FAILED, print_lines, print_object
from sipcore.cli.screen import Screen, SilentScreen, Step, open_screen
from sipcore.config import parse_device
from sipcore.device import Device
from sipcore.errors import SipError
from sipcore.service import ServiceProvider
from sipcore.status import ServiceStatus

TICK = 0.2  # seconds between two pictures
STORY_SECONDS = 13.0  # the whole story of --once
PAUSE = 5.0  # seconds between two rounds without --once
TALK = 1.0
TITLE = "sipcore demo: registrar, outbound proxy and DNS inside this process, on loopback"

REGISTERED, REFRESHED = "all registered", "all refreshed"
LOST, BACK = "connections lost", "connections back"
CALLED, GONE = "call set up and ended", "all de-registered"


def command(options: argparse.Namespace) -> int:
    """Run the demo; with `--once` 0 only if every step of the story came true."""
    return aio.run(Demo(options).run())


@dataclass(slots=True)
class Stage:
    """What a story plays on."""

    network: DemoNetwork
    device: Device

    @property
    def services(self) -> list[ServiceProvider]:
        return list(self.device.sp.values())

    @property
    def streamed(self) -> list[ServiceProvider]:
        """Those that live on a connection."""
        return [service for service in self.services if service.links]


class Demo:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.once: bool = options.once
        self.as_json: bool = options.json
        self.steps = {title: Step(title) for title in (REGISTERED, REFRESHED, LOST, BACK, CALLED, GONE)}
        self.began = 0.0
        self.last: list[ServiceStatus] = []

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        network = await DemoNetwork.start()
        device = Device(parse_device(network.configuration(), file="demo.toml"))
        screen: Screen = SilentScreen() if self.as_json else open_screen(TITLE)
        story = loop.create_task(self._play(Stage(network, device)))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, story.cancel)
        try:
            while not story.done():
                self._show(screen, device)
                await asyncio.wait([story], timeout=TICK)
            self._show(screen, device)
        finally:
            screen.close()
            await device.stop()
            await network.close()
        return self._judge()

    # the story

    async def _play(self, stage: Stage) -> None:
        """Every step in its order; the de-registration is part of it."""
        await stage.device.start()
        try:
            async with asyncio.timeout(STORY_SECONDS if self.once else None):
                await self._first_round(stage)
                while not self.once:
                    await asyncio.sleep(PAUSE)
                    await self._round(stage)
        except (TimeoutError, SipError, asyncio.CancelledError):
            return
        finally:
            self.last = stage.device.status()
            with suppress(SipError):
                await self._step(GONE, lambda: deregister(stage))

    async def _first_round(self, stage: Stage) -> None:
        await self._step(REGISTERED, lambda: register(stage))
        await self._step(REFRESHED, lambda: refresh(stage))
        await self._round(stage)

    async def _round(self, stage: Stage) -> None:
        await self._step(LOST, lambda: lose(stage))
        await self._step(BACK, lambda: come_back(stage))
        await self._step(CALLED, lambda: call(stage))

    async def _step(self, title: str, work: Callable[[], Coroutine[Any, Any, str]]) -> None:
        """Do one step and note what was seen; one that fails ends the story."""
        self._mark(title, "running", "")
        try:
            seen = await work()
        except asyncio.CancelledError:
            self._mark(title, "failed" if self.once else "waiting", "not finished")
            raise
        except SipError as error:
            self._mark(title, "failed", str(error))
            raise
        self._mark(title, "done", f"{seen} ({self._now():.1f} s)")

    def _mark(self, title: str, state: Any, detail: str) -> None:
        self.steps[title] = replace(self.steps[title], state=state, detail=detail)

    # what is seen of it

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def _show(self, screen: Screen, device: Device) -> None:
        screen.show(self._now(), self.last or device.status(), tuple(self.steps.values()))

    def _judge(self) -> int:
        passed = all(step.state == "done" for step in self.steps.values())
        if self.as_json:
            print_object(
                {
                    "passed": passed,
                    "seconds": round(self._now(), 2),
                    "steps": [
                        {"title": step.title, "state": step.state, "detail": step.detail}
                        for step in self.steps.values()
                    ],
                    "services": [service.as_dict() for service in self.last],
                }
            )
        elif self.once:
            print_lines([f"{'every' if passed else 'NOT every'} step came true, {self._now():.1f} s in all"])
        return FAILED if self.once and not passed else DONE


async def register(stage: Stage) -> str:
    """Wait until every service is registered, and the registrar says so too."""
    await asyncio.gather(*(service.registered() for service in stage.services))
    return f"{stage.network.bound_count()} of {len(stage.services)} services at the registrar"


async def refresh(stage: Stage) -> str:
    """Wait until every binding was granted a second time, without a connection having been lost."""
    await until(lambda: all(service.registrations >= 2 for service in stage.services))
    opened = [link.opened for service in stage.streamed for link in service.links.values()]
    if any(count != 1 for count in opened):
        raise SipError("a connection was lost before its time")
    return f"{stage.network.registrar.accepted} REGISTERs accepted so far"


async def lose(stage: Stage) -> str:
    """The outbound proxy drops its connections; every service on one must notice."""
    links = [link for service in stage.streamed for link in service.links.values()]
    count = stage.network.cut_connections()
    await until(lambda: not any(link.is_up for link in links))
    if count != len(links):
        raise SipError(f"the outbound proxy had {count} connections for {len(links)} services")
    return f"the proxy at {EDGE} dropped {count}, one for each of its services"


async def come_back(stage: Stage) -> str:
    """Wait for new connections, a REGISTER on each, and no more than one for each service."""
    counts = {service.number: service.registrations for service in stage.streamed}
    await until(
        lambda: all(
            service.registrations > counts[service.number] and all(link.is_up for link in service.links.values())
            for service in stage.streamed
        )
    )
    count = stage.network.connection_count()
    if count != len(stage.streamed):
        raise SipError(f"the outbound proxy has {count} connections for {len(stage.streamed)} services")
    return f"{count} connected and registered again after their back-off"


async def call(stage: Stage) -> str:
    """SP1 calls SP5 through both proxies; both sides have the call, and both have it no more."""
    caller, callee = stage.device.sp[1], stage.device.sp[5]
    async with caller.call("user5") as placed:
        await placed.answered()
        taken = await the_call_of(callee)
        await asyncio.sleep(TALK)
        if caller.report().calls != 1 or callee.report().calls != 1:
            raise SipError("the call did not last")
    await until(lambda: caller.report().calls == callee.report().calls == 0)
    return f"SP1 called SP5, {TALK:.0f} s; SP5 saw it end: {taken.end_reason}"


async def deregister(stage: Stage) -> str:
    """Stop the device; the registrar must have no binding left but those whose connection was down."""
    down = sum(not link.is_up for service in stage.streamed for link in service.links.values())
    await stage.device.stop()
    left = stage.network.bound_count()
    if left > down:
        raise SipError(f"{left} bindings are left at the registrar")
    return f"{left} bindings are left to expire, their connections being down" if left else "no binding left"


async def the_call_of(service: ServiceProvider) -> Call:
    """The one call that a service has."""
    agent = service.user_agent
    assert agent is not None
    await until(lambda: bool(agent.calls))
    return next(iter(agent.calls))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what will be true soon; who calls sets the time limit."""
    while not condition():  # noqa: ASYNC110 - the condition has several owners, none of whom could tell
        await asyncio.sleep(0.02)
