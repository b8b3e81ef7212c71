"""Stacks and captures in the formats of other tools."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.analysis.model import WeightedStack
from gilscope.analysis.names import COLLECTING
from gilscope.capture import Code, Event, EventKind, Frame, Stack, Thread
from gilscope.report import collapsed, perfetto, speedscope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAIN = Code("main", "/srv/app.py", 1, 0)
WORK = Code("work", "/srv/work.py", 10, 0)
STACK = Stack((Frame(WORK, 12), Frame(MAIN, 5)), truncated=False)
OTHER_LINE = Stack((Frame(WORK, 14), Frame(MAIN, 5)), truncated=False)
STACKS = [
    WeightedStack("on_cpu", "MainThread", STACK, 2_000_400),
    WeightedStack("gil_wait", "exporter", STACK, 5_000_000),
    WeightedStack("gil_wait", "exporter", OTHER_LINE, 3_000_000),
    WeightedStack("on_cpu", "MainThread", STACK, 1_000_200),
    WeightedStack("on_cpu", "MainThread", Stack((), truncated=False), 400),
    WeightedStack("blocked", "MainThread", STACK, 0),
]


def test_collapsed_has_a_line_for_each_stack_in_microseconds() -> None:
    """Equal stacks are one line, rounded after they were added; what rounds to nothing is left out."""
    assert collapsed.render(STACKS) == (
        "gil_wait;exporter;main (/srv/app.py:5);work (/srv/work.py:12) 5000\n"
        "gil_wait;exporter;main (/srv/app.py:5);work (/srv/work.py:14) 3000\n"
        "on_cpu;MainThread;main (/srv/app.py:5);work (/srv/work.py:12) 3001\n"
    )


@pytest.mark.parametrize("order", [STACKS, STACKS[::-1]])
def test_collapsed_is_the_same_for_every_order(order: list[WeightedStack]) -> None:
    """Files of two runs can be compared."""
    assert collapsed.render(order) == collapsed.render(STACKS)


def test_collapsed_names_cannot_break_a_line() -> None:
    """Semicolons, line ends and what a terminal obeys are replaced, in every name."""
    code = Code("a;b\n9", "x\r\x1b[31m;y", 1, 0)
    text = collapsed.render([WeightedStack("on_cpu", "t;\u2028u", Stack((Frame(code, 3),), truncated=True), 7000)])
    assert text == ("on_cpu;t,\ufffdu;(outer frames not recorded);a,b\ufffd9 (x\ufffd\ufffd[31m,y:3) 7\n")


def test_collection_is_a_name_without_a_file() -> None:
    """In every format."""
    stacks = [WeightedStack("on_cpu", "MainThread", Stack((COLLECTING, *STACK.frames), truncated=False), 7000)]
    assert collapsed.render(stacks).endswith("work (/srv/work.py:12);[garbage collection] 7\n")
    assert {"name": "[garbage collection]"} in speedscope.to_dict(stacks, name="x")["shared"]["frames"]


def test_speedscope_has_a_profile_for_each_cause_in_nanoseconds() -> None:
    """Functions by where they begin, the thread outermost; the costliest cause opens first."""
    document = speedscope.to_dict(STACKS, name="app.gilscope")
    frames = document["shared"]["frames"]
    told = {
        profile["name"]: {
            tuple(frames[index]["name"] for index in sample): weight
            for sample, weight in zip(profile["samples"], profile["weights"], strict=True)
        }
        for profile in document["profiles"]
    }
    assert told == {
        "waiting for the GIL (stacks of the threads that held it)": {("exporter", "main", "work"): 8_000_000},
        "loop on CPU (stacks of the loop)": {
            ("MainThread", "main", "work"): 3_000_600,
            ("MainThread", "(stack not seen)"): 400,
        },
        "loop blocked (stacks of the loop, in system calls and locks)": {},
        "loop stopped (stacks of the loop: it had no core, or the reason was not recorded)": {},
    }
    assert {"name": "work", "file": "/srv/work.py", "line": 10} in frames
    assert document["activeProfileIndex"] == 0
    assert speedscope.to_dict(STACKS[:1], name="x")["activeProfileIndex"] == 1


@pytest.mark.parametrize("stacks", [STACKS, []])
def test_speedscope_document_follows_the_format(stacks: list[WeightedStack]) -> None:
    """Every field that the format's specification demands, with indices that exist and sums that agree."""
    document = json.loads(json.dumps(speedscope.to_dict(stacks, name="\ud800")))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = document["shared"]["frames"]
    assert all(isinstance(frame["name"], str) for frame in frames)
    for profile in document["profiles"]:
        assert (profile["type"], profile["unit"], profile["startValue"]) == ("sampled", "nanoseconds", 0)
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] == sum(profile["weights"])
        assert all(0 <= index < len(frames) for sample in profile["samples"] for index in sample)
    json.dumps(document, ensure_ascii=False).encode("utf-8")


