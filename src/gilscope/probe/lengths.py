"""How long iterations, holds and waits were, as a histogram."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NS_PER_S = 1e9


@dataclass(frozen=True)
class Lengths:
    """A histogram; a length is known to 1.6 %.

    Attributes:
        buckets: the largest length of each bucket in ns, and how many are in it; in order, no empty ones.
    """

    buckets: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        """How many."""
        return sum(count for _, count in self.buckets)

    @property
    def max_seconds(self) -> float:
        """The longest; 0 without any."""
        return self.buckets[-1][0] / _NS_PER_S if self.buckets else 0.0

    def quantile_seconds(self, quantile: float) -> float:
        """Return what that part of them, 0 to 1, was not longer than; 0 without any."""
        wanted = quantile * self.count
        for limit_ns, count in self.buckets:
            wanted -= count
            if wanted <= 0:
                return limit_ns / _NS_PER_S
        return self.max_seconds

    def counts_within(self, bounds_seconds: Iterable[float]) -> list[int]:
        """Return of each bound how many were not longer."""
        limits_ns = [limit_ns for limit_ns, _ in self.buckets]
        sums = [0, *accumulate(count for _, count in self.buckets)]
        return [sums[bisect_right(limits_ns, bound * _NS_PER_S)] for bound in bounds_seconds]

    def since(self, earlier: Lengths) -> Lengths:
        """Return what has come after."""
        counts = Counter(dict(self.buckets))
        counts.subtract(dict(earlier.buckets))
        return Lengths.of(counts)

    @classmethod
    def of(cls, counts: Counter[int]) -> Lengths:
        """Return the histogram with these buckets."""
        return cls(tuple(sorted((limit_ns, count) for limit_ns, count in counts.items() if count > 0)))
