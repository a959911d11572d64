"""`sipcore resolve NAME`: which address a name leads to, by which rule, and what DNS said on the way.

Asks DNS as a device would; sends no SIP.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence

from sipcore.cli.output import BAD_INPUT, DONE, FAILED, print_object, print_result, say, say_error
from sipcore.config_keys import KeyFault, read_name_server
from sipcore.errors import LocateError
from sipcore.policy.decisions import question_lines
from sipcore.policy.locate import AddressType, Located, Site, Target, fresh_draw, literal_address, locate
from sipcore.resolver import DnsResolver, drive

Asked = Sequence[object]


def command(options: argparse.Namespace) -> int:
    """Print where `options.name` leads; 1 when it leads nowhere, with the reason on stderr."""
    try:
        name_servers = tuple(read_name_server(text) for text in options.name_servers)
    except KeyFault as fault:
        say_error(f"--nameserver: {fault}", as_json=options.json)
        return BAD_INPUT
    try:
        located, asked = asyncio.run(_locate(site_of(options), name_servers))
    except LocateError as error:
        return _not_found(error, options)
    lines = _lines(options.name, located, asked, fails_over=options.order == "rfc3263")
    print_result(_as_dict(options.name, located, asked), lines, as_json=options.json)
    return DONE


def site_of(options: argparse.Namespace) -> Site:
    """What is to be found, from the command line."""
    transport = options.transport or (None if options.order == "rfc3263" else "udp")
    literal = literal_address(options.name)
    types: tuple[AddressType, ...] = ("AAAA",) if literal is not None and ":" in literal else ("A",)
    if options.order == "rfc3263" and literal is None:
        types = ("A", "AAAA")
    return Site(options.name, options.port, transport=transport, order=options.order, address_types=types)


async def _locate(site: Site, name_servers: tuple[tuple[str, int], ...]) -> tuple[Located, Asked]:
    loop = asyncio.get_running_loop()
    resolver = DnsResolver(name_servers, clock=loop.time, random=random.SystemRandom())
    try:
        return await drive(locate(site, fresh_draw(random.SystemRandom())), resolver)
    finally:
        await resolver.close()


def _not_found(error: LocateError, options: argparse.Namespace) -> int:
    if options.json:
        print_object(
            {"name": options.name, "targets": [], "error": error.why, "rule": error.rule, "asked": _said(error.asked)}
        )
    say(f"sipcore: {options.name} leads nowhere: {error.why} ({error.rule})")
    for line in question_lines(error.asked):
        say(line)
    return FAILED


def _as_dict(name: str, located: Located, asked: Asked) -> dict[str, object]:
    return {
        "name": name,
        "targets": [_target_as_dict(target) for target in located.targets],
        "why": located.why,
        "rule": located.rule,
        "ttl": None if located.ttl == float("inf") else round(located.ttl, 1),
        "asked": _said(asked),
    }


def _target_as_dict(target: Target) -> dict[str, object]:
    return {
        "host_name": target.host_name,
        "address": target.address,
        "port": target.port,
        "transport": target.transport,
        "priority": target.priority,
        "weight": target.weight,
    }


def _lines(name: str, located: Located, asked: Asked, *, fails_over: bool) -> list[str]:
    first, *others = located.targets
    lines = [name, f"  goes to     {_shown(first)}"]
    lines += [f"  {'or, failing' if fails_over else 'not used'.ljust(11)} {_shown(target)}" for target in others]
    if others and not fails_over:
        lines.append("  note        one address is used and kept; X_ProxyServerRedundancy makes use of all (SPEC D8)")
    lines.append(f"  because     {located.why} ({located.rule})")
    return [*lines, *question_lines(asked)]


def _shown(target: Target) -> str:
    host = f"[{target.address}]" if ":" in target.address else target.address
    named = f"  ({target.host_name})" if target.host_name != target.address else ""
    return f"{host}:{target.port} {target.transport}{named}"


def _said(asked: Asked) -> list[str]:
    return [str(each) for each in asked]
