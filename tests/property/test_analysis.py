"""The analysis on captures that hypothesis makes: sums that hold for whatever comes, and a brute-force oracle."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gilscope.analysis import analyse
from gilscope.analysis.attribution import Run, Waited, overlay
from gilscope.analysis.timeline import Timeline
from gilscope.capture import Event, EventKind, Stack, Thread
from gilscope.report import as_json, text
from tests.made_capture import LOOP, MS, WORKER, MadeCapture, stack

if TYPE_CHECKING:
    from gilscope.analysis.model import Analysis, Parts

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, 60)

# Mostly times that lie close together, so that things overlap, and some that make no sense.
TIMES = st.one_of(SMALL, SMALL, st.integers(-10, 100 * MS), INT64)
LENGTHS = st.one_of(SMALL, SMALL, st.integers(0, 100 * MS), UINT64)
NUMBERS = st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1))
EVENTS = st.builds(
    Event,
    kind=st.one_of(st.sampled_from(list(EventKind)), st.just(EventKind.ITERATION), st.integers(0, 255)),
    flags=st.integers(0, 255),
    thread=NUMBERS,
    start_ns=TIMES,
    duration_ns=st.one_of(LENGTHS, st.integers(-50, 0)),
    stack=NUMBERS,
    count=NUMBERS,
    a=LENGTHS,
    b=LENGTHS,
)
METADATA = st.dictionaries(
    st.sampled_from(["argv", "python", "gil", "started_monotonic_ns", "switch_interval_ns", "stall_threshold_ns"]),
    st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text(), max_size=2), st.booleans()),
)


def capture_of(events: list[Event], metadata: dict[str, Any] | None = None) -> MadeCapture:
    """Return a capture with these events, and a few stacks and threads."""
    capture = MadeCapture(events, metadata or {})
    for name in ("a", "b", "c"):
        capture.stack(stack(name, "outer", truncated=name == "c"))
    return capture


def check_parts(parts: Parts) -> None:
    """Check that the parts sum up, and that none is negative."""
    assert parts.gil_wait_ns + parts.on_cpu_ns + parts.off_cpu_ns == parts.wall_ns
    numbers = [value for value in vars(parts).values() if isinstance(value, int)]
    assert min([*numbers, *(held.ns for held in parts.held_by)]) >= 0


def check_sums(analysis: Analysis) -> None:
    """Check everything that must hold for every capture."""
    by_cause: Counter[str] = Counter()
    for weighted in analysis.stall_stacks:
        assert weighted.ns > 0
        by_cause[weighted.cause] += weighted.ns
    for loop in analysis.loops:
        check_parts(loop.parts)
        check_parts(loop.stall_parts)
        assert loop.parts.wall_ns == loop.iterations.total_ns
        assert loop.stall_parts.wall_ns == loop.stalls.total_ns
    stalled = [loop.stall_parts for loop in analysis.loops]
    assert by_cause["gil_wait"] == sum(parts.gil_wait_ns for parts in stalled)
    assert by_cause["on_cpu"] == sum(parts.on_cpu_ns for parts in stalled)
    assert by_cause["blocked"] == sum(parts.blocked_ns for parts in stalled)
    assert by_cause["stopped"] == sum(parts.no_core_ns + parts.unattributed_ns for parts in stalled)
    assert by_cause.total() == analysis.stalled_ns
    for stall in analysis.stalls:
        check_parts(stall.parts)
        assert sum(time.ns for time in stall.on_cpu) == stall.parts.on_cpu_ns
        assert sum(time.ns for time in stall.blocked) == stall.parts.blocked_ns
        assert sum(time.ns for time in stall.stopped) == stall.parts.no_core_ns + stall.parts.unattributed_ns
        for wait in stall.waits:
            assert sum(holder.ns for holder in wait.holders) <= wait.duration_ns
    for finding in analysis.findings:
        assert 0 < finding.stolen_ns <= analysis.stalled_ns


@settings(max_examples=400)
@given(st.lists(EVENTS, max_size=40), METADATA, st.sampled_from([None, 0, 1, 20]))
def test_any_capture_is_analysed_and_its_parts_sum_up(
    events: list[Event], metadata: dict[str, Any], threshold_ns: int | None
) -> None:
    """Overlapping runs, unknown ids, lengths of centuries or less than nothing: no crash, and every sum holds."""
    analysis = analyse(capture_of(events, metadata), threshold_ns)
    check_sums(analysis)
    json.dumps(as_json.to_dict(analysis))
    assert max(map(len, text.render(analysis, 80).split("\n"))) <= 80


INTERVALS = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 12), st.integers(1, 3)), max_size=8)


def one_after_the_other(intervals: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return start, end and thread of intervals, made of gaps and lengths."""
    at, made = 0, []
    for gap, length, thread in intervals:
        made.append((at + gap, at + gap + length, thread))
        at += gap + length
    return made


