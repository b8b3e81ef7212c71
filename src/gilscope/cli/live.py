"""The last seconds of a recording: what `gilscope top` shows."""

from __future__ import annotations

import datetime as dt
import shlex
from collections import Counter, deque
from typing import TYPE_CHECKING

from gilscope.analysis.durations import percent, spoken
from gilscope.analysis.histogram import Histogram
from gilscope.capture import EventKind
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gilscope.capture import Capture, Event

_NS = 1_000_000_000
WINDOW_NS = 10 * _NS
STALLS_WINDOW_NS = 60 * _NS
_LAST_STALLS = 5
_HOLDERS = 8
_BAR_WIDTH = 30
_NAME_WIDTH = 28
_LOOPS = {1: "asyncio", 2: "uvloop"}
_DEFAULT_THRESHOLD_NS = 20_000_000


class Live:
    """What happened lately in a capture that is being written.

    The end of the latest event is what counts as now: it may be the file of another machine, or of yesterday.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._threshold_ns = int(capture.metadata.get("stall_threshold_ns", _DEFAULT_THRESHOLD_NS))
        self._iterations: deque[Event] = deque()
        self._runs: deque[Event] = deque()
        self._stalls: deque[Event] = deque()
        self._last_stalls: deque[Event] = deque(maxlen=_LAST_STALLS)
        self._first_ns: int | None = None
        self._now_ns = 0

    def add(self, events: Iterable[Event]) -> None:
        """The events are part of the picture, and those that have become too old are not."""
        for event in events:
            if event.kind == EventKind.ITERATION:
                self._iterations.append(event)
                if event.duration_ns >= self._threshold_ns:
                    self._stalls.append(event)
                    self._last_stalls.append(event)
            elif event.kind == EventKind.RUN:
                self._runs.append(event)
            else:
                continue
            if self._first_ns is None:
                self._first_ns = event.start_ns
            self._now_ns = max(self._now_ns, event.end_ns)
        for kept, window_ns in (
            (self._iterations, WINDOW_NS),
            (self._runs, WINDOW_NS),
            (self._stalls, STALLS_WINDOW_NS),
        ):
            while kept and kept[0].end_ns < self._now_ns - window_ns:
                kept.popleft()

    def lines(self) -> Iterator[str]:
        """Return the picture, line by line."""
        yield from self._head()
        if self._first_ns is None:
            yield "nothing has happened yet: no iteration of an event loop, and nobody had the GIL"
            return
        yield ""
        yield from self._loops()
        yield from self._stall_counts()
        yield ""
        yield from self._holders()
        yield ""
        yield from self._worst()

    def _head(self) -> Iterator[str]:
        metadata = self._capture.metadata
        argv = printable(shlex.join(metadata.get("argv", [])))
        state = "being recorded" if self._capture.end is None else "recording has ended"
        lasted = spoken(self._now_ns - self._first_ns) if self._first_ns is not None else "0"
        yield f"{argv or '(unknown program)'}  pid {metadata.get('pid', '?')}  {lasted}, {state}"

    def _loops(self) -> Iterator[str]:
        seconds = self._window_ns(WINDOW_NS) / _NS
        yield f"iterations of the event loop, last {seconds:.0f} s"
        by_thread: dict[int, Histogram] = {}
        for event in self._iterations:
            by_thread.setdefault(event.thread, Histogram()).add(event.duration_ns)
        for thread, histogram in sorted(by_thread.items()):
            found = histogram.percentiles()
            yield (
                f"  {self._name(thread)}  p50 {spoken(found.p50_ns):>7}  p99 {spoken(found.p99_ns):>7}  "
                f"max {spoken(found.max_ns):>7}  {found.count:,} iterations"
            )
        if not by_thread:
            yield "  none"

    def _stall_counts(self) -> Iterator[str]:
        window_ns = self._window_ns(STALLS_WINDOW_NS)
        stalled_ns = sum(event.duration_ns for event in self._stalls)
        per_minute = len(self._stalls) * STALLS_WINDOW_NS / window_ns if window_ns else 0.0
        yield (
            f"stalls of {spoken(self._threshold_ns)} and more, last {window_ns / _NS:.0f} s: "
            f"{len(self._stalls)}, {per_minute:.0f} a minute, {spoken(stalled_ns)} together"
        )

    def _holders(self) -> Iterator[str]:
        if self._capture.metadata.get("gil") != "hooked":
            yield "who has the GIL is not known: there is none, or it is not watched"
            return
        yield "who had the GIL"
        window_ns = self._window_ns(WINDOW_NS)
        begin_ns = self._now_ns - window_ns
        held: Counter[int] = Counter()
        for event in self._runs:
            # A run has what was free in it, and the oldest may reach out of the window.
            inside_ns = event.end_ns - max(event.start_ns, begin_ns)
            held[event.thread] += max(0, inside_ns - event.a)
        for thread, ns in held.most_common(_HOLDERS):
            filled = round(_BAR_WIDTH * min(1.0, ns / window_ns)) if window_ns else 0
            bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
            yield f"  {self._name(thread)}  {bar}  {percent(ns, window_ns)}"

    def _worst(self) -> Iterator[str]:
        yield "last stalls"
        for event in reversed(self._last_stalls):
            off_ns = max(0, event.duration_ns - event.a - event.b)
            yield (
                f"  {self._clock(event.start_ns)}  {self._name(event.thread)}  {spoken(event.duration_ns):>7}: "
                f"waited for the GIL {spoken(event.b)}, ran {spoken(event.a)}, off CPU {spoken(off_ns)}"
            )
        if not self._last_stalls:
            yield "  none"

    def _window_ns(self, longest_ns: int) -> int:
        return min(longest_ns, self._now_ns - (self._first_ns or 0))

    def _clock(self, ns: int) -> str:
        metadata = self._capture.metadata
        wall_ns = metadata.get("started_wall_ns", 0) + ns - metadata.get("started_monotonic_ns", 0)
        try:
            return f"{dt.datetime.fromtimestamp(wall_ns / _NS, dt.timezone.utc).astimezone():%H:%M:%S}"
        except (OverflowError, OSError, ValueError):
            return "--:--:--"  # a damaged file may say any number

    def _name(self, thread: int) -> str:
        known = self._capture.threads.get(thread)
        name = printable(known.name) if known and known.name else f"thread {thread}"
        if known and known.loop in _LOOPS:
            name = f"{name} ({_LOOPS[known.loop]})"
        return f"{name[:_NAME_WIDTH]:{_NAME_WIDTH}}"
