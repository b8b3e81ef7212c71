"""A capture as a trace for https://ui.perfetto.dev and chrome://tracing.

Tracks, in Chrome's trace event format, are threads, and what is on one track must nest. What a thread does with the
GIL, its loop's iterations and its blocked periods overlap in any way, so each has a track of its own, and a track holds
one thing after the other: an event that begins before the one before it has ended, since the two were timed at
different places, is drawn from there on.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gilscope.capture import EventKind
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from gilscope.analysis.model import Recorded
    from gilscope.capture import Event

_PID = 1
# The process's own id makes it the main thread, which viewers show first.
_GIL_TRACK = 1
_LANES = {
    EventKind.RUN: "GIL",
    EventKind.WAIT: "GIL",
    EventKind.ITERATION: "event loop",
    EventKind.BLOCKED: "without the GIL",
    EventKind.COLLECTION: "garbage collection",
    EventKind.SAMPLE: "samples",
    EventKind.EXPORT: "exports",
}
_SAMPLED = {1: "held the GIL", 2: "waited for the GIL", 3: "neither held nor wanted the GIL"}
_MADE_TO_LET_GO = 2
_LOST = {1: "ring full", 2: "no memory", 3: "write failed"}


def write(capture: Recorded, out: TextIO) -> None:
    """Write the trace as one JSON object, an event a line; needs no memory for events."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    out.write('{"displayTimeUnit": "ms", "traceEvents": [')
    separator = "\n"
    for event in events(capture):
        out.write(separator + encode(event))
        separator = ",\n"
    out.write("\n]}\n")


def events(capture: Recorded) -> Iterator[dict[str, Any]]:
    """Yield the trace's events; names come last, for a thread's is learned late."""
    trace = _Trace(capture)
    for event in capture.events():
        yield from trace.of(event)
    yield from trace.names()


class _Trace:
    def __init__(self, capture: Recorded) -> None:
        self._capture = capture
        self._origin_ns = int(capture.metadata.get("started_monotonic_ns", 0))
        self._stall_ns = capture.metadata.get("stall_threshold_ns", float("inf"))
        self._tracks: dict[tuple[int, str], int] = {}
        self._free_from_ns: dict[int, int] = {}
        # Some: as text, all stacks of a long recording would be the most of it.
        self._steps = lru_cache(1024)(self._steps_of)

    def of(self, event: Event) -> Iterator[dict[str, Any]]:
        """Yield what one of the capture's events is in the trace."""
        if event.kind == EventKind.LOST:
            what = f"{event.a:,} events lost: {_LOST.get(event.count, 'unknown reason')}"
            yield self._instant(event, _GIL_TRACK, what, "lost", {}, scope="p")
        if event.kind not in _LANES:
            return
        track = self._track(event.thread, _LANES[EventKind(event.kind)])
        name, category, args = self._told(event)
        if event.stack:
            args["stack"] = self._steps(event.stack)
        if event.kind == EventKind.SAMPLE:
            yield self._instant(event, track, name, category, args)
            return
        yield self._complete(event, track, name, category, args)
        if event.kind == EventKind.RUN:
            innermost = self._steps(event.stack)[:1]
            owner = {"at": innermost[0]} if innermost else {}
            yield self._complete(event, _GIL_TRACK, self._thread_name(event.thread), "owner", owner)

    def names(self) -> Iterator[dict[str, Any]]:
        """Yield the names of the process and of every track that was used."""
        argv = " ".join(map(str, self._capture.metadata.get("argv", [])))
        pid = self._capture.metadata.get("pid", "unknown")
        yield _metadata("process_name", 0, name=printable(f"{argv} (pid {pid})"))
        for order, (thread, lane) in enumerate([(0, ""), *sorted(self._tracks)]):
            track = self._tracks[thread, lane] if lane else _GIL_TRACK
            # What is of no thread of Python's: exports.
            whose = f"{self._thread_name(thread)}: " if thread else ""
            name = whose + lane if lane else "owner of the GIL"
            yield _metadata("thread_name", track, name=name)
            yield _metadata("thread_sort_index", track, sort_index=order)

    def _told(self, event: Event) -> tuple[str, str, dict[str, Any]]:  # noqa: PLR0911 - one for each kind
        """Return name, category and arguments."""
        forced = bool(event.flags & _MADE_TO_LET_GO)
        match event.kind:
            case EventKind.RUN:
                args = {"holds": event.count, "forced": forced, "free_us": _us(event.a), "longest_us": _us(event.b)}
                return "holds the GIL", "gil", args
            case EventKind.WAIT:
                return "waits for the GIL", "gil", {"timeouts": event.count, "forced": forced}
            case EventKind.ITERATION:
                name, category = ("stall", "stall") if event.duration_ns >= self._stall_ns else ("iteration", "loop")
                return name, category, {"takes": event.count, "on_cpu_us": _us(event.a), "gil_wait_us": _us(event.b)}
            case EventKind.BLOCKED:
                return "without the GIL", "blocked", {"gil_wait_us": _us(event.a)}
            case EventKind.EXPORT:
                refused = {"spans": event.count, "bytes": event.a, "refused": event.b}
                return "export" if event.b == 0 else "export, refused", "export", refused
            case EventKind.COLLECTION:
                return f"collection, generation {event.count}", "gc", {"collected": event.a}
            case _:
                return "sample", "sample", {"thread": _SAMPLED.get(event.count, "unknown"), "late_us": _us(event.a)}

    def _complete(self, event: Event, track: int, name: str, category: str, args: dict[str, Any]) -> dict[str, Any]:
        start_ns = max(event.start_ns, self._free_from_ns.get(track, self._origin_ns))
        end_ns = max(event.end_ns, start_ns)
        self._free_from_ns[track] = end_ns
        return {
            "ph": "X",
            "pid": _PID,
            "tid": track,
            "name": name,
            "cat": category,
            "ts": _us(start_ns - self._origin_ns),
            "dur": _us(end_ns - start_ns),
            "args": args,
        }

    def _instant(
        self, event: Event, track: int, name: str, category: str, args: dict[str, Any], *, scope: str = "t"
    ) -> dict[str, Any]:
        ts = _us(max(event.start_ns - self._origin_ns, 0))
        common = {"pid": _PID, "tid": track, "name": name, "cat": category, "ts": ts, "args": args}
        return {"ph": "i", "s": scope, **common}

    def _track(self, thread: int, lane: str) -> int:
        return self._tracks.setdefault((thread, lane), _GIL_TRACK + 1 + len(self._tracks))

    def _thread_name(self, thread: int) -> str:
        known = self._capture.threads.get(thread)
        return printable(known.name) if known and known.name else f"thread {known.native_id if known else thread}"

    def _steps_of(self, stack: int) -> list[str]:
        known = self._capture.stacks.get(stack)
        frames = known.frames if known else ()
        return [printable(f"{frame.code.name} ({frame.code.file}:{frame.line})") for frame in frames]


def _us(ns: int) -> float:
    return ns / 1000


def _metadata(what: str, track: int, **args: object) -> dict[str, Any]:
    return {"ph": "M", "pid": _PID, "tid": track, "name": what, "args": args}
