"""Intervals one behind the other, of which none overlaps another: the holds of the GIL, or the waits of one thread."""

from __future__ import annotations

from bisect import bisect_right
from typing import Generic, TypeVar

T = TypeVar("T")


class Timeline(Generic[T]):
    """The last intervals, in the order of time, each with what it is about.

    They are added in the order in which they end. One that starts before the last one ended contradicts it, as only a
    damaged capture does: it is cut, so that no nanosecond ever counts twice.

    Attributes:
        contradicted_ns: time that was cut because it was taken already.
        forgotten_until_ns: before this, intervals may be missing since they became too many; None if none ever was.
    """

    __slots__ = ("_ends", "_intervals", "_kept", "contradicted_ns", "forgotten_until_ns")

    def __init__(self, kept: int) -> None:
        """Args: kept: how many intervals are remembered at least; at most twice as many are."""
        self._kept = kept
        self._ends: list[int] = []
        self._intervals: list[tuple[int, int, T]] = []
        self.contradicted_ns = 0
        self.forgotten_until_ns: int | None = None

    def add(self, start_ns: int, end_ns: int, what: T) -> None:
        """Remember an interval; one without any length is passed over."""
        ends = self._ends
        if ends and start_ns < ends[-1]:
            cut = min(ends[-1], end_ns)
            self.contradicted_ns += max(0, cut - start_ns)
            start_ns = cut
        if end_ns <= start_ns:
            return
        ends.append(end_ns)
        self._intervals.append((start_ns, end_ns, what))
        if len(ends) >= 2 * self._kept:
            self.forgotten_until_ns = ends[self._kept - 1]
            del ends[: self._kept]
            del self._intervals[: self._kept]

    def between(self, start_ns: int, end_ns: int) -> list[tuple[int, int, T]]:
        """Return the parts of all intervals that lie between two times: from, to, and what it is about."""
        intervals = self._intervals
        found: list[tuple[int, int, T]] = []
        if end_ns <= start_ns:
            return found
        for index in range(bisect_right(self._ends, start_ns), len(intervals)):
            start, end, what = intervals[index]
            if start >= end_ns:
                break
            found.append((max(start, start_ns), min(end, end_ns), what))
        return found

    def has_forgotten(self, start_ns: int) -> bool:
        """Return whether something at this time or later may have been forgotten."""
        return self.forgotten_until_ns is not None and start_ns < self.forgotten_until_ns
