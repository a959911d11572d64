"""What went over the wire on loopback: octets by direction, and what Wireshark's SIP dissector thinks of them."""

import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from .processes import Server, find_program

CAPTURE_BYTES = 65535


class Direction(NamedTuple):
    """From one port to another, by one transport."""

    transport: str
    source: int
    destination: int


class Capture(Server):
    """Records what is sent from or to some ports of loopback."""

    name = "capture"

    def __init__(self, folder: Path, ports: list[int]) -> None:
        super().__init__(folder)
        self.ports = ports
        self.path = folder / "capture.pcapng"

    def command(self) -> list[str]:
        ports = " or ".join(f"port {port}" for port in self.ports)
        program = find_program("dumpcap") or "dumpcap"
        return [program, "-q", "-i", "lo", "-s", str(CAPTURE_BYTES), "-f", ports, "-w", str(self.path)]

    def is_ready(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def stop(self) -> None:
        if self.process is not None:
            time.sleep(0.3)  # what was sent last is still on its way from the kernel to the file
        super().stop()

    def octets(self) -> dict[Direction, bytes]:
        """All that was sent, in order, by direction; stops the recording."""
        fields = ("udp.srcport", "udp.dstport", "udp.payload", "tcp.srcport", "tcp.dstport", "tcp.payload")
        sent: dict[Direction, bytes] = {}
        for row in self._tshark("-T", "fields", "-E", "separator=;", *_each("-e", fields)):
            udp, tcp = row.split(";")[:3], row.split(";")[3:]
            transport, (source, destination, payload) = ("UDP", udp) if udp[0] else ("TCP", tcp)
            direction = Direction(transport, int(source), int(destination))
            sent[direction] = sent.get(direction, b"") + bytes.fromhex(payload)
        return sent

    def sip_packets(self) -> int:
        """How many packets Wireshark took for SIP; stops the recording."""
        return len(self._tshark(*self._decode_as_sip(), "-Y", "sip"))

    def malformed(self) -> list[str]:
        """A line for each packet that Wireshark finds malformed as SIP; stops the recording."""
        return self._tshark(*self._decode_as_sip(), "-Y", "_ws.malformed or (sip and _ws.expert.severity == error)")

    def _decode_as_sip(self) -> list[str]:
        return _each("-d", [f"{kind}.port=={port},sip" for port in self.ports for kind in ("udp", "tcp")])

    def _tshark(self, *arguments: str) -> list[str]:
        self.stop()
        command = [find_program("tshark") or "tshark", "-r", str(self.path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if line.strip(" ;")]


def _each(option: str, values: tuple[str, ...] | list[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
