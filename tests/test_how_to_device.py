"""docs/how-to/device.md: its file is read, its Python compiles, and it names every key and option there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sipcore.cli.arguments import build_parser
from sipcore.config import parse_device
from sipcore.config_keys import DEVICE_KEYS, PROFILE_KEYS, SERVICE_KEYS

PAGE = (Path(__file__).parent.parent / "docs/how-to/device.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return str(found)


def test_the_example_file_is_read_without_a_warning() -> None:
    passwords = {"SP1_PASSWORD": "one", "SP2_PASSWORD": "two"}
    config = parse_device(block("toml"), file="device.toml", environment=passwords)
    assert [service.number for service in config.services] == [1, 2, 3]
    assert all(service.is_configured for service in config.services)
    assert not any("warning" in line for line in config.describe())


def test_the_example_program_compiles() -> None:
    compile(block("python"), "example", "exec")


@pytest.mark.parametrize(
    "name", [key.name for table in (DEVICE_KEYS, PROFILE_KEYS, SERVICE_KEYS) for key in table.values()]
)
def test_every_key_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_option_of_run_is_named() -> None:
    commands = build_parser()._subparsers
    assert commands is not None
    choices = commands._group_actions[0].choices
    assert isinstance(choices, dict)
    options = set(re.findall(r"--[a-z]+", choices["run"].format_help())) - {"--help", "--verbose"}
    assert options <= set(re.findall(r"--[a-z-]+", PAGE))
