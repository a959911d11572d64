"""The configuration's keys as tables: name, dataclass field and how a value is read (SPEC head).

Names are those of the device family; with or without `X_` is the same key.  This
room knows one value at a time; how values bear on each other is `sipcore.config`'s
business.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sipcore.policy.codes import RetryCodes, parse_retry_codes
from sipcore.policy.settings import Secret

_HOST = re.compile(r"(?=.{1,254}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_USER = re.compile(r"[A-Za-z0-9\-_.!~*'()&=+$,;?/%]*")
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
MAXIMUM_ALTERNATIVE_PORTS: Final = 10
DAY: Final = 86400


class KeyFault(ValueError):
    """A value that cannot stand for its key; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Key:
    """`name` as documented, the dataclass `field` it fills, and `read`, which checks and converts (KeyFault)."""

    name: str
    field: str
    read: Callable[[object], object]
    is_secret: bool = False


def canonical(name: str) -> str:
    """The key without its `X_`, so that both spellings meet."""
    return name.removeprefix("X_")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise KeyFault(f"must be a string, not {_kind(value)}")
    if any(ord(octet) < 0x20 or ord(octet) == 0x7F for octet in value):
        raise KeyFault("must not hold control characters")
    return value


def _kind(value: object) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a fraction", str: "a string", list: "a list", dict: "a table"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise KeyFault(f"must be true or false, not {_kind(value)}")
    return value


def _number(low: int, high: int, unit: str = "") -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise KeyFault(f"must be a number, not {_kind(value)}")
        if not low <= value <= high:
            raise KeyFault(f"must be from {low} to {high}{unit}, not {value}")
        return value

    return read


_port = _number(1, 65535)
_seconds = _number(1, DAY, " seconds")


def _host(value: object) -> str:
    """A name or a literal address; brackets around IPv6 are allowed and taken off; empty means "not set"."""
    text = _text(value).strip()
    if not text or is_address(text.removeprefix("[").removesuffix("]")):
        return text.removeprefix("[").removesuffix("]")
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and (_HOST.fullmatch(host) or is_address(host.strip("[]"))):
        raise KeyFault(f'"host:port" where a host belongs; write "{host}" here and {port} in the key for the port')
    if not _HOST.fullmatch(text):
        raise KeyFault(f"{text!r} is neither a host name nor an address")
    return text


