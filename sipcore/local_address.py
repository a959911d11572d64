"""The one local address of a device (SPEC A1): configured, an interface's, or the source of the way to a server.

Asks DNS and the host's routes; sends nothing.
"""

from __future__ import annotations

import logging

from sipcore.config import DeviceConfig, Service
from sipcore.env import Env
from sipcore.errors import LocateError, TransportError
from sipcore.finding import Finder
from sipcore.policy.locate import AddressType, literal_address
from sipcore.policy.questions import Failure
from sipcore.routing import server_sites

logger = logging.getLogger("sipcore.device")

ANYWHERE = "192.0.2.1"  # RFC 5737: no host is there, the default route leads to it
KINDS: tuple[AddressType, ...] = ("A", "AAAA")


def address_types(local_host: str) -> tuple[AddressType, ...]:
    """What a device at `local_host` asks DNS for: AAAA if that is IPv6, never both (SPEC D2)."""
    return ("AAAA",) if ":" in local_host else ("A",)


async def pick_local_address(config: DeviceConfig, env: Env) -> str:
    """Configured, or the source of the route to the lowest-numbered service's server.  TransportError: none now."""
    wanted = config.device.local_ip
    literal = literal_address(wanted)
    if literal is not None:
        return literal
    if wanted != "auto":
        return _first_of(env.host_addresses(wanted), wanted)
    service = next((service for service in config.services if service.is_configured), None)
    if service is None:
        raise TransportError("no service is configured")
    return await _towards_server(env, service)


async def _towards_server(env: Env, service: Service) -> str:
    """IPv4 if there is a way, else IPv6; the default route's while DNS knows no address at all.

    A server whose address is known decides: where no way leads to it, there is no address rather than one of the other
    kind, which would stay for as long as the host has it.
    """
    no_way: TransportError | None = None
    for kind in KINDS:
        try:
            server = await _server_address(env, service, kind)
        except LocateError as error:
            logger.info("SP%d: %s", service.number, error)
            if any(isinstance(each, Failure) for each in error.asked):
                break
            continue
        try:
            return env.source_address(server)
        except TransportError as error:
            no_way = no_way or error
    if no_way is not None:
        raise no_way
    logger.info("SP%d: the default route says the local address", service.number)
    return env.source_address(ANYWHERE)


async def _server_address(env: Env, service: Service, kind: AddressType) -> str:
    sites = server_sites(service.profile, (kind,))
    site = sites.get("outbound") or next(iter(sites.values()))
    return (await Finder(env).find(site)).target.address


def _first_of(addresses: tuple[str, ...], interface: str) -> str:
    if not addresses:
        raise TransportError(f"interface {interface} has no address")
    return addresses[0]
