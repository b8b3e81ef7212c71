"""Single holds of the GIL, as an analysis counts them."""

from __future__ import annotations

from gilscope.analysis import analyse
from gilscope.capture import EventKind
from tests.made_capture import MS, WORKER, MadeCapture


def made(longest: float) -> MadeCapture:
    """Return a capture with a hundred holds of the worker, of which the runs have the longest."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 100, longest=longest)
    for shortest, longest_ns, count in (
        (2 * MS, 2 * MS + 30_000, 60),
        (4 * MS, 4 * MS + 60_000, 39),
        (40 * MS, 41 * MS, 1),
    ):
        capture.event(EventKind.HOLDS, WORKER, 100, 0, count=count, a=shortest, b=longest_ns)
    capture.event(EventKind.COUNTERS, WORKER, 100, 0, count=101, a=400 * MS, b=0)
    return capture


def test_holds_have_percentiles_and_the_runs_longest() -> None:
    """Of a bucket its upper end; the runs know the longest exactly, and the counters the sum."""
    (account,) = analyse(made(longest=40.5)).threads
    holds = account.holds
    assert (holds.count, holds.total_ns, holds.max_ns) == (100, 400 * MS, round(40.5 * MS))
    assert 2 * MS + 30_000 <= holds.p50_ns <= 2 * MS + 33_000
    assert 4 * MS + 60_000 <= holds.p99_ns <= 4 * MS + 65_000
    assert holds.p999_ns == holds.max_ns


def test_holds_whose_longest_run_is_lost_have_the_buckets_end() -> None:
    """What the runs have as the longest is none of the longest bucket."""
    (account,) = analyse(made(longest=3)).threads
    assert account.holds.max_ns == 41 * MS


def test_capture_without_single_holds_has_none() -> None:
    """One of before they were counted."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 100)
    (account,) = analyse(capture).threads
    assert (account.holds.count, account.holds.total_ns, account.longest_hold_ns) == (0, 0, 100 * MS)
