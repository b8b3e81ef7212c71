"""What happened to one thread lately, until the iterations that it belongs to are closed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.timeline import Timeline

if TYPE_CHECKING:
    from gilscope.analysis.attribution import Blocked, Waited

# An iteration with more of them lasts for seconds; what is forgotten is counted.
_KEPT_INTERVALS = 1024
# At a sample each 2 ms: eight seconds.
_KEPT_MOMENTS = 4096

# One in each stall.
_KEPT_TASKS = 256

# The states of a sample whose thread had the GIL, and of one that did not want it either.
HOLDS, NEITHER = 1, 3


class Sample(NamedTuple):
    """What a thread was doing at one moment; `weight_ns` is the time since the sample before."""

    at_ns: int
    weight_ns: int
    stack: int
    state: int


class Reading(NamedTuple):
    """What the kernel says at one moment of the time that a thread has been ready without a core, and on one."""

    at_ns: int
    queued_ns: int
    cpu_ns: int


class Moments:
    """The last waits, blocked periods, samples, tasks, and readings of the kernel's counters of one thread."""

    __slots__ = ("blocked", "readings", "samples", "tasks", "waits")

    def __init__(self) -> None:
        self.waits: Timeline[Waited] = Timeline(_KEPT_INTERVALS)
        self.blocked: Timeline[Blocked] = Timeline(_KEPT_INTERVALS)
        self.samples: list[Sample] = []
        self.readings: list[Reading] = []
        self.tasks: deque[tuple[int, int]] = deque(maxlen=_KEPT_TASKS)

    def add_sample(self, sample: Sample) -> None:
        """Remember a sample, wherever it belongs in the order of time."""
        insort(self.samples, sample)
        if len(self.samples) >= 2 * _KEPT_MOMENTS:
            del self.samples[:_KEPT_MOMENTS]

    def add_reading(self, reading: Reading) -> None:
        """Remember a reading of the kernel's counters."""
        insort(self.readings, reading)
        if len(self.readings) >= 2 * _KEPT_MOMENTS:
            del self.readings[:_KEPT_MOMENTS]

    def add_task(self, at_ns: int, task: int) -> None:
        """Remember which task a loop was in."""
        self.tasks.append((at_ns, task))

    def task(self, start_ns: int, end_ns: int) -> int:
        """Return the last task that was seen between two times, 0 if none was."""
        return next((task for at_ns, task in reversed(self.tasks) if start_ns <= at_ns <= end_ns), 0)

    def holding(self, start_ns: int, end_ns: int) -> list[Sample]:
        """Return the samples between two times, both included, with a stack and the GIL; in the order of time."""
        return self._sampled(start_ns, end_ns, HOLDS)

    def elsewhere(self, start_ns: int, end_ns: int) -> list[Sample]:
        """Return likewise those whose thread neither had the GIL nor waited for it; without a GIL, that is all."""
        return self._sampled(start_ns, end_ns, NEITHER)

    def _sampled(self, start_ns: int, end_ns: int, state: int) -> list[Sample]:
        samples = self.samples
        first = bisect_left(samples, start_ns, key=_at)
        last = bisect_right(samples, end_ns, key=_at)
        return [sample for sample in samples[first:last] if sample.state == state and sample.stack]

    def readings_around(self, start_ns: int, end_ns: int) -> list[Reading]:
        """Return the readings between two times, with the last one before and the first one after."""
        first = max(0, bisect_right(self.readings, start_ns, key=_at) - 1)
        last = bisect_left(self.readings, end_ns, key=_at) + 1
        return self.readings[first:last]


def _at(moment: tuple[int, ...]) -> int:
    return moment[0]
