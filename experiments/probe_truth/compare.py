"""What a tool says of the GIL, set against the truth."""

from __future__ import annotations

import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from experiments.probe_truth.tools import ASKS_FOR_GIL, HAS_GIL
from experiments.probe_truth.truth import Period
from gilscope.capture import EventKind, open_capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from experiments.probe_truth.tools import Sample
    from experiments.probe_truth.truth import Truth

LONG_NS = 1_000_000
EQUAL_NS = 50_000


@dataclass
class Claim:
    """What a tool says, by native thread ids.

    Attributes:
        waits: of a thread, for the GIL; empty if it does not tell.
        holds: of the GIL, by a thread; they do not overlap, and are in order.
        functions: for each hold, the names of the functions on the holder's stack; empty if it does not tell.
    """

    waits: list[Period] = field(default_factory=list)
    holds: list[Period] = field(default_factory=list)
    functions: list[frozenset[str]] = field(default_factory=list)


def of_capture(path: str) -> Claim:
    """Return what a capture says; of a hold, the stack where it ended, and those that were sampled in it.

    Raises:
        ValueError: it is not complete.
    """
    claim = Claim()
    ends: list[int] = []
    samples: dict[int, list[tuple[int, int]]] = {}
    with open_capture(path) as capture:
        events = list(capture.events())
        if capture.problems or capture.end is None or any(capture.end["lost"].values()):
            raise ValueError(f"expected a complete capture, got {capture.problems}, end {capture.end}")
        native = {thread.thread: thread.native_id for thread in capture.threads.values()}
        for event in events:
            period = Period(event.start_ns, event.end_ns, native.get(event.thread, 0))
            if event.kind == EventKind.WAIT:
                claim.waits.append(period)
            elif event.kind == EventKind.SAMPLE:
                samples.setdefault(period.thread, []).append((event.start_ns, event.stack))
            elif event.kind == EventKind.RUN:
                # Where in a run of several holds the GIL was free is not told, but for how long.
                claim.holds.append(period._replace(end_ns=period.end_ns - event.a))
                ends.append(event.stack)
        names = {
            number: frozenset(frame.code.name for frame in stack.frames) for number, stack in capture.stacks.items()
        }
    for of_thread in samples.values():
        of_thread.sort()
    for hold, end in zip(claim.holds, ends, strict=True):
        of_thread = samples.get(hold.thread, [])
        first, last = bisect_left(of_thread, (hold.start_ns, 0)), bisect_left(of_thread, (hold.end_ns, 0))
        stacks = [end, *(stack for _, stack in of_thread[first:last])]
        claim.functions.append(frozenset().union(*(names.get(stack, frozenset()) for stack in stacks)))
    return claim


def of_watchdog(sightings: Iterable[Sequence[Any]], loop: int) -> Claim:
    """Return what a watchdog says: the loop waited since it was due, for the one thread that seemed to be busy."""
    claim = Claim()
    for due_ns, seen_ns, busy in sightings:
        # It looks at one stall several times.
        since_ns = max(due_ns, claim.waits[-1].end_ns) if claim.waits else due_ns
        claim.waits.append(Period(since_ns, seen_ns, loop))
        if len(busy) == 1:
            claim.holds.append(Period(since_ns, seen_ns, busy[0]))
    return claim


def of_samples(samples: Iterable[Sample], interval_ns: int) -> Claim:
    """Return what samples say: each stands for the time that is nearer to it than to those before and after it."""
    claim = Claim()
    waiting: dict[int, int] = {}
    for sample in sorted(samples, key=lambda one: one.ns):
        start_ns, end_ns = sample.ns - interval_ns // 2, sample.ns + interval_ns // 2
        if sample.status & HAS_GIL:
            since_ns = max(start_ns, claim.holds[-1].end_ns) if claim.holds else start_ns
            claim.holds.append(Period(since_ns, max(since_ns, end_ns), sample.thread))
            claim.functions.append(sample.functions)
        if not sample.status & ASKS_FOR_GIL:
            waiting.pop(sample.thread, None)
            continue
        # A sample that failed does not end a wait.
        wait = waiting.get(sample.thread)
        if wait is not None and start_ns - claim.waits[wait].end_ns < interval_ns:
            claim.waits[wait] = claim.waits[wait]._replace(end_ns=end_ns)
        else:
            waiting[sample.thread] = len(claim.waits)
            claim.waits.append(Period(start_ns, end_ns, sample.thread))
    return claim


def found(truth: Iterable[Period], claimed: Iterable[Period]) -> tuple[int, int, int]:
    """Return the ns that were waited, those of them that were claimed, and those that were claimed."""
    by_thread: dict[int, tuple[list[Period], list[Period]]] = {}
    for side, periods in enumerate((truth, claimed)):
        for period in periods:
            by_thread.setdefault(period.thread, ([], []))[side].append(period)
    waited = sum(period.ns for ours, _ in by_thread.values() for period in ours)
    said = sum(period.ns for _, theirs in by_thread.values() for period in theirs)
    both = sum(sum(by_holder(period, theirs).values()) for ours, theirs in by_thread.values() for period in ours)
    return waited, both, said


