"""This host as Linux tells of it: the addresses of its interfaces (SPEC A1), and what it is called (SPEC B4).

A room of the real world; the simulator has its own host addresses.
"""

from __future__ import annotations

import fcntl
import socket
import struct

SIOCGIFADDR = 0x8915  # linux/sockios.h
NAME_SIZE = 16  # IFNAMSIZ of linux/if.h
REQUEST_SIZE = 40  # struct ifreq
ADDRESS_AT = 20  # the IPv4 address in a struct ifreq that holds a sockaddr_in
MACHINE_ID = "/etc/machine-id"
IPV6_TABLE = "/proc/net/if_inet6"


def interface_addresses(name: str = "") -> tuple[str, ...]:
    """The addresses of one interface, or of all for ""; IPv4 first, link-local IPv6 left out.  Empty: there is none."""
    names = [name] if name else [each for _, each in socket.if_nameindex()]
    return (*_ipv4_addresses(names), *_ipv6_addresses(names))


def host_urn() -> str:
    """A URN made of the machine's id (machine-id(5): never shown as it is), or of its name where it has none."""
    import uuid  # noqa: PLC0415  (a board that listens need not hold it)

    try:
        with open(MACHINE_ID) as file:
            machine = file.read().strip()
    except OSError:
        machine = ""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'sipcore device on {machine or socket.gethostname()}')}"


def _ipv4_addresses(names: list[str]) -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name in names:
            wanted = struct.pack(f"{REQUEST_SIZE}s", name.encode()[: NAME_SIZE - 1])
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, wanted)
            except OSError:
                continue
            found.append(socket.inet_ntoa(answer[ADDRESS_AT : ADDRESS_AT + 4]))
    return found


def _ipv6_addresses(names: list[str]) -> list[str]:
    """Of the lines "address index prefix scope flags name" (proc(5))."""
    import ipaddress  # noqa: PLC0415  (likewise)

    try:
        with open(IPV6_TABLE) as file:
            lines = file.readlines()
    except OSError:
        return []
    rows = [line.split() for line in lines]
    addresses = [ipaddress.IPv6Address(bytes.fromhex(row[0])) for row in rows if len(row) == 6 and row[5] in names]
    return [str(address) for address in addresses if not address.is_link_local]