@dataclass
class Recording:
    """A capture in memory, whose threads become known while its events are read."""

    recorded: Sequence[Event]
    metadata: Mapping[str, Any] = field(
        default_factory=lambda: {
            "started_monotonic_ns": 1_000_000,
            "stall_threshold_ns": 20_000_000,
            "argv": ["app.py", "--x"],
            "pid": 42,
        }
    )
    known: Mapping[int, Thread] = field(
        default_factory=lambda: {1: Thread(1, 100, 0, 2, "MainThread"), 2: Thread(2, 101, 0, 0, "exporter")}
    )
    stacks: dict[int, Stack] = field(default_factory=lambda: {0: Stack((), truncated=False), 7: STACK})
    threads: dict[int, Thread] = field(default_factory=dict)
    end: Mapping[str, Any] | None = None
    texts: Mapping[int, str] = field(default_factory=dict)
    problems: Sequence[str] = ()

    def events(self) -> Iterator[Event]:
        """Yield the events; threads are complete at the end."""
        yield from self.recorded
        self.threads.update(self.known)


def event(kind: int, thread: int, start_ms: float, duration_ms: float, **fields: int) -> Event:
    """Return an event; times count from the start of the recording."""
    start, duration = int(start_ms * 1e6) + 1_000_000, int(duration_ms * 1e6)
    return Event(kind, 0, thread, start, duration, 0, 0, 0, 0)._replace(**fields)


def traced(*recorded: Event) -> list[dict[str, Any]]:
    """Return the trace of these events, as it is read from the file, and checked."""
    out = io.StringIO()
    perfetto.write(Recording(recorded), out)
    trace: list[dict[str, Any]] = json.loads(out.getvalue())["traceEvents"]
    check(trace)
    return trace


def check(trace: Sequence[Mapping[str, Any]]) -> None:
    """Assert what the trace event format demands: required fields, and that what is on one track nests."""
    ends_ns: dict[int, int] = {}
    for entry in trace:
        assert isinstance(entry["pid"], int)
        assert isinstance(entry["tid"], int)
        assert entry["name"]
        if entry["ph"] == "M":
            assert entry["args"]
            continue
        assert entry["ts"] >= 0
        assert entry["cat"]
        if entry["ph"] == "i":
            assert entry["s"] in {"t", "p", "g"}
            continue
        assert entry["ph"] == "X"
        start_ns, duration_ns = round(entry["ts"] * 1000), round(entry["dur"] * 1000)
        assert duration_ns >= 0
        # Stricter than nesting, which needs the order of beginnings: one after the other.
        assert start_ns >= ends_ns.get(entry["tid"], 0)
        ends_ns[entry["tid"]] = start_ns + duration_ns


