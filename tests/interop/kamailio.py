"""Kamailio as a registrar with digest, and as an outbound proxy with Path and Record-Route."""

import re
import socket
import subprocess
from pathlib import Path

from .processes import LOOPBACK, Server, find_program, free_port

CONFIG = Path(__file__).parent / "config"
CERTIFICATES = Path(__file__).parent.parent / "tls"
PROBE = (
    b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKprobe%d\r\n"
    b"From: <sip:probe@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: probe-%d\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)

WEBSOCKET = """tcp_accept_no_cl=yes
loadmodule "xhttp.so"
loadmodule "websocket.so"
event_route[xhttp:request] {
    if (!ws_handle_handshake()) { xhttp_reply("404", "Not Found", "", ""); }
}"""


def answers_options(port: int) -> bool:
    """Whether a SIP server on loopback answers an OPTIONS over UDP within 200 ms."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect((LOOPBACK, port))
        own = probe.getsockname()[1]
        try:
            probe.send(PROBE % (own, own, own))
            return probe.recv(4096).startswith(b"SIP/2.0 200")
        except OSError:
            return False


class Kamailio(Server):
    """A Kamailio with one of the configurations in `config/`, on one port for UDP and TCP.

    It speaks TLS on `tls_port` if that is given, as sip.example.com, and with `websocket` also WebSocket on all
    ports that take connections.
    """

    name = "kamailio"
    template = ""
    host = LOOPBACK
    shared_memory = 64  # MiB
    websocket = False

    def __init__(self, folder: Path, *, port: int | None = None, tls_port: int | None = None) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self.tls_port = tls_port
        self.control = folder / f"{self.name}-{self.port}.control"

    def settings(self) -> dict[str, object]:
        """What the markers of the configuration stand for."""
        return {
            "HOST": self.host,
            "PORT": self.port,
            "CONTROL": self.control,
            "TLS": self._tls(),
            "WEBSOCKET": WEBSOCKET if self.websocket else "",
        }

    def _tls(self) -> str:
        if self.tls_port is None:
            return ""
        lines = ["enable_tls=yes", f"listen=tls:{LOOPBACK}:{self.tls_port}", 'loadmodule "tls.so"']
        lines += [f'modparam("tls", "private_key", "{CERTIFICATES}/server.key")']
        lines += [f'modparam("tls", "certificate", "{CERTIFICATES}/server.pem")']
        return "\n".join([*lines, 'modparam("tls", "tls_method", "TLSv1.2+")'])

    def command(self) -> list[str]:
        text = (CONFIG / self.template).read_text()
        for name, value in self.settings().items():
            text = text.replace(f"@{name}@", str(value))
        assert not (left := re.search(r"@[A-Z_]+@", text)), f"{self.template}: {left} has no value"
        path = self.folder / f"{self.name}-{self.port}.cfg"
        path.write_text(text)
        run = self.folder / f"{self.name}-{self.port}.run"
        run.mkdir(exist_ok=True)
        program = find_program("kamailio") or "kamailio"
        return [program, "-f", str(path), "-DD", "-E", "-m", str(self.shared_memory), "-M", "8", "-Y", str(run)]

    def is_ready(self) -> bool:
        return answers_options(self.port)

    def ask(self, *command: str) -> str:
        """What its control socket answers to an RPC command."""
        program = find_program("kamcmd") or "kamcmd"
        done = subprocess.run(
            [program, "-s", f"unix:{self.control}", *command], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout

    def connections(self) -> list[tuple[str, int]]:
        """The far addresses of the TCP connections that it holds now."""
        pattern = r"type: (?:TCP|TLS|WSS?)\s.*?state: (\S+).*?src_ip: (\S+)\s+src_port: (\d+)"
        found = re.findall(pattern, self.ask("core.tcp_list"), re.S)
        return [(host, int(port)) for state, host, port in found]


class Registrar(Kamailio):
    """Challenges REGISTER, and INVITE of its own users; keeps bindings in memory with their Path."""

    name = "registrar"
    template = "registrar.cfg"

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str],
        domain: str = "example.test",
        realm: str = "example.test",
        answerer: int = 9,
        min_expires: int = 1,
        port: int | None = None,
        tls_port: int | None = None,
        websocket: bool = False,
    ) -> None:
        super().__init__(folder, port=port, tls_port=tls_port)
        self.websocket = websocket
        self.users = users
        self.domain = domain
        self.realm = realm
        self.answerer = answerer
        self.min_expires = min_expires

    def settings(self) -> dict[str, object]:
        passwords = "\n".join(f'    $sht(passwords=>{user}) = "{word}";' for user, word in self.users.items())
        return super().settings() | {
            "DOMAIN": self.domain,
            "REALM": self.realm,
            "PASSWORDS": passwords,
            "ANSWERER": self.answerer,
            "MIN_EXPIRES": self.min_expires,
        }

    def bindings(self) -> dict[str, list[str]]:
        """Contact URIs by user."""
        found: dict[str, list[str]] = {}
        user = ""
        for line in self.ask("ul.dump").splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "AoR":
                user = value
            elif key == "Address":
                found.setdefault(user, []).append(value)
        return found


class Edge(Kamailio):
    """Stands in the path of calls: what comes goes to `next_hop`, a SIP URI; requests inside a call by its routes."""

    name = "edge"
    template = "edge.cfg"

    def __init__(self, folder: Path, *, next_hop: str, port: int | None = None, tls_port: int | None = None) -> None:
        super().__init__(folder, port=port, tls_port=tls_port)
        self.next_hop = next_hop

    def settings(self) -> dict[str, object]:
        return super().settings() | {"NEXT_HOP": self.next_hop}


class OutboundProxy(Kamailio):
    """Forwards what devices send to one registrar, and what that sends to the device's own connection."""

    name = "proxy"
    template = "proxy.cfg"

    def __init__(
        self,
        folder: Path,
        *,
        registrar: int,
        record_route: bool = True,
        port: int | None = None,
        tls_port: int | None = None,
    ) -> None:
        super().__init__(folder, port=port, tls_port=tls_port)
        self.registrar = registrar
        self.record_route = record_route

    def settings(self) -> dict[str, object]:
        return super().settings() | {"REGISTRAR": self.registrar, "RECORD_ROUTE": int(self.record_route)}
