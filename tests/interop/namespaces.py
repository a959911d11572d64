"""Two network namespaces with a cable between them: a provider's network and a customer's (needs root)."""

import os
import subprocess
from pathlib import Path
from typing import Self

import pytest

from .device import Configuration, Device
from .kamailio import Registrar
from .processes import Server, find_program, wait_until

PROVIDER_ADDRESS = "10.77.0.1"
CABLE = "cable"


def run(*command: str) -> str:
    """Run a command of iproute2 or nftables; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Namespace:
    """One network namespace; its name is this test's alone."""

    def __init__(self, name: str) -> None:
        self.name = name

    def prefix(self) -> list[str]:
        """What stands before a command that is to run inside."""
        return [find_program("ip") or "ip", "netns", "exec", self.name]

    def run(self, *command: str) -> str:
        """Run a command inside."""
        return run(*self.prefix(), *command)

    def addresses(self) -> list[str]:
        """The IPv4 addresses of the cable's end."""
        lines = self.run("ip", "-4", "-o", "addr", "show", "dev", CABLE).splitlines()
        return [line.split()[3].split("/")[0] for line in lines]


class Cable:
    """Both namespaces: `provider` has 10.77.0.1, `customer` has no address until somebody gives it one."""

    def __init__(self) -> None:
        self.provider = Namespace(f"sipcore-provider-{os.getpid()}")
        self.customer = Namespace(f"sipcore-customer-{os.getpid()}")

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        for namespace in (self.provider, self.customer):
            run("ip", "netns", "add", namespace.name)
        ends = ["peer", "name", CABLE, "netns", self.customer.name]
        run("ip", "link", "add", CABLE, "netns", self.provider.name, "type", "veth", *ends)
        self.provider.run("ip", "addr", "add", f"{PROVIDER_ADDRESS}/16", "dev", CABLE)
        for namespace in (self.provider, self.customer):
            namespace.run("ip", "link", "set", "lo", "up")
            namespace.run("ip", "link", "set", CABLE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for namespace in (self.provider, self.customer):
            subprocess.run(["ip", "netns", "del", namespace.name], capture_output=True, timeout=10, check=False)


class InsideRegistrar(Registrar):
    """A Kamailio in the provider's namespace."""

    host = PROVIDER_ADDRESS

    def __init__(self, namespace: Namespace, folder: Path, *, users: dict[str, str], domain: str) -> None:
        super().__init__(folder, users=users, domain=domain, realm=domain, port=5060)
        self._namespace = namespace

    def command(self) -> list[str]:
        return [*self._namespace.prefix(), *super().command()]

    def is_ready(self) -> bool:
        """Its control socket is a file: it is reached from every namespace."""
        try:
            return "kamailio" in self.ask("core.version")
        except (OSError, subprocess.CalledProcessError):
            return False


class DhcpServer(Server):
    """dnsmasq in the provider's namespace: hands out `addresses` (first, last), and knows `name`'s address."""

    name = "dnsmasq"

    def __init__(self, namespace: Namespace, folder: Path, addresses: tuple[str, str], *, name: str) -> None:
        super().__init__(folder)
        self.addresses = addresses
        self._namespace = namespace
        self._domain = name

    def command(self) -> list[str]:
        first, last = self.addresses
        options = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            f"--interface={CABLE}",
            "--user=root",
            "--dhcp-authoritative",
            f"--dhcp-range={first},{last},255.255.0.0,2m",
            f"--dhcp-leasefile={self.folder}/leases-{first}",
            f"--address=/{self._domain}/{PROVIDER_ADDRESS}",
            "--pid-file=",
            "--log-dhcp",
            "--log-facility=-",
        ]
        return [*self._namespace.prefix(), find_program("dnsmasq") or "dnsmasq", *options]

    def is_ready(self) -> bool:
        return ":67 " in self._namespace.run("ss", "-Hlun")


SCRIPT = """\
#!/bin/sh
case $1 in
deconfig) ip -4 addr flush dev $interface ;;
bound | renew)
    case " $(ip -4 -o addr show dev $interface) " in
    *" $ip/"*) ;;
    *) ip -4 addr flush dev $interface; ip addr add $ip/$mask dev $interface; ip route add default via $router ;;
    esac ;;
esac
"""


class DhcpClient(Server):
    """BusyBox's udhcpc in the customer's namespace."""

    name = "udhcpc"

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        super().__init__(folder)
        self._namespace = namespace

    def command(self) -> list[str]:
        script = self.folder / "udhcpc.script"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        options = ["-f", "-i", CABLE, "-s", str(script), "-t", "20", "-T", "1", "-A", "1"]
        return [*self._namespace.prefix(), find_program("busybox") or "busybox", "udhcpc", *options]

    def is_ready(self) -> bool:
        return bool(self._namespace.addresses())

    def renew(self) -> None:
        """Ask for the lease again at once."""
        assert self.process is not None
        subprocess.run(["kill", "-USR1", str(self.process.pid)], check=True, timeout=5)

    def address(self, *, other_than: str = "") -> str:
        """The address that it got, once it is another one."""
        wait_until(lambda: [a for a in self._namespace.addresses() if a != other_than], 20, self.log_tail())
        return next(address for address in self._namespace.addresses() if address != other_than)


class InsideDevice(Device):
    """A device process in the customer's namespace."""

    def __init__(self, namespace: Namespace, folder: Path, configuration: Configuration, *arguments: str) -> None:
        super().__init__(folder, configuration, *arguments)
        self._namespace = namespace

    def command(self) -> list[str]:
        return [*self._namespace.prefix(), *super().command()]