def track_names(trace: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return the name of each track."""
    return {entry["tid"]: entry["args"]["name"] for entry in trace if entry["name"] == "thread_name"}


def by_track(trace: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, float, float]]]:
    """Return name, start and duration in milliseconds of what each track has."""
    names = track_names(trace)
    told: dict[str, list[tuple[str, float, float]]] = {}
    for entry in trace:
        if entry["ph"] != "M":
            told.setdefault(names[entry["tid"]], []).append(
                (entry["name"], entry["ts"] / 1000, entry.get("dur", 0) / 1000)
            )
    return told


def test_perfetto_has_tracks_for_what_each_thread_does_and_one_for_the_owner() -> None:
    """Everything at its time from the start of the recording, under names that were learned late."""
    trace = traced(
        event(EventKind.RUN, 2, 0, 10, stack=7, count=3),
        event(EventKind.WAIT, 1, 5, 5),
        event(EventKind.SAMPLE, 1, 11, 0, count=1, stack=7),
        event(EventKind.BLOCKED, 1, 12, 2),
        event(EventKind.COLLECTION, 1, 14, 1, count=2, a=99),
        event(EventKind.RUN, 1, 10, 10),
        event(EventKind.ITERATION, 1, 5, 19),
        event(EventKind.ITERATION, 1, 25, 20),
        event(EventKind.COUNTERS, 1, 25, 0),
        event(EventKind.SCHEDULE, 1, 25, 0),
        event(99, 1, 25, 0),
    )
    assert by_track(trace) == {
        "exporter: GIL": [("holds the GIL", 0, 10)],
        "owner of the GIL": [("thread 2", 0, 10), ("thread 1", 10, 10)],
        "MainThread: GIL": [("waits for the GIL", 5, 5), ("holds the GIL", 10, 10)],
        "MainThread: samples": [("sample", 11, 0)],
        "MainThread: without the GIL": [("without the GIL", 12, 2)],
        "MainThread: garbage collection": [("collection, generation 2", 14, 1)],
        "MainThread: event loop": [("iteration", 5, 19), ("stall", 25, 20)],
    }


def test_perfetto_marks_stalls_by_category() -> None:
    """An iteration of the threshold or longer can be searched for."""
    trace = traced(
        event(EventKind.ITERATION, 1, 0, 19.999), event(EventKind.ITERATION, 1, 20, 20, count=4, a=5000, b=7)
    )
    assert [(entry["cat"], entry["args"]) for entry in trace if entry["ph"] == "X"] == [
        ("loop", {"takes": 0, "on_cpu_us": 0.0, "gil_wait_us": 0.0}),
        ("stall", {"takes": 4, "on_cpu_us": 5.0, "gil_wait_us": 0.007}),
    ]


def test_perfetto_stacks_are_in_the_arguments() -> None:
    """Innermost first; the owner's track says only where it was."""
    trace = traced(event(EventKind.RUN, 2, 0, 10, stack=7, flags=2), event(EventKind.SAMPLE, 2, 5, 0, count=1, stack=7))
    stack = ["work (/srv/work.py:12)", "main (/srv/app.py:5)"]
    run, owner, sample = (entry["args"] for entry in trace if entry["ph"] != "M")
    assert (run["stack"], run["forced"], sample["stack"]) == (stack, True, stack)
    assert owner == {"at": stack[0]}
    assert sample["thread"] == "held the GIL"


def test_perfetto_draws_what_overlaps_on_a_track_one_after_the_other() -> None:
    """Two clocks read a little apart must not make a viewer drop either event."""
    trace = traced(event(EventKind.RUN, 1, -5, 15), event(EventKind.WAIT, 1, 9.9, 5), event(EventKind.WAIT, 1, 11, 2))
    assert by_track(trace)["MainThread: GIL"] == [
        ("holds the GIL", 0, 10),
        ("waits for the GIL", 10, pytest.approx(4.9)),
        ("waits for the GIL", pytest.approx(14.9), 0),
    ]


def test_perfetto_has_a_track_of_exports_with_the_refused_told_apart() -> None:
    """It belongs to no thread of Python's."""
    trace = traced(event(EventKind.EXPORT, 0, 0, 5, count=512, a=51200), event(EventKind.EXPORT, 0, 9, 4, b=512))
    assert by_track(trace) == {"exports": [("export", 0, 5), ("export, refused", 9, 4)]}


def test_perfetto_tells_of_lost_events() -> None:
    """A gap in the trace must not look like a quiet time."""
    trace = traced(event(EventKind.LOST, 0, 3, 0, count=1, a=1200))
    assert by_track(trace) == {"owner of the GIL": [("1,200 events lost: ring full", 3, 0)]}


@given(
    st.lists(
        st.builds(
            Event,
            kind=st.sampled_from(EventKind),
            flags=st.integers(0, 255),
            thread=st.integers(0, 3),
            start_ns=st.integers(-1000, 10**12),
            duration_ns=st.integers(0, 10**9),
            stack=st.sampled_from([0, 7, 8]),
            count=st.integers(0, 4),
            a=st.integers(0, 2**64 - 1),
            b=st.integers(0, 2**64 - 1),
        )
    )
)
def test_perfetto_trace_of_any_events_is_well_formed(recorded: list[Event]) -> None:
    """Whatever is in a capture, a viewer can read its trace."""
    traced(*recorded)


def test_perfetto_names_are_printable_and_metadata_may_be_missing() -> None:
    """Names are whatever the program called its threads; fields of another shape were left out by the reader."""
    hostile = {1: Thread(1, 100, 0, 0, "a\x00\ud800b")}
    out = io.StringIO()
    perfetto.write(Recording([event(EventKind.WAIT, 1, 0, 1), event(EventKind.WAIT, 5, 0, 1)], {}, hostile), out)
    trace = json.loads(out.getvalue())["traceEvents"]
    assert {"a\ufffd\ufffdb: GIL", "thread 5: GIL"} <= set(track_names(trace).values())
