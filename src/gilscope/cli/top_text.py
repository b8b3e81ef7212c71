"""What `gilscope top` shows, in lines of text that are as wide as the terminal; names in them are harmless."""

from __future__ import annotations

import datetime as dt
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gilscope.analysis.durations import counted, percent, spoken
from gilscope.analysis.places import place
from gilscope.cli.live import MINUTE_S, NS_PER_S, WINDOW_S, Order
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.capture import Frame
    from gilscope.cli.live import Live, Stall

_DURATION_WIDTH = 8
_COUNT_WIDTH = 10
_WIDE = 100
_STEPS_S = (1, 2, 3, 4, 5, 6, 10, 20, 60)
# Each is twice as long as the one before; the fifth is where stalls begin.
_SPARKS = "▁▂▃▄▅▆▇█"
_STALL_SPARK = 4
_SILENT_S = 5
_NOT_SEEN = "-"


class _Widths(NamedTuple):
    """Of the lines, of a name where it begins one and where it does not, and of a bar."""

    line: int
    name: int
    short: int
    bar: int


class Part(NamedTuple):
    """A part of the picture: headings, and rows under them."""

    headings: list[str]
    rows: list[str]


class Picture(NamedTuple):
    """All that is shown."""

    head: list[str]
    loops: Part
    stalls: Part
    holders: Part
    spans: Part

    def lines(self, most_stalls: int) -> Iterator[str]:
        """Return the picture line by line, with so many stalls at most."""
        yield from self.head
        for part in self[1:]:
            yield ""
            yield from part.headings
            yield from part.rows[:most_stalls] if part is self.stalls else part.rows


def picture(live: Live, width: int, most_rows: int, order: Order = Order.TIME, state: str = "") -> Picture:
    """Return the picture of what was read.

    Args:
        live: the recording.
        width: of each line at most, in cells of the terminal.
        most_rows: of loops, of holders, of processors and of exports; stalls are all there.
        order: of stalls and holders.
        state: of the recording, if it is not what the recording itself says.
    """
    widths = _Widths(width, 24, 24, 24) if width >= _WIDE else _Widths(width, 20, 10, 14)
    return Picture(
        _head(live, width, state or state_of(live)),
        _loops(live, widths, most_rows),
        _stalls(live, widths, order),
        _holders(live, widths, most_rows, order),
        _spans(live, widths, most_rows),
    )


def state_of(live: Live) -> str:
    """Return whether the recording goes on, as far as one can tell."""
    if live.capture.end is not None:
        return "recording has ended"
    silent_s = time.monotonic() - live.heard_s
    return f"nothing new for {silent_s:.0f} s" if silent_s > _SILENT_S else "being recorded"


def clock(live: Live, at_ns: int) -> str:
    """Return when something was by the clock on the wall."""
    metadata = live.capture.metadata
    wall_ns = metadata.get("started_wall_ns", 0) + at_ns - metadata.get("started_monotonic_ns", 0)
    try:
        return f"{dt.datetime.fromtimestamp(wall_ns / NS_PER_S, dt.timezone.utc).astimezone():%H:%M:%S}"
    except (OverflowError, OSError, ValueError):
        return "--:--:--"  # a damaged file may say any number


def fitted(text: str, width: int) -> str:
    """Return the text made harmless, cut or filled to so many cells."""
    text = printable(text)
    cells = _cells(text)
    if cells > width:
        mark = ".."[: max(0, width)]
        while cells > width - len(mark) and text:
            cells -= _cells(text[-1])
            text = text[:-1]
        text, cells = text + mark, cells + len(mark)
    return text + " " * (width - cells)


