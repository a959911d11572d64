"""TLS of a device on loopback: what its server's certificate must prove, and what it shows of its own (SPEC C10)."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import grant
from test_device import until

from sipcore.aio import AsyncioEnv, run
from sipcore.config import DeviceConfig, parse_device
from sipcore.device import Device
from sipcore.policy.questions import Srv
from sipcore.sim import ScriptedDns
from sipcore.stack import Stack

FOLDER = Path(__file__).parent / "tls"
CA = f'X_TLSCAFile = "{FOLDER / "ca.pem"}"'
OWN = f'X_TLSCertificateFile = "{FOLDER / "client.pem"}"\nX_TLSKeyFile = "{FOLDER / "client.key"}"'
Seen = dict[str, Any]


def server_context(seen: Seen, *, asks: bool) -> ssl.SSLContext:
    """A certificate for sip.example.com and 127.0.0.1; `seen` gets the server names that clients asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
    context.sni_callback = lambda _, name, __: seen.setdefault("names", []).append(name)
    if asks:
        context.load_verify_locations(FOLDER / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def status(host: str, keys: str, *, asks: bool = False) -> tuple[str, Seen]:
    """The status of a device that registers with `host`, once it is registered or has failed to connect."""
    seen: Seen = {}

    async def main() -> str:
        server = Stack()
        listener = await server.listen("tls", "127.0.0.1:0", ssl=server_context(seen, asks=asks))
        server.on("REGISTER", grant)
        names = {("sip.example.com", "SRV"): [Srv(1, 1, listener.port, "host.elsewhere.example")]}
        addresses = {(name, "A"): ["127.0.0.1"] for name in ("host.elsewhere.example", "other.example.com")}
        env = AsyncioEnv(resolver=ScriptedDns({**names, **addresses}))
        async with Device(device_config(host, listener.port, keys), env=env) as device:
            await until(lambda: device.sp[1].is_registered or "Backing Off" in device.sp[1].status, 20)
            said = device.sp[1].status
        await server.close(timeout=0)
        return said

    return run(main()), seen


def device_config(host: str, port: int, keys: str) -> DeviceConfig:
    config = parse_device(
        f'[device]\nlocal_ip = "127.0.0.1"\n[itsp.A]\nProxyServer = "{host}"\nProxyServerPort = {port}\n'
        f'ProxyServerTransport = "TLS"\n{keys}\n[sp.1]\nAuthUserName = "alice"\n'
    )
    return replace(config, services=(replace(config.services[0], user_agent_port=0),))


def test_spec_c10_the_configured_name_is_verified_and_asked_for_whatever_dns_makes_of_it() -> None:
    """SPEC C10: SRV leads to host.elsewhere.example, for which there is no certificate."""
    said, seen = status("sip.example.com", CA)
    assert said.startswith("Registered (")
    assert seen["names"] == ["sip.example.com"]


def test_spec_c10_an_address_is_looked_for_among_the_ip_sans_without_sni() -> None:
    said, seen = status("127.0.0.1", CA)
    assert said.startswith("Registered (")
    assert seen["names"] == [None]


@pytest.mark.parametrize(
    ("host", "keys", "says"),
    [
        ("other.example.com", CA, "other.example.com"),
        ("127.0.0.1", "", "certificate"),
        ("127.0.0.1", f'X_TLSCAFile = "{FOLDER / "no-such.pem"}"', "no-such.pem"),
    ],
    ids=["another name", "an unknown authority", "no such file"],
)
def test_spec_c10_what_is_not_proved_is_refused_in_one_line(host: str, keys: str, says: str) -> None:
    said = status(host, keys)[0] if "no-such" not in keys else not_started(host, keys)
    assert says in said
    assert "\n" not in said
    assert len(said) < 300


def not_started(host: str, keys: str) -> str:
    """The status of a service whose files cannot be used."""

    async def main() -> str:
        async with Device(device_config(host, 5061, keys), env=AsyncioEnv(resolver=ScriptedDns())) as device:
            await until(lambda: "Not Started" in device.sp[1].status, 20)
            return device.sp[1].status

    return run(main())


def test_spec_c10_verification_can_be_turned_off_and_that_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    said, _ = status("other.example.com", "X_TLSVerify = false")
    assert said.startswith("Registered (")
    assert any("X_TLSVerify is false" in record.getMessage() for record in caplog.records)


def test_spec_c10_a_client_certificate_is_shown_where_one_is_asked_for() -> None:
    assert status("127.0.0.1", f"{CA}\n{OWN}", asks=True)[0].startswith("Registered (")


def test_spec_c10_without_a_client_certificate_a_server_that_asks_for_one_says_no() -> None:
    said, _ = status("127.0.0.1", CA, asks=True)
    assert not said.startswith("Registered (")
