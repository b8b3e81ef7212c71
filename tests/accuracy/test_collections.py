"""Garbage collections, as the program saw them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import LOOPS, MS, needs_probe, recorded

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe


@pytest.mark.parametrize("loop", LOOPS)
def test_forced_collection_is_recorded_with_generation_and_duration(tmp_path: Path, loop: str) -> None:
    """A full collection of 500,000 objects in a callback: generation, what it found, and its length.

    The program's clock is read outside `gc.collect`, and callbacks run between: 1 ms, or what a busy machine took.
    """
    run = recorded(tmp_path, "collection", loop)
    (took_ns,), (found,) = run.said["took_ns"], run.said["collected"]
    (event,) = run.of(EventKind.COLLECTION)
    assert (event.count, event.a) == (2, found)
    assert took_ns - MS - run.said["queued_ns"] <= event.duration_ns <= took_ns
    (stall,) = run.analysis.stalls
    assert [(one.generation, one.collected) for one in stall.collections] == [(2, found)]
