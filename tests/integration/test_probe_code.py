"""Code of an unusual kind is named as it is."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import asleep, needs_gil, needs_probe, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accuracy.recorded import Recorded

pytestmark = needs_probe


def recorded(directory: Path, how: str) -> Recorded:
    """Return what became of the program."""
    path = directory / "app.gilscope"
    said = run("tests.integration.programs.probe_code", path, how)
    return read_whole(path, said)


@pytest.mark.smoke
def test_stack_of_1000_frames_keeps_its_innermost(tmp_path: Path) -> None:
    """The innermost 128 frames are there, and the stack says that there were more."""
    found = recorded(tmp_path, "deep")
    (stall,) = found.analysis.stalls
    stack = asleep(stall)[1][0].stack
    names = [frame.code.name.rpartition(".")[2] for frame in stack.frames]
    assert names == ["block", *["dive"] * 127]
    assert stack.truncated


@needs_gil
@pytest.mark.smoke
def test_code_that_is_thrown_away_keeps_its_name(tmp_path: Path) -> None:
    """Functions at the same address, one after the other, are told apart, also by samples."""
    found = recorded(tmp_path, "made")
    blocked = [name for name in found.innermost(EventKind.BLOCKED) if name.startswith("made_")]
    # The last is still there: its time without the GIL is over 1 ms for each.
    assert blocked == found.said
    sampled = [name for name in found.innermost(EventKind.SAMPLE) if name.startswith("made_")]
    assert len(set(sampled)) > 50
    assert sampled == sorted(sampled, key=found.said.index)


@needs_gil
def test_long_and_foreign_names_are_kept_as_far_as_there_is_room(tmp_path: Path) -> None:
    """Names in other scripts are whole, long ones are cut between two characters, and control characters do no harm."""
    found = recorded(tmp_path, "names")
    (stall,) = found.analysis.stalls
    names = [time.stack.frames[0].code.name for time in stall.blocked]
    assert len(names) == len(found.said)
    for name in names:
        (whole,) = (one for one in found.said if one.startswith(name))
        assert name == whole or len(name.encode()) > 480
    files = {time.stack.frames[0].code.file for time in stall.blocked}
    assert {"ümläut.py", "路径.py", "\U0001f40d.py"} <= files


@pytest.mark.skipif(importlib.util.find_spec("greenlet") is None, reason="greenlet is not installed")
def test_greenlets_that_switch_are_sampled(tmp_path: Path) -> None:
    """What blocks in a greenlet is named."""
    found = recorded(tmp_path, "greenlets")
    assert found.innermost(EventKind.BLOCKED).count("block") >= 20
