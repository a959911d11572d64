"""`sipcore registrar`: the embedded registrar with a proxy in front of it, until Ctrl-C; for a lab or a small site.

Calls between its users go to the contacts that they registered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from sipcore import aio
from sipcore.cli.output import BAD_INPUT, DONE, print_lines, print_object, say, say_error
from sipcore.location import Limits
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.stack import Stack

TICK = 0.5  # seconds between two looks at the bindings


def command(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C, SIGTERM or `--for`; 2 for a user without a readable password."""
    try:
        users = dict(read_user(text) for text in options.users)
    except ValueError as error:
        say_error(f"--user: {error}", as_json=options.json)
        return BAD_INPUT
    return aio.run(serve(options, users))


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


async def serve(options: argparse.Namespace, users: dict[str, str]) -> int:
    """Registrar and proxy on one address, UDP and TCP."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    stack = Stack(env=aio.AsyncioEnv())
    agent = stack.user_agent("registrar", is_proxy=True)
    listeners = [await agent.listen(transport, options.listen) for transport in ("tcp", "udp")]
    registrar = Registrar(
        agent, domains=options.domains, users=users or None, limits=Limits(minimum_expires=options.minimum_expires)
    )
    Proxy(agent, targets=registrar.targets, challenge=registrar.challenge)
    where = f"{listeners[0].host}:{listeners[0].port}"
    say(f"sipcore: registrar of {', '.join(options.domains)} on {where}, UDP and TCP; Ctrl-C stops")
    last: dict[str, list[str]] = {}
    end = None if options.seconds is None else loop.time() + options.seconds
    while not stopping.is_set() and (end is None or loop.time() < end):
        last = show_changes(last, bindings(registrar), quiet=options.json)
        await _pause(stopping)
    if options.json:
        print_object({"bindings": bindings(registrar), "accepted": registrar.accepted, "refused": registrar.refused})
    await stack.close(timeout=1.0)
    return DONE


async def _pause(stopping: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), TICK)
    except TimeoutError:
        return


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
        print_lines(lines)
    return now
