"""`gilscope top`: what is shown of a growing capture, and how a process's capture is found."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from gilscope import cli
from gilscope.capture import Capture, open_capture
from gilscope.cli import top
from gilscope.cli.live import Live
from gilscope.cli.top_text import fitted, picture
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
S = 1000 * MS
LOOP, HOLDER = 1, 2
RUN, ITERATION, SAMPLE, BLOCKED, COLLECTION, LOST = 1, 3, 4, 5, 6, 9
FORCED = 2


def iteration(start_ns: int, duration_ns: int) -> bytes:
    """Return an iteration that waited for the GIL for half of its time."""
    return capture_writer.event(ITERATION, 0, LOOP, start_ns, duration_ns, count=1, b=duration_ns // 2)


def run(start_ns: int, duration_ns: int, free_ns: int = 0, stack: int = 0, flags: int = 0) -> bytes:
    """Return a run of the thread that is no loop."""
    return capture_writer.event(RUN, flags, HOLDER, start_ns, duration_ns, stack, 1, free_ns)


def begun(**metadata: object) -> CaptureWriter:
    """Return a capture with two threads and no events."""
    writer = CaptureWriter({"gil": "hooked", "argv": ["serve"], "pid": 7, "stall_threshold_ns": 20 * MS, **metadata})
    return writer.definitions(
        capture_writer.thread(LOOP, "Main", loop=2),
        capture_writer.thread(HOLDER, "hog\x1b[2J"),
        capture_writer.code(1, "work"),
        capture_writer.stack(1, [(1, 5)]),
    )


def shown(capture: Capture) -> str:
    """Return the picture of all that is in a capture."""
    live = Live(capture)
    live.read()
    return "\n".join(picture(live, 100, 8).lines(8))


def written(writer: CaptureWriter, directory: Path) -> Capture:
    """Return the capture, opened."""
    return open_capture(writer.write(directory / "app.gilscope"))


def test_picture_has_iterations_stalls_and_holders(tmp_path: Path) -> None:
    """Each with its figures, over the time that there is."""
    writer = begun().events(run(0, 5 * S, free_ns=2 * S), iteration(5 * S, 2 * MS), iteration(6 * S - 30 * MS, 30 * MS))
    with written(writer, tmp_path) as capture:
        text = shown(capture)
    assert "serve  pid 7  6.0 s, being recorded" in text
    assert "loop lag, last 6 s" in text
    assert re.search(r"Main \(uvloop\) +2.0 ms +30 ms +30 ms +0 ", text)
    assert "stalls of 20 ms+: 1 in 6 s, 10 a minute, 30 ms together" in text
    assert re.search(r"hog.* █+·+ +50 % ", text)
    assert re.search(r" +30 ms +15 ms +0 +15 ms  -\n", text)


def test_what_is_older_than_the_window_is_not_shown(tmp_path: Path) -> None:
    """Iterations and holders of ten seconds, stalls of a minute; a run that reaches into the window counts in part."""
    writer = begun().events(iteration(0, 50 * MS), run(80 * S, 15 * S), run(95 * S, S), iteration(100 * S, MS))
    with written(writer, tmp_path) as capture:
        text = shown(capture)
    assert re.search(r"Main \(uvloop\) +1.0 ms +1.0 ms +1.0 ms ", text)
    assert "0 in 60 s, 0 a minute" in text
    assert re.search(r" +50 ms +25 ms +0 +25 ms ", text), "the last stalls are shown however old they are"
    assert re.search(r"·  +60 % ", text)


@pytest.mark.parametrize(
    ("ran_ns", "waited_ns", "events", "blamed"),
    [
        (
            0,
            40 * MS,
            [run(10 * MS, 35 * MS, stack=1, flags=FORCED)],
            "hog\N{REPLACEMENT CHARACTER}[2J: work (app.py:5)",
        ),
        (0, 40 * MS, [run(10 * MS, 35 * MS, stack=1)], "hog\N{REPLACEMENT CHARACTER}[2J: -"),
        (40 * MS, 0, [capture_writer.event(SAMPLE, 0, LOOP, 20 * MS, 0, 1, 1, 0, 2 * MS)], "work (app.py:5)"),
        (0, 0, [capture_writer.event(BLOCKED, 0, LOOP, 5 * MS, 30 * MS, 1)], "work (app.py:5)"),
        (0, 0, [], "(not blocked: it had no core)"),
        (40 * MS, 0, [capture_writer.event(COLLECTION, 0, LOOP, 5 * MS, 30 * MS)], "[garbage collection]"),
        (40 * MS, 0, [], "-"),
    ],
    ids=["holder", "let go by itself", "computed", "blocked", "no core", "garbage", "not seen"],
)
def test_stall_names_what_its_longest_part_was_due_to(
    ran_ns: int, waited_ns: int, events: list[bytes], blamed: str, tmp_path: Path
) -> None:
    """A wait the one who had the GIL, and where, if it was made to let go there; else the loop's own function."""
    stall = capture_writer.event(ITERATION, 0, LOOP, 4 * MS, 45 * MS, 0, 1, ran_ns, waited_ns)
    with written(begun().events(*events, stall), tmp_path) as capture:
        (row,) = (line for line in shown(capture).splitlines() if re.match(r"\d\d:\d\d:\d\d +45 ms", line))
    assert row.endswith(f"  {blamed}")


