"""The worst stalls, told one by one."""

from __future__ import annotations

from heapq import heappush, heappushpop, nlargest
from typing import TYPE_CHECKING

from gilscope.analysis import places
from gilscope.analysis.model import Collection, Holder, StackTime, Stall, Wait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gilscope.analysis.attribution import WaitPieces
    from gilscope.analysis.names import Names
    from gilscope.analysis.stalls import ClosedStall

# More in one stall are counted, and not told one by one.
_WAITS_TOLD = 50


class Worst:
    """Keeps the longest stalls."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        # The middle number tells stalls of one length apart: the earlier one is worse.
        self._heap: list[tuple[int, int, ClosedStall]] = []
        self._seen = 0

    def add(self, closed: ClosedStall) -> None:
        """Keep the stall if it is one of the longest."""
        self._seen += 1
        entry = (closed.stall.breakdown.wall_ns, -self._seen, closed)
        if len(self._heap) < self._kept:
            heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heappushpop(self._heap, entry)

    def told(self, names: Names, capture_start_ns: int) -> tuple[Stall, ...]:
        """Return them as the model has them, the longest first."""
        return tuple(_told(closed, names, capture_start_ns) for _, _, closed in sorted(self._heap, reverse=True))


def _told(closed: ClosedStall, names: Names, capture_start_ns: int) -> Stall:
    stall = closed.stall
    on_cpu, blocked, stopped = (_by_time(times, names) for times in (closed.on_cpu, closed.blocked, closed.stopped))
    waiting = [StackTime(names.stack(wait.stack), wait.ns) for wait in stall.waits]
    ran = (places.coroutine(seen.stack) for seen in (*on_cpu, *blocked, *stopped, *waiting))
    return Stall(
        thread=stall.thread,
        loop_name=names.thread(stall.thread),
        start_ns=stall.start_ns,
        since_start_ns=stall.start_ns - capture_start_ns,
        parts=stall.breakdown.parts(names.thread),
        convoy=stall.convoy.convoy(),
        waits=_waits(closed, names),
        on_cpu=on_cpu,
        blocked=blocked,
        stopped=stopped,
        collections=tuple(
            Collection(found.thread, names.thread(found.thread), end - start, found.generation, found.objects)
            for start, end, found, _ in closed.collections
        ),
        ran=next((frame for frame in ran if frame), None),
        task=names.task(closed.task),
    )


def _by_time(times: dict[int, int], names: Names) -> tuple[StackTime, ...]:
    longest = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return tuple(StackTime(names.stack(stack), ns) for stack, ns in longest if ns)


def _waits(closed: ClosedStall, names: Names) -> tuple[Wait, ...]:
    waits = zip(closed.stall.waits, closed.holders, strict=True)
    longest = nlargest(_WAITS_TOLD, waits, key=lambda item: item[0].ns)
    longest.sort(key=lambda item: item[0].start_ns)
    return tuple(_wait(wait, holders.items(), closed.stall.start_ns, names) for wait, holders in longest)


def _wait(wait: WaitPieces, holders: Iterable[tuple[tuple[int, int], int]], stall_start_ns: int, names: Names) -> Wait:
    return Wait(
        start_ns=wait.start_ns - stall_start_ns,
        duration_ns=wait.ns,
        timeouts=wait.timeouts,
        stack=names.stack(wait.stack),
        holders=tuple(
            Holder(thread, names.thread(thread), names.stack(stack), ns)
            for (thread, stack), ns in sorted(holders, key=lambda item: (-item[1], item[0]))
        ),
    )
