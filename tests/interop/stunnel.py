"""stunnel: TLS by OpenSSL in front of a peer that speaks TCP alone, such as Debian's SIPp."""

from pathlib import Path

from .kamailio import CERTIFICATES
from .processes import LOOPBACK, Server, find_program, free_port

CLIENT = """client = yes
CAfile = {certificates}/ca.pem
verifyChain = yes
checkHost = sip.example.com
sni = sip.example.com
"""
SERVER = """cert = {certificates}/server.pem
key = {certificates}/server.key
"""


class Stunnel(Server):
    """TCP on `port` to TLS on `target`, verified as sip.example.com; with `serves`, TLS on `port` to TCP."""

    name = "stunnel"

    def __init__(self, folder: Path, target: int, *, serves: bool = False) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.target = target
        self.serves = serves

    def command(self) -> list[str]:
        configuration = self.folder / f"stunnel-{self.port}.conf"
        side = (SERVER if self.serves else CLIENT).format(certificates=CERTIFICATES)
        ends = f"accept = {LOOPBACK}:{self.port}\nconnect = {LOOPBACK}:{self.target}\n"
        configuration.write_text(f"foreground = yes\npid =\ndebug = info\n[sip]\n{ends}{side}")
        return [find_program("stunnel") or "stunnel", str(configuration)]

    def is_ready(self) -> bool:
        return f"bound to {LOOPBACK}:{self.port}" in self.log_path.read_text(errors="replace")
