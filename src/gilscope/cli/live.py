"""The last seconds of a recording: what `gilscope top` shows, without any words."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.facts import threshold_ns
from gilscope.analysis.histogram import Histogram
from gilscope.analysis.names import COLLECTING, Names
from gilscope.analysis.places import mostly_in
from gilscope.capture import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gilscope.analysis.model import Percentiles
    from gilscope.capture import Capture, Event, Frame

NS_PER_S = 1_000_000_000
WINDOW_S = 10
MINUTE_S = 60
_LAST = 100
# More than a process has; a damaged file may name any number.
_PROCESSORS = 16
# What may lie in a stall and explain it: ten seconds of a loop that fights for the GIL, and more than a chunk has.
_RECENT_EVENTS = 10_000
_FORCED = 2
# Of spans: queued, exported, dropped, failed.
_STATES = 1, 2, 3, 4


class Order(Enum):
    """What comes first among the stalls, and among the holders of the GIL."""

    TIME = ("newest first", "most first")
    LENGTH = ("longest first", "longest first")
    NAME = ("by loop", "by name")

    def next(self) -> Order:
        """Return the order that follows, after the last the first."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


class Loop(NamedTuple):
    """An event loop: its iterations in the window, and the longest of each second of a minute, 0 for none."""

    thread: int
    lately: Percentiles
    worst_ns: list[int]


class Stall(NamedTuple):
    """An iteration that took too long, and what it did most: which thread to blame, and where that was, if seen."""

    thread: int
    start_ns: int
    duration_ns: int
    waited_ns: int
    ran_ns: int
    off_cpu_ns: int
    blamed: int
    frame: Frame | None


class Holder(NamedTuple):
    """A thread that had the GIL in the window: for how long, its longest hold, and what it mostly did, if seen."""

    thread: int
    held_ns: int
    longest_ns: int
    frame: Frame | None


class Spans(NamedTuple):
    """What became of the spans of a processor."""

    processor: int
    queued: int
    exported: int
    dropped: int
    failed: int


@dataclass
class _Second:
    """What ended in a second; what had the GIL in it."""

    iterations: dict[int, Histogram] = field(default_factory=dict)
    held_ns: Counter[tuple[int, int]] = field(default_factory=Counter)
    longest_ns: dict[int, int] = field(default_factory=dict)
    stalls: int = 0
    stalled_ns: int = 0


