"""A stall, closed when the last sample of it must have come: each of its parts gets the stacks that were seen in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.attribution import off_cpu_ns, without_core_ns
from gilscope.analysis.shares import share_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gilscope.analysis.attribution import Blocked, Breakdown, Piece, WaitPieces
    from gilscope.analysis.convoys import ConvoySums
    from gilscope.analysis.moments import Moments
    from gilscope.analysis.timeline import Timeline


# A call has one stack; before and after it there may be a sample of what made it.
_ONE_CALL = 0.8


class Collected(NamedTuple):
    """What is remembered of a garbage collection beside its times."""

    thread: int
    generation: int
    objects: int


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

    Attributes:
        holders: for each wait, the threads and stacks that had the GIL in it, and for how long.
        long_holds: holds that did not end when asked to: thread, stack and length of the hold; how much they stole.
        on_cpu: by stack; sums up to that part of the breakdown.
        blocked: by stack; sums up to that part of the breakdown.
        collections: what of each lies in the stall.
    """

    stall: OpenStall
    holders: list[dict[tuple[int, int], int]]
    long_holds: dict[tuple[int, int, int], int]
    on_cpu: dict[int, int]
    blocked: dict[int, int]
    collections: list[tuple[int, int, Collected]]


def close(stall: OpenStall, moments: Mapping[int, Moments], collections: Timeline[Collected]) -> ClosedStall:
    """Return the stall with its stacks; its breakdown now tells what lacked a core.

    Args:
        stall: to be closed once.
        moments: of each thread, by number.
        collections: of all threads.
    """
    parts, own = stall.breakdown, moments[stall.thread]
    readings = own.readings_around(stall.start_ns, stall.end_ns)
    parts.found_no_core(min(parts.unattributed_ns, without_core_ns(readings, stall.start_ns, stall.end_ns)))
    closed = ClosedStall(
        stall,
        holders=[],
        long_holds={},
        on_cpu=_on_cpu(stall, own),
        blocked=_shared(parts.blocked_ns, _blocked_stacks(stall)),
        collections=collections.between(stall.start_ns, stall.end_ns),
    )
    for wait in stall.waits:
        holders: dict[tuple[int, int], int] = defaultdict(int)
        for piece in wait.pieces:
            thread, _, longest_ns = piece.run
            stacks = _held(piece, moments)
            for stack, ns in stacks.items():
                holders[thread, stack] += ns
            call = max(stacks, key=lambda stack: stacks[stack])
            # Where samples saw several stacks, Python code ran: it had no core, rather than not obeying.
            if stacks[call] >= _ONE_CALL * (piece.end_ns - piece.start_ns) and stall.convoy.is_long_hold(piece):
                hold = thread, call, longest_ns
                closed.long_holds[hold] = closed.long_holds.get(hold, 0) + stacks[call]
        closed.holders.append(holders)
    return closed


def _shared(total: int, weighted: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Return how much of the total each stack gets, in proportion to the weights; stack 0 if there is none."""
    shares: dict[int, int] = defaultdict(int)
    if total:
        weighted = weighted or [(0, 1)]
        for (stack, _), ns in zip(weighted, share_out(total, [weight for _, weight in weighted]), strict=True):
            shares[stack] += ns
    return shares


def _held(piece: Piece, moments: Mapping[int, Moments]) -> dict[int, int]:
    """Return the stacks of a holder, by samples: a long hold ends elsewhere than where it spent its time."""
    found = moments.get(piece.run.thread)
    samples = found.holding(piece.start_ns, piece.end_ns) if found else []
    weighted = [(sample.stack, sample.weight_ns) for sample in samples] or [(piece.run.stack, 1)]
    return _shared(piece.end_ns - piece.start_ns, weighted)


def _blocked_stacks(stall: OpenStall) -> list[tuple[int, int]]:
    return [(period[2].stack, off_cpu_ns(*period)) for period in stall.blocked]


def _on_cpu(stall: OpenStall, own: Moments) -> dict[int, int]:
    parts, without_gil = stall.breakdown, _blocked_stacks(stall)
    # Without the GIL for longer than off the CPU: the difference was native code that had released it.
    native_ns = min(parts.on_cpu_ns, sum(ns for _, ns in without_gil) - parts.blocked_ns)
    shares = _shared(native_ns, without_gil)
    samples = [(sample.stack, sample.weight_ns) for sample in own.holding(stall.start_ns, stall.end_ns)]
    for stack, ns in _shared(parts.on_cpu_ns - native_ns, samples or stall.own).items():
        shares[stack] += ns
    return shares
