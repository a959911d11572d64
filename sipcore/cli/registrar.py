"""`sipcore registrar`: the embedded registrar with a proxy in front of it, until Ctrl-C; for a lab or a small site.

Calls between its users go to the contacts that they registered.  With several
workers each keeps the bindings of its share of the addresses of record.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sipcore import aio
from sipcore.binding_store import BindingStore
from sipcore.cli.output import BAD_INPUT, DONE, LOST, print_object, say, say_error, show_lines
from sipcore.env import Listener
from sipcore.errors import TransportError, UsageError
from sipcore.handover import SCHEME
from sipcore.location import Limits
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.serving import serve as serve_workers
from sipcore.stack import Stack
from sipcore.user_agent import UserAgent

logger = logging.getLogger("sipcore.registrar")

TICK = 0.5  # seconds between two looks at the bindings
GRACE = 1.0  # seconds that running transactions get at the end


def command(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, SIGTERM or `--for`; 2 for a user without a readable password."""
    try:
        users = read_users(options.users)
    except ValueError as error:
        say_error(f"--user: {error}", as_json=options.json)
        return BAD_INPUT
    if options.workers == 1 and not options.handover:
        try:
            return aio.run(serve(options, users))
        except UsageError as error:
            say_error(str(error), as_json=options.json)
            return BAD_INPUT
    if options.store:
        say_error("--store: the file belongs to one process: neither --workers nor --handover", as_json=options.json)
        return BAD_INPUT
    return serve_workers(
        lambda stack: serve_as_worker(stack, options, users),
        workers=options.workers,
        spread=options.spread,
        grace=GRACE,
        handover=options.handover,
        seconds=options.seconds,
        on_report=print_object if options.json else None,
    )


def read_users(texts: list[str]) -> dict[str, str]:
    """Names and passwords of all `--user`; ValueError says which one cannot be read."""
    return dict(read_user(text) for text in texts)


def read_user(text: str) -> tuple[str, str]:
    """`NAME=SECRET`, the secret a literal, `env:NAME` or `file:PATH`.  ValueError says what is wrong."""
    name, separator, secret = text.partition("=")
    if not name or not separator:
        raise ValueError("NAME=SECRET is wanted")
    source, _, place = secret.partition(":")
    if source == "env" and place:
        if place not in os.environ:
            raise ValueError(f"{name}: there is no variable {place}")
        return name, os.environ[place]
    if source == "file" and place:
        try:
            return name, Path(place).read_text().removesuffix("\n")
        except OSError as error:
            raise ValueError(f"{name}: cannot read {place}: {error.strerror or error}") from None
    return name, secret


async def start(stack: Stack, options: argparse.Namespace, users: dict[str, str]) -> tuple[Registrar, Listener]:
    """Registrar and proxy on one address, UDP and TCP."""
    agent = stack.user_agent("registrar", is_proxy=True)
    listeners = await listen(agent, options.listen)
    registrar = Registrar(
        agent,
        domains=options.domains,
        users=users or None,
        limits=Limits(minimum_expires=options.minimum_expires),
        store=BindingStore(options.store, stack.env) if options.store else None,
    )
    Proxy(agent, targets=registrar.targets, challenge=registrar.challenge)
    return registrar, listeners[0]


async def listen(agent: UserAgent, address: str) -> list[Listener]:
    """Both transports; of sockets that were passed to this process those that there are."""
    listeners = []
    refusal = TransportError(f"nothing is there to listen on: {address}")
    for transport in ("tcp", "udp"):
        try:
            listeners.append(await agent.listen(transport, address))
        except TransportError as error:
            if not address.startswith(SCHEME):
                raise
            refusal = error
    if not listeners:
        raise refusal
    return listeners


def announce(options: argparse.Namespace, listener: Listener, more: str = "") -> None:
    """Say what is served, and where."""
    where = f"{listener.host}:{listener.port}"
    say(f"sipcore: registrar of {', '.join(options.domains)} on {where}, UDP and TCP{more}; Ctrl-C stops")


async def serve(options: argparse.Namespace, users: dict[str, str]) -> int:
    """One process, until it is told to end."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: read_users_again(options, users))
    stack = Stack(env=aio.AsyncioEnv())
    registrar, listener = await start(stack, options, users)
    announce(options, listener)
    watching = asyncio.create_task(show_bindings(registrar, quiet=options.json))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), options.seconds)
    watching.cancel()
    if options.json:
        print_object(report(registrar))
    await stack.close(timeout=GRACE)
    if registrar.store is not None:
        registrar.store.close()
    return DONE


async def serve_as_worker(stack: Stack, options: argparse.Namespace, users: dict[str, str]) -> AsyncIterator[None]:
    """One of several processes (see `serving.serve`)."""
    workers = stack.workers
    assert workers is not None
    registrar, listener = await start(stack, options, users)
    workers.report = lambda: report(registrar)
    workers.on_reload(lambda: read_users_again(options, users))

    async def show() -> None:
        await workers.begun.wait()
        if workers.is_first:
            announce(options, listener, f", {workers.count} workers")
        await show_bindings(registrar, quiet=options.json)

    showing = asyncio.create_task(show())
    yield
    showing.cancel()


def read_users_again(options: argparse.Namespace, users: dict[str, str]) -> None:
    """Take passwords from their files anew; when one cannot be read all stay as they are."""
    try:
        new = read_users(options.users)
    except ValueError as error:
        logger.error("the passwords stay as they were: %s", error)
        return
    users.clear()
    users.update(new)


def report(registrar: Registrar) -> dict[str, Any]:
    """What stands in the JSON at the end."""
    lost = {**LOST.as_dict(), "store": registrar.lost}
    counts = {"accepted": registrar.accepted, "refused": registrar.refused, "lost": lost}
    return {"bindings": bindings(registrar), **counts}


async def show_bindings(registrar: Registrar, *, quiet: bool) -> None:
    """Print who comes, moves and goes, for ever."""
    last: dict[str, list[str]] = {}
    lost = 0
    while True:
        last = show_changes(last, bindings(registrar), quiet=quiet)
        if registrar.lost != lost and not quiet:
            lost = registrar.lost
            show_lines([f"! {lost} registrations could not be kept and were refused"])
        await asyncio.sleep(TICK)


def bindings(registrar: Registrar) -> dict[str, list[str]]:
    """Addresses of record to their contacts, those that live now."""
    now = registrar.user_agent.env.now()
    return {
        address: [binding.contact for binding in registrar.location.bindings(address, now)]
        for address in registrar.location.addresses(now)
    }


def show_changes(before: dict[str, list[str]], now: dict[str, list[str]], *, quiet: bool) -> dict[str, list[str]]:
    """Print who came, moved or went; returns `now`."""
    lines = [
        f"+ {address}  {', '.join(contacts)}" for address, contacts in now.items() if before.get(address) != contacts
    ]
    lines += [f"- {address}" for address in before if address not in now]
    if lines and not quiet:
        show_lines(lines)
    return now
