"""What a watch has counted since it began: loops, waits and threads, by the groups of the threads' names.

Everything is cumulative, and falls never: not when threads end, nor when they are renamed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gilscope.probe.lengths import Lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

_NS_PER_S = 1e9
HANDING_OVER = "(handing over)"


@dataclass(frozen=True)
class LoopTotals:
    """What the event loops of a group of threads did; mostly it is one loop.

    Attributes:
        iterations: from the return of a poll to the next poll.
        busy_seconds: all iterations together: `on_cpu`, `gil_wait`, and the rest off CPU, blocked or without a core.
        stalls: iterations over the threshold.
        stalled_seconds: these together, from their beginning.
        iteration_lengths: a histogram of the iterations.
    """

    iterations: int = 0
    busy_seconds: float = 0.0
    on_cpu_seconds: float = 0.0
    gil_wait_seconds: float = 0.0
    stalls: int = 0
    stalled_seconds: float = 0.0
    iteration_lengths: Lengths = field(default_factory=Lengths, repr=False)

    @property
    def off_cpu_seconds(self) -> float:
        """What is left of the iterations: blocked, or without a core."""
        return max(0.0, self.busy_seconds - self.on_cpu_seconds - self.gil_wait_seconds)

    @property
    def p50_seconds(self) -> float:
        """Half of the iterations were not longer."""
        return self.iteration_lengths.quantile_seconds(0.5)

    @property
    def p99_seconds(self) -> float:
        """99 % of the iterations were not longer."""
        return self.iteration_lengths.quantile_seconds(0.99)

    @property
    def max_seconds(self) -> float:
        """The longest iteration."""
        return self.iteration_lengths.max_seconds


@dataclass(frozen=True)
class ThreadTotals:
    """What a group of threads did with the GIL; of a second ago, at most.

    Attributes:
        takes: how often they took the GIL.
        forced: how often they were made to let go.
        hold_lengths: a histogram of the single holds.
        wait_lengths: a histogram of the single waits; takes that did not wait are none.
    """

    held_seconds: float = 0.0
    waited_seconds: float = 0.0
    takes: int = 0
    forced: int = 0
    hold_lengths: Lengths = field(default_factory=Lengths, repr=False)
    wait_lengths: Lengths = field(default_factory=Lengths, repr=False)


@dataclass(frozen=True)
class Totals:
    """What has been counted since the watch began.

    Attributes:
        loops: by the group of the loop's thread.
        waits: seconds, by the groups of who waited and who had the GIL meanwhile ("(handing over)" is nobody).
        threads: by their group.
        lost: events that could not be counted, by reason; what is not zero makes the rest of this a lower bound.
    """

    loops: Mapping[str, LoopTotals] = field(default_factory=dict)
    waits: Mapping[tuple[str, str], float] = field(default_factory=dict)
    threads: Mapping[str, ThreadTotals] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)


def read_totals(native: ModuleType) -> Totals:
    """Return the totals of now, by what threads are called; new threads within two seconds.

    Args:
        native: `gilscope._probe`, or what stands for it.
    """
    # First, for groups only become more.
    waits, stats, groups = native.waits(), native.stats(), native.groups()
    return Totals(
        loops={group["name"]: _loop(group) for group in groups.values() if group["iterations"]},
        waits=_waits(waits, groups),
        threads={group["name"]: _thread(group) for group in groups.values()},
        lost={**stats["lost"], "stall_forgotten": stats["stalls_forgotten"]},
    )


def _loop(group: Mapping[str, Any]) -> LoopTotals:
    return LoopTotals(
        iterations=group["iterations"],
        busy_seconds=group["iteration_ns"] / _NS_PER_S,
        on_cpu_seconds=group["on_cpu_ns"] / _NS_PER_S,
        gil_wait_seconds=group["gil_wait_ns"] / _NS_PER_S,
        stalls=group["stalls"],
        stalled_seconds=group["stall_ns"] / _NS_PER_S,
        iteration_lengths=Lengths(tuple(group["iteration_lengths"])),
    )


def _waits(
    waits: Iterable[tuple[int, int | None, int, int]], groups: Mapping[int, Mapping[str, Any]]
) -> dict[tuple[str, str], float]:
    # A thread may be called like nobody.
    sums: Counter[tuple[str, str]] = Counter()
    for waiter, holder, waited_ns, _ in waits:
        sums[groups[waiter]["name"], HANDING_OVER if holder is None else groups[holder]["name"]] += waited_ns
    return {pair: ns / _NS_PER_S for pair, ns in sums.items()}


def _thread(group: Mapping[str, Any]) -> ThreadTotals:
    return ThreadTotals(
        held_seconds=group["held_ns"] / _NS_PER_S,
        waited_seconds=group["waited_ns"] / _NS_PER_S,
        takes=group["takes"],
        forced=group["forced"],
        hold_lengths=Lengths(tuple(group["hold_lengths"])),
        wait_lengths=Lengths(tuple(group["wait_lengths"])),
    )
