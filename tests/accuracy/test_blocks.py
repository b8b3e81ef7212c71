"""Callbacks that block are stalls: each of them, as long as it was, and nothing else."""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy import programs
from tests.accuracy.recorded import LOOPS, MS, asleep, needs_probe, recorded

if TYPE_CHECKING:
    from gilscope.capture import Event
    from tests.accuracy.recorded import Recorded

pytestmark = needs_probe

# What an iteration does beside the block: the loop's own steps, and the log's; 0.1 ms, more on a busy machine.
BESIDE_NS = 1 * MS


def around(run: Recorded) -> list[tuple[int, int, Event]]:
    """Return each block's length, for how long no core was free, and the one iteration that it lies in."""
    iterations = sorted(run.of(EventKind.ITERATION), key=lambda event: event.start_ns)
    starts = [event.start_ns for event in iterations]
    found = []
    for start_ns, end_ns, queued_ns in run.said["blocks"]:
        iteration = iterations[bisect.bisect(starts, start_ns) - 1]
        assert iteration.start_ns <= start_ns <= end_ns <= iteration.end_ns
        found.append((end_ns - start_ns, queued_ns, iteration))
    return found


@pytest.mark.smoke
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_callback_that_blocks_50_ms_is_one_stall_with_its_line(tmp_path: Path, loop: str, how: str) -> None:
    """The stall is as long as the program says (BESIDE_NS more), off or on the CPU, and names function and line.

    The loop's own steps are on the CPU where the block is not: 2 ms. Time for which the kernel had no core is neither,
    and the program tells how much that was.
    """
    run = recorded(tmp_path, "one_block", loop, how)
    ((block_ns, queued_ns, iteration),) = around(run)
    (stall,) = run.analysis.stalls
    assert stall.start_ns == iteration.start_ns
    assert block_ns <= stall.wall_ns <= block_ns + queued_ns + BESIDE_NS
    spent_ns, stacks = {
        "sleep": asleep(stall),
        "spin": (stall.parts.on_cpu_ns, stall.on_cpu),
    }[how]
    assert block_ns - queued_ns - 2 * MS <= spent_ns <= stall.wall_ns
    innermost = stacks[0].stack.frames[0]
    function = programs.BLOCKS[how].__code__
    assert (innermost.code.name, innermost.code.first_line) == (function.co_name, function.co_firstlineno)
    assert Path(innermost.code.file).name == "programs.py"
    lines = {line for _, _, line in function.co_lines() if line is not None}
    assert innermost.line in lines - {function.co_firstlineno}


def test_samples_get_sparser_while_a_block_lasts(tmp_path: Path) -> None:
    """None comes sooner after the one before than an eighth of how long the iteration had lasted then.

    Sooner by as much as the one before was late; and a tenth, for the moment that is counted from is a little earlier.
    """
    run = recorded(tmp_path, "one_block", "asyncio", "spin")
    ((_, _, iteration),) = around(run)
    samples = [event for event in run.of(EventKind.SAMPLE) if iteration.start_ns <= event.start_ns <= iteration.end_ns]
    assert len(samples) >= 3
    for before, after in itertools.pairwise(samples):
        pause_ns = (before.start_ns - iteration.start_ns) / 8
        assert after.start_ns - (before.start_ns - before.a) >= 0.9 * pause_ns


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("blocks", [150, pytest.param(1000, marks=pytest.mark.soak)])
def test_random_blocks_are_all_found_with_their_lengths(tmp_path: Path, loop: str, blocks: int) -> None:
    """Each block is in an iteration of its own, stalls are those over the threshold, and lengths agree to 1 %.

    Beside its block an iteration holds 30 us of steps of the loop itself, 0.2 % of the mean block. A machine that is
    busy with others while those run is what the rest is for.
    """
    run = recorded(tmp_path, "random_blocks", loop, 1, blocks)
    found = around(run)
    assert len({iteration.start_ns for *_, iteration in found}) == blocks
    assert sum(event.duration_ns for *_, event in found) == pytest.approx(sum(ns for ns, *_ in found), rel=0.01)
    threshold_ns = 20 * MS
    stalls = {event.start_ns for event in run.of(EventKind.ITERATION) if event.duration_ns >= threshold_ns}
    assert {event.start_ns for ns, _, event in found if ns >= threshold_ns} <= stalls
    assert stalls <= {event.start_ns for ns, _, event in found if ns + BESIDE_NS >= threshold_ns}
    (account,) = run.analysis.loops
    assert account.stalls.count == len(stalls)


@pytest.mark.parametrize("loop", LOOPS)
def test_task_that_blocks_is_named_in_the_stall(tmp_path: Path, loop: str) -> None:
    """The stack goes from what blocks through each coroutine that awaits it to the loop; its task is named, once."""
    run = recorded(tmp_path, "task", loop)
    (stall,) = run.analysis.stalls
    assert stall.task == "order 7"
    assert len(run.of(EventKind.TASK)) == 1
    names = [frame.code.name for frame in asleep(stall)[1][0].stack.frames]
    assert names[:3] == ["sleep_for", "wrong_step", "right_step"]
    assert stall.ran is not None
    assert stall.ran.code.name == "right_step"


@pytest.mark.parametrize("loop", LOOPS)
def test_loop_that_is_imported_late_is_recorded(tmp_path: Path, loop: str) -> None:
    """A loop that is loaded while the recording runs is looked for every 5 ms; its blocks are found after 100 ms."""
    ((block_ns, queued_ns, iteration),) = around(recorded(tmp_path, "late_loop", loop))
    assert block_ns <= iteration.duration_ns <= block_ns + queued_ns + BESIDE_NS
