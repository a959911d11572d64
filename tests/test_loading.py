"""The compiled rooms found in one shared object, as in a wheel; `make check-wheels` loads real ones."""

import sys
from importlib.machinery import ExtensionFileLoader

import pytest

from sipcore import _timers
from sipcore.loading import OneFile, find_compiled_rooms


@pytest.fixture
def finders():
    """`sys.meta_path`, as it was again afterwards."""
    kept = list(sys.meta_path)
    yield sys.meta_path
    sys.meta_path[:] = kept


def test_a_room_is_loaded_from_the_file_under_its_own_name():
    spec = OneFile("/somewhere/_rooms.so", ["sipcore._timers"]).find_spec("sipcore._timers")
    assert spec.name == "sipcore._timers"
    assert spec.origin == "/somewhere/_rooms.so"
    assert spec.has_location
    assert isinstance(spec.loader, ExtensionFileLoader)
    assert spec.loader.path == "/somewhere/_rooms.so"


@pytest.mark.parametrize("name", ["sipcore._nothing", "sipcore.stack", "_timers", "json"])
def test_what_is_not_in_the_file_is_left_to_others(name):
    assert OneFile("/somewhere/_rooms.so", ["sipcore._timers"]).find_spec(name) is None


def test_a_build_record_makes_its_file_be_looked_into_last(finders, monkeypatch):
    """Rooms of their own, as a build in the tree has them, are found before."""
    record = type(sys)("sipcore.__build__")
    record.FILE, record.ROOMS = "_rooms.so", ("sipcore._timers",)
    monkeypatch.setitem(sys.modules, "sipcore.__build__", record)
    find_compiled_rooms("/somewhere")
    assert finders[-1].file == "/somewhere/_rooms.so"
    assert finders[-1].rooms == {"sipcore._timers"}


@pytest.mark.tree
def test_without_a_build_record_nothing_is_added(finders):
    before = list(finders)
    find_compiled_rooms("/somewhere")
    assert finders == before
    assert "_rooms" not in _timers.__file__
