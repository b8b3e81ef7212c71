"""Who had the GIL while others waited, and for how long they did."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import LOOPS, MS, needs_gil, needs_probe, recorded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe


@pytest.mark.smoke
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("how", "shape"), [("python", "convoy"), ("call", "long_hold")])
def test_waits_for_a_holder_are_attributed_to_its_thread_and_function(
    tmp_path: Path, loop: str, how: str, shape: str
) -> None:
    """At least 95 % of the loop's waiting is said to be the holder's, and at least 95 % of that has its function.

    The rest is the hand-over: a waiter is woken some 50 us after each hold of 5 ms, later on a busy machine.
    """
    run = recorded(tmp_path, "held", loop, how)
    (account,) = run.analysis.loops
    held_ns = {held.name: held.ns for held in account.parts.held_by}
    assert account.parts.gil_wait_ns > 500 * MS
    assert held_ns["holder"] >= 0.95 * account.parts.gil_wait_ns
    waits = [part for part in run.analysis.stall_stacks if part.cause == "gil_wait" and part.thread_name == "holder"]
    seen_ns = sum(part.ns for part in waits if run.said["function"] in {f.code.name for f in part.stack.frames[:4]})
    assert seen_ns >= 0.95 * sum(part.ns for part in waits) > 0
    assert account.stall_convoy.shape == shape


@needs_gil
@pytest.mark.parametrize("loop", LOOPS)
def test_holder_that_lets_go_elsewhere_is_seen_where_it_worked(tmp_path: Path, loop: str) -> None:
    """In nearly every wait of 1 ms and more there is a stack of the holder that has the function, not the one after it.

    The waiter takes it after half a millisecond; a thread that gets no core for that long comes too late.
    """
    run = recorded(tmp_path, "lets_go_elsewhere", loop)
    (holder,) = (thread.thread for thread in run.threads.values() if thread.name == "holder")
    samples = run.of(EventKind.SAMPLE, holder)
    waits = [wait for wait in run.of(EventKind.WAIT) if wait.thread != holder and wait.duration_ns >= MS]
    seen = [
        {
            frame.code.name.rpartition(".")[2]
            for sample in samples
            if wait.start_ns <= sample.start_ns <= wait.end_ns
            for frame in run.stacks[sample.stack].frames
        }
        for wait in waits
    ]
    assert len(waits) > 20
    assert sum(run.said["function"] in names for names in seen) >= 0.95 * len(waits)
    assert sum("rest" in names for names in seen) <= 0.05 * len(waits)


@pytest.mark.parametrize("threads", [2, 4])
def test_waits_agree_with_what_the_kernel_says(tmp_path: Path, threads: int) -> None:
    """A thread that could always run is off the CPU, and not for want of a core, only while it waits for the GIL.

    A wait also holds what the kernel counts apart: the way from being woken to a core (run-queue time), and
    microseconds of CPU for each time-out. So the waits are between the blocked time, and blocked and run-queue time
    together; 1 % of the run on either side is for the clocks, which are not read in one go.
    """
    run = recorded(tmp_path, "runnable", "asyncio", threads)
    numbers = {thread.native_id: thread.thread for thread in run.threads.values()}
    for said in run.said["threads"]:
        waits = run.of(EventKind.WAIT, numbers[said["native_id"]])
        waited_ns = sum(
            max(0, min(wait.end_ns, said["end_ns"]) - max(wait.start_ns, said["start_ns"])) for wait in waits
        )
        margin_ns = 0.01 * (said["end_ns"] - said["start_ns"])
        assert said["blocked_ns"] - margin_ns <= waited_ns <= said["blocked_ns"] + said["queued_ns"] + margin_ns


@pytest.mark.parametrize("loop", LOOPS)
def test_runs_and_waits_of_a_capture_fit_together(tmp_path: Path, loop: str) -> None:
    """At most one thread has the GIL at a time, and what events say sums up to what the counters say, exactly."""
    run = recorded(tmp_path, "mixed", loop)
    runs = run.of(EventKind.RUN)
    assert len({event.thread for event in runs}) == 4
    for before, after in pairwise(runs):
        assert before.end_ns <= after.start_ns
    for event in runs:
        # What is free in it and its holds are what it consists of.
        assert event.a + event.b <= event.duration_ns
        assert event.count * event.b >= event.duration_ns - event.a
    for event in run.of(EventKind.ITERATION):
        assert event.a + event.b <= event.duration_ns
    forced_waits = 0
    for thread in run.threads:
        last = run.of(EventKind.COUNTERS, thread)[-1]
        own = [event for event in run.of(EventKind.RUN, thread) if not event.flags & 4]
        cut = [event for event in run.of(EventKind.RUN, thread) if event.flags & 4]
        held_ns = sum(event.duration_ns - event.a for event in own)
        if not cut:
            assert (sum(event.count for event in own), held_ns) == (last.count, last.a)
        assert sum(event.duration_ns for event in run.of(EventKind.WAIT, thread)) == last.b
        # Who is made to let go waits from that moment on.
        let_go_ns = {event.end_ns for event in own}
        forced = [event for event in run.of(EventKind.WAIT, thread) if event.flags & 2]
        forced_waits += len(forced)
        assert {event.start_ns for event in forced} <= let_go_ns
    # Three threads that compute for up to 8 ms at a time, for two seconds: eighty to a hundred on a quiet machine.
    assert forced_waits > 10


@pytest.mark.parametrize("loop", LOOPS)
def test_parts_of_every_account_sum_up_to_its_time(tmp_path: Path, loop: str) -> None:
    """For each stall and each loop: waiting for the GIL, on CPU and off CPU are its length, with nothing cut off.

    The clocks of the parts are read one after the other: what they say too much is under 0.1 %.
    """
    analysis = recorded(tmp_path, "mixed", loop).analysis
    (account,) = analysis.loops
    assert len(analysis.stalls) >= 10
    for parts in (account.parts, account.stall_parts, *(stall.parts for stall in analysis.stalls)):
        assert parts.gil_wait_ns + parts.on_cpu_ns + parts.off_cpu_ns == parts.wall_ns
        assert parts.clock_error_ns <= 0.001 * parts.wall_ns
    assert account.parts.wall_ns == account.iterations.total_ns
    assert sum(part.ns for part in analysis.stall_stacks) == account.stalls.total_ns


def test_holds_of_known_lengths_are_in_their_buckets(tmp_path: Path) -> None:
    """A thousand holds of 2 ms and ten of 50 ms, by the program's own clock.

    A hold begins before the program reads its clock and ends after: by microseconds, or by as long as the core was
    taken away in between. 20 us, and what a bucket is wide, are for that; 1 % of the holds may have had less luck.
    """
    run = recorded(tmp_path, "holds", "asyncio", "1000x2", "10x50")
    (account,) = (account for account in run.analysis.threads if account.native_id == run.said["native_id"])
    said_ns = sorted(run.said["held_ns"])
    events = run.of(EventKind.HOLDS, account.thread)
    seen = sorted(bounds for event in events for bounds in [(event.a, event.b)] * event.count if event.b > MS)
    assert len(seen) == len(said_ns) == 1010
    assert all((longest + 1 - shortest) * 64 <= shortest for shortest, longest in seen)
    wrong = [
        ns for ns, (shortest, longest) in zip(said_ns, seen, strict=True) if not shortest - 20_000 <= ns <= longest
    ]
    assert len(wrong) <= 10
    assert account.holds.count == account.takes
    assert account.holds.p50_ns == pytest.approx(said_ns[505], rel=1 / 64)
    assert account.holds.max_ns == account.longest_hold_ns >= 50 * MS
