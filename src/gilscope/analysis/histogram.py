"""Durations counted in classes that grow with them: any percentile to three significant digits, in little memory.

Source: the log-linear classes of HdrHistogram, 1,024 to each power of two.
"""

from __future__ import annotations

from gilscope.analysis.model import Percentiles

# 2**11 classes up to the first that is wider than 1 ns: no class is wider than a thousandth of its values.
_BITS = 11


class Histogram:
    """Counts of durations in nanoseconds, zero and up."""

    __slots__ = ("_counts", "count", "max_ns", "total_ns")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total_ns = 0
        self.max_ns = 0

    def add(self, ns: int, count: int = 1) -> None:
        """Count a duration, once or more often."""
        shift = ns.bit_length() - _BITS
        lowest = ns >> shift << shift if shift > 0 else ns
        self._counts[lowest] = self._counts.get(lowest, 0) + count
        self.count += count
        self.total_ns += ns * count
        self.max_ns = max(self.max_ns, ns)

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
                found.append(min(self.max_ns, _highest(lowest)))
        return found + [self.max_ns] * (len(ranks) - len(found))


def _highest(lowest: int) -> int:
    """Return the largest duration that is counted together with the lowest one of its class."""
    return lowest + (1 << max(0, lowest.bit_length() - _BITS)) - 1
