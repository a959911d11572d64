"""How a service's requests are written: Request-URI, To, From, Contact (SPEC A5, A9, C4).

Everything is formed from ProxyServer, RegistrarServer and the user's own names;
the OutboundProxy is not even looked at here.
"""

from __future__ import annotations

import re

from sipcore.constants import transport_parameter
from sipcore.policy.decisions import format_host_port
from sipcore.policy.settings import Server, Service


def register_uri(service: Service) -> str:
    """REGISTER's Request-URI: `sip:HOST[:PORT if configured][;transport=tcp|tls]` (SPEC A9)."""
    return f"{service.scheme}:{_host_part(service.profile.registrar)}"


def address_of_record_uri(service: Service) -> str:
    """What stands in To and From: neither port nor transport (SPEC A9)."""
    user, at, host = service.address_of_record.rpartition("@")
    return f"{service.scheme}:{user}{at}{format_host_port(host, None)}"


def callee_uri(service: Service, callee: str) -> str:
    """The Request-URI of a call: a whole URI as it is, a bare user or number at the ProxyServer (SPEC C4)."""
    if re.match(r"(?i)(sips?|tel):", callee):
        return callee
    if "@" in callee:
        return f"{service.scheme}:{callee}"
    return f"{service.scheme}:{callee}@{_host_part(service.profile.proxy)}"


def contact_uri(service: Service, host: str, port: int, transport: str) -> str:
    """The URI that this service can be reached at (SPEC A2, C4)."""
    user = service.address_of_record.rpartition("@")[0] or service.auth_user_name
    return contact_of(service.scheme, user, host, port, transport)


def contact_of(scheme: str, user: str, host: str, port: int, transport: str) -> str:
    where = format_host_port(host, port) + transport_parameter(transport)
    return f"{scheme}:{user}{'@' if user else ''}{where}"


def _host_part(server: Server) -> str:
    suffix = "" if server.transport == "udp" else f";transport={server.transport}"
    return f"{format_host_port(server.host, server.port)}{suffix}"


def uri_host(uri: str) -> str:
    """The host of a SIP URI as written, without brackets; empty where there is none."""
    found = re.match(r"(?i)sips?:(?:[^@]*@)?(\[[^\]]*\]|[^:;?>]*)", uri)
    return found.group(1).strip("[]") if found else ""


def same_host(one: str, other: str) -> bool:
    """Compared as hosts: case, a trailing dot and brackets make no difference (SPEC C4)."""
    return _plain_host(one) == _plain_host(other)


def _plain_host(host: str) -> str:
    return host.strip("[]").lower().removesuffix(".")


def outbound_value_in(message_text: str, host: str) -> bool:
    """Whether `host` is in a message as a whole host token (SPEC C4): `a.net` is not in `x.a.net` or `a.net.org`."""
    plain = _plain_host(host)
    if not plain:
        return False
    if ":" in plain:
        before, after = "(?<![0-9A-Fa-f:])", "(?![0-9A-Fa-f:])"
    else:
        before, after = "(?<![A-Za-z0-9_.-])", r"(?!\.?[A-Za-z0-9_-])"
    return re.search(before + re.escape(plain) + after, message_text, re.IGNORECASE) is not None
