"""Where the time of an iteration went: its waits laid over the holds of other threads, and what its clocks counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.model import Held, Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gilscope.analysis.moments import Reading
    from gilscope.analysis.timeline import Timeline

# Readings further apart say little of one hold between them.
_LONGEST_WINDOW_NS = 1_000_000_000


class Run(NamedTuple):
    """What is remembered of a run beside its times."""

    thread: int
    stack: int
    longest_ns: int


class Waited(NamedTuple):
    """What is remembered of a wait beside its times."""

    timeouts: int
    stack: int


class Blocked(NamedTuple):
    """What is remembered of a blocked period beside its times."""

    gil_wait_ns: int
    stack: int


class Piece(NamedTuple):
    """A part of a wait in which one thread had the GIL."""

    start_ns: int
    end_ns: int
    run: Run


class WaitPieces(NamedTuple):
    """A wait as far as it lies in an iteration, and who had the GIL meanwhile."""

    start_ns: int
    end_ns: int
    timeouts: int
    stack: int
    pieces: list[Piece]

    @property
    def ns(self) -> int:
        """How long it was."""
        return self.end_ns - self.start_ns

    def holders(self) -> set[int]:
        """Return the threads that had the GIL in it."""
        return {piece.run.thread for piece in self.pieces}


@dataclass
class Breakdown:
    """The sums that Parts are made of, by the thread's number."""

    wall_ns: int = 0
    held: dict[int, int] = field(default_factory=dict)
    handing_over_ns: int = 0
    unknown_holder_ns: int = 0
    on_cpu_ns: int = 0
    blocked_ns: int = 0
    no_core_ns: int = 0
    unattributed_ns: int = 0
    clock_error_ns: int = 0

    def add(self, other: Breakdown) -> None:
        """Add another one's sums to these."""
        self.wall_ns += other.wall_ns
        for thread, ns in other.held.items():
            self.held[thread] = self.held.get(thread, 0) + ns
        self.handing_over_ns += other.handing_over_ns
        self.unknown_holder_ns += other.unknown_holder_ns
        self.on_cpu_ns += other.on_cpu_ns
        self.blocked_ns += other.blocked_ns
        self.no_core_ns += other.no_core_ns
        self.unattributed_ns += other.unattributed_ns
        self.clock_error_ns += other.clock_error_ns

    def found_no_core(self, ns: int) -> None:
        """Move time from what is unattributed to what lacked a core."""
        self.no_core_ns += ns
        self.unattributed_ns -= ns

    def parts(self, name_of: Callable[[int], str]) -> Parts:
        """Return the sums as the model has them, threads by name."""
        held = sorted(self.held.items(), key=lambda item: (-item[1], item[0]))
        return Parts(
            wall_ns=self.wall_ns,
            held_by=tuple(Held(thread, name_of(thread), ns) for thread, ns in held),
            handing_over_ns=self.handing_over_ns,
            unknown_holder_ns=self.unknown_holder_ns,
            on_cpu_ns=self.on_cpu_ns,
            blocked_ns=self.blocked_ns,
            no_core_ns=self.no_core_ns,
            unattributed_ns=self.unattributed_ns,
            clock_error_ns=self.clock_error_ns,
        )


def overlay(waits: Iterable[tuple[int, int, Waited]], runs: Timeline[Run], waiter: int) -> list[WaitPieces]:
    """Return each wait with the pieces of it in which another thread had the GIL."""
    return [
        WaitPieces(
            start,
            end,
            wait.timeouts,
            wait.stack,
            # A thread cannot wait for itself: where the clocks say so, nobody had it.
            [Piece(*found) for found in runs.between(start, end) if found[2].thread != waiter],
        )
        for start, end, wait in waits
    ]


