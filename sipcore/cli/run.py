"""`sipcore run FILE`: a device online until Ctrl-C, SIGTERM or `--for`, then de-registered and gone.

Shows the services while they run; places the calls that `--call` asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from sipcore import aio
from sipcore.cli.output import DONE, FAILED, LOST, print_lines, print_object, say
from sipcore.cli.screen import Screen, SilentScreen, open_screen
from sipcore.config import DeviceConfig, load_device
from sipcore.device import Device
from sipcore.errors import SipError
from sipcore.status import ServiceStatus

TICK = 0.25  # seconds between two pictures
REGISTER_WAIT = 32.0  # seconds that a placed call waits for its service, RFC 3261 64*T1


def command(options: argparse.Namespace) -> int:
    """Run the device of `options.file`, or with `--check` only say what it would be."""
    config = load_device(options.file)
    if options.check:
        return check(config, as_json=options.json)
    return aio.run(run(config, options))


def check(config: DeviceConfig, *, as_json: bool) -> int:
    """Say what the configuration means; nothing is started."""
    lines = config.describe()
    if as_json:
        print_object({"file": config.file, "check": lines})
    else:
        print_lines([*lines, f"{config.file}: good"])
    return DONE


async def run(config: DeviceConfig, options: argparse.Namespace) -> int:
    """The device's life: start, show, call, stop; 1 when a placed call failed."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    say(f"sipcore: running {config.file}; Ctrl-C de-registers and stops")
    screen: Screen = SilentScreen() if options.json else open_screen(f"sipcore run {config.file}")
    device = Device(config)
    began = loop.time()
    placed = PlacedCalls()
    last = device.status()
    try:
        await device.start()
        calling = loop.create_task(place_calls(device, options, placed))
        ending = loop.create_task(_end(stopping, options.seconds))
        while not ending.done():
            screen.show(loop.time() - began, device.status())
            await asyncio.wait([ending], timeout=TICK)
        calling.cancel()
        await asyncio.wait([calling])
    finally:
        last = device.status()
        await device.stop()
        screen.close()
    _report(options, last, placed)
    return FAILED if placed.failures else DONE


async def _end(stopping: asyncio.Event, seconds: float | None) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        stopping.set()


@dataclass(slots=True)
class PlacedCalls:
    """What became of the calls of `--call`."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return {"answered": self.answered, "failed": len(self.failures), "failures": self.failures[:20]}


async def place_calls(device: Device, options: argparse.Namespace, placed: PlacedCalls) -> None:
    """Let each `--call` ring `--calls` times, one after the other; different services call at the same time."""
    targets: Sequence[tuple[int, str]] = options.targets
    await asyncio.gather(*(_call_again_and_again(device, number, uri, options, placed) for number, uri in targets))


async def _call_again_and_again(
    device: Device, number: int, uri: str, options: argparse.Namespace, placed: PlacedCalls
) -> None:
    service = device.sp.get(number)
    if service is None:
        placed.failures.append(f"SP{number}: there is no such service")
        return
    try:
        await service.registered(timeout=REGISTER_WAIT)
    except (TimeoutError, asyncio.CancelledError):
        placed.failures.append(f"SP{number} calls {uri}: not placed: {service.status}")
        return
    for _ in range(options.calls):
        try:
            async with service.call(uri) as call:
                await call.answered()
                placed.answered += 1
                await asyncio.sleep(options.talk)
        except SipError as error:
            placed.failures.append(f"SP{number} calls {uri}: {error}")
            say(f"sipcore: {placed.failures[-1]}")


def _report(options: argparse.Namespace, services: Sequence[ServiceStatus], placed: PlacedCalls) -> None:
    """The object of `--json`: the services as they were before the device was stopped."""
    if options.json:
        result: dict[str, object] = {"services": [service.as_dict() for service in services], "lost": LOST.as_dict()}
        if options.targets:
            result["calls"] = placed.as_dict()
        print_object(result)
    elif options.targets:
        print_lines([f"calls: {placed.answered} answered, {len(placed.failures)} failed", *placed.failures[:20]])
