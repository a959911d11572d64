"""Knot DNS, authoritative for one zone on a loopback port."""

import subprocess
from pathlib import Path

from .processes import LOOPBACK, Server, find_program, free_port

CONFIG = """\
server:
    rundir: "{folder}/knot-run"
    listen: {host}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{folder}/knot-run"
zone:
  - domain: {zone}
    file: "{folder}/{zone}.zone"
    storage: "{folder}"
    journal-content: none
    zonefile-sync: -1
  - domain: {broken}
    file: "{folder}/there-is-no-such-file"
    journal-content: none
"""

BROKEN_ZONE = "broken.test"  # configured, but it cannot be loaded: SERVFAIL

ZONE_HEAD = """\
$ORIGIN {zone}.
$TTL 60
@   SOA ns hostmaster 1 3600 600 86400 5
    NS  ns
ns  A   {host}
"""


class NameServer(Server):
    """Serves `records` (lines of a zone file, relative to `zone`).

    It answers SERVFAIL for the names of the zone `broken`, REFUSED for all others.
    """

    name = "knot"

    def __init__(
        self,
        folder: Path,
        records: str,
        *,
        zone: str = "example.test",
        broken: str = BROKEN_ZONE,
        port: int | None = None,
    ) -> None:
        super().__init__(folder)
        self.broken = broken
        self.records = records
        self.zone = zone
        self.port = port or free_port()

    @property
    def address(self) -> str:
        """ADDRESS:PORT, as `name_servers` of a device wants it."""
        return f"{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        (self.folder / "knot-run").mkdir(exist_ok=True)
        values = {"folder": self.folder, "zone": self.zone, "host": LOOPBACK, "port": self.port}
        values["broken"] = self.broken
        (self.folder / f"{self.zone}.zone").write_text(ZONE_HEAD.format(**values) + self.records)
        path = self.folder / f"knot-{self.port}.conf"
        path.write_text(CONFIG.format(**values))
        return [find_program("knotd") or "knotd", "--config", str(path)]

    def is_ready(self) -> bool:
        return f"ns.{self.zone}." in self.dig(self.zone, "NS").splitlines()

    def dig(self, name: str, kind: str) -> str:
        """What `dig +short` prints for a name."""
        return self._dig("+short", name, kind)

    def dig_status(self, name: str, kind: str) -> str:
        """The header lines of the answer as `dig` prints them, with its status."""
        return self._dig("+comments", name, kind)

    def _dig(self, option: str, name: str, kind: str) -> str:
        command = [find_program("dig") or "dig", option, "+tries=1", "+time=1", "-p", str(self.port)]
        done = subprocess.run(
            [*command, f"@{LOOPBACK}", name, kind], capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout
