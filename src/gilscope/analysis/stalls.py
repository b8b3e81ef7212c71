"""A stall, closed when the last sample of it must have come: each of its parts gets the stacks that were seen in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.attribution import holder_without_core_ns, off_cpu_ns, without_core_ns
from gilscope.analysis.names import collecting
from gilscope.analysis.shares import share_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gilscope.analysis.attribution import Blocked, Breakdown, Piece, Run, WaitPieces
    from gilscope.analysis.convoys import ConvoySums
    from gilscope.analysis.moments import Moments, Sample
    from gilscope.analysis.timeline import Timeline


# A call has one stack; before and after it there may be a sample of what made it.
_ONE_CALL = 0.8


class Collected(NamedTuple):
    """What is remembered of a garbage collection beside its times."""

    thread: int
    generation: int
    objects: int
    stack: int


class Collecting(NamedTuple):
    """What of a garbage collection lies in a stall, and for how much of that it kept the loop from going on."""

    start_ns: int
    end_ns: int
    what: Collected
    stolen_ns: int


@dataclass
class OpenStall:
    """An iteration that stalled, with what is known when it ends.

    Attributes:
        own: stacks of its thread in it that no sample took, and how much time each may stand for.
    """

    thread: int
    start_ns: int
    end_ns: int
    breakdown: Breakdown
    convoy: ConvoySums
    waits: list[WaitPieces]
    blocked: list[tuple[int, int, Blocked]]
    own: list[tuple[int, int]]


@dataclass
class ClosedStall:
    """A stall with all that is told of it; threads and stacks by number, stack 0 is what nothing saw.

    A stack's number below zero stands for garbage collection in it (`names.collecting`).

    Attributes:
        holders: for each wait, the threads and stacks that had the GIL in it, and for how long.
        long_holds: holds that did not end when asked to: thread, stack and length of the hold; how much they stole.
        starved: by holder: for how long the loop waited for it and it had no core.
        on_cpu: by stack; sums up to that part of the breakdown.
        blocked: by stack; sums up to that part of the breakdown.
        stopped: by stack; sums up to what had no core and what is unattributed.
        collections: all that lie in it.
        task: the last that was seen in it, 0 if none was.
    """

    stall: OpenStall
    holders: list[dict[tuple[int, int], int]]
    long_holds: dict[tuple[int, int, int], int]
    starved: dict[int, int]
    on_cpu: dict[int, int]
    blocked: dict[int, int]
    stopped: dict[int, int]
    collections: list[Collecting]
    task: int


def close(
    stall: OpenStall, moments: Mapping[int, Moments], collections: Timeline[Collected], runs: Timeline[Run]
) -> ClosedStall:
    """Return the stall with its stacks; its breakdown now tells what lacked a core.

    Args:
        stall: to be closed once.
        moments: of each thread, by number.
        collections: of all threads.
        runs: of all threads.
    """
    parts, own = stall.breakdown, moments[stall.thread]
    readings = own.readings_around(stall.start_ns, stall.end_ns)
    no_core_ns = without_core_ns(readings, stall.start_ns, stall.end_ns, parts.wall_ns - parts.on_cpu_ns)
    parts.found_no_core(min(parts.unattributed_ns, no_core_ns))
    collected = [
        Collecting(start, end, what, _stolen_ns(stall, start, end, what.thread))
        for start, end, what in collections.between(stall.start_ns, stall.end_ns)
    ]
    on_cpu, stopped = _own_time(stall, own, [found for found in collected if found.what.thread == stall.thread])
    closed = ClosedStall(
        stall,
        holders=[],
        long_holds={},
        starved={},
        on_cpu=on_cpu,
        blocked=_shared(parts.blocked_ns, _blocked_stacks(stall)),
        stopped=stopped,
        collections=collected,
        task=own.task(stall.start_ns, stall.end_ns),
    )
    for wait in stall.waits:
        holders: dict[tuple[int, int], int] = defaultdict(int)
        for piece in wait.pieces:
            stacks = _held(piece, moments, collections)
            for stack, ns in stacks.items():
                holders[piece.run.thread, stack] += ns
            if stall.convoy.is_long_hold(piece):
                _look_at_long_hold(closed, piece, stacks, moments, runs)
        closed.holders.append(holders)
    return closed


def _look_at_long_hold(
    closed: ClosedStall, piece: Piece, stacks: dict[int, int], moments: Mapping[int, Moments], runs: Timeline[Run]
) -> None:
    thread, _, longest_ns = piece.run
    ns = piece.end_ns - piece.start_ns
    found = moments.get(thread)
    starved_ns = (
        holder_without_core_ns(found.readings_around(piece.start_ns, piece.end_ns), piece, runs) if found else 0
    )
    if starved_ns:
        closed.starved[thread] = closed.starved.get(thread, 0) + starved_ns
    call = max(stacks, key=lambda stack: stacks[stack])
    # Where samples saw several stacks, Python code ran: it had no core, rather than not obeying. The collector is
    # native code too, and has a finding of its own.
    if 2 * starved_ns < ns and call >= 0 and stacks[call] >= _ONE_CALL * ns:
        hold = thread, call, longest_ns
        closed.long_holds[hold] = closed.long_holds.get(hold, 0) + stacks[call]


def _stolen_ns(stall: OpenStall, start_ns: int, end_ns: int, thread: int) -> int:
    """Return for how long between two times the loop's thread collected, or waited for another one that did."""
    if thread != stall.thread:
        pieces = [piece for wait in stall.waits for piece in wait.pieces if piece.run.thread == thread]
        return _overlap_ns(((piece.start_ns, piece.end_ns) for piece in pieces), start_ns, end_ns)
    waits = ((wait.start_ns, wait.end_ns) for wait in stall.waits)
    return end_ns - start_ns - _overlap_ns(waits, start_ns, end_ns)


def _overlap_ns(intervals: Iterable[tuple[int, int]], start_ns: int, end_ns: int) -> int:
    return sum(max(0, min(end, end_ns) - max(start, start_ns)) for start, end in intervals)


def _shared(total: int, weighted: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return how much of the total each stack gets, in proportion to the weights; stack 0 if there is none."""
    shares: dict[int, int] = defaultdict(int)
    if total:
        weighted = weighted or [(0, 1)]
        for (stack, _), ns in zip(weighted, share_out(total, [weight for _, weight in weighted]), strict=True):
            shares[stack] += ns
    return shares


def _held(piece: Piece, moments: Mapping[int, Moments], collections: Timeline[Collected]) -> dict[int, int]:
    """Return the stacks of a holder, by samples: a long hold ends elsewhere than where it spent its time."""
    start, end, run = piece
    found = moments.get(run.thread)
    collected = [
        Collecting(first, last, what, last - first)
        for first, last, what in collections.between(start, end)
        if what.thread == run.thread
    ]
    if found is None and not collected:
        return {run.stack: end - start}
    return _shared(end - start, _spent(found, start, end, end - start, collected, [(run.stack, 1)]))


def _spent(
    moments: Moments | None,
    start_ns: int,
    end_ns: int,
    total_ns: int,
    collections: Sequence[Collecting],
    otherwise: Sequence[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Return the stacks in which a thread with the GIL spent its time, with weights; garbage collections are exact.

    Args:
        moments: of the thread.
        start_ns: from here.
        end_ns: to here.
        total_ns: for how long in it the thread had the GIL.
        collections: its own, between the two times.
        otherwise: what to take where there is no sample.
    """

    def holding(start: int, end: int) -> list[tuple[int, int]]:
        return _weighted(moments.holding(start, end)) if moments else []

    seen: list[tuple[int, int]] = []
    weights: dict[int, int] = defaultdict(int)
    from_ns = start_ns
    for start, end, what, stolen_ns in collections:
        seen += holding(from_ns, start - 1)
        from_ns = end + 1
        inside = holding(start, end) or [(what.stack, 1)]
        for stack, ns in _shared(stolen_ns, inside).items():
            weights[collecting(stack)] += ns
    seen += holding(from_ns, end_ns)
    rest_ns = max(0, total_ns - sum(weights.values()))
    # Who made the last object before a collection is the best guess of who made those around it.
    seen = seen or [*otherwise] or holding(start_ns, end_ns)
    if not seen and moments:
        seen = _weighted(moments.elsewhere(start_ns, end_ns))
    return [*_shared(rest_ns, seen).items(), *weights.items()]


def _weighted(samples: Iterable[Sample]) -> list[tuple[int, int]]:
    return [(sample.stack, sample.weight_ns) for sample in samples]


def _blocked_stacks(stall: OpenStall) -> list[tuple[int, int]]:
    return [(period[2].stack, off_cpu_ns(*period)) for period in stall.blocked]


def _own_time(
    stall: OpenStall, own: Moments, collections: Sequence[Collecting]
) -> tuple[dict[int, int], dict[int, int]]:
    """Return the stacks of what the loop computed, and of what it was off the CPU without having been blocked.

    A thread without a core is where the samples see it all the same.
    """
    parts, without_gil = stall.breakdown, _blocked_stacks(stall)
    stopped_ns = parts.no_core_ns + parts.unattributed_ns
    # Without the GIL for longer than off the CPU: the difference was native code that had released it.
    native_ns = min(parts.on_cpu_ns, sum(ns for _, ns in without_gil) - parts.blocked_ns)
    on_cpu = _shared(native_ns, without_gil)
    total_ns = parts.on_cpu_ns - native_ns + stopped_ns
    spent = _spent(own, stall.start_ns, stall.end_ns, total_ns, collections, stall.own)
    for stack, ns in _shared(parts.on_cpu_ns - native_ns, spent).items():
        on_cpu[stack] += ns
    return on_cpu, _shared(stopped_ns, spent)
