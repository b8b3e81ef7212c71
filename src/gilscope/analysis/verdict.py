"""The verdict: one sentence that says whether the loop stalled, for how long, and above all why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis import places
from gilscope.analysis.durations import percent, spoken
from gilscope.analysis.evidence import GIL_WAIT, OFF_CPU, ON_CPU

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.analysis.model import Facts, Held, LoopAccount, Parts, WeightedStack
    from gilscope.capture import Stack

# A holder is "the" holder from this share of all holds on, and the one that did it mostly from a half.
_ALONE = 0.9


def verdict(facts: Facts, loops: Sequence[LoopAccount], stacks: Sequence[WeightedStack]) -> str:
    """Return the one sentence.

    Args:
        facts: what was recorded.
        loops: the one that was stalled longest first.
        stacks: those of all stalls.
    """
    sentence = _sentence(facts, loops, stacks)
    if facts.gil == "none":
        return f"{sentence}; this Python has no GIL"
    if facts.gil == "unavailable" and facts.events:
        return f"{sentence}; waits for the GIL could not be seen here, so they count as off CPU"
    return sentence


def _sentence(facts: Facts, loops: Sequence[LoopAccount], stacks: Sequence[WeightedStack]) -> str:
    if not facts.events:
        return "the capture is empty: no thread did anything that is recorded"
    if not loops:
        return f"no event loop ran in {spoken(facts.duration_ns)}: nothing could stall"
    stalls = sum(loop.stalls.count for loop in loops)
    if not stalls:
        iterations = sum(loop.iterations.count for loop in loops)
        longest_ns = max(loop.iterations.max_ns for loop in loops)
        return (
            f"no iteration took longer than {spoken(facts.threshold_ns)}; the longest of {iterations:,} "
            f"in {spoken(facts.duration_ns)} took {spoken(longest_ns)}"
        )
    stalled_ns = sum(loop.stalls.total_ns for loop in loops)
    longest_ns = max(loop.stalls.max_ns for loop in loops)
    who, of = ("the loop was", "of") if len(loops) == 1 else (f"{len(loops)} loops were", "together, in")
    counted = "1 stall" if stalls == 1 else f"{stalls:,} stalls, longest {spoken(longest_ns)}"
    return (
        f"{who} stalled for {spoken(stalled_ns)} {of} {spoken(facts.duration_ns)} ({counted}); "
        f"{_reason([loop.stall_parts for loop in loops], stacks)}"
    )


def _reason(stalled: Sequence[Parts], stacks: Sequence[WeightedStack]) -> str:
    wall_ns = sum(parts.wall_ns for parts in stalled)
    reasons = {
        "it waited for the GIL" + _holder(stalled, stacks): sum(parts.gil_wait_ns for parts in stalled),
        "it computed" + _where(stacks, ON_CPU): sum(parts.on_cpu_ns for parts in stalled),
        "it was blocked" + _where(stacks, OFF_CPU): sum(parts.blocked_ns for parts in stalled),
        "it had no core": sum(parts.no_core_ns for parts in stalled),
        "it was off the CPU for a reason that was not recorded": sum(parts.unattributed_ns for parts in stalled),
    }
    reason = max(reasons, key=lambda words: reasons[words])
    return f"{percent(reasons[reason], wall_ns)} of that {reason}"


def _holder(stalled: Sequence[Parts], stacks: Sequence[WeightedStack]) -> str:
    held = _by_name(held for parts in stalled for held in parts.held_by)
    if not held:
        return ""
    name, ns = max(held.items(), key=lambda item: item[1])
    held_ns = sum(held.values())
    how = ", held by" if ns >= _ALONE * held_ns else ", held mostly by" if 2 * ns >= held_ns else ", held most by"
    others = "" if 2 * ns >= held_ns else f" of {len(held)} threads"
    return f"{how} {name}{others}" + _where(stacks, GIL_WAIT, name)


def _by_name(held: Iterable[Held]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in held:
        sums[one.name] = sums.get(one.name, 0) + one.ns
    return sums


def _where(stacks: Sequence[WeightedStack], cause: str, thread_name: str | None = None) -> str:
    """Return in which function most of it was, in words; nothing if that is not known."""
    wanted: list[tuple[Stack, int]] = [
        (stack.stack, stack.ns) for stack in stacks if stack.cause == cause and thread_name in {None, stack.thread_name}
    ]
    frame = places.mostly_in(wanted)
    if frame is None:
        return ""
    return f" in {frame.code.name}" if cause == GIL_WAIT else f", mostly in {places.place(frame)}"
