"""Totals as Prometheus reads them."""

from __future__ import annotations

import pytest

from gilscope.probe.lengths import Lengths
from gilscope.probe.prometheus import BUCKETS_SECONDS, GIL_BUCKETS_SECONDS, exposition
from gilscope.probe.totals import LoopTotals, ThreadTotals, Totals
from tests.exposition import parsed

MS = 1_000_000
LENGTHS = Lengths(((MS // 2, 7), (20 * MS, 2), (20_000 * MS, 1)))
HOLDS = Lengths(((5_000, 3), (90_000, 4), (5 * MS, 5)))
WAITS = Lengths(((400_000, 2), (20 * MS, 1)))
TOTALS = Totals(
    loops={"MainThread": LoopTotals(10, 20.5, 1.5, 2.5, 3, 20.25, LENGTHS)},
    waits={("MainThread", "burner"): 2.5},
    threads={"burner": ThreadTotals(4.0, 0.5, 12, 3, HOLDS, WAITS)},
    lost={"ring_full": 1},
)


def test_exposition_of_totals_has_every_number_in_base_units() -> None:
    """Read back by a parser that knows the format only."""
    samples = parsed(exposition(TOTALS))
    loop, thread = ("loop", "MainThread"), ("thread", "burner")
    plain = {
        ("gilscope_loop_iterations_total", frozenset([loop])): 10.0,
        ("gilscope_loop_on_cpu_seconds_total", frozenset([loop])): 1.5,
        ("gilscope_loop_gil_wait_seconds_total", frozenset([loop])): 2.5,
        ("gilscope_loop_stalls_total", frozenset([loop])): 3.0,
        ("gilscope_loop_stall_seconds_total", frozenset([loop])): 20.25,
        ("gilscope_loop_iteration_seconds_sum", frozenset([loop])): 20.5,
        ("gilscope_loop_iteration_seconds_count", frozenset([loop])): 10.0,
        ("gilscope_gil_wait_seconds_total", frozenset([("waiter", "MainThread"), ("holder", "burner")])): 2.5,
        ("gilscope_gil_held_seconds_total", frozenset([thread])): 4.0,
        ("gilscope_gil_takes_total", frozenset([thread])): 12.0,
        ("gilscope_gil_forced_switches_total", frozenset([thread])): 3.0,
        ("gilscope_gil_hold_seconds_sum", frozenset([thread])): 4.0,
        ("gilscope_gil_hold_seconds_count", frozenset([thread])): 12.0,
        ("gilscope_gil_wait_duration_seconds_sum", frozenset([thread])): 0.5,
        ("gilscope_gil_wait_duration_seconds_count", frozenset([thread])): 3.0,
        ("gilscope_lost_events_total", frozenset([("reason", "ring_full")])): 1.0,
    }
    buckets = {key: value for key, value in samples.items() if key not in plain}
    assert {key: value for key, value in samples.items() if key in plain} == plain
    found = {
        name: [
            buckets.pop((f"gilscope_{name}_bucket", frozenset([label, ("le", bound)])))
            for bound in [*map(repr, bounds), "+Inf"]
        ]
        for name, label, bounds in (
            ("loop_iteration_seconds", loop, BUCKETS_SECONDS),
            ("gil_hold_seconds", thread, GIL_BUCKETS_SECONDS),
            ("gil_wait_duration_seconds", thread, GIL_BUCKETS_SECONDS),
        )
    }
    assert found == {
        "loop_iteration_seconds": [7, 7, 7, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10],
        "gil_hold_seconds": [3, 7, 7, 7, 7, *[12] * 12],
        "gil_wait_duration_seconds": [0, 0, 2, 2, 2, 2, 2, *[3] * 10],
    }
    assert not buckets


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "\\n", 'x",holder="y', "line\nline", "é}{ #"])
def test_exposition_of_a_hostile_name_is_read_back_as_it_was(name: str) -> None:
    """Names of threads are whatever a program calls them."""
    samples = parsed(exposition(Totals(waits={(name, name): 1.0})))
    assert samples == {("gilscope_gil_wait_seconds_total", frozenset([("waiter", name), ("holder", name)])): 1.0}


def test_exposition_of_nothing_is_well_formed() -> None:
    """A scrape may come before the first iteration."""
    assert parsed(exposition(Totals())) == {}