@given(INTERVALS, INTERVALS, st.integers(0, 50), st.integers(0, 60))
def test_overlay_equals_looking_at_every_nanosecond(
    held: list[tuple[int, int, int]], waited: list[tuple[int, int, int]], start: int, length: int
) -> None:
    """The oracle asks of each nanosecond of the iteration whether the loop waited, and who had the GIL."""
    runs, waits = one_after_the_other(held), one_after_the_other(waited)
    expected: Counter[int] = Counter()
    for moment in range(start, start + length):
        if any(begin <= moment < end for begin, end, _ in waits):
            owners = [thread for begin, end, thread in runs if begin <= moment < end and thread != LOOP]
            expected[owners[0] if owners else 0] += 1
    events = [Event(EventKind.RUN, 0, thread, begin, end - begin, 0, 1, 0, 0) for begin, end, thread in runs]
    events += [Event(EventKind.WAIT, 0, LOOP, begin, end - begin, 0, 0, 0, 0) for begin, end, _ in waits]
    events.sort(key=lambda event: event.end_ns)
    (loop,) = analyse(capture_of([*events, iteration(start, length)]), threshold_ns=0).loops
    got = Counter({held.thread: held.ns for held in loop.parts.held_by}) + Counter({0: loop.parts.handing_over_ns})
    assert got == expected
    assert loop.stall_parts == loop.parts


@given(INTERVALS, INTERVALS)
def test_pieces_of_waits_are_disjoint_and_inside(
    held: list[tuple[int, int, int]], waited: list[tuple[int, int, int]]
) -> None:
    """Each piece lies in its wait, behind the one before."""
    runs: Timeline[Run] = Timeline(100)
    for start, end, thread in one_after_the_other(held):
        runs.add(start, end, Run(thread, 0, 0))
    waits = [(start, end, Waited(0, 0)) for start, end, _ in one_after_the_other(waited)]
    for wait in overlay(waits, runs, LOOP):
        edges = [edge for piece in wait.pieces for edge in piece[:2]]
        assert edges == sorted(edges)
        assert all(wait.start_ns <= edge <= wait.end_ns for edge in edges)


def iteration(start_ns: int, duration_ns: int, cpu_ns: int = 0) -> Event:
    """Return an iteration of the loop."""
    return Event(EventKind.ITERATION, 0, LOOP, start_ns, duration_ns, 0, 1, cpu_ns, 0)


SAMPLES = st.lists(
    st.builds(
        Event,
        kind=st.just(EventKind.SAMPLE),
        flags=st.just(0),
        thread=st.sampled_from([LOOP, WORKER]),
        start_ns=st.integers(0, 130),
        duration_ns=st.just(0),
        stack=st.integers(0, 3),
        count=st.integers(1, 3),
        a=st.just(0),
        b=st.integers(0, 9),
    ),
    max_size=12,
)


@given(SAMPLES, st.data())
def test_order_in_which_samples_come_makes_no_difference(samples: list[Event], data: st.DataObject) -> None:
    """Samples come late, and not in their order; the analysis is the same as if all had come at once."""
    others = [
        Event(EventKind.RUN, 0, WORKER, 0, 30, 1, 1, 0, 30),
        Event(EventKind.WAIT, 0, LOOP, 5, 25, 2, 0, 0, 0),
        iteration(0, 60, 20),
        iteration(70, 60, 55),
    ]
    expected = analyse(capture_of([*samples, *others]), threshold_ns=1)
    mixed = list(others)
    for sample in data.draw(st.permutations(samples)):
        mixed.insert(data.draw(st.integers(0, len(mixed))), sample)
    got = analyse(capture_of(mixed), threshold_ns=1)
    assert got == expected
    check_sums(got)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 40))
def test_stalls_are_counted_as_a_naive_count_does(lengths: list[int], threshold_ns: int) -> None:
    """Number, sum and longest of all iterations from the threshold on."""
    at, events = 0, []
    for length in lengths:
        events.append(iteration(at, length))
        at += length + 1
    analysis = analyse(capture_of(events), threshold_ns)
    stalls = [length for length in lengths if length >= threshold_ns]
    assert (analysis.stall_count, analysis.stalled_ns) == (len(stalls), sum(stalls))
    assert analysis.longest_stall_ns == max(stalls, default=0)
    assert [stall.wall_ns for stall in analysis.stalls] == sorted(stalls, reverse=True)[:50]


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 120))
def test_report_obeys_no_name(name: str, file: str, width: int) -> None:
    """All text of a capture is untrusted: every line stays printable, and the lines stay as many."""
    capture = MadeCapture()
    capture.threads[WORKER] = Thread(WORKER, 1, 1, 0, name)
    seen = capture.stack(Stack(stack(name, name, file=file).frames, truncated=False))
    capture.run(WORKER, 0, 40, seen)
    capture.wait(LOOP, 0, 40, seen)
    capture.iteration(0, 42, cpu=2)
    report = text.render(analyse(capture), width)
    assert all(line.isprintable() and len(line) <= width for line in report.split("\n"))