def test_rows_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    """Nothing is left out in silence."""
    threads = [capture_writer.thread(number, f"worker-{number}") for number in range(10, 30)]
    runs = [capture_writer.event(RUN, 0, number, number * MS, MS) for number in range(10, 30)]
    with written(begun().definitions(*threads).events(*runs), tmp_path) as capture:
        assert ".. and 13 more" in shown(capture)


def test_names_that_would_move_the_cursor_are_made_harmless(tmp_path: Path) -> None:
    """Names of threads and programs come from the recorded process."""
    with written(begun(argv=["\x1b]0;owned\x07"]).events(run(0, S)), tmp_path) as capture:
        text = shown(capture)
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("name", ["x" * 300, "作業" * 80, "é" * 300, "e\N{COMBINING ACUTE ACCENT}" * 200, "\x1b" * 99])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 80])
def test_name_is_fitted_to_its_width_in_cells(name: str, width: int) -> None:
    """As a terminal counts them, where a character may take two or none."""
    assert cell_len(fitted(name, width)) == width


def test_capture_without_events_or_gil_says_so(tmp_path: Path) -> None:
    """Instead of empty tables."""
    with written(begun(), tmp_path) as capture:
        assert "no iteration of an event loop" in shown(capture)
    with written(begun(gil="none").events(iteration(0, MS)), tmp_path) as capture:
        assert "who had the GIL is not known" in shown(capture)


def test_lost_events_and_silence_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is then too low, or of a process that was killed."""
    with written(begun().events(capture_writer.event(LOST, count=1, a=12), iteration(0, MS)), tmp_path) as capture:
        live = Live(capture)
        live.read()
        heard_s = live.heard_s
        monkeypatch.setattr(time, "monotonic", lambda: heard_s + 8)
        head = "\n".join(picture(live, 100, 8).head)
    assert "nothing new for 8 s" in head
    assert "12 events could not be recorded" in head


def test_absurd_times_and_counts_are_shown_in_bounded_time(tmp_path: Path) -> None:
    """A file may have been made to do harm: one by one, these stalls would take minutes to explain."""
    longest = (1 << 64) - 1
    events = [
        capture_writer.event(kind, 0xFF, LOOP, start_ns, duration_ns, 9, 0xFFFFFFFF, longest, longest)
        for kind in range(1, 13)
        for start_ns in (-(1 << 63), 0, (1 << 63) - 1)
        for duration_ns in (0, longest)
    ]
    runs, stalls = [run(0, S)] * 10_000, [capture_writer.event(ITERATION, 0, LOOP, -S, 2 * S, b=2 * S)] * 30_000
    with written(begun().events(*runs, *stalls).events(*events), tmp_path) as capture:
        assert "Main (uvloop)" in shown(capture)


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
    assert re.findall(r"pid 7  ([\w. ]+), ", output) == ["1.0 ms", "1.0 s", "2.0 s"]
    assert output.count("recording has ended") == 1


def test_terminal_without_textual_shows_the_text_and_how_to_get_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base installation has no Textual."""
    path = begun().events(iteration(0, MS)).end().write(tmp_path / "app.gilscope")
    monkeypatch.setattr(top, "_is_terminal", lambda: True)
    monkeypatch.setattr(top, "find_spec", lambda _name: None)
    assert cli.main(["top", str(path)]) == 0
    output = capsys.readouterr().out
    assert "recording has ended" in output
    assert "pip install 'gilscope[top]'" in output


def test_process_stands_for_the_capture_that_it_has_open(tmp_path: Path) -> None:
    """Also where the file has another name outside of it."""
    path = begun().write(tmp_path / "app.gilscope")
    with path.open("rb"):
        found = top.capture_of(os.getpid())
        assert found.samefile(path)
    with pytest.raises(top.NoCaptureError, match=r"writes no capture.*gilscope record"):
        top.capture_of(os.getpid())


def test_dumps_of_a_process_are_written_beside_its_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or, if that file has no name here, into the current folder, under the name that it had."""
    path = begun().write(tmp_path / "app.gilscope")
    with path.open("rb"):
        opened = top.capture_of(os.getpid())
        assert top.locate(opened) == (path, path)
        path.unlink()
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert top.locate(opened) == (opened, tmp_path / "here" / "app.gilscope")


def test_process_that_is_not_there_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """A number is a PID unless there is a file of this name."""
    assert cli.main(["top", "99999999"]) == 1
    assert capsys.readouterr().err == "gilscope: there is no process 99999999, and no file of this name\n"
