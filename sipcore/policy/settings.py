"""What an administrator wishes, as values: the device, its profiles and its services (SPEC A, B, C, D).

How a file is read into these, and its faults, is the business of `sipcore.config`;
what they lead to is that of the other rooms of policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sipcore.policy.codes import DEFAULT_RETRY_CODES, RetryCodes
from sipcore.policy.locate import Order, literal_address


class Secret:
    """A password that shows itself only when asked: never in a log, a trace, a repr or a comparison of texts."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"


@dataclass(frozen=True, slots=True)
class Server:
    """A configured server: host as written, port or None, transport "udp", "tcp" or "tls"."""

    host: str
    port: int | None
    transport: str


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The `[device]` table.

    `local_ip` is "auto", an address or an interface name (SPEC A1); `name_servers`
    are (address, port), empty for the host's own; `instance_id` is a URN for
    `+sip.instance`, empty for one derived from the host (SPEC B4); `answer` says
    what happens to incoming calls, `answer_body` names a file with an SDP body.
    """

    local_ip: str = "auto"
    name_servers: tuple[tuple[str, int], ...] = ()
    instance_id: str = ""
    answer: str = "busy"
    answer_body: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """One `[itsp.X]` table: how one provider is reached (SPEC B, C, D).  Empty strings mean "not set"."""

    letter: str
    proxy_server: str = ""
    proxy_server_port: int | None = None
    proxy_server_transport: str = "udp"
    registrar_server: str = ""
    registrar_server_port: int | None = None
    registrar_server_transport: str = "udp"
    user_agent_domain: str = ""
    outbound_proxy: str = ""
    outbound_proxy_port: int | None = None
    outbound_proxy_transport: str = "udp"
    bypass_outbound_proxy_in_call: bool = False
    registration_period: int = 60
    register_retry_interval: int = 30
    register_retry_response_codes: RetryCodes = DEFAULT_RETRY_CODES
    proxy_server_redundancy: bool = False
    check_primary_fallback_interval: int = 60
    secondary_registration: bool = False
    check_secondary_fallback_interval: int = 60
    discover_public_address: bool = False
    outbound_support: bool = False
    dns_order: Order = "a-first"
    dns_srv_auto_prefix: bool = False
    dns_serve_stale: int = 3600
    udp_switch_to_tcp: bool = False
    tls_default_port: int = 5060
    tls_verify: bool = True
    tls_ca_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    auth_realms: tuple[str, ...] = ()

    @property
    def proxy(self) -> Server:
        return Server(self.proxy_server, self.proxy_server_port, self.proxy_server_transport)

    @property
    def registrar(self) -> Server:
        """The registrar; without RegistrarServer host, port and transport are the proxy's (SPEC A7)."""
        if not self.registrar_server:
            return self.proxy
        return Server(self.registrar_server, self.registrar_server_port, self.registrar_server_transport)

    @property
    def outbound(self) -> Server | None:
        """The outbound proxy, or None (SPEC C1)."""
        if not self.outbound_proxy:
            return None
        return Server(self.outbound_proxy, self.outbound_proxy_port, self.outbound_proxy_transport)

    @property
    def servers(self) -> tuple[Server, ...]:
        """Where requests go: the outbound proxy, or proxy and registrar (SPEC C1, C7)."""
        return (self.proxy, self.registrar) if self.outbound is None else (self.outbound,)


@dataclass(frozen=True, slots=True)
class Service:
    """One `[sp.N]` table with its profile resolved (SPEC A2-A6, B15)."""

    number: int
    profile: Profile
    enable: bool = True
    auth_user_name: str = ""
    auth_password: Secret = field(default_factory=lambda: Secret(""))
    uri: str = ""
    register_enable: bool = True
    user_agent_port: int = 0
    user_agent_ports: tuple[int, ...] = ()
    bind_stream_port: bool = False
    keep_alive_enable: bool = False
    keep_alive_expires: int = 15
    keep_alive_message_type: str = "keep-alive"
    keep_alive_server: str = ""
    keep_alive_server_port: int | None = None
    keep_alive_custom_message: str = ""
    access_list: tuple[str, ...] = ()
    accept_sip_from_registrar_only: bool = False

    @property
    def not_configured_why(self) -> str:
        """Why the service does not run, or an empty string when it does (SPEC A4)."""
        if not self.enable:
            return "Enable is false"
        if not self.profile.proxy_server:
            return f"profile {self.profile.letter} has no ProxyServer"
        if not self.auth_user_name and self.register_enable:
            return "it has no AuthUserName and X_RegisterEnable is not false"
        return ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator had better know although it is as configured (SPEC B12, C10, D3)."""
        if not self.is_configured:
            return ()
        profile = self.profile
        target = profile.outbound or profile.registrar
        found = []
        if profile.dns_order != "rfc3263" and any(s.transport == "tls" and s.port is None for s in profile.servers):
            port = profile.tls_default_port
            found.append(f"TLS without a configured port uses {port} unless DNS has an SRV record (SPEC D3)")
        if profile.proxy_server_redundancy and literal_address(target.host) is not None:
            found.append(f"X_ProxyServerRedundancy has nothing to choose from: {target.host} is an address (SPEC B12)")
        if not profile.tls_verify:
            found.append("X_TLSVerify is false: anybody can pretend to be the server (SPEC C10)")
        return tuple(found)

    @property
    def is_configured(self) -> bool:
        return not self.not_configured_why

    @property
    def address_of_record(self) -> str:
        """user@host, without a scheme (SPEC A5); the host alone when there is no user at all."""
        user, at, domain = self.bare_uri.rpartition("@")
        if at:
            return f"{user}@{domain}"
        domain = self.profile.user_agent_domain or self.profile.proxy_server
        user = self.bare_uri or self.auth_user_name
        return f"{user}@{domain}" if user else domain

    @property
    def scheme(self) -> str:
        """ "sips" only if the user wrote it (SPEC A9)."""
        return "sips" if self.uri.lower().startswith("sips:") else "sip"

    @property
    def bare_uri(self) -> str:
        scheme, colon, rest = self.uri.partition(":")
        return rest if colon and scheme.lower() in ("sip", "sips") else self.uri
