"""Each thread and the GIL, and each event loop, added up event by event."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gilscope.analysis.attribution import Breakdown
from gilscope.analysis.convoys import ConvoySums
from gilscope.analysis.histogram import Histogram
from gilscope.analysis.model import LoopAccount, ThreadAccount

if TYPE_CHECKING:
    from gilscope.analysis.model import Percentiles
    from gilscope.analysis.names import Names

# The counter of takes is of 32 bits.
_WRAP = 1 << 32


class ThreadSums:
    """The sums of one thread: of its runs and waits, or what its own counters say, where they are recorded."""

    __slots__ = (
        "_counters",
        "_last_takes",
        "_shortest_longest_ns",
        "forced",
        "held_ns",
        "holds",
        "longest_hold_ns",
        "runs",
        "takes",
        "waits",
    )

    def __init__(self) -> None:
        self.runs = Histogram()
        self.waits = Histogram()
        self.holds = Histogram()
        self.held_ns = 0
        self.takes = 0
        self.forced = 0
        self.longest_hold_ns = 0
        self._counters: tuple[int, int, int] | None = None
        self._last_takes = 0
        # The longest of the holds is at least that.
        self._shortest_longest_ns = 0

    def add_run(self, duration_ns: int, free_ns: int, longest_hold_ns: int, holds: int, *, forced: bool) -> None:
        """Add a run."""
        self.runs.add(duration_ns)
        self.held_ns += max(0, duration_ns - free_ns)
        self.takes += holds
        self.longest_hold_ns = max(self.longest_hold_ns, min(longest_hold_ns, duration_ns))
        self.forced += forced

    def add_holds(self, shortest_ns: int, longest_ns: int, count: int) -> None:
        """Add holds of which the length is known within bounds: each is counted as the longer one."""
        if longest_ns > self.holds.max_ns:
            self._shortest_longest_ns = shortest_ns
        self.holds.add(longest_ns, count)

    def read_counters(self, takes: int, held_ns: int, waited_ns: int) -> None:
        """Take a cumulative reading, which replaces the one before."""
        all_takes = takes
        if self._counters:
            all_takes = self._counters[0] + (takes - self._last_takes) % _WRAP
        self._last_takes = takes
        self._counters = (all_takes, held_ns, waited_ns)

    def account(self, thread: int, names: Names) -> ThreadAccount:
        """Return what the sums say."""
        takes, held_ns, waited_ns = self._counters or (self.takes, self.held_ns, self.waits.total_ns)
        return ThreadAccount(
            thread=thread,
            native_id=names.native_id(thread),
            name=names.thread(thread),
            loop=names.loop(thread),
            held_ns=held_ns,
            waited_ns=waited_ns,
            takes=takes,
            forced=self.forced,
            longest_hold_ns=self.longest_hold_ns,
            runs=self.runs.percentiles(),
            waits=self.waits.percentiles(),
            holds=self._holds(held_ns),
        )

    def _holds(self, held_ns: int) -> Percentiles:
        # Of the longest the runs know more, where they have it.
        if self.longest_hold_ns >= self._shortest_longest_ns:
            self.holds.max_ns = min(self.holds.max_ns, self.longest_hold_ns)
        holds = self.holds.percentiles()
        return replace(holds, total_ns=held_ns) if holds.count else holds


class LoopSums:
    """The sums of one event loop, over all its iterations and over its stalls."""

    def __init__(self, switch_interval_ns: int) -> None:
        self.iterations = Histogram()
        self.parts = Breakdown()
        self.convoy = ConvoySums(switch_interval_ns)
        self.stalls = Histogram()
        self.stall_parts = Breakdown()
        self.stall_convoy = ConvoySums(switch_interval_ns)
        self.ended_ns: int | None = None

    def account(self, thread: int, names: Names) -> LoopAccount:
        """Return what the sums say."""
        return LoopAccount(
            thread=thread,
            name=names.thread(thread),
            kind=names.loop(thread) or "unknown",
            iterations=self.iterations.percentiles(),
            parts=self.parts.parts(names.thread),
            convoy=self.convoy.convoy(),
            stalls=self.stalls.percentiles(),
            stall_parts=self.stall_parts.parts(names.thread),
            stall_convoy=self.stall_convoy.convoy(),
        )
