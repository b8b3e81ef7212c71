"""What runs inside a process under `gilscope record`: which file it writes, and that it never harms the host."""

from __future__ import annotations

import atexit
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.errors import ProbeError
from gilscope.probe import launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Probe:
    """A stand-in that keeps what it was asked for.

    Attributes:
        asked: path, threshold and force of each recording.
        error: raised by the next calls.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, float, bool]] = []
        self.stopped: list[str] = []
        self.error: Exception | None = None

    def record(self, path: Path, *, stall_threshold_ms: float, force: bool) -> SimpleNamespace:
        """Return a recording, and make its file."""
        if self.error is not None:
            raise self.error
        self.asked.append((path.name, stall_threshold_ms, force))
        path.touch()
        return SimpleNamespace(stop=lambda: self.stop(path.name))

    def stop(self, name: str) -> None:
        """Note that the recording was stopped."""
        if self.error is not None:
            raise self.error
        self.stopped.append(name)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Probe:
    """The process as `gilscope record` starts it."""
    made = Probe()
    monkeypatch.setattr(launch, "probe", made)
    monkeypatch.setattr(launch, "_started", False)
    monkeypatch.setattr(launch, "_recording", None)
    monkeypatch.setattr(launch, "_descendants_path", None)
    monkeypatch.setattr(atexit, "register", lambda _: None)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    monkeypatch.setenv("GILSCOPE_RECORD", str(tmp_path / "app.gilscope"))
    monkeypatch.setenv("GILSCOPE_RECORD_PARENT", str(os.getppid()))
    monkeypatch.setenv("GILSCOPE_RECORD_THRESHOLD_MS", "7.5")
    monkeypatch.setenv("GILSCOPE_RECORD_NOTES", str(tmp_path / "notes"))
    # Set by `start`, and to be taken away after the test.
    monkeypatch.setenv("GILSCOPE_RECORD_BY", "0")
    return made


def test_child_of_record_writes_to_the_path_asked_for(probe: Probe) -> None:
    """With the threshold of the command line, once, and replacing nothing."""
    launch.start()
    launch.start()
    assert probe.asked == [("app.gilscope", 7.5, False)]


def test_descendant_writes_beside_it(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name has its pid."""
    monkeypatch.setenv("GILSCOPE_RECORD_PARENT", "1")
    launch.start()
    assert probe.asked == [(f"app.{os.getpid()}.gilscope", 7.5, False)]


def test_program_after_exec_may_replace_its_own_file(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so may everybody if --force was given."""
    launch.start()
    assert os.environ["GILSCOPE_RECORD_BY"] == str(os.getpid())
    monkeypatch.setattr(launch, "_started", False)
    launch.start()
    monkeypatch.setattr(launch, "_started", False)
    monkeypatch.setenv("GILSCOPE_RECORD_BY", "0")
    monkeypatch.setenv("GILSCOPE_RECORD_FORCE", "1")
    launch.start()
    assert [force for _, _, force in probe.asked] == [False, True, True]


def test_process_that_is_not_recorded_is_left_alone(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an entry point it is called in processes that nobody asked to record."""
    monkeypatch.delenv("GILSCOPE_RECORD")
    registered: list[object] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    launch.start()
    assert (probe.asked, registered) == ([], [])


@pytest.mark.parametrize("error", [ProbeError("no room"), RuntimeError("no room")])
def test_failure_to_start_is_one_line_and_a_note(
    probe: Probe, error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The host goes on, and `gilscope record` can tell why there is no capture."""
    probe.error = error
    launch.start()
    launch._stop()
    said = f"{sys.executable} (pid {os.getpid()}) was not recorded: no room\n"
    assert capsys.readouterr().err == f"gilscope: {said}"
    assert (tmp_path / "notes").read_text() == said


def test_wrong_threshold_or_closed_stream_is_no_harm(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where nothing can be said."""
    monkeypatch.setenv("GILSCOPE_RECORD_THRESHOLD_MS", "x")
    monkeypatch.setenv("GILSCOPE_RECORD_NOTES", "/proc/none/notes")
    monkeypatch.setattr(sys, "stderr", None)
    launch.start()
    assert probe.asked == []


def test_failure_to_stop_is_one_line(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    """An exit code is the host's own."""
    launch.start()
    probe.error = ProbeError("the disk is full")
    launch._stop()
    assert "did not end in order: the disk is full\n" in capsys.readouterr().err


def test_recording_is_stopped_once(probe: Probe) -> None:
    """At exit and by multiprocessing's finalizer, whichever comes first."""
    launch.start()
    launch._stop()
    launch._stop()
    assert probe.stopped == ["app.gilscope"]


@pytest.mark.parametrize(("has_asyncio", "root"), [(False, True), (True, False), (False, False)])
def test_file_of_a_descendant_that_never_had_asyncio_is_removed(
    probe: Probe, has_asyncio: bool, root: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the process that was asked for stays, whatever is in it."""
    if not root:
        monkeypatch.setenv("GILSCOPE_RECORD_PARENT", "1")
    launch.start()
    modules = {"asyncio": None} if has_asyncio else {}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "modules", {**{k: v for k, v in sys.modules.items() if k != "asyncio"}, **modules})
        launch._stop()
    assert len(list(tmp_path.glob("*.gilscope"))) == (1 if root or has_asyncio else 0)


def test_forked_child_has_a_recording_of_its_own(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by multiprocessing, whose forked children call no atexit function, if that is loaded."""
    after_fork: list[Callable[[Any], object]] = []
    finalizers: list[Callable[[], None]] = []
    util = SimpleNamespace(
        register_after_fork=lambda owner, call: after_fork.append(lambda _: call(owner)),
        Finalize=lambda _owner, call, exitpriority: finalizers.append(call),
    )
    launch.start()
    monkeypatch.setitem(sys.modules, "multiprocessing.util", util)
    launch._start_in_child()
    assert [name for name, _, _ in probe.asked] == ["app.gilscope", f"app.{os.getpid()}.gilscope"]
    after_fork[0](None)
    finalizers[0]()
    assert probe.stopped == [f"app.{os.getpid()}.gilscope"]
