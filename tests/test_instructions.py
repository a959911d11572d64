"""The gate on instruction counts: what it lets through, and that the operations it counts do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from sipcore.bench.exchanges import World, exchanges
from sipcore.bench.operations import operations

BENCHES = Path(__file__).parent.parent / "benches"
OPERATIONS = [*operations(), *exchanges()]
PAGE = """
| parse | 1 | 2 | a table above is not read |

## Rises with their reason

| operation | before | after | reason |
| --- | ---: | ---: | --- |
| parse | 1,000 | 1,100 | RFC 3261 section 7.3.1 asks for it |
| forward | 1,000 | 1,100 | |
"""


def program(name: str) -> ModuleType:
    """A program of benches/ as a module."""
    spec = importlib.util.spec_from_file_location(name, BENCHES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    return program("instructions")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
def test_an_operation_does_as_many_pieces_each_time(operation):
    work = operation.prepare(5)
    pieces = work()
    assert pieces >= 5
    assert work() == pieces


def test_names_of_operations_are_not_used_twice():
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize(("methods", "status_code"), [(["INVITE", "ACK", "BYE"], 200), (["INVITE", "ACK"], 486)])
def test_an_exchange_ends_with_nothing_left(methods, status_code):
    world = World(status_code=status_code)
    world.receive(list(world.dialog(methods, 1)))
    world.pass_by()
    stats = world.engine.stats()
    assert stats["replies"] == len(methods) - 1
    assert (stats["missing_acks"], stats["response_retransmissions"], stats["server_transactions"]) == (0, 0, 0)


def test_a_rise_of_more_than_three_per_cent_fails(gate):
    assert not list(gate.faults({"parse": 1030}, {"parse": 1000}, []))
    assert list(gate.faults({"parse": 1031}, {"parse": 1000}, [])) == [
        "parse: 1,000 -> 1,031 (+3.1 %), without a reason in performance.md"
    ]


def test_a_rise_passes_with_its_reason_and_no_other_rise_does(gate):
    reasons = gate.rises(PAGE)
    assert not list(gate.faults({"parse": 1100}, {"parse": 1000}, reasons))
    assert list(gate.faults({"parse": 1200}, {"parse": 1000}, reasons))
    assert list(gate.faults({"parse": 1100}, {"parse": 1010}, reasons))


def test_a_row_without_words_is_no_reason(gate):
    assert [row.operation for row in gate.rises(PAGE)] == ["parse"]
    assert list(gate.faults({"forward": 1100}, {"forward": 1000}, gate.rises(PAGE)))


def test_an_operation_that_is_counted_no_more_fails(gate):
    assert list(gate.faults({}, {"parse": 1000}, [])) == ["parse: is counted no more, and names are fixed"]


def test_what_is_stored_falls_at_once_and_rises_with_a_reason_only(gate):
    merge, reasons = gate.merge, gate.rises(PAGE)
    assert merge({"parse": 1000}, {"parse": 900, "new": 5}, []) == {"parse": 900, "new": 5}
    assert merge({"parse": 1000}, {"parse": 1020}, reasons) == {"parse": 1000}
    assert merge({"parse": 1000}, {"parse": 1100}, []) == {"parse": 1000}
    assert merge({"parse": 1000}, {"parse": 1100}, reasons) == {"parse": 1100}


def test_unlike_counts_are_not_compared(gate, capsys):
    assert gate.verdict("this compiler", {"parse": 2000}, {"another compiler": {"parse": 1000}}, []) == 0
    assert "nothing was compared" in capsys.readouterr().out


def test_a_comparison_of_times_takes_out_what_all_benches_share():
    stored = {"commit": "abc", "seconds": {"bench_a": 1.0, "bench_b": 2.0, "bench_c": 3.0, "bench_d": 1.0}}
    lines = program("compare").comparison({"bench_a": 2.0, "bench_b": 4.0, "bench_c": 9.0}, stored)
    assert lines[0].startswith("against commit abc: all benches together +100 %")
    assert lines[1].split() == ["+50.0", "%", "bench_c"]
    assert lines[-1].split() == ["gone", "bench_d"]
