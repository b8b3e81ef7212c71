"""What all stalls together show: the sums that the findings and the flame graphs are made of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gilscope.analysis.convoys import CONVOY_WAITS
from gilscope.analysis.names import HANDING_OVER, UNKNOWN_HOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gilscope.analysis.stalls import ClosedStall

GIL_WAIT, ON_CPU, BLOCKED, STOPPED = "gil_wait", "on_cpu", "blocked", "stopped"
# So many others before the waiter's turn are a queue, and not two threads that meet.
QUEUE_THREADS = 3


@dataclass
class Cost:
    """Stolen time of one kind."""

    ns: int = 0
    longest_ns: int = 0
    times: int = 0

    def add(self, ns: int, length_ns: int | None = None) -> None:
        """Add time once; its length is that of what stole it, if that is another."""
        if ns > 0:
            self.ns += ns
            self.longest_ns = max(self.longest_ns, ns if length_ns is None else length_ns)
            self.times += 1

    def merge(self, other: Cost) -> None:
        """Add another one's sums to these."""
        self.ns += other.ns
        self.longest_ns = max(self.longest_ns, other.longest_ns)
        self.times += other.times


@dataclass
class LoopConvoy:
    """The convoys in one loop's stalls.

    Attributes:
        cost: waits of about one switch interval; times is the number of stalls.
        waits: how many.
        most: the most in one stall.
        holders: who had the GIL.
    """

    cost: Cost = field(default_factory=Cost)
    waits: int = 0
    most: int = 0
    holders: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))


def _costs() -> defaultdict[tuple[int, int], Cost]:
    return defaultdict(Cost)


@dataclass
class Evidence:
    """Sums over stalls; threads and stacks by number.

    Attributes:
        threshold_ns: from which length on an iteration is a stall.
        weights: by cause, thread and stack; they sum up to the stalled time.
        convoys: by loop.
        long_holds: by holder and stack.
        starved: by holder that had no core.
        queue: waits in which at least QUEUE_THREADS others had the GIL.
        longest_queue: the most others in one wait.
        blocked: by loop and stack.
        cpu: by loop and stack, without garbage collections; of stalls that it would nearly have made alone.
        collections: by generation, as far as the loop collected itself or waited for who did.
        handing_over_ns: waits in which nobody had the GIL.
        no_core_ns: what lacked a core beside the waits.
    """

    threshold_ns: int
    weights: defaultdict[tuple[str, int, int], int] = field(default_factory=lambda: defaultdict(int))
    convoys: defaultdict[int, LoopConvoy] = field(default_factory=lambda: defaultdict(LoopConvoy))
    long_holds: defaultdict[tuple[int, int], Cost] = field(default_factory=_costs)
    starved: defaultdict[int, Cost] = field(default_factory=lambda: defaultdict(Cost))
    queue: Cost = field(default_factory=Cost)
    longest_queue: int = 0
    blocked: defaultdict[tuple[int, int], Cost] = field(default_factory=_costs)
    cpu: defaultdict[tuple[int, int], Cost] = field(default_factory=_costs)
    collections: defaultdict[int, Cost] = field(default_factory=lambda: defaultdict(Cost))
    handing_over_ns: int = 0
    no_core_ns: int = 0

    def add(self, closed: ClosedStall, weights: Mapping[tuple[str, int, int], int]) -> None:
        """Add one stall; its weights are those of `stall_weights`."""
        self.handing_over_ns += closed.stall.breakdown.handing_over_ns
        self.no_core_ns += closed.stall.breakdown.no_core_ns
        for key, ns in weights.items():
            self.weights[key] += ns
        self._add_waits(closed)
        self._add_own_time(closed)

    def _add_waits(self, closed: ClosedStall) -> None:
        stall, sums = closed.stall, closed.stall.convoy
        if sums.interval_waits >= CONVOY_WAITS:
            convoy = self.convoys[stall.thread]
            convoy.cost.add(sums.convoy_ns)
            convoy.waits += sums.interval_waits
            convoy.most = max(convoy.most, sums.interval_waits)
        for wait, holders in zip(stall.waits, closed.holders, strict=True):
            if sums.interval_waits >= CONVOY_WAITS and sums.is_interval(wait):
                for (holder, _), ns in holders.items():
                    self.convoys[stall.thread].holders[holder] += ns
            others = len(wait.holders())
            self.longest_queue = max(self.longest_queue, others)
            if others >= QUEUE_THREADS:
                self.queue.add(wait.ns)
        for (holder, stack, length_ns), ns in closed.long_holds.items():
            self.long_holds[holder, stack].add(ns, length_ns)
        for holder, ns in closed.starved.items():
            self.starved[holder].add(ns)

    def _add_own_time(self, closed: ClosedStall) -> None:
        thread, parts = closed.stall.thread, closed.stall.breakdown
        for stack, ns in closed.blocked.items():
            self.blocked[thread, stack].add(ns)
        for collection in closed.collections:
            self.collections[collection.what.generation].add(collection.stolen_ns)
        # A collection runs wherever the next object happened to be made: that place is not its cause.
        computed = {stack: ns for stack, ns in closed.on_cpu.items() if stack >= 0}
        if sum(computed.values()) >= min(self.threshold_ns, parts.wall_ns / 2):
            for stack, ns in computed.items():
                self.cpu[thread, stack].add(ns)


def stall_weights(closed: ClosedStall) -> dict[tuple[str, int, int], int]:
    """Return the time of one stall by cause, thread and stack; it sums up to the stall's length."""
    weights: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    thread, parts = closed.stall.thread, closed.stall.breakdown
    for holders in closed.holders:
        for (holder, stack), ns in holders.items():
            weights[GIL_WAIT, holder, stack] += ns
    weights[GIL_WAIT, HANDING_OVER, 0] += parts.handing_over_ns
    weights[GIL_WAIT, UNKNOWN_HOLDER, 0] += parts.unknown_holder_ns
    for cause, stacks in ((ON_CPU, closed.on_cpu), (BLOCKED, closed.blocked), (STOPPED, closed.stopped)):
        for stack, ns in stacks.items():
            weights[cause, thread, stack] += ns
    return dict(weights)
