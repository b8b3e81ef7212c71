"""The events of a capture as the page's timeline draws them: few enough to carry, and no stall is left out.

What is drawn one by one: stalls; what happened in them; and what is long enough to be seen in a view of the whole.
Everything else is merged into cells, of which each says how much of it was covered. Where a lane has too many to draw
one by one, the longest are, and stalls always.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from bisect import bisect_right
from collections import Counter, defaultdict
from math import log2
from typing import TYPE_CHECKING, Any

from gilscope.capture import EventKind
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gilscope.analysis.model import Analysis, Recorded

# Of the recording: some for each pixel of a wide screen.
_CELLS = 8_000
_COVERED = 255
# 12 bytes each in the page.
_MOST_SPANS = 12_000
# One byte each; more would be a page of several megabytes.
_MOST_ITERATIONS = 1_000_000
_STEPS_PER_OCTAVE = 10
_LONGEST_STEP = 255
_THREADS = 8
_US = 1000

_OF_ALL = {"collections": "garbage collection", "exports": "span exports", "refusals": "  not accepted"}
_OF_THREADS = frozenset({"iterations", "waits", "holds"})
# Few, and each is asked for, however short it was.
_NEVER_MERGED = frozenset({"exports", "refusals"})

_Lane = tuple[str, int]


def timeline(capture: Recorded, analysis: Analysis) -> dict[str, Any]:
    """Return what the page draws; reads the capture once."""
    facts = analysis.facts
    lanes, sizes_at = _read(capture, facts.started_ns)
    cell_ns = max(1, -(-facts.duration_ns // _CELLS))
    stalls = _stalls(lanes, facts.threshold_ns)
    shortest_ns = defaultdict(lambda: cell_ns, dict.fromkeys(_NEVER_MERGED, 0))
    names = {thread.thread: thread.name for thread in analysis.threads}
    names |= {loop.thread: loop.name for loop in analysis.loops}
    return {
        "cell_ns": cell_ns,
        "size_steps_per_octave": _STEPS_PER_OCTAVE,
        "iterations": _sizes(sizes_at, cell_ns),
        "lanes": [
            {
                "label": label,
                "kind": kind,
                **_drawn(lanes[kind, thread], stalls, facts.threshold_ns, shortest_ns[kind], cell_ns),
            }
            for kind, thread, label in _shown(lanes, analysis, names)
        ],
    }


def _read(capture: Recorded, started_ns: int) -> tuple[dict[_Lane, array[int]], array[int]]:
    """Return starts and lengths by lane, one after the other; and those of all iterations."""
    kinds: dict[int, str] = {
        EventKind.ITERATION: "iterations",
        EventKind.WAIT: "waits",
        EventKind.RUN: "holds",
        EventKind.COLLECTION: "collections",
        EventKind.EXPORT: "exports",
    }
    lanes: defaultdict[_Lane, array[int]] = defaultdict(lambda: array("q"))
    iterations: array[int] = array("q")
    for event in capture.events():
        kind = kinds.get(event.kind)
        # Times that no clock has told make no picture.
        start_ns = event.start_ns - started_ns
        if kind is None or start_ns < 0 or not 0 <= event.duration_ns < 1 << 62:
            continue
        thread = event.thread if kind in _OF_THREADS else 0
        lanes[kind, thread].extend((start_ns, event.duration_ns))
        if kind == "iterations":
            iterations.extend((start_ns, event.duration_ns))
        elif kind == "exports" and event.b:
            lanes["refusals", 0].extend((start_ns, event.duration_ns))
    return lanes, iterations


def _stalls(lanes: dict[_Lane, array[int]], threshold_ns: int) -> list[tuple[int, int]]:
    """Return from when until when some loop was stalled, in order and apart."""
    found = sorted(
        (start, start + length)
        for (kind, _), spans in lanes.items()
        if kind == "iterations"
        for start, length in _pairs(spans)
        if length >= threshold_ns
    )
    apart: list[tuple[int, int]] = []
    for start, end in found:
        if apart and start <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(end, apart[-1][1])
        else:
            apart.append((start, end))
    return apart


def _shown(lanes: dict[_Lane, array[int]], analysis: Analysis, names: dict[int, str]) -> Iterator[tuple[str, int, str]]:
    for loop in analysis.loops:
        if ("iterations", loop.thread) in lanes:
            yield "iterations", loop.thread, f"loop {printable(loop.name)}"
        if ("waits", loop.thread) in lanes:
            yield "waits", loop.thread, "  waits for the GIL"
    holders = [thread.thread for thread in analysis.threads if ("holds", thread.thread) in lanes]
    for thread in holders[:_THREADS]:
        yield "holds", thread, f"GIL: {printable(names.get(thread, '?'))}"
    for kind, label in _OF_ALL.items():
        if (kind, 0) in lanes:
            yield kind, 0, label


def _drawn(
    spans: array[int], stalls: Sequence[tuple[int, int]], threshold_ns: int, shortest_ns: int, cell_ns: int
) -> dict[str, list[int]]:
    starts = [start for start, _ in stalls]
    exact: list[tuple[int, int]] = []
    merged: list[tuple[int, int]] = []
    for start, length in _pairs(spans):
        place = bisect_right(starts, start + length) - 1
        in_stall = place >= 0 and stalls[place][1] >= start
        (exact if in_stall or length >= shortest_ns else merged).append((start, length))
    if len(exact) > _MOST_SPANS:
        exact.sort(key=lambda span: -span[1])
        kept = max(_MOST_SPANS, sum(length >= threshold_ns for _, length in exact))
        exact, merged = exact[:kept], merged + exact[kept:]
    exact.sort()
    return {"spans": _gaps(exact), "cells": _cells(merged, cell_ns)}


def _gaps(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return microseconds from one start to the next, and of length."""
    told, before = [], 0
    for start, length in spans:
        told += [start // _US - before, max(1, length // _US)]
        before = start // _US
    return told


def _cells(spans: Iterable[tuple[int, int]], cell_ns: int) -> list[int]:
    """Return cells from one to the next that has anything, and how much of each is covered."""
    covered: Counter[int] = Counter()
    for start, length in spans:
        end = start + length
        # At most two cells long, unless a lane has more long spans than are drawn.
        for cell in range(start // cell_ns, min(end // cell_ns, _CELLS) + 1):
            covered[cell] += min(end, (cell + 1) * cell_ns) - max(start, cell * cell_ns)
    told, before = [], 0
    for cell in sorted(covered):
        share = min(_COVERED, -(-covered[cell] * _COVERED // cell_ns))
        if share > 0 and cell < _CELLS:
            told += [cell - before, share]
            before = cell
    return told


def _sizes(iterations: array[int], cell_ns: int) -> dict[str, Any] | None:
    """Return how many iterations began in each cell, and the length of each to 4 %; None of too many."""
    if len(iterations) > 2 * _MOST_ITERATIONS:
        return None
    ordered = sorted(_pairs(iterations))
    sizes = bytes(min(_LONGEST_STEP, int(_STEPS_PER_OCTAVE * log2(max(length, _US) / _US))) for _, length in ordered)
    counts = Counter(start // cell_ns for start, _ in ordered)
    told, before = [], 0
    for cell in sorted(counts):
        told += [cell - before, counts[cell]]
        before = cell
    return {"counts": told, "sizes": b64encode(sizes).decode("ascii")}


def _pairs(spans: array[int]) -> Iterator[tuple[int, int]]:
    return zip(spans[::2], spans[1::2], strict=True)
