"""What is no stall is not said to be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import LOOPS, MS, needs_gil, needs_probe, recorded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.soak)])
def test_healthy_program_has_no_stall_and_no_waits(tmp_path: Path, loop: str, seconds: int) -> None:
    """Timers and small callbacks beside threads that sleep: no iteration is long, and the GIL is there when wanted.

    A machine that has no core for the loop makes it late: so much is allowed, and the program tells how much it was.
    Waits: 1 ms a second, for the threads that only sleep wake up to go on sleeping.
    """
    run = recorded(tmp_path, "healthy", loop, seconds)
    (account,) = run.analysis.loops
    assert account.iterations.count > 100 * seconds
    assert account.iterations.max_ns < 20 * MS + run.said["queued_ns"]
    assert account.stalls.total_ns <= run.said["queued_ns"]
    assert account.parts.gil_wait_ns < seconds * MS


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("program", ["loop_ends", "loop_pauses"])
def test_time_without_a_running_loop_is_no_stall(tmp_path: Path, loop: str, program: str) -> None:
    """A loop that has ended, or is not running just now, is not blocked by what the program does meanwhile."""
    run = recorded(tmp_path, program, loop)
    assert run.of(EventKind.ITERATION)
    assert max(event.duration_ns for event in run.of(EventKind.ITERATION)) < 20 * MS
    assert not run.of(EventKind.SAMPLE)
    assert run.analysis.stall_count == 0


@needs_gil
def test_selector_without_a_loop_is_no_loop(tmp_path: Path) -> None:
    """A program that polls by itself, with 30 ms between its polls, has no loop, no iterations and no stalls."""
    run = recorded(tmp_path, "selector")
    assert [thread.loop for thread in run.threads.values()] == [0]
    assert not run.of(EventKind.ITERATION)
    assert run.analysis.loops == ()
