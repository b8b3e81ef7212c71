"""Threads, frames and code that come and go while they are looked at."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import needs_gil, needs_probe, read, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe

WATCHERS = [
    pytest.param("nothing", marks=pytest.mark.smoke),
    "trace",
    pytest.param("monitoring", marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")),
    pytest.param(
        "coverage",
        marks=pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is not installed"),
    ),
]
TORN_AT_MOST = 0.01
# Frames of 3.10 are objects that forget who called them when they return: a stack read just then ends there, which is
# noticed. Here calls are all that goes on.
MISSED_AT_MOST = 0.2 if sys.version_info >= (3, 11) else 0.8


@needs_gil
@pytest.mark.smoke
def test_threads_by_the_thousand_are_all_recorded(tmp_path: Path) -> None:
    """More threads than there is room for at a time: each has its definition, and its counters once it has ended."""
    path, threads = tmp_path / "app.gilscope", 3000
    run("tests.integration.programs.probe_churn", path, "threads", threads)
    found = read_whole(path)
    assert len(found.threads) == threads + 1
    assert {event.thread for event in found.of(EventKind.COUNTERS)} == set(found.threads)


@needs_gil
@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_sampling_what_goes_away_gives_true_stacks_or_none(tmp_path: Path, watcher: str, seconds: float) -> None:
    """Samples by the thousand beside threads by the dozen: misses are counted, and stacks end where threads begin.

    A stack that was read while it changed may mix two moments: the innermost frame is checked, so these are few. How
    many are missed depends on how often frames come and go within the 10 us of a look: here as often as can be.
    """
    path = tmp_path / "app.gilscope"
    run("tests.integration.programs.probe_churn", path, watcher, seconds)
    found = read(path)
    assert found.end is not None
    assert not found.problems
    assert found.end["lost"]["no_memory"] == 0
    samples = found.of(EventKind.SAMPLE)
    assert found.end["samples"]["taken"] >= len(samples) > 200 * seconds
    assert len(found.threads) > 20 * seconds
    looked = [event for event in samples if event.count != 2]
    stacks = [found.stacks[event.stack] for event in looked if event.stack]
    assert len(looked) - len(stacks) <= found.end["samples"]["missed"]
    assert found.end["samples"]["missed"] < MISSED_AT_MOST * len(looked)
    begun = {"_run_module_as_main", "Thread._bootstrap", "_bootstrap"}
    torn = [stack for stack in stacks if not stack.truncated and stack.frames[-1].code.name not in begun]
    assert len(torn) <= TORN_AT_MOST * len(stacks)
