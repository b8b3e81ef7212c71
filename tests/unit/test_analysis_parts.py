"""Where the time of iterations went, on captures whose truth is plain to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.analysis import analyse
from gilscope.analysis.histogram import Histogram
from gilscope.analysis.shares import share_out
from gilscope.analysis.timeline import Timeline
from tests.made_capture import EXPORTER, LOOP, MS, WORKER, MadeCapture

if TYPE_CHECKING:
    from gilscope.analysis.model import Parts


def stall_parts(capture: MadeCapture) -> Parts:
    """Return the parts of the only loop's stalls."""
    (loop,) = analyse(capture).loops
    return loop.stall_parts


def test_wait_is_shared_among_those_who_held_the_gil() -> None:
    """Two holders one after the other get what each held, and the gap between them is handing over."""
    capture = MadeCapture()
    capture.run(EXPORTER, 0, 14)
    capture.run(WORKER, 16, 25)
    capture.wait(LOOP, 10, 30)
    capture.iteration(5, 35, cpu=10, waited=20)
    parts = stall_parts(capture)
    assert {held.name: held.ns for held in parts.held_by} == {
        "worker": 9 * MS,
        "OtelBatchSpanRecordProcessor": 4 * MS,
    }
    assert (parts.handing_over_ns, parts.unknown_holder_ns) == (7 * MS, 0)
    assert (parts.gil_wait_ns, parts.on_cpu_ns, parts.off_cpu_ns, parts.wall_ns) == (20 * MS, 10 * MS, 0, 30 * MS)


def test_wait_across_the_start_of_an_iteration_counts_from_there() -> None:
    """What was waited before the poll returned is not the iteration's."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 20)
    capture.wait(LOOP, 0, 20)
    capture.iteration(15, 40, cpu=20, waited=5)
    assert [held.ns for held in stall_parts(capture).held_by] == [5 * MS]


def test_waits_of_other_threads_are_not_the_loops() -> None:
    """A thread that waits beside the loop costs the loop nothing."""
    capture = MadeCapture()
    capture.run(LOOP, 0, 25)
    capture.wait(WORKER, 0, 25)
    capture.iteration(0, 25, cpu=25)
    parts = stall_parts(capture)
    assert (parts.gil_wait_ns, parts.on_cpu_ns) == (0, 25 * MS)


def test_own_hold_during_a_wait_is_handing_over() -> None:
    """A thread cannot have waited for itself."""
    capture = MadeCapture()
    capture.run(LOOP, 0, 25)
    capture.wait(LOOP, 5, 25)
    capture.iteration(0, 25, waited=20)
    assert stall_parts(capture).handing_over_ns == 20 * MS


def test_wait_without_events_has_an_unknown_holder() -> None:
    """The iteration counts what it waited even where the events were lost."""
    capture = MadeCapture()
    capture.iteration(0, 30, cpu=10, waited=15)
    parts = stall_parts(capture)
    assert (parts.unknown_holder_ns, parts.unattributed_ns) == (15 * MS, 5 * MS)
    assert analyse(capture).unseen.unknown_holder_ns == 15 * MS


def test_clocks_that_say_too_much_are_cut_and_the_error_told() -> None:
    """20 ms of waiting and 15 ms on the CPU do not fit into 30 ms."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 20)
    capture.wait(LOOP, 0, 20)
    capture.iteration(0, 30, cpu=15, waited=20)
    parts = stall_parts(capture)
    assert (parts.gil_wait_ns, parts.on_cpu_ns, parts.off_cpu_ns) == (20 * MS, 10 * MS, 0)
    assert parts.clock_error_ns == 5 * MS


