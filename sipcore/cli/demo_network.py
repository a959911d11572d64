"""The provider inside `sipcore demo`: DNS, registrar and outbound proxy on loopback, real sockets and the real engine.

Also writes the device.toml that a device needs to meet it.  Knows nothing of the
device but that file.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from sipcore.aio import AsyncioEnv
from sipcore.cli.demo_dns import Table, TableDns
from sipcore.location import Limits
from sipcore.proxy import Proxy
from sipcore.registrar import Registrar
from sipcore.stack import Stack
from sipcore.user_agent import UserAgent

LOOPBACK = "127.0.0.1"
HOME = "home.demo.example"
EDGE = "edge.demo.example"
HOST = "host.demo.example"
PERIOD = 10  # seconds: a registration is refreshed after half of it (SPEC B3)
BIND_TRIES = 20
USERS = {f"user{number}": f"word-of-user{number}" for number in range(1, 9)}

CONFIGURATION = """\
[device]
local_ip = "{loopback}"
name_servers = ["{name_server}"]
answer = "answer"

[itsp.A]                                # directly, UDP; the name has an A record
ProxyServer = "{home}"
ProxyServerPort = {home_port}
RegistrationPeriod = {period}

[itsp.B]                                # through an outbound proxy that only an SRV record names, TCP
ProxyServer = "{home}"
ProxyServerPort = {home_port}
RegistrationPeriod = {period}
OutboundProxy = "{edge}"
OutboundProxyTransport = "TCP"
"""
SERVICE = """
[sp.{number}]
X_ServProvProfile = "{profile}"
X_UserAgentPort = {port}
AuthUserName = "user{number}"
AuthPassword = "{password}"
"""


@dataclass(slots=True)
class DemoNetwork:
    """The provider; `start` returns once all of it listens."""

    home_env: AsyncioEnv
    edge_env: AsyncioEnv
    home: Stack
    edge: Stack
    registrar: Registrar
    names: TableDns
    name_server: str
    home_port: int
    edge_port: int

    @classmethod
    async def start(cls) -> DemoNetwork:
        names = TableDns({})
        name_server = await names.start(LOOPBACK)
        address, _, port = name_server.rpartition(":")
        home_env = AsyncioEnv(name_servers=[(address, int(port))])
        edge_env = AsyncioEnv(name_servers=[(address, int(port))])
        home, edge = Stack(env=home_env), Stack(env=edge_env)
        home_agent = home.user_agent("home", is_proxy=True)
        edge_agent = edge.user_agent("edge", is_proxy=True)
        home_port = await listen_on_both(home_agent)
        edge_port = await listen_on_both(edge_agent)
        registrar = Registrar(home_agent, domains=[HOME], users=USERS, limits=Limits(minimum_expires=5))
        Proxy(home_agent, targets=registrar.targets, challenge=registrar.challenge)
        Proxy(edge_agent, path=True)
        names.table |= make_table(edge_port)
        return cls(home_env, edge_env, home, edge, registrar, names, name_server, home_port, edge_port)

    async def close(self) -> None:
        await asyncio.gather(self.home.close(timeout=0.5), self.edge.close(timeout=0.5))
        self.names.close()

    def configuration(self) -> str:
        """The device.toml of the demo: SP1 to SP4 on profile A, SP5 to SP8 on profile B."""
        text = CONFIGURATION.format(
            loopback=LOOPBACK,
            name_server=self.name_server,
            home=HOME,
            home_port=self.home_port,
            period=PERIOD,
            edge=EDGE,
        )
        for number, port in enumerate(free_ports(8), 1):
            profile = "A" if number <= 4 else "B"
            text += SERVICE.format(number=number, profile=profile, port=port, password=USERS[f"user{number}"])
        return text

    def cut_connections(self) -> int:
        """The outbound proxy drops every connection that it has; returns how many."""
        connections = self.edge.engine.connections()
        for connection in connections:
            connection.end("cut by the demo")
        return len(connections)

    def connection_count(self) -> int:
        """How many connections the outbound proxy has now."""
        return len(self.edge.engine.connections())

    def bound_count(self) -> int:
        """How many addresses of record are bound at the registrar now."""
        self.registrar.location.expire(self.home_env.now())
        return len(self.registrar.location)


def make_table(edge_port: int) -> Table:
    """Profile A's name has an A record; that of the outbound proxy has none, but an SRV record."""
    return {
        (HOME, "A"): [LOOPBACK],
        (EDGE, "SRV"): [f"0 0 {edge_port} {HOST}."],
        (HOST, "A"): [LOOPBACK],
    }


async def listen_on_both(user_agent: UserAgent) -> int:
    """Listen on UDP and TCP on one port that is free in both; returns it."""
    for attempt in range(BIND_TRIES):
        port = free_ports(1)[0]
        try:
            await user_agent.listen("tcp", f"{LOOPBACK}:{port}")
            await user_agent.listen("udp", f"{LOOPBACK}:{port}")
        except OSError:
            if attempt == BIND_TRIES - 1:
                raise
            for listener in user_agent.listeners:
                listener.close()
            user_agent.listeners.clear()
        else:
            break
    return port


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, on UDP and TCP; all different."""
    held: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < count:
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held += [stream, datagram]
        stream.bind((LOOPBACK, 0))
        port = stream.getsockname()[1]
        try:
            datagram.bind((LOOPBACK, port))
        except OSError:
            continue
        ports.append(port)
    for each in held:
        each.close()
    return ports
