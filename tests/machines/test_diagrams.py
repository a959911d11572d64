"""The diagrams in docs/machines are drawn from the tables, and are up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sipcore.machines import MACHINES
from sipcore.policy import registration_table, supervisor

SIZES = {name: len(machine) for name, machine in MACHINES.items()}
SIZES |= {"connection_supervisor": len(supervisor.TABLE), "registration": len(registration_table.TABLE)}
FOLDER = Path(__file__).parents[2] / "docs" / "machines"


def drawings() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("draw_machines", FOLDER / "draw.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn: dict[str, str] = module.draw()
    return drawn


@pytest.mark.parametrize("name", SIZES)
def test_a_diagram_is_what_its_table_says(name: str) -> None:
    """If this fails: python docs/machines/draw.py"""
    assert (FOLDER / f"{name}.svg").read_text() == drawings()[f"{name}.svg"]


@pytest.mark.parametrize("name", SIZES)
def test_a_diagram_shows_every_row(name: str) -> None:
    texts = [element.text or "" for element in ElementTree.fromstring(drawings()[f"{name}.svg"]).iter()]
    rows = [text for text in texts if " / " in text]
    assert len(rows) == SIZES[name]
