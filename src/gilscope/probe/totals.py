"""What a watch has counted since it began: loops, waits and threads, by the groups of the threads' names.

Everything is cumulative, and falls never: not when threads end, nor when they are renamed.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gilscope.probe.lengths import Lengths
from gilscope.probe.thread_groups import ThreadGroups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

_NS_PER_S = 1e9
_NOBODY = 0
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
    """

    held_seconds: float = 0.0
    waited_seconds: float = 0.0
    takes: int = 0


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


class TotalsReader:
    """Reads the totals of one watch, again and again.

    Threading: one thread at a time.
    """

    def __init__(self) -> None:
        self._groups = ThreadGroups()

    def read(self, native: ModuleType) -> Totals:
        """Return the totals of now.

        Args:
            native: `gilscope._probe`, or what stands for it.
        """
        loops, waits, stats = native.loops(), native.waits(), native.stats()
        # Last, so that it has every thread that the others know.
        threads = native.threads()
        names = dict.fromkeys([loop["thread"] for loop in loops], "")
        names.update((thread, "") for waiter, holder, *_ in waits for thread in (waiter, holder))
        names.update(thread_names(threads))
        groups = self._groups.of(names)
        return Totals(
            loops=_loops(loops, groups),
            waits=_waits(waits, {**groups, _NOBODY: HANDING_OVER}),
            threads=_threads(threads, groups),
            lost={**stats["lost"], "stall_forgotten": stats["stalls_forgotten"]},
        )


def thread_names(threads: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Return the names by number; "" where nobody knows one.

    Args:
        threads: as `_probe.threads` returns them.
    """
    # The native side learns names a little late.
    live = {thread.native_id: thread.name for thread in threading.enumerate()}
    return {thread["thread"]: thread["name"] or live.get(thread["native_id"], "") for thread in threads}


def _loops(loops: Iterable[Mapping[str, Any]], groups: Mapping[int, str]) -> dict[str, LoopTotals]:
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    lengths: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for loop in loops:
        name = groups.get(loop["thread"])
        if name is not None:
            sums[name].update({key: value for key, value in loop.items() if key != "iteration_lengths"})
            lengths[name].update(dict(loop["iteration_lengths"]))
    return {
        name: LoopTotals(
            iterations=total["iterations"],
            busy_seconds=total["iteration_ns"] / _NS_PER_S,
            on_cpu_seconds=total["on_cpu_ns"] / _NS_PER_S,
            gil_wait_seconds=total["gil_wait_ns"] / _NS_PER_S,
            stalls=total["stalls"],
            stalled_seconds=total["stall_ns"] / _NS_PER_S,
            iteration_lengths=Lengths.of(lengths[name]),
        )
        for name, total in sums.items()
    }


def _waits(waits: Iterable[tuple[int, int, int, int]], groups: Mapping[int, str]) -> dict[tuple[str, str], float]:
    sums: Counter[tuple[str, str]] = Counter()
    for waiter, holder, waited_ns, _ in waits:
        if waiter in groups and holder in groups:
            sums[groups[waiter], groups[holder]] += waited_ns
    return {pair: ns / _NS_PER_S for pair, ns in sums.items()}


def _threads(threads: Iterable[Mapping[str, Any]], groups: Mapping[int, str]) -> dict[str, ThreadTotals]:
    # One line for each thread that ever was: no place for a Counter.
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for thread in threads:
        name = groups.get(thread["thread"])
        if name is not None:
            total = sums[name]
            total[0] += thread["held_ns"]
            total[1] += thread["waited_ns"]
            total[2] += thread["takes"]
    return {
        name: ThreadTotals(held_ns / _NS_PER_S, waited_ns / _NS_PER_S, takes)
        for name, (held_ns, waited_ns, takes) in sums.items()
    }
