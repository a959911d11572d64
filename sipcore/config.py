"""The device's configuration: a TOML file to frozen dataclasses, with defaults and checks (SPEC head, A, B, C, D).

Every fault names file, line and key, and nothing is built from a file with a
fault.  What the values mean is policy's business; only `env:` and `file:`
secrets are fetched here.  The key tables are in `sipcore.config_keys`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sipcore.config_keys import (
    DEVICE_KEYS,
    PROFILE_KEYS,
    SERVICE_KEYS,
    Key,
    KeyFault,
    canonical,
)
from sipcore.config_lines import LineIndex
from sipcore.errors import ConfigError
from sipcore.policy.settings import DeviceSettings, Profile, Secret, Server, Service

__all__ = ["DeviceConfig", "DeviceSettings", "Profile", "Secret", "Server", "Service", "load_device", "parse_device"]

SERVICES: Final = range(1, 9)
LETTERS: Final = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A whole file: the device and its services in the order of their numbers."""

    file: str
    device: DeviceSettings
    profiles: tuple[Profile, ...]
    services: tuple[Service, ...]

    def service(self, number: int) -> Service:
        """The service SPn; KeyError when the file has no such table."""
        for service in self.services:
            if service.number == number:
                return service
        raise KeyError(number)

    def describe(self) -> list[str]:
        """What `--check` says: a line a service, then warnings; no secret is in it."""
        return [line for service in self.services for line in _describe_service(service)]


def load_device(path: str | Path) -> DeviceConfig:
    """Read and check the file at `path`.  Raises ConfigError with file, line and key."""
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", file=str(path), line=0, key="file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8: {error.reason}", file=str(path), line=0, key="file") from None
    return parse_device(text, file=str(path), environment=os.environ, directory=Path(path).parent)


