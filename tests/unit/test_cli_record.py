"""The parts of `gilscope record`: the environment it makes, the child it runs, the files that are left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gilscope.cli import captures, child, record
from gilscope.probe import launch
from tests import capture_writer
from tests.capture_writer import CaptureWriter

GONE_PID = 2**22 + 1


def capture(path: Path, *, loop: int = 1, events: int = 0) -> Path:
    """Write a capture of a process with or without a loop."""
    writer = CaptureWriter({"pid": 1}).definitions(capture_writer.thread(1, loop=loop))
    return writer.events(*capture_writer.numbered(*range(events))).write(path)


@pytest.mark.parametrize(("inherited", "rest"), [({}, ""), ({"PYTHONPATH": ""}, ""), ({"PYTHONPATH": "a:b"}, ":a:b")])
def test_our_directory_is_first_in_pythonpath(inherited: dict[str, str], rest: str) -> None:
    """And brings no empty entry, which would be the current directory."""
    made = record.environment({"HOME": "h", "GILSCOPE_RECORD_BY": "7", **inherited}, {"GILSCOPE_RECORD": "x"})
    shim, separator, others = made.pop("PYTHONPATH").partition(":")
    assert Path(shim, "sitecustomize.py").is_file()
    assert separator + others == rest
    assert made == {"HOME": "h", "GILSCOPE_RECORD": "x"}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["python", "-I", "x.py"], "-I"),
        (["/usr/bin/python3.12", "-X", "dev", "-S"], None),
        (["python3", "-u", "-sE", "-m", "app"], "-sE"),
        (["python3", "-m", "app", "-I"], None),
        (["python3", "-c", "pass", "-E"], None),
        (["python3", "x.py", "-S"], None),
        (["pythonic", "-I"], None),
        (["grep", "-E"], None),
    ],
)
def test_option_of_the_interpreter_is_told_from_the_programs(command: list[str], option: str | None) -> None:
    """Only a Python's own options keep us out."""
    assert record._ignoring_option(command) == option


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)])
def test_status_is_a_shells(script: str, status: int) -> None:
    """128 and the signal's number, if one ended it."""
    assert child.run(["sh", "-c", script], os.environ) == status


def test_child_has_our_signals_as_they_were() -> None:
    """Nothing is blocked in it, and SIGPIPE is not ignored as it is in every Python."""
    code = (
        "import sys; words = open('/proc/self/status').read().split();"
        "sys.exit(int(words[words.index('SigBlk:') + 1], 16) != 0)"
    )
    assert child.run([sys.executable, "-c", code], os.environ) == 0
    assert child.run(["sh", "-c", "kill -PIPE $$"], os.environ) == 141


@pytest.mark.parametrize(
    ("number", "code", "passed_on"),
    [
        (signal.SIGINT, 0, [signal.SIGINT]),
        (signal.SIGTERM, -1, [signal.SIGTERM]),
        (signal.SIGINT, 128, []),
        (signal.SIGCHLD, 1, []),
    ],
    ids=["kill", "sigqueue", "terminal", "child"],
)
def test_signal_is_passed_on_unless_the_kernel_sent_it(
    number: signal.Signals, code: int, passed_on: list[signal.Signals], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C has reached the child already: two of them would make some servers drop their connections."""
    child_states = iter([(0, 0), (7, 0)])
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "waitpid", lambda *_: next(child_states))
    monkeypatch.setattr(os, "kill", lambda *to: sent.append(to))
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: SimpleNamespace(si_signo=number, si_code=code))
    assert child._wait(7, None) == 0
    assert sent == [(7, wanted) for wanted in passed_on]


def test_program_that_cannot_run_is_told_of(tmp_path: Path) -> None:
    """With its name and the reason."""
    with pytest.raises(child.StartError, match=r"cannot run .*: Permission denied"):
        child.run([str(tmp_path)], os.environ)


def test_duration_that_is_over_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGINT, and by SIGTERM if it does not care; the status is 0."""
    monkeypatch.setattr(child, "_GRACE_S", 0.1)
    assert child.run(["sleep", "1000"], os.environ, 0.01) == 0
    assert child.run(["sh", "-c", "trap '' INT; while :; do :; done"], os.environ, 0.2) == 0


def test_files_of_no_use_are_removed_and_the_largest_comes_first(tmp_path: Path) -> None:
    """Descendants without a loop, or that cannot be read; the process that was asked for keeps its file."""
    path = capture(tmp_path / "app.gilscope", loop=0)
    small = capture(tmp_path / f"app.{GONE_PID}.gilscope")
    large = capture(tmp_path / f"app.{GONE_PID + 1}.gilscope", loop=2, events=10)
    capture(tmp_path / f"app.{GONE_PID + 2}.gilscope", loop=0)
    (tmp_path / f"app.{GONE_PID + 3}.gilscope").write_bytes(b"")
    other = capture(tmp_path / f"apps.{GONE_PID}.gilscope", loop=0)
    assert captures.settle(path, {}) == [large, small, path]
    assert sorted(tmp_path.iterdir()) == sorted([large, small, path, other])


def test_file_of_a_process_that_still_runs_stays(tmp_path: Path) -> None:
    """It may yet run a loop, and writes to the file that is there."""
    running = capture(tmp_path / f"app.{os.getpid()}.gilscope", loop=0)
    assert captures.settle(tmp_path / "app.gilscope", {}) == []
    assert running.exists()


def test_single_capture_of_a_descendant_takes_the_path(tmp_path: Path) -> None:
    """But not the place of one that is there, nor if there are two."""
    path = tmp_path / "app.gilscope"
    one = capture(launch.descendant(path, GONE_PID))
    assert captures.settle(path, {}) == [path]
    assert not one.exists()
    before = captures.snapshot(path)
    one = capture(launch.descendant(path, GONE_PID))
    assert captures.settle(path, before) == [one]
    path.unlink()
    two = capture(launch.descendant(path, GONE_PID + 1), events=1)
    assert captures.settle(path, {}) == [two, one]


def test_what_was_there_before_is_not_ours(tmp_path: Path) -> None:
    """Unless it was written anew."""
    path, earlier = tmp_path / "app.gilscope", tmp_path / "app.1.gilscope"
    capture(earlier, loop=0)
    before = captures.snapshot(path)
    capture(path)
    assert captures.settle(path, before) == [path]
    assert earlier.exists()
    assert captures.settle(path, captures.snapshot(path)) == []


@pytest.mark.parametrize(("name", "expected"), [("app.gilscope", "app.7.gilscope"), ("app", "app.7.gilscope")])
def test_descendants_name_has_the_pid(name: str, expected: str, tmp_path: Path) -> None:
    """Whatever the capture is called."""
    assert launch.descendant(tmp_path / name, 7) == tmp_path / expected