def test_off_cpu_is_blocked_as_far_as_it_was_recorded() -> None:
    """Of 30 ms without the GIL 4 ms were waiting for it, and 3 ms more off the CPU have no reason."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 40)
    capture.wait(LOOP, 31, 35)
    capture.blocked(5, 35, waited=4)
    capture.iteration(0, 40, cpu=7, waited=4)
    parts = stall_parts(capture)
    assert (parts.blocked_ns, parts.unattributed_ns, parts.off_cpu_ns) == (26 * MS, 3 * MS, 29 * MS)


def test_blocked_time_on_the_cpu_is_on_cpu() -> None:
    """Native code without the GIL looks blocked to the interpreter; the CPU clock knows better."""
    capture = MadeCapture()
    capture.blocked(0, 30)
    capture.iteration(0, 30, cpu=30)
    parts = stall_parts(capture)
    assert (parts.on_cpu_ns, parts.blocked_ns) == (30 * MS, 0)


def test_run_queue_that_is_counted_late_is_counted() -> None:
    """The kernel adds 20 ms in the queue when they are over, here between two readings that are 3 ms apart."""
    capture = MadeCapture()
    for at, queued in [(1, 0), (10, 0), (25, 0), (28, 20)]:
        capture.schedule(at, queued)
    capture.iteration(0, 30, cpu=5)
    assert stall_parts(capture).no_core_ns == 20 * MS


@pytest.mark.parametrize(
    ("first", "cpu", "slept", "no_core"),
    [(-10, 18, 0, 22), (-10, 18, 5, 17), (-10, 8, 10, 12), (-3, 8, 27, 0), (5, 4, 0, 21)],
    ids=["it ran before", "it ran and slept before", "it slept before", "it may have slept in it", "began late"],
)
def test_thread_that_cannot_have_slept_had_no_core(first: int, cpu: int, slept: int, no_core: int) -> None:
    """Of 22 ms off the CPU, what the thread may have slept between two readings, or was not seen, is not certain."""
    capture = MadeCapture()
    if first < 0:
        capture.schedule(first, 0)
    capture.iteration(0, 30, cpu=8)
    if first > 0:
        capture.schedule(first, 0)
    capture.schedule(32, 32 - first - slept - cpu, cpu)
    assert stall_parts(capture).no_core_ns == no_core * MS


@pytest.mark.parametrize(
    ("readings", "no_core"),
    [
        ([(2, 0), (28, 9)], 9),
        ([(2, 0), (10, 3), (28, 9)], 9),
        # 20 ms in the queue between 0 and 40, of which at most 10 were outside.
        ([(-5, 0), (35, 20)], 10),
        ([(-100, 0), (130, 20)], 0),
        ([(5, 0)], 0),
        ([(5, 9), (20, 0)], 0),
        ([(31, 0), (60, 25)], 0),
    ],
)
def test_run_queue_counts_as_far_as_it_must_have_been_inside(readings: list[tuple[int, int]], no_core: int) -> None:
    """A reading between which and the next there was time outside proves less."""
    capture = MadeCapture()
    for at, queued in readings:
        if at < 30:
            capture.schedule(at, queued)
    capture.iteration(0, 30, cpu=5)
    for at, queued in readings:
        if at >= 30:
            capture.schedule(at, queued)
    parts = stall_parts(capture)
    assert (parts.no_core_ns, parts.unattributed_ns) == (no_core * MS, (25 - no_core) * MS)


def test_threshold_itself_is_a_stall() -> None:
    """An iteration of exactly the threshold counts, one a nanosecond shorter does not."""
    capture = MadeCapture()
    capture.iteration(0, 20)
    capture.iteration(20, 40 - 1e-6)
    assert analyse(capture).stall_count == 1
    assert analyse(capture, threshold_ns=19 * MS).stall_count == 2
    capture.metadata["stall_threshold_ns"] = 21 * MS
    assert analyse(capture).stall_count == 0


def test_overlapping_runs_never_count_twice() -> None:
    """Two threads cannot both hold the GIL; the second is cut, and that is told."""
    capture = MadeCapture()
    capture.run(EXPORTER, 0, 20)
    capture.run(WORKER, 10, 30)
    capture.wait(LOOP, 0, 30)
    capture.iteration(0, 30, waited=30)
    analysis = analyse(capture)
    assert {held.thread: held.ns for held in analysis.loops[0].parts.held_by} == {EXPORTER: 20 * MS, WORKER: 10 * MS}
    assert analysis.unseen.contradicted_ns == 10 * MS


def test_overlapping_iterations_share_no_wait() -> None:
    """A loop runs one iteration at a time; what was waited in both belongs to the first, and no holder is made up."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 20)
    capture.wait(LOOP, 0, 20)
    capture.iteration(0, 30, waited=20)
    capture.iteration(0, 40, waited=20)
    parts = stall_parts(capture)
    assert ([held.ns for held in parts.held_by], parts.unknown_holder_ns) == ([20 * MS], 20 * MS)


def test_iteration_inside_another_has_no_part_below_zero() -> None:
    """What it contradicts has all of its time already."""
    capture = MadeCapture()
    capture.iteration(0, 30, cpu=30)
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 20, cpu=20)
    parts = stall_parts(capture)
    assert (parts.wall_ns, parts.on_cpu_ns, parts.gil_wait_ns) == (50 * MS, 50 * MS, 0)


@pytest.mark.parametrize("values", [[0], [1], [5, 5, 5], [*range(3000)], [2**63, 1], [10**9 + 7] * 3])
def test_percentiles_are_right_to_three_digits(values: list[int]) -> None:
    """Each is at least the true one and at most a thousandth above; count, sum and maximum are exact."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.percentiles()
    ordered = sorted(values)
    for permille, got in {500: found.p50_ns, 900: found.p90_ns, 990: found.p99_ns, 999: found.p999_ns}.items():
        true = ordered[max(0, -(-len(ordered) * permille // 1000) - 1)]
        assert true <= got <= true + true // 1000
    assert (found.count, found.total_ns, found.max_ns) == (len(values), sum(values), max(values))


def test_percentiles_of_nothing_are_zero() -> None:
    """There is no division by none."""
    assert Histogram().percentiles().p99_ns == 0


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [(10, [1, 1, 1], [3, 3, 4]), (7, [0, 0], [3, 4]), (5, [0, 2], [0, 5]), (0, [3, 4], [0, 0]), (9, [0], [9])],
)
def test_shares_sum_up_to_the_total(total: int, weights: list[int], shares: list[int]) -> None:
    """Rounding loses nothing."""
    assert share_out(total, weights) == shares


def test_timeline_forgets_the_oldest_and_knows_it() -> None:
    """It keeps what it promised, and tells from when on it is whole."""
    timeline: Timeline[int] = Timeline(2)
    for start in range(0, 40, 10):
        timeline.add(start, start + 5, start)
    assert [what for _, _, what in timeline.between(0, 100)] == [20, 30]
    assert timeline.has_forgotten(14)
    assert not timeline.has_forgotten(15)


def test_iteration_with_more_waits_than_are_kept_says_so() -> None:
    """What was forgotten still counts as waiting, for an unknown holder."""
    capture = MadeCapture()
    for start in range(3000):
        capture.run(WORKER, start, start + 0.5)
        capture.wait(LOOP, start, start + 0.5)
    capture.iteration(0, 3000, cpu=1500, waited=1500)
    analysis = analyse(capture)
    assert analysis.unseen.forgotten == 1
    parts = analysis.loops[0].parts
    assert parts.gil_wait_ns == 1500 * MS
    assert parts.unknown_holder_ns > 0
