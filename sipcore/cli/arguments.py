"""The command line's grammar: which commands there are and what each accepts.

Does not run anything: `options.command` is a function that imports its room
when it is called, so that `sipcore --help` stays quick.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Protocol

ORDERS = ("a-first", "srv-first", "rfc3263")
TRANSPORTS = ("udp", "tcp", "tls")
SERVICES = range(1, 9)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one command line; a wrong one ends the program with code 2 and a usage line on stderr."""
    return build_parser().parse_args(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar, also read by the documentation's test."""
    parser = argparse.ArgumentParser(prog="sipcore", description="A SIP device, its tools and its explanations.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_demo, _add_run, _add_explain, _add_resolve, _add_parse, _add_registrar, _add_bench):
        add(commands)
    return parser


class Commands(Protocol):
    """What `ArgumentParser.add_subparsers` returns, as far as it is used here."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser: ...


def _add_command(commands: Commands, name: str, summary: str, description: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=description or summary)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more to stderr (-vv: everything)")
    parser.set_defaults(command=_room(name))
    return parser


def _room(name: str) -> Callable[[argparse.Namespace], int]:
    def command(options: argparse.Namespace) -> int:
        return int(importlib.import_module(f"sipcore.cli.{name}").command(options))

    return command


def _add_demo(commands: Commands) -> None:
    summary = "eight services register, lose their connections, get them back and call each other"
    parser = _add_command(
        commands, "demo", summary, f"{summary}; registrar, outbound proxy and DNS run inside, nothing needs set-up"
    )
    parser.add_argument("--once", action="store_true", help="play the whole story once and end; 0 if all of it worked")


def _add_run(commands: Commands) -> None:
    parser = _add_command(commands, "run", "bring the device of a TOML file online until Ctrl-C")
    parser.add_argument("file", metavar="FILE", help="the device's configuration")
    parser.add_argument("--check", action="store_true", help="read and explain the configuration, start nothing")
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, metavar="SECONDS", help="stop by itself after this time"
    )
    parser.add_argument(
        "--call",
        dest="targets",
        action="append",
        default=[],
        type=_call_target,
        metavar="SP=URI",
        help="let service SP call URI once it is registered; may be given more than once",
    )
    parser.add_argument("--calls", type=_count, default=1, metavar="N", help="place each --call N times (default 1)")
    parser.add_argument(
        "--talk",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="hang up a placed call after this time (default 1)",
    )


def _add_explain(commands: Commands) -> None:
    parser = _add_command(
        commands, "explain", "say where a request would go, and why", "Asks DNS as the device would; sends no SIP."
    )
    parser.add_argument("file", metavar="FILE", help="the device's configuration")
    parser.add_argument("--sp", type=int, choices=SERVICES, required=True, help="the service that would send it")
    parser.add_argument("method", metavar="METHOD", type=str.upper, help="REGISTER, INVITE, BYE, …")
    parser.add_argument("uri", metavar="URI", nargs="?", help="its Request-URI (REGISTER: the service's registrar)")
    parser.add_argument("--in-dialog", action="store_true", help="a request inside an INVITE dialog (SPEC C8)")
    parser.add_argument(
        "--route", dest="routes", action="append", default=[], metavar="URI", help="a Route of that dialog; repeatable"
    )


def _add_resolve(commands: Commands) -> None:
    parser = _add_command(commands, "resolve", "find a server's address by DNS, and say by which rule")
    parser.add_argument("name", metavar="NAME", help="a host name or an address")
    parser.add_argument("--order", choices=ORDERS, default="a-first", help="order of the questions (default a-first)")
    parser.add_argument("--transport", choices=TRANSPORTS, help="transport in mind (default udp; rfc3263 may choose)")
    parser.add_argument("--port", type=_port, help="port in mind")
    parser.add_argument(
        "--nameserver", dest="name_servers", action="append", default=[], metavar="IP:PORT", help="ask this server"
    )


def _add_parse(commands: Commands) -> None:
    parser = _add_command(commands, "parse", "read one SIP message and print what it says")
    parser.add_argument("file", metavar="FILE", help="a file with the octets of one message, or - for stdin")


def _add_registrar(commands: Commands) -> None:
    parser = _add_command(commands, "registrar", "a registrar and its proxy, bindings in memory, until Ctrl-C")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:5060",
        metavar="HOST:PORT",
        help="UDP and TCP (127.0.0.1:5060); fd://NAME: sockets that systemd passed under this name",
    )
    parser.add_argument(
        "--domain",
        dest="domains",
        action="append",
        required=True,
        metavar="NAME",
        help="a domain it serves; repeatable",
    )
    parser.add_argument(
        "--user",
        dest="users",
        action="append",
        default=[],
        metavar="NAME=SECRET",
        help="a user (SECRET: a literal, env:NAME or file:PATH); repeatable; without any nobody is asked",
    )
    parser.add_argument("--store", metavar="FILE", help="keep bindings in this file, so that a crash loses none")
    parser.add_argument("--minimum-expires", type=_count, default=60, metavar="SECONDS", help="shortest life (60)")
    parser.add_argument(
        "--for", dest="seconds", type=_seconds, metavar="SECONDS", help="stop by itself after this time"
    )

    parser.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes, or auto: one a processor")
    parser.add_argument(
        "--spread",
        choices=("address", "call"),
        default="address",
        help="new requests go to a worker by their sender's address (default) or by their Call-ID",
    )
    parser.add_argument(
        "--handover",
        default="",
        metavar="PATH",
        help="take the ports of the registrar that was started with the same Unix socket, which then ends",
    )


def _add_bench(commands: Commands) -> None:
    parser = _add_command(
        commands,
        "bench",
        "measure this installation against the C yardstick that it carries",
        "Takes about half a minute, talks to loopback only.  A figure whose run was invalid is not printed.",
    )
    parser.add_argument("--rounds", type=_count, default=7, metavar="N", help="rounds of each figure (default 7)")
    parser.add_argument("--out", metavar="FILE", help="write the result as JSON, to compare with later")
    parser.add_argument("--compare", metavar="FILE", help="show each ratio beside that of an earlier --out")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 1000000")
    return int(text)


def _workers(text: str) -> int | str:
    return text if text == "auto" else _count(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)


def _call_target(text: str) -> tuple[int, str]:
    """`1=sip:bob@example.com` as (1, "sip:bob@example.com")."""
    number, separator, uri = text.partition("=")
    if not separator or not uri or number not in map(str, SERVICES):
        raise argparse.ArgumentTypeError(f"{text} is not SP=URI with SP from 1 to 8")
    return int(number), uri
