"""How waits for the GIL come: many of one switch interval each, or one long one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.analysis.model import Convoy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.analysis.attribution import Piece, WaitPieces

# In a convoy the waiter asks after one switch interval and the holder obeys at its next bytecode: the wait is hardly
# longer than the interval. Timers may fire a little early, and waking up takes up to some milliseconds on busy cores.
_SHORTEST_INTERVALS = 0.8
_LONGEST_INTERVALS = 2.0
# Two in a row are a coincidence of two threads; with three the loop pays again and again.
CONVOY_WAITS = 3
# Twice the default switch interval: Python code lets go after one of them.
LONG_HOLD_NS = 10_000_000
# The holder was asked after one switch interval; half of one more is beyond what obeying and waking up take.
_DISOBEYED_INTERVALS = 1.5


@dataclass
class ConvoySums:
    """The sums that a Convoy is made of."""

    switch_interval_ns: int
    waits: int = 0
    wait_ns: int = 0
    longest_wait_ns: int = 0
    interval_waits: int = 0
    takes: int = 0
    iterations: int = 0
    convoy_ns: int = 0
    long_hold_ns: int = 0

    def add(self, waits: Sequence[WaitPieces], takes: int) -> None:
        """Count one iteration with all its waits."""
        self.iterations += 1
        self.takes += takes
        self.waits += len(waits)
        interval = interval_ns = 0
        for wait in waits:
            ns = wait.ns
            self.wait_ns += ns
            self.longest_wait_ns = max(self.longest_wait_ns, ns)
            if self.is_interval(wait):
                interval += 1
                interval_ns += ns
            self.long_hold_ns += sum(piece.end_ns - piece.start_ns for piece in wait.pieces if self.is_long_hold(piece))
        self.interval_waits += interval
        if interval >= CONVOY_WAITS:
            self.convoy_ns += interval_ns

    def merge(self, other: ConvoySums) -> None:
        """Add another one's sums to these."""
        self.waits += other.waits
        self.wait_ns += other.wait_ns
        self.longest_wait_ns = max(self.longest_wait_ns, other.longest_wait_ns)
        self.interval_waits += other.interval_waits
        self.takes += other.takes
        self.iterations += other.iterations
        self.convoy_ns += other.convoy_ns
        self.long_hold_ns += other.long_hold_ns

    def is_interval(self, wait: WaitPieces) -> bool:
        """Return whether the wait lasted about one switch interval."""
        return _SHORTEST_INTERVALS <= wait.ns / self.switch_interval_ns < _LONGEST_INTERVALS

    def is_long_hold(self, piece: Piece) -> bool:
        """Return whether the holder was asked to let go and kept the GIL all the same."""
        return (
            piece.run.longest_ns >= LONG_HOLD_NS
            and piece.end_ns - piece.start_ns >= _DISOBEYED_INTERVALS * self.switch_interval_ns
        )

    def convoy(self) -> Convoy:
        """Return what the sums say."""
        return Convoy(
            shape=self._shape(),
            waits=self.waits,
            wait_ns=self.wait_ns,
            longest_wait_ns=self.longest_wait_ns,
            interval_waits=self.interval_waits,
            takes=self.takes,
            iterations=self.iterations,
        )

    def _shape(self) -> str:
        if not self.waits:
            return "none"
        if 2 * self.convoy_ns >= self.wait_ns:
            return "convoy"
        return "long_hold" if 2 * self.long_hold_ns >= self.wait_ns else "mixed"
