"""A device: up to eight services on one host (SPEC A1 to A4), from one TOML file.

    async with Device.from_toml("device.toml") as device:
        await device.sp[1].registered(timeout=10)
        call = await device.sp[1].call("sip:+15550100@example.com")

Picks the local address, starts and stops the services, follows changes of the
address.  What a service does, `service` knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sipcore.config import DeviceConfig, load_device
from sipcore.env import Env, Watch
from sipcore.errors import ConfigError, TransportError
from sipcore.local_address import pick_local_address
from sipcore.policy.backoff import BackOff
from sipcore.service import ServiceProvider, Surroundings
from sipcore.stack import Stack
from sipcore.status import ServiceStatus
from sipcore.workers import refuse_among_workers

logger = logging.getLogger("sipcore.device")

STOP_SECONDS = 8.0


class Device:
    """The services of one configuration; `sp` has each by its number.

    `env` is the world, the real one by default.  Nothing is opened before `start`
    (or `async with`), and nothing that is wrong out there makes `start` fail: each
    service says in its status what is missing.
    """

    def __init__(self, config: DeviceConfig, *, env: Env | None = None) -> None:
        self.config = config
        self.local_host = ""
        self.sp: dict[int, ServiceProvider] = {}
        self.on_change: Callable[[], None] | None = None
        self._env = env
        self._answer_body = _read_answer_body(config)
        self._stack: Stack | None = None
        self._watch: Watch | None = None
        self._addresses_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def from_toml(cls, path: str | Path, *, env: Env | None = None) -> Self:
        """The device of a file.  ConfigError names file, line and key."""
        return cls(load_device(path), env=env)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to bring every configured service up; returns at once.

        UsageError when it was started before, or in one of several workers: each service registers from one place.
        """
        refuse_among_workers("a Device")
        env = self._env or self._real_env()
        self._stack = Stack(env=env)
        surroundings = Surroundings(
            self._stack, self.config.device.instance_id or env.host_urn(), self.config.device.answer, self._answer_body
        )
        for service in self.config.services:
            self.sp[service.number] = ServiceProvider(service, surroundings, self._changed)
        self._spawn(self._find_address(env))
        with suppress(TransportError, OSError, NotImplementedError):
            self._watch = env.watch_addresses(self._addresses_changed.set)

    async def stop(self) -> None:
        """De-register every service, all at the same time and within a bounded time, and close everything."""
        if self._stack is None:
            return
        if self._watch is not None:
            self._watch.close()
        for task in tuple(self._tasks):
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                ends = await asyncio.gather(*(service.stop() for service in self.sp.values()), return_exceptions=True)
                for error in ends:
                    if isinstance(error, BaseException):
                        logger.error("a service did not stop cleanly", exc_info=error)
        await self._stack.close(timeout=1.0)
        self._stack = None

    def status(self) -> list[ServiceStatus]:
        """The services in the order of their numbers; empty before `start`."""
        return [service.report() for service in self.sp.values()]

    def as_dict(self) -> dict[str, object]:
        """The object of `sipcore run --json`."""
        return {"services": [status.as_dict() for status in self.status()]}

    # the local address (SPEC A1)

    async def _find_address(self, env: Env) -> None:
        """Pick the address, again and again until there is one, start the services on it, and follow it."""
        back_off = BackOff(env.random)
        while True:
            try:
                self.local_host = await pick_local_address(self.config, env)
            except TransportError as error:
                wait = back_off.next_wait()
                for service in self.sp.values():
                    service.refuse(str(error), wait)
                await asyncio.sleep(wait)
            else:
                break
        logger.info("the local address is %s", self.local_host)
        for service in self.sp.values():
            service.start(self.local_host)
        await self._follow_address(env)

    async def _follow_address(self, env: Env) -> None:
        """Move every service when the address in use is gone; a new one beside it changes nothing (SPEC A1).

        While there is no other, it is looked for again and again: a route may come later than its address.  One that
        comes back as it was is registered again at once too, whatever the failures meanwhile made it wait for.
        """
        back_off, wait = BackOff(env.random), None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._addresses_changed.wait(), wait)
            self._addresses_changed.clear()
            try:
                picked = await pick_local_address(self.config, env)
            except TransportError as error:
                wait = back_off.next_wait()
                logger.info("the local address went and there is no other yet: %s", error)
                continue
            was_away, wait = wait is not None, None
            back_off.reset()
            if picked != self.local_host and self.local_host not in env.host_addresses():
                self._move(picked)
            elif was_away:
                logger.info("the local address %s has its way out again", self.local_host)
                for service in self.sp.values():
                    service.refresh()

    def _move(self, picked: str) -> None:
        logger.warning("the local address was %s and is now %s", self.local_host, picked)
        self.local_host = picked
        for service in self.sp.values():
            service.move(picked)

    # small things

    def _real_env(self) -> Env:
        from sipcore.aio import AsyncioEnv  # noqa: PLC0415 - the simulator needs none of it

        return AsyncioEnv(name_servers=self.config.device.name_servers)

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


def _read_answer_body(config: DeviceConfig) -> bytes:
    """The session description that calls are answered with, empty for an inactive one."""
    if not config.device.answer_body:
        return b""
    path = Path(config.file).parent / config.device.answer_body
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror or error}"
        raise ConfigError(reason, file=config.file, line=0, key="device.answer_body") from None
