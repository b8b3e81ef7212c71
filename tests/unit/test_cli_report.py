"""`gilscope report`, `flamegraph`, `export` and `doctor CAPTURE` on a capture with one stall."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gilscope import cli
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
LOOP, HOLDER = 1, 2
RUN, WAIT, ITERATION = 1, 2, 3


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """One iteration of 40 ms, 30 of which it waits for a thread that holds the GIL in `encode`."""
    writer = CaptureWriter({"argv": ["serve", "--all"], "gil": "hooked", "stall_threshold_ns": 20 * MS})
    writer.definitions(
        capture_writer.thread(LOOP, "MainThread", loop=1),
        capture_writer.thread(HOLDER, "hog"),
        capture_writer.code(1, "encode", "codec.py"),
        capture_writer.stack(1, [(1, 7)]),
    )
    writer.events(
        capture_writer.event(RUN, 1, HOLDER, 5 * MS, 30 * MS, 1, count=1, b=30 * MS),
        capture_writer.event(WAIT, 1, LOOP, 5 * MS, 30 * MS, count=6),
        capture_writer.event(ITERATION, 0, LOOP, 0, 40 * MS, count=2, a=10 * MS, b=30 * MS),
    )
    return writer.end().write(tmp_path / "app.gilscope")


def test_report_in_text_and_json_say_the_same(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict names the holder; `--json` has the same in nanoseconds."""
    assert cli.main(["report", str(capture), "--text"]) == 0
    assert "held by hog" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["report", str(capture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stalled"]["total_ns"] == 40 * MS


@pytest.mark.parametrize(("threshold", "stalls"), [([], 1), (["--threshold-ms", "50"], 0)])
def test_threshold_decides_what_is_a_stall(
    capture: Path, threshold: list[str], stalls: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the capture, unless another one is given."""
    assert cli.main(["report", str(capture), "--json", *threshold]) == 0
    assert json.loads(capsys.readouterr().out)["stalled"]["count"] == stalls


@pytest.mark.parametrize(("limit_ms", "code"), [("39.9", 3), ("40", 0), ("5", 3)])
@pytest.mark.parametrize("threshold", [[], ["--threshold-ms", "1000"]], ids=["recorded", "higher"])
def test_stall_over_the_limit_is_a_missed_threshold(
    capture: Path, limit_ms: str, code: int, threshold: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and the reason, whatever counts as a stall otherwise; the report is written all the same."""
    assert cli.main(["report", str(capture), "--fail-over-ms", limit_ms, *threshold]) == code
    said = capsys.readouterr()
    assert said.out
    assert said.err == (f"gilscope: the longest stall, 40 ms, is over --fail-over-ms {limit_ms}\n" if code else "")


def test_limit_without_a_loop_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was not seen has not passed."""
    empty = CaptureWriter().end().write(tmp_path / "empty.gilscope")
    assert cli.main(["report", str(empty), "--fail-over-ms", "50"]) == 1
    assert "--fail-over-ms needs an event loop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["flamegraph"], "app.svg", "<svg"),
        (["export", "--format", "speedscope"], "app.speedscope.json", '"profiles"'),
        (["export", "--format", "perfetto"], "app.perfetto.json", '"traceEvents"'),
        (["export", "--format", "collapsed"], "app.collapsed.txt", "gil_wait;hog;encode (codec.py:7) 30000"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_file_is_written_beside_the_capture(
    capture: Path, words: list[str], name: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, not written again without --force, and `-o -` sends it to standard output alone."""
    path = capture.with_name(name)
    command = [words[0], str(capture), *words[1:]]
    assert cli.main(command) == 0
    assert expected in path.read_text()
    assert capsys.readouterr().out.startswith(f"{path} (")
    assert cli.main(command) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    written = path.read_text()
    capsys.readouterr()
    assert cli.main([*command, "-o", "-"]) == 0
    assert capsys.readouterr().out == written


def test_threshold_for_a_trace_is_refused(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has everything; to ignore what was asked would be worse."""
    assert cli.main(["export", str(capture), "--format", "perfetto", "--threshold-ms", "5"]) == 1
    assert "--threshold-ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["report"], ["flamegraph"], ["export", "--format", "collapsed"], ["doctor"], ["top"]]
)
def test_file_that_is_no_capture_is_one_line(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and nothing is left beside it."""
    path = tmp_path / "app.gilscope"
    path.write_text("no capture")
    assert cli.main([command[0], str(path), *command[1:]]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"gilscope: {path} is not a capture")
    assert list(tmp_path.iterdir()) == [path]


def test_doctor_of_a_capture_tells_findings_with_remedies(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What explains most comes first, with evidence and what to do."""
    assert cli.main(["doctor", str(capture)]) == 0
    shown = capsys.readouterr().out
    assert "\n1. " in shown
    assert "\n   - " in shown
    assert "\n   -> " in shown
    assert max(map(len, shown.splitlines())) <= 100
