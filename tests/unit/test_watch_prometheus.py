"""Totals as Prometheus reads them."""

from __future__ import annotations

import pytest

from gilscope.probe.lengths import Lengths
from gilscope.probe.prometheus import BUCKETS_SECONDS, exposition
from gilscope.probe.totals import LoopTotals, ThreadTotals, Totals
from tests.exposition import parsed

MS = 1_000_000
LENGTHS = Lengths(((MS // 2, 7), (20 * MS, 2), (20_000 * MS, 1)))
TOTALS = Totals(
    loops={"MainThread": LoopTotals(10, 20.5, 1.5, 2.5, 3, 20.25, LENGTHS)},
    waits={("MainThread", "burner"): 2.5},
    threads={"burner": ThreadTotals(4.0, 0.5, 12)},
    lost={"ring_full": 1},
)


def test_exposition_of_totals_has_every_number_in_base_units() -> None:
    """Read back by a parser that knows the format only."""
    samples = parsed(exposition(TOTALS))
    loop = ("loop", "MainThread")
    plain = {
        ("gilscope_loop_iterations_total", frozenset([loop])): 10.0,
        ("gilscope_loop_on_cpu_seconds_total", frozenset([loop])): 1.5,
        ("gilscope_loop_gil_wait_seconds_total", frozenset([loop])): 2.5,
        ("gilscope_loop_stalls_total", frozenset([loop])): 3.0,
        ("gilscope_loop_stall_seconds_total", frozenset([loop])): 20.25,
        ("gilscope_loop_iteration_seconds_sum", frozenset([loop])): 20.5,
        ("gilscope_loop_iteration_seconds_count", frozenset([loop])): 10.0,
        ("gilscope_gil_wait_seconds_total", frozenset([("waiter", "MainThread"), ("holder", "burner")])): 2.5,
        ("gilscope_gil_held_seconds_total", frozenset([("thread", "burner")])): 4.0,
        ("gilscope_gil_takes_total", frozenset([("thread", "burner")])): 12.0,
        ("gilscope_lost_events_total", frozenset([("reason", "ring_full")])): 1.0,
    }
    buckets = {key: value for key, value in samples.items() if key not in plain}
    assert {key: value for key, value in samples.items() if key in plain} == plain
    found = [
        buckets.pop(("gilscope_loop_iteration_seconds_bucket", frozenset([loop, ("le", bound)])))
        for bound in [*map(repr, BUCKETS_SECONDS), "+Inf"]
    ]
    assert found == [7, 7, 7, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10]
    assert not buckets


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "\\n", 'x",holder="y', "line\nline", "é}{ #"])
def test_exposition_of_a_hostile_name_is_read_back_as_it_was(name: str) -> None:
    """Names of threads are whatever a program calls them."""
    samples = parsed(exposition(Totals(waits={(name, name): 1.0})))
    assert samples == {("gilscope_gil_wait_seconds_total", frozenset([("waiter", name), ("holder", name)])): 1.0}


def test_exposition_of_nothing_is_well_formed() -> None:
    """A scrape may come before the first iteration."""
    assert parsed(exposition(Totals())) == {}
