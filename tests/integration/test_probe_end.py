"""However a recorded process ends, it ends as it would have, and what was recorded can be read."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from gilscope import probe
from gilscope.capture import EventKind
from tests.accuracy.recorded import needs_probe, read, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe
ENDS = "tests.integration.programs.probe_ends"


@pytest.mark.parametrize("_turn", range(10))
def test_interpreters_end_with_daemons_in_waits_is_quiet(tmp_path: Path, _turn: int) -> None:
    """Threads that never come back from their wait for the GIL, while the recording is on: no crash, no word."""
    path = tmp_path / "app.gilscope"
    run(ENDS, path, "daemons")
    assert read(path).metadata["gil"] == probe.facts().gil


@pytest.mark.smoke
def test_recording_that_nobody_stops_ends_with_the_process(tmp_path: Path) -> None:
    """The exit code is the program's own, and the capture can be opened."""
    path = tmp_path / "app.gilscope"
    run(ENDS, path, "forgotten", code=3)
    assert read(path).metadata["gil"] == probe.facts().gil


@pytest.mark.smoke
def test_killed_process_leaves_what_was_written(tmp_path: Path) -> None:
    """Without an end, and with events of the loop that can be analysed."""
    path = tmp_path / "app.gilscope"
    run(ENDS, path, "kill", code=-signal.SIGKILL)
    found = read(path)
    assert found.end is None
    assert found.of(EventKind.ITERATION)
    assert [thread.name for thread in found.threads.values() if thread.loop] == ["loop"]


@pytest.mark.smoke
def test_full_disk_is_told_by_stop_and_harms_nobody(tmp_path: Path) -> None:
    """The program goes on; `stop` names the file and why; what was written can be read; the next recording works."""
    path = tmp_path / "app.gilscope"
    said = run(ENDS, path, "full")
    assert said.startswith(f"{path} is not complete: ")
    assert "File too large" in said
    found = read(path)
    assert found.end is None
    assert path.stat().st_size <= 1 << 18
    assert found.events
    read_whole(path.with_name("app.gilscope.again"))


def test_file_that_cannot_be_written_at_all_is_told_by_start(tmp_path: Path) -> None:
    """No recording runs, no file stays open, and the next recording works."""
    path = tmp_path / "app.gilscope"
    assert "No space left on device" in run(ENDS, path, "device")
    read_whole(path)


def test_existing_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The message says how to replace it, and that works."""
    path = tmp_path / "app.gilscope"
    assert run(ENDS, path, "exists") == (f"{path} exists: choose another name, or replace it with force=True (--force)")
    read_whole(path)
