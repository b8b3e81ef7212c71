"""How long iterations were, as a histogram."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

_NS_PER_S = 1e9


@dataclass(frozen=True)
class Lengths:
    """A histogram; a length is known to 1.6 %.

    Attributes:
        buckets: the largest length of each bucket in ns, and how many iterations are in it; in order, no empty ones.
    """

    buckets: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        """How many iterations."""
        return sum(count for _, count in self.buckets)

    @property
    def max_seconds(self) -> float:
        """The longest; 0 without any."""
        return self.buckets[-1][0] / _NS_PER_S if self.buckets else 0.0

    def quantile_seconds(self, quantile: float) -> float:
        """Return what that part of the iterations, 0 to 1, was not longer than; 0 without any."""
        wanted = quantile * self.count
        for limit_ns, count in self.buckets:
            wanted -= count
            if wanted <= 0:
                return limit_ns / _NS_PER_S
        return self.max_seconds

    def count_within(self, seconds: float) -> int:
        """Return how many were not longer."""
        return sum(count for limit_ns, count in self.buckets if limit_ns <= seconds * _NS_PER_S)

    def since(self, earlier: Lengths) -> Lengths:
        """Return what has come after."""
        counts = Counter(dict(self.buckets))
        counts.subtract(dict(earlier.buckets))
        return Lengths.of(counts)

    @classmethod
    def of(cls, counts: Counter[int]) -> Lengths:
        """Return the histogram with these buckets."""
        return cls(tuple(sorted((limit_ns, count) for limit_ns, count in counts.items() if count > 0)))
