"""What a watch is made of: histograms, stalls as text, limits of a log, totals."""

from __future__ import annotations

from typing import Any

import pytest

from gilscope.probe.lengths import Lengths
from gilscope.probe.rate_limit import RateLimit
from gilscope.probe.stall import Stall
from gilscope.probe.totals import read_totals

MS = 1_000_000
NAMES = {1: "MainThread", 2: "burner"}


def test_lengths_tell_quantiles_and_counts() -> None:
    """Of ninety-nine short iterations and a long one."""
    lengths = Lengths(((2 * MS, 99), (3000 * MS, 1)))
    assert (lengths.count, lengths.max_seconds) == (100, 3.0)
    assert [lengths.quantile_seconds(quantile) for quantile in (0, 0.5, 0.99, 0.991, 1)] == [
        0.002,
        0.002,
        0.002,
        3.0,
        3.0,
    ]
    assert lengths.counts_within((0.001, 0.002, 1.0, 3.0)) == [0, 99, 99, 100]
    assert (Lengths().count, Lengths().max_seconds, Lengths().quantile_seconds(0.5)) == (0, 0.0, 0.0)


def test_lengths_since_others_are_what_has_come_after() -> None:
    """A bucket that has not grown is not in it."""
    later, earlier = Lengths(((1, 5), (2, 3), (9, 1))), Lengths(((1, 5), (2, 1)))
    assert later.since(earlier) == Lengths(((2, 2), (9, 1)))
    assert earlier.since(later) == Lengths()


def test_rate_limit_admits_one_in_a_period_and_counts_the_others() -> None:
    """The next one that is let through says how many were not."""
    now = [0.0]
    limit = RateLimit(10.0, clock=lambda: now[0])
    admitted = []
    for now[0] in (0.0, 1.0, 9.9, 10.0, 10.1, 30.0):
        admitted.append(limit.admit())
    assert admitted == [0, None, None, 2, None, 1]


def native_stall(**changed: Any) -> dict[str, Any]:
    """Return a stall as the native side tells it: 83 ms, of which 82 are the burner's."""
    busy = {"thread": 2, "ns": 82 * MS, "frames": [("busy", "/srv/app.py", 8), ("run", "/lib/threading.py", 900)]}
    return {
        "thread": 1,
        "start_ns": 5,
        "duration_ns": 83 * MS,
        "on_cpu_ns": MS,
        "gil_wait_ns": 82 * MS,
        "holders": [busy],
        "own": {"thread": 1, "ns": MS, "frames": [("handler", "/srv/web.py", 3)]},
    } | changed


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "the loop stalled for 83 ms: 82 ms waiting for the GIL, held by burner in busy (app.py:8)"),
        ({"holders": []}, "the loop stalled for 83 ms: 82 ms waiting for the GIL"),
        (
            {"on_cpu_ns": 80 * MS, "gil_wait_ns": 0, "holders": []},
            "the loop stalled for 83 ms: 80 ms on CPU in handler (web.py:3)",
        ),
        (
            {"on_cpu_ns": 20 * MS, "gil_wait_ns": 0, "holders": []},
            "the loop stalled for 83 ms: 63 ms off CPU in handler (web.py:3), 20 ms on CPU",
        ),
        (
            {"thread": 9, "on_cpu_ns": 0, "gil_wait_ns": 0, "holders": [], "own": None},
            "the loop of (unnamed) stalled for 83 ms: 83 ms off CPU",
        ),
        (
            {
                "holders": [
                    {"thread": 2, "ns": 50 * MS, "frames": []},
                    {"thread": 1, "ns": 30 * MS, "frames": [("a\nb", "x.py", 0)]},
                    {"thread": 2, "ns": 2 * MS, "frames": []},
                ]
            },
            (
                "the loop stalled for 83 ms: 82 ms waiting for the GIL, held by burner for 50 ms and "
                "MainThread in a\N{REPLACEMENT CHARACTER}b (x.py) for 30 ms"
            ),
        ),
    ],
)
def test_stall_as_text_is_one_line_that_names_the_cause(changed: dict[str, Any], text: str) -> None:
    """The largest part first, with whom or what it was; parts under a tenth are left out."""
    assert str(Stall.of(native_stall(**changed), NAMES)) == text