def break_down(
    wall_ns: int,
    cpu_ns: int,
    waited_ns: int,
    waits: Iterable[WaitPieces],
    blocked: Iterable[tuple[int, int, Blocked]],
) -> Breakdown:
    """Return where the time went; the parts sum up to the wall time whatever the arguments say.

    What is most exact comes first and the others get what it leaves: the waits, which are events; CPU time, which the
    kernel counts; blocked periods, which may contain CPU time of native code without the GIL; the rest is unattributed.

    Args:
        wall_ns: the iteration's length.
        cpu_ns: what the iteration says it was on the CPU.
        waited_ns: what the iteration says it waited; what of it has no wait event has an unknown holder.
        waits: disjoint, all in the iteration.
        blocked: disjoint, all in the iteration.
    """
    parts = Breakdown(wall_ns=wall_ns)
    held = parts.held
    events_ns = held_ns = 0
    for wait in waits:
        events_ns += wait.ns
        for start, end, run in wait.pieces:
            held[run.thread] = held.get(run.thread, 0) + end - start
            held_ns += end - start
    parts.handing_over_ns = events_ns - held_ns
    parts.unknown_holder_ns = max(0, min(waited_ns, wall_ns) - events_ns)
    left = wall_ns - events_ns - parts.unknown_holder_ns
    parts.on_cpu_ns = min(cpu_ns, left)
    parts.clock_error_ns = cpu_ns - parts.on_cpu_ns + max(0, waited_ns - wall_ns)
    left -= parts.on_cpu_ns
    parts.blocked_ns = min(left, sum(off_cpu_ns(*period) for period in blocked))
    parts.unattributed_ns = left - parts.blocked_ns
    return parts


def off_cpu_ns(start_ns: int, end_ns: int, blocked: Blocked) -> int:
    """Return how much of a blocked period was no waiting for the GIL."""
    return max(0, end_ns - start_ns - blocked.gil_wait_ns)


def without_core_ns(readings: Sequence[Reading], start_ns: int, end_ns: int, off_cpu_ns: int) -> int:
    """Return for how long a thread had no core between two times, at least.

    Of the difference between two readings, time in the run queue counts as far as it cannot have been outside, and time
    off the CPU as far as the thread cannot have slept in it. The kernel adds time in the queue when it is over, so only
    the readings next to the two times are looked at.

    Args:
        readings: from the last one before to the first one after.
        start_ns: from here.
        end_ns: to here.
        off_cpu_ns: for how long the thread was off the CPU between the two times.
    """
    inside = [reading for reading in readings if start_ns <= reading.at_ns <= end_ns]
    certain = 0
    for first in (*readings[:1], *inside[:1]):
        for last in (*readings[-1:], *inside[-1:]):
            window = last.at_ns - first.at_ns
            outside = max(0, start_ns - first.at_ns) + max(0, last.at_ns - end_ns)
            missing = max(0, first.at_ns - start_ns) + max(0, end_ns - last.at_ns)
            queued = min(max(0, last.queued_ns - first.queued_ns), window)
            slept = max(0, window - queued - max(0, last.cpu_ns - first.cpu_ns))
            certain = max(certain, queued - outside, min(queued, off_cpu_ns - missing - slept))
    return certain


def holder_without_core_ns(readings: Sequence[Reading], piece: Piece, runs: Timeline[Run]) -> int:
    """Return for how long a holder of the GIL had no core in a piece of a wait, as far as the kernel's counters tell.

    A thread that has the GIL wants a core. For how long it was on one between two readings is spread evenly over all
    its holds between them; mostly there is one.

    Args:
        readings: of the holder, from the last one before the piece to the first one after it.
        piece: a part of one hold.
        runs: of all threads.
    """
    inside = [reading for reading in readings if piece.start_ns <= reading.at_ns <= piece.end_ns]
    ns = piece.end_ns - piece.start_ns
    if not readings:
        return 0
    is_spanned = bool(inside) and 2 * (inside[-1].at_ns - inside[0].at_ns) >= ns
    first, last = inside[0] if is_spanned else readings[0], (inside or readings)[-1]
    if last.at_ns - first.at_ns > _LONGEST_WINDOW_NS or runs.has_forgotten(first.at_ns):
        return 0
    held_ns = sum(
        end - start for start, end, run in runs.between(first.at_ns, last.at_ns) if run.thread == piece.run.thread
    )
    if not held_ns:
        return 0
    off_ns = max(0, held_ns - max(0, last.cpu_ns - first.cpu_ns))
    return min(ns * off_ns // held_ns, max(0, readings[-1].queued_ns - first.queued_ns))
