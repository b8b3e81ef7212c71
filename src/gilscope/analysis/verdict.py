"""The verdict: one sentence that says whether the loop stalled, for how long, and above all why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis import places
from gilscope.analysis.durations import counted, percent, spoken
from gilscope.analysis.evidence import BLOCKED, GIL_WAIT, ON_CPU, STOPPED
from gilscope.analysis.names import COLLECTING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gilscope.analysis.evidence import Evidence
    from gilscope.analysis.model import Facts, Held, LoopAccount, Parts, WeightedStack
    from gilscope.analysis.names import Names

# A holder is "the" holder from this share of all holds on, and the one that did it mostly from a half.
_ALONE = 0.9
# From this share of the stalled time on, the second cause is named too.
_SECOND = 0.25
# What the loop's thread did itself.
_OWN = ON_CPU, STOPPED


def verdict(
    facts: Facts, loops: Sequence[LoopAccount], stacks: Sequence[WeightedStack], evidence: Evidence, names: Names
) -> str:
    """Return the one sentence.

    Args:
        facts: what was recorded.
        loops: the one that was stalled longest first.
        stacks: those of all stalls.
        evidence: of all stalls.
        names: of the threads in it.
    """
    sentence = _sentence(facts, loops, stacks, evidence, names)
    if facts.gil == "none":
        return f"{sentence}; this Python has no GIL"
    if facts.gil == "unavailable" and not loops:
        return "nothing could be seen: this Python has nothing to hook (`gilscope doctor` tells), or ran no event loop"
    if facts.gil == "unavailable":
        return f"{sentence}; waits for the GIL could not be seen here, so they count as off CPU"
    return sentence


def _sentence(
    facts: Facts, loops: Sequence[LoopAccount], stacks: Sequence[WeightedStack], evidence: Evidence, names: Names
) -> str:
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
    longest = "" if stalls == 1 else f", longest {spoken(longest_ns)}"
    how_long = f"{spoken(stalled_ns)} {of} {spoken(facts.duration_ns)} ({counted(stalls, 'stall')}{longest})"
    reasons = _reasons([loop.stall_parts for loop in loops], stacks, evidence, names)
    return "; ".join([f"{who} stalled for {how_long}", *reasons])


def _reasons(
    stalled: Sequence[Parts], stacks: Sequence[WeightedStack], evidence: Evidence, names: Names
) -> Iterator[str]:
    """Yield the largest cause, and the second if it matters too, each with its share and its culprit."""
    wall_ns = sum(parts.wall_ns for parts in stalled)
    causes = sorted(_causes(stalled, stacks, evidence, names), key=lambda cause: -cause[0])
    for rank, (ns, words) in enumerate(causes[:2]):
        if rank == 0 or ns > _SECOND * wall_ns:
            yield f"{percent(ns, wall_ns)}{'' if rank else ' of that'} {words}"


def _causes(
    stalled: Sequence[Parts], stacks: Sequence[WeightedStack], evidence: Evidence, names: Names
) -> Iterator[tuple[int, str]]:
    """Yield every cause; together they are the stalled time."""
    starved = sorted(((cost.ns, holder) for holder, cost in evidence.starved.items()), reverse=True)
    starved_ns = sum(ns for ns, _ in starved)
    held_ns = sum(parts.gil_wait_ns - parts.handing_over_ns for parts in stalled)
    yield held_ns - starved_ns, "it waited for the GIL" + _holder(stalled, stacks)
    if starved:
        yield starved_ns, f"it waited for the GIL while {names.thread(starved[0][1])}, which held it, had no core"
    collecting = {cause: _ns(stack for stack in stacks if _is(stack, cause, collecting=True)) for cause in _OWN}
    yield sum(collecting.values()), "it collected garbage" + _generation(evidence)
    computing = [stack for stack in stacks if _is(stack, ON_CPU, collecting=False)]
    yield _ns(computing), "it computed" + _mostly(computing)
    blocked = [stack for stack in stacks if stack.cause == BLOCKED]
    yield _ns(blocked), "it was blocked" + _mostly(blocked)
    no_core_ns = sum(parts.no_core_ns for parts in stalled)
    unknown_ns = sum(parts.unattributed_ns for parts in stalled)
    # A collection that had no core is a collection first.
    collecting_ns = collecting[STOPPED] * no_core_ns // max(1, no_core_ns + unknown_ns)
    yield no_core_ns - collecting_ns + evidence.handing_over_ns, "it was ready to run and had no core"
    yield (
        unknown_ns - (collecting[STOPPED] - collecting_ns),
        "it was off the CPU for a reason that was not recorded",
    )


def _is(stack: WeightedStack, cause: str, *, collecting: bool) -> bool:
    return stack.cause == cause and (stack.stack.frames[:1] == (COLLECTING,)) == collecting


def _ns(stacks: Iterable[WeightedStack]) -> int:
    return sum(stack.ns for stack in stacks)


def _generation(evidence: Evidence) -> str:
    costs = evidence.collections
    return f" (generation {max(costs, key=lambda generation: costs[generation].ns)})" if costs else ""


def _holder(stalled: Sequence[Parts], stacks: Sequence[WeightedStack]) -> str:
    held = _by_name(held for parts in stalled for held in parts.held_by)
    if not held:
        return ""
    name, ns = max(held.items(), key=lambda item: item[1])
    held_ns = sum(held.values())
    how = ", held by" if ns >= _ALONE * held_ns else ", held mostly by" if 2 * ns >= held_ns else ", held most by"
    others = "" if 2 * ns >= held_ns else f" of {len(held)} threads"
    return f"{how} {name}{others}" + _doing(
        stack for stack in stacks if (stack.cause, stack.thread_name) == (GIL_WAIT, name)
    )


def _by_name(held: Iterable[Held]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for one in held:
        sums[one.name] = sums.get(one.name, 0) + one.ns
    return sums


def _doing(stacks: Iterable[WeightedStack]) -> str:
    """Return what a holder of the GIL did most of the time; nothing if that is not known."""
    frame = places.mostly_in((stack.stack, stack.ns) for stack in stacks)
    if frame == COLLECTING:
        return ", which collected garbage"
    return f" in {frame.code.name}" if frame else ""


def _mostly(stacks: Iterable[WeightedStack]) -> str:
    """Return in which function most of it was; nothing if that is not known."""
    frame = places.mostly_in((stack.stack, stack.ns) for stack in stacks)
    return f", mostly in {places.place(frame)}" if frame else ""