def _cells(text: str) -> int:
    """Return how many cells of a terminal the text takes: a character may take two, or none."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else not unicodedata.combining(char) for char in text)


def _line(widths: _Widths, *columns: str) -> str:
    return fitted("".join(columns), widths.line).rstrip()


def _right(width: int, *columns: str) -> str:
    return "".join(f"{column:>{width}}" for column in columns)


def _limited(rows: list[str], most: int) -> list[str]:
    return rows if len(rows) <= most else [*rows[: most - 1], f".. and {len(rows) - most + 1} more"]


def _head(live: Live, width: int, state: str) -> list[str]:
    metadata = live.capture.metadata
    executable, *rest = metadata.get("argv") or ["(unknown program)"]
    command = printable(" ".join([Path(executable).name, *rest]))
    lasted = spoken(live.now_ns - live.first_ns) if live.first_ns is not None else "0"
    facts = f"  pid {metadata.get('pid', '?')}  {lasted}, {state}"
    lines = [fitted(command, min(_cells(command), width - len(facts))) + facts]
    problems = live.capture.problems
    if problems:
        lines.append(f"the capture has {counted(len(problems), 'problem')}, the last: {problems[-1]}")
    if live.lost_events:
        lines.append(f"{counted(live.lost_events, 'event')} could not be recorded: what is shown are lower bounds")
    return [fitted(line, width).rstrip() for line in lines]


def _loops(live: Live, widths: _Widths, most_rows: int) -> Part:
    seconds = live.window_ns(WINDOW_S) / NS_PER_S
    room = widths.line - widths.name - 3 * _DURATION_WIDTH - _COUNT_WIDTH - 2
    step_s = next((step for step in _STEPS_S if MINUTE_S // step <= room), MINUTE_S)
    heading = _line(
        widths,
        fitted(f"loop lag, last {int(seconds)} s", widths.name),
        _right(_DURATION_WIDTH, "p50", "p99", "max"),
        _right(_COUNT_WIDTH, "a second"),
        f"  last minute, {step_s} s each",
    )
    rows = [
        _line(
            widths,
            fitted(_loop_name(live, loop.thread), widths.name),
            _right(_DURATION_WIDTH, *map(spoken, (loop.lately.p50_ns, loop.lately.p99_ns, loop.lately.max_ns))),
            _right(_COUNT_WIDTH, f"{loop.lately.count / seconds if seconds else 0:,.0f}"),
            "  ",
            *(_spark(max(loop.worst_ns[at : at + step_s]), live.threshold_ns) for at in range(0, MINUTE_S, step_s)),
        )
        for loop in live.loops()
    ]
    return Part([heading], _limited(rows, most_rows) or ["no iteration of an event loop"])


def _loop_name(live: Live, thread: int) -> str:
    kind = live.names.loop(thread)
    return f"{live.names.thread(thread)} ({kind})" if kind else live.names.thread(thread)


def _spark(ns: int, threshold_ns: int) -> str:
    if not ns:
        return " "
    doublings = (ns // threshold_ns).bit_length() - 1 if ns >= threshold_ns else -(threshold_ns // ns).bit_length()
    return _SPARKS[min(max(0, _STALL_SPARK + doublings), len(_SPARKS) - 1)]


def _stalls(live: Live, widths: _Widths, order: Order) -> Part:
    count, stalled_ns = live.stall_counts()
    window_ns = live.window_ns(MINUTE_S)
    a_minute = count * MINUTE_S * NS_PER_S / window_ns if window_ns else 0
    several = len(live.loops()) > 1
    headings = [
        _line(
            widths,
            f"stalls of {spoken(live.threshold_ns)}+: {count:,} in {int(window_ns / NS_PER_S)} s, "
            f"{a_minute:,.0f} a minute, {spoken(stalled_ns)} together; {order.value[0]}",
        ),
        _line(
            widths,
            f"{'time':8}",
            _right(_DURATION_WIDTH, "lasted", "for GIL", "ran", "off CPU"),
            f"  {'loop':{widths.short}}" if several else "",
            "  mostly",
        ),
    ]
    rows = [
        _line(
            widths,
            clock(live, stall.start_ns),
            _right(_DURATION_WIDTH, *map(spoken, (stall.duration_ns, stall.waited_ns, stall.ran_ns, stall.off_cpu_ns))),
            f"  {fitted(live.names.thread(stall.thread), widths.short)}" if several else "",
            f"  {_why(live, widths, stall)}",
        )
        for stall in live.stalls(order)
    ]
    return Part(headings, rows or ["none"])


def _why(live: Live, widths: _Widths, stall: Stall) -> str:
    if stall.blamed != stall.thread:
        return f"{fitted(live.names.thread(stall.blamed), widths.short).rstrip()}: {_place(stall.frame)}"
    if stall.frame is None and stall.off_cpu_ns > max(stall.waited_ns, stall.ran_ns):
        return "(not blocked: it had no core)"
    return _place(stall.frame)


def _place(frame: Frame | None) -> str:
    return place(frame) if frame else "-"


def _holders(live: Live, widths: _Widths, most_rows: int, order: Order) -> Part:
    gil = live.capture.metadata.get("gil")
    if gil != "hooked":
        return Part([f"who had the GIL is not known: {'there is none' if gil == 'none' else 'it is not watched'}"], [])
    window_ns = live.window_ns(WINDOW_S)
    heading = _line(
        widths,
        fitted("who had the GIL", widths.name),
        f"  {order.value[1]:{widths.bar}}  share",
        _right(_DURATION_WIDTH, "longest"),
        "  mostly in",
    )
    rows = [
        _line(
            widths,
            fitted(live.names.thread(holder.thread), widths.name),
            f"  {_bar(holder.held_ns, window_ns, widths.bar)}  {percent(holder.held_ns, window_ns):>5}",
            _right(_DURATION_WIDTH, spoken(holder.longest_ns)),
            f"  {_place(holder.frame)}",
        )
        for holder in live.holders(order)
    ]
    return Part([heading], _limited(rows, most_rows) or ["nobody"])


def _bar(part: int, whole: int, width: int) -> str:
    filled = round(width * min(1.0, part / whole)) if whole else 0
    return f"{'█' * filled:·<{width}}"


def _spans(live: Live, widths: _Widths, most_rows: int) -> Part:
    spans = live.spans()
    if not spans and not live.exports:
        return Part(["spans: no NativeSpanProcessor has sent any"], [])
    heading = _line(widths, fitted("spans", widths.name), _right(_COUNT_WIDTH, "queued", "sent", "dropped", "failed"))
    rows = [
        _line(
            widths,
            fitted(f"processor {processor}", widths.name),
            _right(_COUNT_WIDTH, *(f"{count:,}" for count in counts)),
        )
        for processor, *counts in spans
    ]
    exports = [
        _line(
            widths,
            f"{clock(live, event.end_ns)}  {counted(event.count, 'span')} in {spoken(event.duration_ns)}, "
            f"{event.a / 1000:,.1f} kB",
            f"; {event.b:,} not accepted" if event.b else "",
        )
        for event in reversed(live.exports)
    ]
    return Part([heading], _limited(rows, most_rows) + exports[: most_rows - 1])
