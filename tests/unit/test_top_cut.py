"""What `gilscope top` cuts out of a capture: a capture of its own, of a part of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind, open_capture
from gilscope.cli.top_cut import cut
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

METADATA = {"pid": 7, "started_monotonic_ns": 1_000, "started_wall_ns": 5_000_000}


def written(directory: Path, *, compressed: bool = False) -> Path:
    """Return a capture of runs that end at 1000, 1100, .. 2900, ten in a chunk; each has a stack of its own."""
    writer = CaptureWriter(METADATA, compressed=compressed).definitions(capture_writer.thread(1, "main"))
    for first in (1000, 2000):
        times = range(first, first + 1000, 100)
        writer.definitions(
            *(capture_writer.code(time, f"f{time}") for time in times),
            *(capture_writer.stack(time, [(time, 1)]) for time in times),
        )
        writer.events(*(capture_writer.event(1, 0, 1, time - 50, 50, time, 1) for time in times))
    return writer.end({"ended_monotonic_ns": 3000}).write(directory / "whole.gilscope")


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_has_what_ended_in_the_time_and_its_stacks(compressed: bool, tmp_path: Path) -> None:
    """To the event, whatever the chunks are; read without a problem."""
    target = tmp_path / "cut.gilscope"
    cut(written(tmp_path, compressed=compressed), target, METADATA, 1800, 2300)
    with open_capture(target) as capture:
        events = list(capture.events())
        assert capture.problems == []
    assert [event.end_ns for event in events] == [1800, 1900, 2000, 2100, 2200, 2300]
    assert [capture.stacks[event.stack].frames[0].code.name for event in events] == [f"f{e.end_ns}" for e in events]


def test_cut_says_when_it_began_and_ended(tmp_path: Path) -> None:
    """By both clocks; everything else is as the recording said."""
    target = tmp_path / "cut.gilscope"
    cut(written(tmp_path), target, METADATA, 1800, 2300)
    with open_capture(target) as capture:
        list(capture.events())
        assert capture.metadata == {"pid": 7, "started_monotonic_ns": 1800, "started_wall_ns": 5_000_800}
        assert capture.end == {"ended_monotonic_ns": 2300}


def test_counters_of_the_whole_recording_are_left_out(tmp_path: Path) -> None:
    """They would say of the part that it had the GIL for as long as the whole."""
    events = (capture_writer.event(EventKind.COUNTERS, 0, 1, 1500, a=9), capture_writer.event(1, 0, 1, 1500, 50))
    source = (
        CaptureWriter(METADATA).definitions(capture_writer.thread(1)).events(*events).write(tmp_path / "a.gilscope")
    )
    cut(source, tmp_path / "cut.gilscope", METADATA, 1000, 2000)
    with open_capture(tmp_path / "cut.gilscope") as capture:
        assert [event.kind for event in capture.events()] == [EventKind.RUN]


def test_damaged_chunk_is_passed_over(tmp_path: Path) -> None:
    """The rest of the minute is worth having."""
    source = written(tmp_path)
    content = source.read_bytes()
    source.write_bytes(content.replace(b"f1500", b"f15_0", 1) + b"half a chunk")
    cut(source, tmp_path / "cut.gilscope", METADATA, 1000, 3000)
    with open_capture(tmp_path / "cut.gilscope") as capture:
        assert len(list(capture.events())) == 20


def test_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    """Whatever is in it."""
    target = tmp_path / "cut.gilscope"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        cut(written(tmp_path), target, METADATA, 1800, 2300)
    assert target.read_bytes() == b"precious"


def test_cut_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Half a capture would be taken for a whole one."""
    target = tmp_path / "cut.gilscope"
    with pytest.raises(TypeError):
        cut(written(tmp_path), target, {**METADATA, "pid": object()}, 1800, 2300)
    assert not target.exists()
