"""The one pass over a capture's events, in bounded memory."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

from gilscope.analysis import facts
from gilscope.analysis.accounts import LoopSums, ThreadSums
from gilscope.analysis.attribution import Blocked, Run, Waited, break_down, overlay
from gilscope.analysis.convoys import ConvoySums
from gilscope.analysis.evidence import Evidence, stall_weights
from gilscope.analysis.exports import ExportSums
from gilscope.analysis.findings import findings
from gilscope.analysis.intervals import Blocks
from gilscope.analysis.model import Analysis, Unseen, WeightedStack
from gilscope.analysis.moments import Moments, Reading, Sample
from gilscope.analysis.names import NOBODY, Names
from gilscope.analysis.stall_groups import StallGroups
from gilscope.analysis.stalls import Collected, OpenStall, close
from gilscope.analysis.timeline import Timeline
from gilscope.analysis.verdict import verdict
from gilscope.analysis.worst import Worst
from gilscope.capture import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gilscope.analysis.model import Parts, Recorded
    from gilscope.capture import Event

# How many stalls are told one by one.
WORST = 50
# A sampler hands over what it saw within milliseconds; readings of the kernel's counters come once a second.
_LATE_NS = 2_000_000_000
# With holds of 100 us one behind the other: six seconds, and at least.
_KEPT_RUNS = 65_536
_KEPT_COLLECTIONS = 1024
# Each waits for late samples; more of them only come with a threshold that makes every iteration a stall.
_OPEN_STALLS = 1024
_LOST = {1: "ring_full", 2: "no_memory", 3: "write_failed"}
_FORCED = 2


def analyse(capture: Recorded, threshold_ns: int | None = None) -> Analysis:
    """Return why the loops of a capture stalled.

    Args:
        capture: is read once, from its first event to its last.
        threshold_ns: iterations of this length and longer are stalls; None means the one of the recording.
    """
    if threshold_ns is None:
        threshold_ns = facts.threshold_ns(capture.metadata)
    reading = _Pass(capture.metadata, threshold_ns)
    reading.read(capture.events())
    return reading.analysis(capture)


class _Pass:
    """What has been learned from the events read so far."""

    def __init__(self, metadata: Mapping[str, Any], threshold_ns: int) -> None:
        self._threshold_ns = threshold_ns
        self._switch_interval_ns = facts.switch_interval_ns(metadata)
        self._threads: defaultdict[int, ThreadSums] = defaultdict(ThreadSums)
        self._loops: dict[int, LoopSums] = {}
        self._moments: defaultdict[int, Moments] = defaultdict(Moments)
        self._runs: Timeline[Run] = Timeline(_KEPT_RUNS)
        self._collections: Timeline[Collected] = Timeline(_KEPT_COLLECTIONS)
        # In the order in which they ended.
        self._open: deque[OpenStall] = deque()
        self._evidence = Evidence(threshold_ns)
        self._worst = Worst(WORST)
        self._groups = StallGroups()
        self._blocks = Blocks(facts.started_ns(metadata))
        self._exports = ExportSums()
        self._closed_until_ns: int | None = None
        self._events = self._first_ns = self._last_ns = 0
        self._samples = self._samples_too_late = self._forgotten = 0
        self._lost: Counter[str] = Counter()

    def read(self, events: Iterable[Event]) -> None:
        """Learn from all events, in the order in which they ended; samples may come late."""
        take: dict[int, Callable[[Event], None]] = {
            EventKind.RUN: self._run,
            EventKind.WAIT: self._wait,
            EventKind.ITERATION: self._iteration,
            EventKind.SAMPLE: self._sample,
            EventKind.BLOCKED: self._blocked,
            EventKind.COLLECTION: self._collection,
            EventKind.SCHEDULE: self._schedule,
            EventKind.COUNTERS: self._counters,
            EventKind.LOST: self._lose,
            EventKind.HOLDS: self._holds,
            EventKind.EXPORT: self._exports.add_request,
            EventKind.SPANS: self._exports.read_spans,
            EventKind.TASK: self._task,
        }
        stalls = self._open
        for event in events:
            start_ns = event.start_ns
            end_ns = start_ns + event.duration_ns
            if end_ns < start_ns:
                event = event._replace(duration_ns=0)  # noqa: PLW2901 - no such event can be in a file
                end_ns = start_ns
            if not self._events:
                self._first_ns, self._last_ns = start_ns, end_ns
            self._events += 1
            self._first_ns = min(self._first_ns, start_ns)
            self._last_ns = max(self._last_ns, end_ns)
            while stalls and (stalls[0].end_ns + _LATE_NS < self._last_ns or len(stalls) > _OPEN_STALLS):
                self._close(stalls.popleft())
            handler = take.get(event.kind)
            if handler:
                handler(event)
        while stalls:
            self._close(stalls.popleft())

    def _run(self, event: Event) -> None:
        _, flags, thread, start_ns, duration_ns, stack, holds, free_ns, longest_ns = event
        self._threads[thread].add_run(duration_ns, free_ns, longest_ns, holds, forced=bool(flags & _FORCED))
        self._runs.add(start_ns, start_ns + duration_ns, Run(thread, stack, longest_ns))

    def _wait(self, event: Event) -> None:
        _, _, thread, start_ns, duration_ns, stack, timeouts, _, _ = event
        self._threads[thread].waits.add(duration_ns)
        self._moments[thread].waits.add(start_ns, start_ns + duration_ns, Waited(timeouts, stack))

    def _blocked(self, event: Event) -> None:
        _, _, thread, start_ns, duration_ns, stack, _, waited_ns, _ = event
        self._moments[thread].blocked.add(start_ns, start_ns + duration_ns, Blocked(waited_ns, stack))

    def _sample(self, event: Event) -> None:
        _, _, thread, at_ns, _, stack, state, _, since_ns = event
        self._samples += 1
        self._samples_too_late += self._closed_until_ns is not None and at_ns <= self._closed_until_ns
        self._moments[thread].add_sample(Sample(at_ns, since_ns, stack, state))

    def _schedule(self, event: Event) -> None:
        self._moments[event.thread].add_reading(Reading(event.start_ns, event.a, event.b))

    def _task(self, event: Event) -> None:
        self._moments[event.thread].add_task(event.start_ns, event.count)

    def _collection(self, event: Event) -> None:
        _, _, thread, start_ns, duration_ns, stack, generation, objects, _ = event
        self._collections.add(start_ns, start_ns + duration_ns, Collected(thread, generation, objects, stack))

    def _counters(self, event: Event) -> None:
        self._threads[event.thread].read_counters(event.count, event.a, event.b)

    def _holds(self, event: Event) -> None:
        self._threads[event.thread].add_holds(event.a, event.b, event.count)

    def _lose(self, event: Event) -> None:
        self._lost[_LOST.get(event.count, "unknown")] += event.a

    def _iteration(self, event: Event) -> None:
        _, _, thread, start_ns, duration_ns, _, takes, cpu_ns, waited_ns = event
        end_ns = start_ns + duration_ns
        loop = self._loops.get(thread)
        if loop is None:
            loop = self._loops[thread] = LoopSums(self._switch_interval_ns)
        own = self._moments[thread]
        # Iterations of one loop that overlap contradict each other: what happened belongs to the first.
        from_ns = start_ns if loop.ended_ns is None else max(start_ns, loop.ended_ns)
        loop.ended_ns = max(from_ns, end_ns)
        waits = overlay(own.waits.between(from_ns, end_ns), self._runs, thread)
        blocked = own.blocked.between(from_ns, end_ns)
        self._forgotten += (
            own.waits.has_forgotten(start_ns)
            or own.blocked.has_forgotten(start_ns)
            or (bool(waits) and self._runs.has_forgotten(waits[0].start_ns))
        )
        parts = break_down(duration_ns, cpu_ns, waited_ns, waits, blocked)
        loop.iterations.add(duration_ns)
        self._blocks.add(thread, start_ns, duration_ns, stalled=duration_ns >= self._threshold_ns)
        convoy = ConvoySums(self._switch_interval_ns)
        convoy.add(waits, takes)
        loop.convoy.merge(convoy)
        if duration_ns < self._threshold_ns:
            loop.parts.add(parts)
            return
        loop.stalls.add(duration_ns)
        loop.stall_convoy.merge(convoy)
        runs = self._runs.between(from_ns, end_ns)
        seen = [(run.stack, end - start) for start, end, run in runs if run.thread == thread and run.stack]
        seen = seen or [(period.stack, end - start) for start, end, period in blocked if period.stack]
        seen = seen or [(wait.stack, wait.ns) for wait in waits if wait.stack]
        self._open.append(OpenStall(thread, start_ns, end_ns, parts, convoy, waits, blocked, seen))

    def _close(self, stall: OpenStall) -> None:
        closed = close(stall, self._moments, self._collections, self._runs)
        self._closed_until_ns = stall.end_ns
        weights = stall_weights(closed)
        self._evidence.add(closed, weights)
        self._groups.add(stall.start_ns, stall.end_ns, weights)
        self._worst.add(closed)
        loop = self._loops[stall.thread]
        loop.parts.add(stall.breakdown)
        loop.stall_parts.add(stall.breakdown)

    def analysis(self, capture: Recorded) -> Analysis:
        """Return what was learned from the capture, which has been read to its end."""
        names = Names(capture)
        known = facts.facts(capture, self._threshold_ns, self._events, self._first_ns, self._last_ns)
        loops = sorted(
            (sums.account(thread, names) for thread, sums in self._loops.items()),
            key=lambda loop: (-loop.stalls.total_ns, -loop.iterations.total_ns, loop.thread),
        )
        threads = sorted(
            (sums.account(thread, names) for thread, sums in self._threads.items()),
            key=lambda account: (-account.held_ns, -account.waited_ns, account.thread),
        )
        weights = sorted(
            ((key, ns) for key, ns in self._evidence.weights.items() if ns), key=lambda item: (-item[1], item[0])
        )
        stacks = tuple(
            WeightedStack(cause, names.thread(thread), names.stack(stack), ns) for (cause, thread, stack), ns in weights
        )
        places = {key: place for place, (key, _) in enumerate(weights)}
        return Analysis(
            facts=known,
            verdict=verdict(known, loops, stacks, self._evidence, names),
            findings=findings(self._evidence, loops, names),
            loops=tuple(loops),
            stalls=self._worst.told(names, known.started_ns),
            stall_stacks=stacks,
            stall_groups=self._groups.told(places, known.started_ns),
            threads=tuple(threads),
            exports=self._exports.told(),
            intervals=self._blocks.told(known.duration_ns, loops[0].thread) if loops else None,
            unseen=self._unseen(capture, names, [loop.stall_parts for loop in loops]),
        )

    def _unseen(self, capture: Recorded, names: Names, stalled: Sequence[Parts]) -> Unseen:
        end = capture.end or {}
        overlapping: list[Timeline[Any]] = [self._runs, self._collections]
        for moments in self._moments.values():
            overlapping += [moments.waits, moments.blocked]
        return Unseen(
            lost=facts.counts(end, "lost") or dict(self._lost),
            samples=facts.counts(end, "samples") or {"taken": self._samples},
            samples_too_late=self._samples_too_late,
            truncated_stacks=sum(stack.truncated for stack in capture.stacks.values()),
            not_sampled_ns=sum(
                ns
                for (_, thread, stack), ns in self._evidence.weights.items()
                if thread not in NOBODY and not names.stack(stack).frames
            ),
            unattributed_ns=sum(parts.unattributed_ns for parts in stalled),
            unknown_holder_ns=sum(parts.unknown_holder_ns for parts in stalled),
            clock_error_ns=sum(parts.clock_error_ns for parts in stalled),
            contradicted_ns=sum(timeline.contradicted_ns for timeline in overlapping),
            forgotten=self._forgotten,
            unnamed=tuple(names.thread(thread) for thread in sorted(self._threads) if not names.has_name(thread)),
            problems=tuple(capture.problems),
        )
