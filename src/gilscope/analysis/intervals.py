"""How far to trust the figures of one recording: its time in blocks, drawn again and again.

What happens in a service in one second has to do with what happened in the second before: iterations, and stalls, are
no independent draws. Blocks of some seconds nearly are, as long as the load stays the same. So blocks are drawn, with
replacement, as many as there are, and a figure is that of the drawn blocks together; 95 % of draws are the interval.

With few blocks it is too narrow. On made-up recordings whose load wanders from second to second, and that stall once
a second, it held the truth in 86 to 89 of 100 with 6 blocks, in 90 to 92 with 12, and in 94 to 96 with 24; with a stall
in ten seconds in 86 to 94, 88 to 90, and 92.

Source:
    The bootstrap of non-overlapping blocks: Carlstein, The Use of Subseries Values (1986). Widened for few blocks as in
    Hesterberg, What Teachers Should Know About the Bootstrap (2015), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from operator import mul
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING

from gilscope.analysis.histogram import Histogram
from gilscope.analysis.model import Intervals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# An exporter with default settings sends once in five seconds.
BLOCK_NS = 5_000_000_000
FEWEST_BLOCKS = 6
_MOST_BLOCKS = 128
CONFIDENCE = 0.95
DRAWS = 1000
# The same recording has the same interval.
_SEED = 1
_NS_PER_MINUTE = 60_000_000_000
# Classes of 1.6 %: an interval needs no more.
_BITS = 7


@dataclass
class Block:
    """What happened in one stretch of time.

    Attributes:
        iterations: their lengths, by loop.
    """

    duration_ns: int = 0
    stalls: int = 0
    stalled_ns: int = 0
    longest_ns: int = 0
    iterations: dict[int, Histogram] = field(default_factory=dict)

    def add(self, thread: int, duration_ns: int, *, stalled: bool) -> None:
        """Add an iteration of a loop."""
        self.stalls += stalled
        self.stalled_ns += duration_ns * stalled
        self.longest_ns = max(self.longest_ns, duration_ns)
        found = self.iterations.get(thread)
        if found is None:
            found = self.iterations[thread] = Histogram(_BITS)
        found.add(duration_ns)

    def merge(self, other: Block) -> None:
        """Add what happened in another one."""
        self.stalls += other.stalls
        self.stalled_ns += other.stalled_ns
        self.longest_ns = max(self.longest_ns, other.longest_ns)
        for thread, lengths in other.iterations.items():
            self.iterations.setdefault(thread, Histogram(_BITS)).merge(lengths)


class Blocks:
    """The recording's time in blocks; they become twice as long whenever there are too many.

    Attributes:
        at: by place in time; those in which nothing happened are not there.
    """

    def __init__(self, started_ns: int) -> None:
        """Args: started_ns: of the recording; 0 where it does not say, then the first iteration is its start."""
        self._started_ns = started_ns
        self._block_ns = BLOCK_NS
        self.at: dict[int, Block] = {}

    def add(self, thread: int, start_ns: int, duration_ns: int, *, stalled: bool) -> None:
        """Add an iteration, to the block in which it began."""
        self._started_ns = self._started_ns or start_ns
        while (place := max(0, start_ns - self._started_ns) // self._block_ns) >= _MOST_BLOCKS:
            self._halve()
        self._block(place).add(thread, duration_ns, stalled=stalled)

    def _block(self, place: int) -> Block:
        return self.at.setdefault(place, Block())

    def _halve(self) -> None:
        before, self.at, self._block_ns = self.at, {}, 2 * self._block_ns
        for place, block in before.items():
            self._block(place // 2).merge(block)

    def told(self, duration_ns: int, thread: int) -> Intervals | None:
        """Return the intervals of the figures; None of a recording with too few blocks, or that had no iteration.

        Args:
            duration_ns: of the recording.
            thread: the loop of which the length of iterations is told.
        """
        # The last one takes what is left, from a half to one and a half.
        while (count := max(1, round(duration_ns / self._block_ns))) > _MOST_BLOCKS:
            self._halve()
        blocks = [Block(self._block_ns) for _ in range(count)]
        blocks[-1].duration_ns = duration_ns - (len(blocks) - 1) * self._block_ns
        for place, block in self.at.items():
            blocks[min(place, len(blocks) - 1)].merge(block)
        return intervals(blocks, self._block_ns, thread)


def intervals(blocks: Sequence[Block], block_ns: int, thread: int) -> Intervals | None:
    """Return the 95 % intervals; None of too few blocks, or of a loop without iterations.

    Args:
        blocks: of about the same duration.
        block_ns: that duration.
        thread: the loop of which the length of iterations is told.
    """
    lengths = [block.iterations.get(thread, Histogram(_BITS)) for block in blocks]
    if len(blocks) < FEWEST_BLOCKS or not any(found.count for found in lengths):
        return None
    durations_ns = [block.duration_ns for block in blocks]
    stalls, stalled_ns = [block.stalls for block in blocks], [block.stalled_ns for block in blocks]

    def a_minute(times: Sequence[int]) -> float:
        return _sum(stalls, times) * _NS_PER_MINUTE / _sum(durations_ns, times)

    def share(times: Sequence[int]) -> float:
        return _sum(stalled_ns, times) / _sum(durations_ns, times)

    draws = _draws(len(blocks))
    longest_ns = [block.longest_ns for block in blocks]
    low_ns, high_ns = map(round, _interval(_p99(lengths), draws))
    return Intervals(
        blocks=len(blocks),
        block_ns=block_ns,
        stalls_per_minute=_interval(a_minute, draws),
        stalled_share=_interval(share, draws),
        longest_ns=(min(longest_ns), max(longest_ns)),
        # Both ends with the whole of their classes, so that the percentile itself lies between them.
        iteration_p99_ns=(low_ns, min(lengths[0].highest(high_ns), max(found.max_ns for found in lengths))),
    )


def _sum(values: Sequence[int], times: Sequence[int]) -> int:
    return sum(map(mul, values, times))


def _draws(blocks: int) -> list[list[int]]:
    """Return how often each block was drawn, for each draw."""
    random = Random(_SEED)  # noqa: S311 - nothing secret
    draws = []
    for _ in range(DRAWS):
        times = [0] * blocks
        for place in random.choices(range(blocks), k=blocks):
            times[place] += 1
        draws.append(times)
    return draws


def _interval(figure: Callable[[Sequence[int]], float], draws: Sequence[Sequence[int]]) -> tuple[float, float]:
    blocks = len(draws[0])
    found = sorted(map(figure, draws))
    outside = int(len(found) * tail(blocks))
    # Pooled blocks may have a percentile outside of all draws.
    value = figure([1] * blocks)
    return min(value, found[outside]), max(value, found[-1 - outside])


def _p99(lengths: Sequence[Histogram]) -> Callable[[Sequence[int]], float]:
    """Return the figure that is the 99th percentile of the drawn blocks' iterations: the lowest of its class."""
    counts = [found.count for found in lengths]
    classes = sorted({lowest for found in lengths for lowest in found.classes()})
    # For each class, how many iterations of each block are in it or below.
    up_to: list[list[int]] = []
    below = [0] * len(lengths)
    for lowest in classes:
        below = [sum_ + found.classes().get(lowest, 0) for sum_, found in zip(below, lengths, strict=True)]
        up_to.append(below)

    def p99(times: Sequence[int]) -> float:
        rank = max(1, ceil(_sum(counts, times) * 99 / 100))
        low, high = 0, len(classes) - 1
        while low < high:
            middle = (low + high) // 2
            if _sum(up_to[middle], times) >= rank:
                high = middle
            else:
                low = middle + 1
        return classes[low]

    return p99


def tail(blocks: int) -> float:
    """Return the share of the draws outside either end: less than 2.5 %, since t is wider than z, and n - 1 than n."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    free = blocks - 1
    # Cornish and Fisher's expansion of Student's t: within 1 % from 3 degrees of freedom on.
    t = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return NormalDist().cdf(-t * (blocks / free) ** 0.5)