def parse_device(
    text: str, *, file: str = "<text>", environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> DeviceConfig:
    """The same for a text; `environment` serves `env:NAME` and `directory` relative `file:PATH` secrets."""
    reader = _Reader(text, file, environment or {}, directory or Path())
    return reader.device_config()


class _Reader:
    """One reading of one file."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str], directory: Path) -> None:
        self.file = file
        self.environment = environment
        self.directory = directory
        self.lines = LineIndex(text)
        try:
            self.tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = self.lines.line_of_message(str(error))
            raise ConfigError(f"not TOML: {error}", file=file, line=line, key="TOML") from None

    def fault(self, reason: str, *path: str) -> ConfigError:
        return ConfigError(reason, file=self.file, line=self.lines.line_of(path), key=".".join(path))

    def device_config(self) -> DeviceConfig:
        for name in self.tables:
            if name not in ("device", "itsp", "sp"):
                raise self.fault(f"unknown table{_did_you_mean(name, ('device', 'itsp', 'sp'))}", name)
        device = DeviceSettings(**self.values(("device",), self.table("device"), DEVICE_KEYS))
        profiles = {letter: self.profile(letter) for letter in self.numbered("itsp", tuple(LETTERS))}
        services = [self.service(int(n), profiles) for n in self.numbered("sp", tuple(str(n) for n in SERVICES))]
        services.sort(key=lambda service: service.number)
        if not services:
            raise self.fault("no [sp.1] .. [sp.8] table: there is nothing to run", "sp")
        self.check_ports(services)
        return DeviceConfig(self.file, device, tuple(profiles.values()), tuple(services))

    def table(self, *path: str) -> dict[str, Any]:
        table: dict[str, Any] = self.tables
        for name in path:
            inner = table.get(name, {})
            if not isinstance(inner, dict):
                raise self.fault("must be a table", *path)
            table = inner
        return table

    def numbered(self, name: str, allowed: tuple[str, ...]) -> list[str]:
        """The sub-tables of `name`, each of whose names must be in `allowed`."""
        for part, value in self.table(name).items():
            if part not in allowed:
                raise self.fault(f"there is only {name}.{allowed[0]} to {name}.{allowed[-1]}", name, part)
            if not isinstance(value, dict):
                raise self.fault("must be a table", name, part)
        return sorted(self.table(name))

    def values(self, path: tuple[str, ...], table: dict[str, Any], keys: dict[str, Key]) -> dict[str, Any]:
        """The table's values by dataclass field, checked and converted."""
        values: dict[str, Any] = {}
        for written, value in table.items():
            key = keys.get(canonical(written))
            if key is None:
                raise self.fault(_unknown_key(written, path, keys), *path, written)
            if key.field in values:
                raise self.fault("given twice, with and without X_", *path, written)
            try:
                values[key.field] = key.read(self.secret(value) if key.is_secret else value)
            except KeyFault as fault:
                raise self.fault(str(fault), *path, written) from None
        return values

    def secret(self, value: object) -> object:
        """Fetch what `env:NAME` or `file:PATH` names; anything else stands for itself."""
        if not isinstance(value, str):
            return value
        source, colon, name = value.partition(":")
        if colon and source == "env":
            if name not in self.environment:
                raise KeyFault(f"the environment has no variable {name}")
            return self.environment[name]
        if colon and source == "file":
            try:
                return (self.directory / name).read_text().removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                raise KeyFault(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None
        return value

    def profile(self, letter: str) -> Profile:
        path = ("itsp", letter)
        profile = Profile(letter, **self.values(path, self.table(*path), PROFILE_KEYS))
        if profile.secondary_registration and not profile.proxy_server_redundancy:
            name = self.written(path, "SecondaryRegistration")
            raise self.fault("needs X_ProxyServerRedundancy = true (SPEC B13)", *path, name)
        return profile

    def service(self, number: int, profiles: dict[str, Profile]) -> Service:
        path = ("sp", str(number))
        values = self.values(path, self.table(*path), SERVICE_KEYS)
        letter = values.pop("profile_letter", None)
        if letter is not None and letter not in profiles:
            raise self.fault(f"there is no [itsp.{letter}] table", *path, self.written(path, "ServProvProfile"))
        profile = profiles.get(letter or LETTERS[number - 1]) or Profile(letter or LETTERS[number - 1])
        values.setdefault("user_agent_port", 5059 + number)
        return Service(number, profile, **values)

    def written(self, path: tuple[str, ...], name: str) -> str:
        """The spelling that the file uses for the key `name`."""
        return next((key for key in self.table(*path) if canonical(key) == canonical(name)), name)

    def check_ports(self, services: list[Service]) -> None:
        """No two services on one local port, alternatives included (SPEC A2, A3)."""
        taken: dict[int, int] = {}
        for service in (service for service in services if service.enable):
            path = ("sp", str(service.number))
            ports = [(service.user_agent_port, "UserAgentPort")]
            ports += [(port, "UserAgentPorts") for port in service.user_agent_ports if port != service.user_agent_port]
            for port, key in ports:
                if port in taken:
                    other = taken[port]
                    said = "twice on this service" if other == service.number else f"already used by SP{other}"
                    raise self.fault(f"local port {port} is {said}", *path, self.written(path, key))
                taken[port] = service.number


def _unknown_key(written: str, path: tuple[str, ...], keys: dict[str, Key]) -> str:
    for place, others in (("[device]", DEVICE_KEYS), ("[itsp.X]", PROFILE_KEYS), ("[sp.N]", SERVICE_KEYS)):
        if others is not keys and canonical(written) in others:
            return f"unknown key here; it belongs in {place}"
    return f"unknown key in [{'.'.join(path)}]{_did_you_mean(written, [key.name for key in keys.values()])}"


def _did_you_mean(written: str, known: tuple[str, ...] | list[str]) -> str:
    by_plain = {canonical(name).lower(): name for name in known}
    close = difflib.get_close_matches(canonical(written).lower(), by_plain, n=1, cutoff=0.6)
    return f"; did you mean {by_plain[close[0]]}?" if close else ""


def _describe_service(service: Service) -> list[str]:
    name = f"SP{service.number}"
    if not service.is_configured:
        return [f"{name}: Service Not Configured: {service.not_configured_why}"]
    profile = service.profile
    target = profile.outbound or profile.registrar
    through = f"through {_describe(profile.outbound)}" if profile.outbound else f"directly to {_describe(target)}"
    register = "registers" if service.register_enable else "does not register"
    line = (
        f"{name}: {service.scheme}:{service.address_of_record} on local port {service.user_agent_port},"
        f" {register}, {through}, names by {profile.dns_order}"
    )
    return [line, *(f"{name}: warning: {warning}" for warning in service.warnings)]


def _describe(server: Server | None) -> str:
    assert server is not None
    port = "" if server.port is None else f":{server.port}"
    return f"{server.host}{port} over {server.transport.upper()}"
