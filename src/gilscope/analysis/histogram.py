"""Durations counted in classes that grow with them: any percentile to three significant digits, in little memory.

Source: the log-linear classes of HdrHistogram, 1,024 to each power of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis.model import Percentiles

if TYPE_CHECKING:
    from collections.abc import Mapping

# 2**11 classes up to the first that is wider than 1 ns: no class is wider than a thousandth of its values.
_BITS = 11


class Histogram:
    """Counts of durations in nanoseconds, zero and up."""

    __slots__ = ("_bits", "_counts", "count", "max_ns", "total_ns")

    def __init__(self, bits: int = _BITS) -> None:
        """Args: bits: a class is as wide as its values shared out to 2**(bits - 1) classes."""
        self._bits = bits
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count a duration, once or more often."""
        shift = ns.bit_length() - self._bits
        lowest = ns >> shift << shift if shift > 0 else ns
        self._counts[lowest] = self._counts.get(lowest, 0) + count
        self.count += count
        self.total_ns += ns * count
        self.max_ns = max(self.max_ns, ns)

    def merge(self, other: Histogram) -> None:
        """Count what another one of the same classes has counted."""
        for lowest, count in other._counts.items():
            self._counts[lowest] = self._counts.get(lowest, 0) + count
        self.count += other.count
        self.total_ns += other.total_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def classes(self) -> Mapping[int, int]:
        """Return how many durations are in each class, by the shortest of the class."""
        return self._counts

    def percentiles(self) -> Percentiles:
        """Return the percentiles of what was counted; zeros if that is nothing."""
        p50, p90, p99, p999 = self._at_permilles((500, 900, 990, 999))
        return Percentiles(self.count, self.total_ns, p50, p90, p99, p999, self.max_ns)

    def _at_permilles(self, permilles: tuple[int, ...]) -> list[int]:
        # Whole numbers: 0.999 of a count is a rank that a float may miss by one.
        ranks = [max(1, -(-self.count * permille // 1000)) for permille in permilles]
        found: list[int] = []
        below = 0
        for lowest in sorted(self._counts):
            below += self._counts[lowest]
            while len(found) < len(ranks) and below >= ranks[len(found)]:
                found.append(min(self.max_ns, self.highest(lowest)))
        return found + [self.max_ns] * (len(ranks) - len(found))

    def highest(self, lowest: int) -> int:
        """Return the largest duration that is counted together with the lowest one of its class."""
        return lowest + (1 << max(0, lowest.bit_length() - self._bits)) - 1