class Live:
    """What happened lately in a capture that is being written.

    The end of the latest event is what counts as now: it may be the file of another machine, or of yesterday.

    Attributes:
        capture: is read by nobody else.
        names: of its threads, as far as they are known.
        threshold_ns: from which length on an iteration is a stall.
        first_ns: when the first event began; None before there is one.
        now_ns: when the latest event ended.
        heard_s: when something new was read, by `time.monotonic`.
        lost_events: how many could not be recorded.
        exports: the last requests to a collector, the latest last.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.names = Names(capture)
        self.threshold_ns = threshold_ns(capture.metadata)
        self.first_ns: int | None = None
        self.now_ns = 0
        self.heard_s = time.monotonic()
        self.lost_events = 0
        self.exports: deque[Event] = deque(maxlen=_LAST)
        self._seconds: dict[int, _Second] = {}
        self._last_stalls: deque[Stall] = deque(maxlen=_LAST)
        self._unexplained: deque[Event] = deque(maxlen=_LAST)
        self._recent: deque[Event] = deque(maxlen=_RECENT_EVENTS)
        self._spans: dict[int, dict[int, int]] = {}
        self._take: dict[int, Callable[[Event], None]] = {
            EventKind.RUN: self._run,
            EventKind.ITERATION: self._iteration,
            EventKind.SAMPLE: self._recent.append,
            EventKind.BLOCKED: self._recent.append,
            EventKind.COLLECTION: self._recent.append,
            EventKind.LOST: self._lose,
            EventKind.EXPORT: self.exports.append,
            EventKind.SPANS: self._count_spans,
        }

    def read(self, at_most_s: float = float("inf")) -> bool:
        """What has been written is part of the picture; returns whether that is all there is.

        Args:
            at_most_s: how long it may take, more or less; the rest is for the next call.

        Raises:
            CaptureError: the file cannot be read any more.
        """
        began_s = time.monotonic()
        while events := self.capture.poll():
            self.add(events)
            self.heard_s = time.monotonic()
            if self.heard_s - began_s > at_most_s:
                return False
        return True

    def add(self, events: Iterable[Event]) -> None:
        """The events are part of the picture, and those that have become too old are not."""
        take = self._take
        for event in events:
            if self.first_ns is None:
                self.first_ns = event.start_ns
                self.now_ns = event.end_ns
            self.now_ns = max(self.now_ns, event.end_ns)
            handler = take.get(event.kind)
            if handler:
                handler(event)
        # Only of those that are kept, for it means looking at all that lies in it.
        self._last_stalls.extend(map(self._explained, self._unexplained))
        self._unexplained.clear()
        oldest = self._oldest(MINUTE_S)
        for second in [second for second in self._seconds if second < oldest]:
            del self._seconds[second]

    def window_ns(self, longest_s: int) -> int:
        """Return how long the last so many seconds are: up to a second more, and less in a recording that is young."""
        if self.first_ns is None:
            return 0
        return self.now_ns - max(self.first_ns, self._oldest(longest_s) * NS_PER_S)

    def loops(self) -> list[Loop]:
        """Return the loops that ran in the last minute."""
        by_thread: dict[int, list[Histogram | None]] = {}
        now, ago = self.now_ns // NS_PER_S, range(MINUTE_S)
        for second, kept in self._seconds.items():
            for thread, histogram in kept.iterations.items():
                place = second - now + MINUTE_S - 1
                if place in ago:
                    by_thread.setdefault(thread, [None] * MINUTE_S)[place] = histogram
        loops = []
        for thread, histograms in sorted(by_thread.items()):
            lately = Histogram()
            for histogram in filter(None, histograms[-WINDOW_S - 1 :]):
                lately.merge(histogram)
            worst_ns = [histogram.max_ns if histogram else 0 for histogram in histograms]
            loops.append(Loop(thread, lately.percentiles(), worst_ns))
        return loops

    def stall_counts(self) -> tuple[int, int]:
        """Return how many stalls ended in the last minute, and how long they took together."""
        seconds = self._seconds.values()
        return sum(second.stalls for second in seconds), sum(second.stalled_ns for second in seconds)

    def stalls(self, order: Order = Order.TIME) -> list[Stall]:
        """Return the last stalls, however old they are."""
        stalls = list(reversed(self._last_stalls))
        if order is Order.LENGTH:
            stalls.sort(key=lambda stall: -stall.duration_ns)
        elif order is Order.NAME:
            stalls.sort(key=lambda stall: self.names.thread(stall.thread))
        return stalls

    def holders(self, order: Order = Order.TIME) -> list[Holder]:
        """Return the threads that had the GIL in the window."""
        stacks: dict[int, Counter[int]] = {}
        longest_ns: Counter[int] = Counter()
        for second in range(self._oldest(WINDOW_S), self.now_ns // NS_PER_S + 1):
            kept = self._seconds.get(second, _Second())
            for (thread, stack), ns in kept.held_ns.items():
                stacks.setdefault(thread, Counter())[stack] += ns
            for thread, ns in kept.longest_ns.items():
                longest_ns[thread] = max(longest_ns[thread], ns)
        holders = [
            Holder(thread, sum(held.values()), longest_ns[thread], self._mostly_in(held))
            for thread, held in stacks.items()
        ]
        holders.sort(key=lambda holder: -holder.held_ns)
        if order is Order.LENGTH:
            holders.sort(key=lambda holder: -holder.longest_ns)
        elif order is Order.NAME:
            holders.sort(key=lambda holder: self.names.thread(holder.thread))
        return holders

    def spans(self) -> list[Spans]:
        """Return what became of the spans of each processor."""
        return [Spans(processor, *(of.get(state, 0) for state in _STATES)) for processor, of in self._spans.items()]

    def _oldest(self, longest_s: int) -> int:
        return self.now_ns // NS_PER_S - longest_s

    def _second(self, at_ns: int) -> _Second:
        second = at_ns // NS_PER_S
        kept = self._seconds.get(second)
        if kept is None:
            kept = self._seconds[second] = _Second()
        return kept

    def _iteration(self, event: Event) -> None:
        second = self._second(event.end_ns)
        histogram = second.iterations.get(event.thread)
        if histogram is None:
            histogram = second.iterations[event.thread] = Histogram()
        histogram.add(event.duration_ns)
        if event.duration_ns >= self.threshold_ns:
            second.stalls += 1
            second.stalled_ns += event.duration_ns
            self._unexplained.append(event)

    def _run(self, event: Event) -> None:
        if event.stack and not event.flags & _FORCED:
            # It let go where it had nothing more to do, which is not what it did.
            event = event._replace(stack=0)
        self._recent.append(event)
        end_ns = event.end_ns
        # What was free in it is taken to lie everywhere in it.
        held_ns = max(0, event.duration_ns - event.a)
        begin_ns = max(event.start_ns, self._oldest(MINUTE_S) * NS_PER_S)
        while begin_ns < end_ns:
            until_ns = min(end_ns, (begin_ns // NS_PER_S + 1) * NS_PER_S)
            self._second(begin_ns).held_ns[event.thread, event.stack] += (
                held_ns * (until_ns - begin_ns) // event.duration_ns
            )
            begin_ns = until_ns
        longest_ns = self._second(end_ns).longest_ns
        longest_ns[event.thread] = max(longest_ns.get(event.thread, 0), min(event.b, event.duration_ns))

    def _count_spans(self, event: Event) -> None:
        if event.count in _STATES and (event.b in self._spans or len(self._spans) < _PROCESSORS):
            self._spans.setdefault(event.b, {})[event.count] = event.a

    def _lose(self, event: Event) -> None:
        self.lost_events += event.a

    def _explained(self, event: Event) -> Stall:
        """Return a stall with the thread and the place that the longest part of it was due to."""
        _, _, thread, start_ns, duration_ns, _, _, ran_ns, waited_ns = event
        end_ns = start_ns + duration_ns
        off_cpu_ns = max(0, duration_ns - ran_ns - waited_ns)
        of_others = waited_ns >= max(ran_ns, off_cpu_ns)
        kind = EventKind.RUN if of_others else EventKind.SAMPLE if ran_ns >= off_cpu_ns else EventKind.BLOCKED
        collected: Counter[int] = Counter()
        stacks: dict[int, Counter[int]] = {}
        for other_kind, _, other_thread, other_start_ns, other_duration_ns, stack, _, _, b in reversed(self._recent):
            other_end_ns = other_start_ns + other_duration_ns
            # They are in the order in which they ended.
            if other_end_ns <= start_ns:
                break
            inside_ns = min(other_end_ns, end_ns) - max(other_start_ns, start_ns)
            if inside_ns < 0:
                continue
            if other_kind == EventKind.COLLECTION:
                collected[other_thread] += inside_ns
            elif other_kind == kind and (other_thread != thread) == of_others:
                stacks.setdefault(other_thread, Counter())[stack] += b if kind is EventKind.SAMPLE else inside_ns
        blamed = max(stacks, key=lambda other: sum(stacks[other].values()), default=thread)
        frame = self._mostly_in(stacks.get(blamed, Counter()))
        for collecting, ns in collected.items():
            if 2 * ns >= duration_ns:
                blamed, frame = collecting, COLLECTING
        return Stall(thread, start_ns, duration_ns, waited_ns, ran_ns, off_cpu_ns, blamed, frame)

    def _mostly_in(self, weights: Counter[int]) -> Frame | None:
        return mostly_in((self.names.stack(stack), ns) for stack, ns in weights.items())
