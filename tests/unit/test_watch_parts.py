"""What a watch is made of: groups of threads, histograms, stalls as text, limits of a log."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gilscope.probe.lengths import Lengths
from gilscope.probe.rate_limit import RateLimit
from gilscope.probe.stall import Stall
from gilscope.probe.thread_groups import MOST_GROUPS, OTHERS, UNNAMED, ThreadGroups, group
from gilscope.probe.totals import TotalsReader

MS = 1_000_000
NAMES = {1: "MainThread", 2: "burner"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MainThread", "MainThread"),
        ("ThreadPoolExecutor-0_3", "ThreadPoolExecutor-0_*"),
        ("asyncio_12", "asyncio_*"),
        ("Thread-7", "Thread-*"),
        ("Thread-7 (work)", "Thread-* (work)"),
        ("http2 reader", "http2 reader"),
        ("42", "*"),
        ("a\nb\x1b[2J", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[2J"),
    ],
)
def test_group_of_a_name_has_no_number_at_its_end(name: str, expected: str) -> None:
    """What a pool or `threading` counts becomes a star, and what a terminal would obey is replaced."""
    assert group(name) == expected


def test_group_of_a_renamed_thread_stays() -> None:
    """What was counted under one name must not move to another."""
    groups = ThreadGroups()
    assert dict(groups.of({1: "first"})) == {1: "first"}
    assert groups.of({1: "second", 2: "second"}) == {1: "first", 2: "second"}


def test_group_of_a_nameless_thread_is_given_at_the_second_time() -> None:
    """A thread that has just begun gets its name a moment later; one that never gets one is counted as unnamed."""
    groups = ThreadGroups()
    assert groups.of({1: "", 2: ""}) == {}
    assert groups.of({1: "late", 2: ""}) == {1: "late", 2: UNNAMED}
    assert groups.of({2: "too late"})[2] == UNNAMED


def test_groups_beyond_the_limit_are_others() -> None:
    """Names made of random text must not be labels without end."""
    groups = ThreadGroups()
    found = groups.of({number: f"{number}x" for number in range(MOST_GROUPS + 5)})
    assert Counter(found.values())[OTHERS] == 5
    found = groups.of({1000: "0x", 1001: "new"})
    assert (found[1000], found[1001]) == ("0x", OTHERS)


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
    assert [lengths.count_within(seconds) for seconds in (0.001, 0.002, 1.0, 3.0)] == [0, 99, 99, 100]
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
    """Stands for the native side: two loops, a pool of two, and a thread that nobody knows."""

    def loops(self) -> list[dict[str, Any]]:
        """Return two loops of one group of threads."""
        loop = {"iterations": 10, "iteration_ns": 50 * MS, "on_cpu_ns": 20 * MS, "gil_wait_ns": 10 * MS}
        more = {"stalls": 1, "stall_ns": 30 * MS, "iteration_lengths": [(2 * MS, 9), (30 * MS, 1)]}
        return [{"thread": thread, **loop, **more} for thread in (1, 2)]

    def waits(self) -> list[tuple[int, int, int, int]]:
        """Return waits for each other, for nobody, and for the unknown."""
        return [(1, 3, 5 * MS, 1), (1, 4, 6 * MS, 2), (1, 0, MS, 1), (2, 9, 7 * MS, 1)]

    def threads(self) -> list[dict[str, Any]]:
        """Return the threads that have been seen."""
        names = {1: "loop_1", 2: "loop_2", 3: "pool_1", 4: "pool_2"}
        counts = {"takes": 3, "held_ns": 4 * MS, "waited_ns": 6 * MS}
        return [{"thread": thread, "native_id": 0, "name": name, **counts} for thread, name in names.items()]

    def stats(self) -> dict[str, Any]:
        """Return what was lost."""
        return {"lost": {"ring_full": 2}, "stalls_forgotten": 1}


def test_totals_are_summed_by_the_groups_of_threads() -> None:
    """In seconds; a thread that nobody knows is counted from the second reading on."""
    reader, native = TotalsReader(), Native()
    first, second = reader.read(native), reader.read(native)  # type: ignore[arg-type] # stands for the module
    assert first.waits == {("loop_*", "pool_*"): 0.011, ("loop_*", "(handing over)"): 0.001}
    assert second.waits == {**first.waits, ("loop_*", UNNAMED): 0.007}
    loop = second.loops["loop_*"]
    assert (loop.iterations, loop.stalls, loop.stalled_seconds, loop.busy_seconds) == (20, 2, 0.06, 0.1)
    assert loop.off_cpu_seconds == pytest.approx(0.04)
    assert (loop.p50_seconds, loop.p99_seconds, loop.max_seconds) == (0.002, 0.03, 0.03)
    assert second.threads["pool_*"].held_seconds == 0.008
    assert (second.threads["pool_*"].waited_seconds, second.threads["pool_*"].takes) == (0.012, 6)
    assert second.lost == {"ring_full": 2, "stall_forgotten": 1}
