"""`gilscope top`: what is shown of a growing capture, and how a process's capture is found."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from gilscope import cli
from gilscope.capture import Capture, open_capture
from gilscope.cli import live, top
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
S = 1000 * MS
LOOP, HOLDER = 1, 2
RUN, ITERATION = 1, 3


def iteration(start_ns: int, duration_ns: int) -> bytes:
    """Return an iteration that waited for the GIL for half of its time."""
    return capture_writer.event(ITERATION, 0, LOOP, start_ns, duration_ns, count=1, b=duration_ns // 2)


def run(start_ns: int, duration_ns: int, free_ns: int = 0) -> bytes:
    """Return a run of the thread that is no loop."""
    return capture_writer.event(RUN, 0, HOLDER, start_ns, duration_ns, count=1, a=free_ns)


def begun(**metadata: object) -> CaptureWriter:
    """Return a capture with two threads and no events."""
    writer = CaptureWriter({"gil": "hooked", "argv": ["serve"], "pid": 7, "stall_threshold_ns": 20 * MS, **metadata})
    return writer.definitions(capture_writer.thread(LOOP, "Main", loop=2), capture_writer.thread(HOLDER, "hog\x1b[2J"))


def shown(capture: Capture) -> str:
    """Return the picture of all that is in a capture."""
    picture = live.Live(capture)
    while events := capture.poll():
        picture.add(events)
    return "\n".join(picture.lines())


def written(writer: CaptureWriter, directory: Path) -> Capture:
    """Return the capture, opened."""
    return open_capture(writer.write(directory / "app.gilscope"))


def test_picture_has_iterations_stalls_and_holders(tmp_path: Path) -> None:
    """Each with its figures, over the time that there is."""
    writer = begun().events(run(0, 5 * S, free_ns=2 * S), iteration(5 * S, 2 * MS), iteration(6 * S - 30 * MS, 30 * MS))
    with written(writer, tmp_path) as capture:
        text = shown(capture)
    assert "serve  pid 7  6.0 s, being recorded" in text
    assert "last 6 s" in text
    assert "max   30 ms  2 iterations" in text
    assert "stalls of 20 ms and more, last 6 s: 1, 10 a minute, 30 ms together" in text
    assert "·  50 %" in text
    assert "30 ms: waited for the GIL 15 ms, ran 0, off CPU 15 ms" in text


def test_what_is_older_than_the_window_is_not_shown(tmp_path: Path) -> None:
    """Iterations and holders of ten seconds, stalls of a minute; a run that reaches into the window counts in part."""
    writer = begun().events(iteration(0, 50 * MS), run(80 * S, 15 * S), run(95 * S, S), iteration(100 * S, MS))
    with written(writer, tmp_path) as capture:
        text = shown(capture)
    assert "max  1.0 ms  1 iterations" in text
    assert "last 60 s: 0, 0 a minute" in text
    assert "50 ms: waited" in text, "the last stalls are shown however old they are"
    assert "·  60 %" in text


def test_names_that_would_move_the_cursor_are_made_harmless(tmp_path: Path) -> None:
    """Names of threads and programs come from the recorded process."""
    with written(begun(argv=["\x1b]0;owned\x07"]).events(run(0, S)), tmp_path) as capture:
        text = shown(capture)
    assert "\x1b" not in text
    assert "\x07" not in text


def test_capture_without_events_or_gil_says_so(tmp_path: Path) -> None:
    """Instead of empty tables."""
    with written(begun(), tmp_path) as capture:
        assert "nothing has happened yet" in shown(capture)
    with written(begun(gil="none").events(iteration(0, MS)), tmp_path) as capture:
        assert "who has the GIL is not known" in shown(capture)


def test_once_shows_a_running_recording_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without waiting for more, and without commands for a terminal."""
    path = begun().events(iteration(0, MS)).write(tmp_path / "app.gilscope")
    assert cli.main(["top", str(path), "--once"]) == 0
    output = capsys.readouterr().out
    assert "being recorded" in output
    assert "\x1b" not in output


def test_following_shows_what_has_come_and_ends_with_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file grows while it is shown; each picture is of all that is there by then."""
    writer = begun().events(iteration(0, MS))
    path = writer.write(tmp_path / "app.gilscope")
    waited = []

    def grow(seconds: float) -> None:
        waited.append(seconds)
        writer.events(iteration(len(waited) * S, MS))
        (writer.end() if len(waited) == 2 else writer).write(path)

    monkeypatch.setattr(time, "sleep", grow)
    assert cli.main(["top", str(path), "--interval", "0.5"]) == 0
    output = capsys.readouterr().out
    assert waited == [0.5, 0.5]
    assert [n for n in range(1, 5) if f"  {n} iterations" in output] == [1, 2, 3]
    assert output.count("recording has ended") == 1


def test_process_stands_for_the_capture_that_it_has_open(tmp_path: Path) -> None:
    """Also where the file has another name outside of it."""
    path = begun().write(tmp_path / "app.gilscope")
    with path.open("rb"):
        found = top.capture_of(os.getpid())
        assert found.samefile(path)
    with pytest.raises(top.NoCaptureError, match=r"writes no capture.*gilscope record"):
        top.capture_of(os.getpid())


def test_process_that_is_not_there_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """A number is a PID unless there is a file of this name."""
    assert cli.main(["top", "99999999"]) == 1
    assert capsys.readouterr().err == "gilscope: there is no process 99999999, and no file of this name\n"