def is_address(text: str) -> bool:
    """Whether `text` is a literal IPv4 or IPv6 address, without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _choice(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value).lower()
        if text not in allowed:
            raise KeyFault(f"must be one of {', '.join(allowed)}, not {text!r}")
        return text

    return read


_transport = _choice("udp", "tcp", "tls")


def _letter(value: object) -> str:
    text = _text(value).upper()
    if text not in tuple("ABCDEFGH"):
        raise KeyFault(f"must be a profile letter, A to H, not {text!r}")
    return text


def _user(value: object) -> str:
    text = _text(value)
    if not _USER.fullmatch(text.partition("@")[0]) or text.count("@") > 1:
        raise KeyFault("must be a user name as a SIP URI allows it (RFC 3261 section 25.1); escape the rest with %")
    return text


def _uri(value: object) -> str:
    """Empty, a user, user@host, or the same with sip: or sips: before it (SPEC A5, A9)."""
    text = _text(value).strip()
    scheme, colon, rest = text.partition(":")
    bare = rest if colon and scheme.lower() in ("sip", "sips") else text
    user, at, domain = bare.partition("@")
    if not _USER.fullmatch(user) or (at and (not user or not _host(domain))):
        raise KeyFault(f"{text!r} is neither a user nor user@host")
    return text


def _ports(value: object) -> tuple[int, ...]:
    """A list of numbers, or a string with commas; at most ten (SPEC A3)."""
    if isinstance(value, str):
        value = [int(part) if part.strip().isdigit() else part for part in value.split(",") if part.strip()]
    if not isinstance(value, list):
        raise KeyFault(f"must be a list of ports, not {_kind(value)}")
    ports = tuple(_port(port) for port in value)
    if len(ports) > MAXIMUM_ALTERNATIVE_PORTS:
        raise KeyFault(f"at most {MAXIMUM_ALTERNATIVE_PORTS} ports, not {len(ports)} (SPEC A3)")
    if len(set(ports)) != len(ports):
        raise KeyFault("names a port twice")
    return ports


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value),) if value else ()
    if not isinstance(value, list):
        raise KeyFault(f"must be a list of strings, not {_kind(value)}")
    return tuple(_text(part) for part in value)


def _networks(value: object) -> tuple[str, ...]:
    """Addresses and networks (SPEC E3)."""
    texts = _texts(value)
    for text in texts:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise KeyFault(f"{text!r} is neither an address nor a network such as 192.0.2.0/24") from None
    return texts


def _name_servers(value: object) -> tuple[tuple[str, int], ...]:
    return tuple(read_name_server(text) for text in _texts(value))


def read_name_server(text: str) -> tuple[str, int]:
    """ "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353" to (address, port)."""
    address, port = text.strip(), "53"
    if address.startswith("["):
        address, _, port = address[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
    if not is_address(address):
        raise KeyFault(f"{text!r} is not ADDRESS or ADDRESS:PORT; a name server is given by its address")
    if not port.isascii() or not port.isdigit():
        raise KeyFault(f"{text!r} has no usable port")
    return address, _port(int(port))


def _local_ip(value: object) -> str:
    text = _text(value).strip()
    if text != "auto" and not is_address(text) and not _INTERFACE.fullmatch(text):
        raise KeyFault(f'must be "auto", an address or an interface name, not {text!r} (SPEC A1)')
    return text


def _urn(value: object) -> str:
    text = _text(value).strip()
    if text and not re.fullmatch(r"urn:[A-Za-z0-9-]{2,31}:[A-Za-z0-9:._\-]+", text):
        raise KeyFault(f"must be a URN such as urn:uuid:..., not {text!r} (RFC 5626 section 4.1)")
    return text


def _codes(value: object) -> RetryCodes:
    try:
        return parse_retry_codes(_text(value))
    except ValueError as fault:
        raise KeyFault(str(fault)) from None


def _secret(value: object) -> Secret:
    return Secret(_text(value))


def _table(*keys: Key) -> dict[str, Key]:
    return {canonical(key.name): key for key in keys}


DEVICE_KEYS = _table(
    Key("local_ip", "local_ip", _local_ip),
    Key("name_servers", "name_servers", _name_servers),
    Key("instance_id", "instance_id", _urn),
    Key("answer", "answer", _choice("busy", "answer")),
    Key("answer_body", "answer_body", _text),
)

PROFILE_KEYS = _table(
    Key("ProxyServer", "proxy_server", _host),
    Key("ProxyServerPort", "proxy_server_port", _port),
    Key("ProxyServerTransport", "proxy_server_transport", _transport),
    Key("RegistrarServer", "registrar_server", _host),
    Key("RegistrarServerPort", "registrar_server_port", _port),
    Key("RegistrarServerTransport", "registrar_server_transport", _transport),
    Key("UserAgentDomain", "user_agent_domain", _host),
    Key("OutboundProxy", "outbound_proxy", _host),
    Key("OutboundProxyPort", "outbound_proxy_port", _port),
    Key("OutboundProxyTransport", "outbound_proxy_transport", _transport),
    Key("X_BypassOutboundProxyInCall", "bypass_outbound_proxy_in_call", _flag),
    Key("RegistrationPeriod", "registration_period", _seconds),
    Key("RegisterRetryInterval", "register_retry_interval", _seconds),
    Key("X_RegisterRetryResponseCodes", "register_retry_response_codes", _codes),
    Key("X_ProxyServerRedundancy", "proxy_server_redundancy", _flag),
    Key("X_CheckPrimaryFallbackInterval", "check_primary_fallback_interval", _seconds),
    Key("X_SecondaryRegistration", "secondary_registration", _flag),
    Key("X_CheckSecondaryFallbackInterval", "check_secondary_fallback_interval", _seconds),
    Key("X_DiscoverPublicAddress", "discover_public_address", _flag),
    Key("X_OutboundSupport", "outbound_support", _flag),
    Key("X_DnsOrder", "dns_order", _choice("a-first", "srv-first", "rfc3263")),
    Key("X_DnsSrvAutoPrefix", "dns_srv_auto_prefix", _flag),
    Key("X_DnsServeStale", "dns_serve_stale", _number(0, 3600, " seconds")),
    Key("X_UDPSwitchToTCP", "udp_switch_to_tcp", _flag),
    Key("X_TLSDefaultPort", "tls_default_port", _port),
    Key("X_TLSVerify", "tls_verify", _flag),
    Key("X_TLSCAFile", "tls_ca_file", _text),
    Key("X_TLSCertificateFile", "tls_certificate_file", _text),
    Key("X_TLSKeyFile", "tls_key_file", _text),
    Key("X_AuthRealms", "auth_realms", _texts),
)

SERVICE_KEYS = _table(
    Key("Enable", "enable", _flag),
    Key("X_ServProvProfile", "profile_letter", _letter),
    Key("AuthUserName", "auth_user_name", _user),
    Key("AuthPassword", "auth_password", _secret, is_secret=True),
    Key("URI", "uri", _uri),
    Key("X_RegisterEnable", "register_enable", _flag),
    Key("X_UserAgentPort", "user_agent_port", _port),
    Key("X_UserAgentPorts", "user_agent_ports", _ports),
    Key("X_BindStreamPort", "bind_stream_port", _flag),
    Key("X_KeepAliveEnable", "keep_alive_enable", _flag),
    Key("X_KeepAliveExpires", "keep_alive_expires", _seconds),
    Key(
        "X_KeepAliveMsgType",
        "keep_alive_message_type",
        _choice("keep-alive", "empty", "stun", "options", "custom"),
    ),
    Key("X_KeepAliveServer", "keep_alive_server", _host),
    Key("X_KeepAliveServerPort", "keep_alive_server_port", _port),
    Key("X_KeepAliveCustomMessage", "keep_alive_custom_message", _text),
    Key("X_AccessList", "access_list", _networks),
    Key("X_AcceptSipFromRegistrarOnly", "accept_sip_from_registrar_only", _flag),
)