def by_holder(wait: Period, holds: Sequence[Period]) -> Counter[int]:
    """Return for how much of a wait each thread had the GIL; holds are in order and do not overlap."""
    had: Counter[int] = Counter()
    for index in overlapping(wait, holds):
        hold = holds[index]
        had[hold.thread] += min(hold.end_ns, wait.end_ns) - max(hold.start_ns, wait.start_ns)
    return had


def overlapping(period: Period, others: Sequence[Period]) -> range:
    """Return the indices of those that overlap it."""
    first = bisect_right(others, period.start_ns, key=lambda other: other.end_ns)
    last = first
    while last < len(others) and others[last].start_ns < period.end_ns:
        last += 1
    return range(first, last)


def main_holder(wait: Period, holds: Sequence[Period]) -> int:
    """Return who had the GIL for most of a wait; 0 if nobody had."""
    had = by_holder(wait, holds)
    return max(had, key=had.__getitem__, default=0)


def inside(periods: Iterable[Period], start_ns: int, end_ns: int) -> list[Period]:
    """Return those that lie in a time whole."""
    return [period for period in periods if start_ns <= period.start_ns and period.end_ns <= end_ns]


def check_order(holds: Sequence[Period]) -> None:
    """Return if holds do not overlap.

    Raises:
        ValueError: they do: then they are no holds of one GIL.
    """
    for before, after in pairwise(holds):
        if after.start_ns < before.end_ns:
            raise ValueError(f"expected holds that do not overlap, got {before} and {after}")


def of_waits(truth: Truth, claim: Claim, functions: Mapping[int, str], loop: int) -> dict[str, float]:
    """Return how much a claim has of the waits, of all threads, and of the loop's alone.

    Args:
        truth: of the time to be compared, waits whole.
        claim: of the same time.
        functions: by thread, the one in which it is while it has the GIL.
        loop: the loop's thread.
    """
    check_order(truth.holds)
    check_order(claim.holds)
    waited_ns, both_ns, said_ns = found(truth.waits, claim.waits)
    loop_ns, loop_both_ns, _ = found(
        [wait for wait in truth.waits if wait.thread == loop], [wait for wait in claim.waits if wait.thread == loop]
    )
    claimed: dict[int, list[Period]] = {}
    for wait in claim.waits:
        claimed.setdefault(wait.thread, []).append(wait)
    errors_ns: list[int] = []
    right: list[bool] = []
    right_for_loop: list[bool] = []
    named: list[bool] = []
    for wait in truth.waits:
        if wait.ns < LONG_NS:
            continue
        theirs = claimed.get(wait.thread, [])
        best = max((theirs[index] for index in overlapping(wait, theirs)), key=lambda one: one.ns, default=None)
        if best is not None:
            errors_ns.append(abs(best.ns - wait.ns))
        had = by_holder(wait, truth.holds)
        holder = main_holder(wait, truth.holds)
        if holder == 0:
            continue
        # Where two had it equally long, either is right.
        said = main_holder(wait, claim.holds)
        is_right = best is not None and had[said] >= had[holder] - EQUAL_NS
        right.append(is_right)
        if wait.thread == loop:
            right_for_loop.append(is_right)
        if wait.thread == loop and claim.functions and is_right and said in functions:
            of_holder = [index for index in overlapping(wait, claim.holds) if claim.holds[index].thread == said]
            longest = max(of_holder, key=lambda index: claim.holds[index].ns)
            named.append(functions[said] in claim.functions[longest])
    return {
        "waits": len(right),
        "found": percent(both_ns, waited_ns),
        "invented": percent(said_ns - both_ns, said_ns),
        "loop_found": percent(loop_both_ns, loop_ns),
        "length_error_us": statistics.median(errors_ns) / 1e3 if errors_ns else 0.0,
        "holders": percent(sum(right), len(right)),
        "loop_holders": percent(sum(right_for_loop), len(right_for_loop)),
        "functions": percent(sum(named), len(named)),
    }


def shares(held: Mapping[int, float]) -> dict[int, float]:
    """Return by thread what part it has of all, in per cent."""
    total = sum(held.values())
    return {thread: percent(part, total) for thread, part in held.items()}


def largest_difference(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Return by how much two accounts of the same threads differ, for the thread that is told worst."""
    return max((abs(first.get(thread, 0.0) - second.get(thread, 0.0)) for thread in {*first, *second}), default=0.0)


def percent(part: float, whole: float) -> float:
    """Return a part in per cent; 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0
