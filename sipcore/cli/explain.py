"""`sipcore explain FILE --sp N METHOD URI`: where a request of a service would go, and why (SPEC D9).

Takes the very decision that the device takes, with the same DNS; sends no SIP.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from sipcore.aio import AsyncioEnv
from sipcore.cli.output import BAD_INPUT, DONE, FAILED, print_object, print_result, say, say_error
from sipcore.config import DeviceConfig, Service, load_device
from sipcore.env import Env
from sipcore.errors import LocateError, ParseError, TransportError
from sipcore.finding import Finder
from sipcore.local_address import address_types, pick_local_address
from sipcore.outgoing import OutgoingRequest
from sipcore.policy.decisions import Decision, question_lines
from sipcore.policy.forms import callee_uri, register_uri
from sipcore.policy.locate import LARGE, AddressType
from sipcore.policy.outbound import STREAMS, NextHop, RequestFacts, choose_next_hop
from sipcore.routing import SERVER_NAMES, decide, format_place, read_facts


def command(options: argparse.Namespace) -> int:
    """Print the decision; 1 when the request would go nowhere."""
    config = load_device(options.file)
    try:
        service = config.service(options.sp)
    except KeyError:
        say_error(f"{options.file}: there is no [sp.{options.sp}] table", as_json=options.json)
        return BAD_INPUT
    if service.not_configured_why:
        say_error(f"SP{options.sp}: Service Not Configured: {service.not_configured_why}", as_json=options.json)
        return BAD_INPUT
    if not options.uri and options.method != "REGISTER":
        say_error(f"{options.method} needs a URI", as_json=options.json)
        return BAD_INPUT
    try:
        outgoing = request_of(service, options)
        facts = facts_of(outgoing, in_dialog=options.in_dialog)
    except ParseError as error:
        say_error(str(error), as_json=options.json)
        return BAD_INPUT
    chosen, decision = asyncio.run(_decide(config, service, facts, outgoing))
    if isinstance(decision, LocateError):
        return _nowhere(decision, chosen, outgoing, as_json=options.json)
    print_result(
        _as_dict(options.sp, decision),
        [f"SP{options.sp}: {decision.lines()[0]}", *decision.lines()[1:]],
        as_json=options.json,
    )
    return DONE


def request_of(service: Service, options: argparse.Namespace) -> OutgoingRequest:
    """The request in question: REGISTER to the registrar unless a URI is given, others to a URI, user or number."""
    if options.method == "REGISTER" and not options.uri:
        uri = register_uri(service)
    else:
        uri = callee_uri(service, options.uri or "")
    return OutgoingRequest(options.method, uri, tuple(options.routes), is_initial_invite=options.method == "INVITE")


def facts_of(outgoing: OutgoingRequest, *, in_dialog: bool) -> RequestFacts:
    """What the device's own rules look at; `in_dialog` stands for a call that is up (SPEC C8)."""
    return replace(read_facts(outgoing), in_dialog=in_dialog, in_invite_dialog=in_dialog)


async def _decide(
    config: DeviceConfig, service: Service, facts: RequestFacts, outgoing: OutgoingRequest
) -> tuple[NextHop, Decision | LocateError]:
    env = AsyncioEnv(name_servers=config.device.name_servers)
    chosen = choose_next_hop(service.profile, facts, address_types=await _address_types(config, env))
    try:
        found = await Finder(env, serve_stale=service.profile.dns_serve_stale).find(chosen.site)
    except LocateError as error:
        return chosen, error
    decision = decide(env.now(), found, chosen, outgoing)
    if decision.transport in STREAMS:
        name = SERVER_NAMES.get(chosen.owner)
        decision = replace(decision, connection=f"the service's one to its {name}" if name else "one of its own")
    if service.profile.proxy_server_redundancy and chosen.owner:
        decision = replace(
            decision,
            notes=("a device that runs takes the server that holds its registration (SPEC B12)",),
            others=tuple(format_place(target) for target in found.located.targets if target is not found.target),
        )
    if service.profile.udp_switch_to_tcp and decision.transport == "udp":
        note = f"more than {LARGE} octets try TCP there first, as X_UDPSwitchToTCP is on (SPEC C3)"
        decision = replace(decision, notes=(*decision.notes, note))
    return chosen, decision


async def _address_types(config: DeviceConfig, env: Env) -> tuple[AddressType, ...]:
    """IPv4's or IPv6's, by the address that the device would have here (SPEC A1, D2)."""
    try:
        return address_types(await pick_local_address(config, env))
    except TransportError:
        return ("A",)


def _as_dict(number: int, decision: Decision) -> dict[str, object]:
    values = decision.as_dict()
    del values["at"]
    return {"sp": number, **values}


def _nowhere(error: LocateError, chosen: NextHop, outgoing: OutgoingRequest, *, as_json: bool) -> int:
    subject = f"{outgoing.method} {outgoing.request_uri}"
    asked = [str(each) for each in error.asked]
    if as_json:
        print_object(
            {"subject": subject, "error": error.why, "rule": error.rule, "why": chosen.why, "questions": asked}
        )
    say(f"sipcore: {subject} goes nowhere: 901 {error.why} ({error.rule})")
    say(f"  next hop    {chosen.why} ({chosen.rule})")
    for line in question_lines(error.asked):
        say(line)
    return FAILED
