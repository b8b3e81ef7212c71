"""Forks of every kind in the middle of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import MS, asleep, needs_probe, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe


@pytest.mark.parametrize(
    "how",
    [pytest.param("os", marks=pytest.mark.smoke), "thread", "c", "multiprocessing-fork", "multiprocessing-spawn"],
)
def test_children_run_unrecorded_and_may_record_themselves(tmp_path: Path, how: str) -> None:
    """The parent's capture has the parent alone and is whole; each child's has its own loop, stall and collection."""
    path, children = tmp_path / "app.gilscope", 3
    # 3.12 and later warn of every fork in a process with threads.
    quiet = ("-W", "ignore::DeprecationWarning")
    run("tests.integration.programs.probe_forks", path, how, children, options=quiet)
    parent = read_whole(path)
    pid = parent.metadata["pid"]
    loops = {thread.name for thread in parent.threads.values() if thread.loop}
    assert loops == ({"MainThread"} if how == "c" else {"MainThread", "loop"})
    assert len([event for event in parent.of(EventKind.COLLECTION) if event.count == 2]) == 1
    captures = list(tmp_path.glob("app.gilscope.*"))
    assert len(captures) == children
    for capture in captures:
        child = read_whole(capture)
        assert child.metadata["pid"] != pid
        (loop,) = (thread for thread in child.threads.values() if thread.loop)
        assert loop.native_id == child.metadata["pid"] or how == "thread"
        # A busy machine may make another.
        assert max(asleep(stall)[0] for stall in child.analysis.stalls) >= 29 * MS
        assert len([event for event in child.of(EventKind.COLLECTION) if event.count == 2]) == 1