def test_stall_has_parts_that_sum_up_to_its_length() -> None:
    """What neither the CPU clock nor the GIL's waits account for is off CPU."""
    stall = Stall.of(native_stall(on_cpu_ns=20 * MS, gil_wait_ns=40 * MS), NAMES)
    assert (stall.on_cpu_ms, stall.gil_wait_ms, stall.off_cpu_ms) == (20.0, 40.0, 23.0)
    assert [(holder.thread, holder.ms) for holder in stall.holders] == [("burner", 82.0)]
    assert [frame.name for frame in stall.holders[0].stack] == ["busy", "run"]
    assert [frame.line for frame in stall.stack] == [3]


class Native:
    """Stands for the native side: the loops of a group of threads, a pool, and a thread that has done nothing yet."""

    def groups(self) -> dict[int, dict[str, Any]]:
        """Return three groups."""
        nothing = dict.fromkeys(("iterations", "iteration_ns", "on_cpu_ns", "gil_wait_ns", "stalls", "stall_ns"), 0)
        nothing |= dict.fromkeys(("takes", "held_ns", "waited_ns", "forced"), 0)
        lengths: dict[str, Any] = {"hold_lengths": [], "wait_lengths": [], "iteration_lengths": []}
        loop = {"iterations": 20, "iteration_ns": 100 * MS, "on_cpu_ns": 40 * MS, "gil_wait_ns": 20 * MS, "stalls": 2}
        loop |= {"stall_ns": 60 * MS, "takes": 1}
        pool = {"takes": 6, "held_ns": 8 * MS, "waited_ns": 12 * MS, "forced": 2}
        return {
            0: {"name": "(unnamed)", **nothing, **lengths},
            1: {"name": "loop_*", **nothing, **lengths, **loop, "iteration_lengths": [(2 * MS, 18), (30 * MS, 2)]},
            3: {"name": "pool_*", **nothing, **lengths, **pool, "hold_lengths": [(MS, 5), (3 * MS, 1)]},
        }

    def waits(self) -> list[tuple[int, int | None, int, int]]:
        """Return waits for others, and for nobody."""
        return [(1, 3, 11 * MS, 3), (1, None, MS, 1)]

    def stats(self) -> dict[str, Any]:
        """Return what was lost."""
        return {"lost": {"ring_full": 2}, "stalls_forgotten": 1}


def test_totals_are_by_the_groups_of_threads_in_seconds() -> None:
    """Of what the native side has counted; a group without an iteration has no loop."""
    totals = read_totals(Native())  # type: ignore[arg-type] # stands for the module
    assert totals.waits == {("loop_*", "pool_*"): 0.011, ("loop_*", "(handing over)"): 0.001}
    assert list(totals.loops) == ["loop_*"]
    loop = totals.loops["loop_*"]
    assert (loop.iterations, loop.stalls, loop.stalled_seconds, loop.busy_seconds) == (20, 2, 0.06, 0.1)
    assert loop.off_cpu_seconds == pytest.approx(0.04)
    assert (loop.p50_seconds, loop.p99_seconds, loop.max_seconds) == (0.002, 0.03, 0.03)
    assert list(totals.threads) == ["(unnamed)", "loop_*", "pool_*"]
    pool = totals.threads["pool_*"]
    assert (pool.held_seconds, pool.waited_seconds, pool.takes, pool.forced) == (0.008, 0.012, 6, 2)
    assert (pool.hold_lengths.count, pool.hold_lengths.max_seconds, pool.wait_lengths.count) == (6, 0.003, 0)
    assert totals.lost == {"ring_full": 2, "stall_forgotten": 1}


def test_waits_for_a_thread_that_is_called_like_nobody_are_added_to_nobodys() -> None:
    """Names are whatever a program gives; nothing may be left out."""

    class Named(Native):
        def groups(self) -> dict[int, dict[str, Any]]:
            return {number: {**group, "name": "(handing over)"} for number, group in super().groups().items()}

    totals = read_totals(Named())  # type: ignore[arg-type] # stands for the module
    assert totals.waits == {("(handing over)", "(handing over)"): 0.012}
