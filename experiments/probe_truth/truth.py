"""From the kernel's record of takes and drops: who waited for the GIL when, and who had it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from experiments.probe_truth.oracle import DROP, SLEPT, SWITCHED, TAKE, TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from experiments.probe_truth.oracle import GilEvent

# A thread that was made to let go asks again at once; one that let go by itself does something first.
_AT_ONCE_NS = 50_000


class Period(NamedTuple):
    """A thread waited for the GIL, or had it."""

    start_ns: int
    end_ns: int
    thread: int

    @property
    def ns(self) -> int:
        """How long."""
        return self.end_ns - self.start_ns


class Truth(NamedTuple):
    """Waits and holds, each in the order of their ends; holds do not overlap."""

    waits: list[Period]
    holds: list[Period]


def read(events: Iterable[GilEvent]) -> Truth:  # noqa: C901 - a branch for each kind of event
    """Return what the events tell.

    A wait is a take in which the thread slept; one that only lost its core did not wait for the GIL. It starts when the
    thread went to sleep; if the thread was made to let go of the GIL just before, it starts there.
    """
    waits: list[Period] = []
    holds: list[Period] = []
    asked: dict[int, int] = {}
    slept: dict[int, int] = {}
    dropped: dict[int, int] = {}
    switched: dict[int, int] = {}
    holder, since_ns = 0, 0
    for ns, thread, what in events:
        if what == SLEPT:
            if thread in asked:
                slept.setdefault(thread, ns)
        elif what == TAKE:
            asked[thread] = ns
        elif what == TAKEN:
            asked_ns = asked.pop(thread, ns)
            start_ns = slept.pop(thread, ns)
            if thread in switched and asked_ns - switched.pop(thread) < _AT_ONCE_NS:
                start_ns = dropped[thread]
            if start_ns < ns:
                waits.append(Period(start_ns, ns, thread))
            holder, since_ns = thread, ns
        elif what == DROP:
            # The first drop of a record may be of a hold that began before it.
            if holder == thread:
                holds.append(Period(since_ns, ns, thread))
            holder, dropped[thread] = 0, ns
            switched.pop(thread, None)
        elif what == SWITCHED and thread in dropped:
            switched[thread] = ns
    return Truth(waits, holds)
