"""Beside other things that change an interpreter."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import EventKind
from tests.accuracy.recorded import needs_probe, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe
NEIGHBOURS = "tests.integration.programs.probe_neighbours"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("-X", "dev"), marks=pytest.mark.smoke, id="dev"),
        pytest.param(("-X", "tracemalloc=5"), id="tracemalloc"),
    ],
)
def test_recording_works_with_the_interpreters_own_checks(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Debugging allocators, warnings and traces of memory change nothing; nobody warns of us."""
    path = tmp_path / "app.gilscope"
    run(NEIGHBOURS, path, "load", options=options)
    found = read_whole(path)
    assert found.of(EventKind.ITERATION)
    assert found.of(EventKind.WAIT)


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_program_patched_by_gevent_is_recorded(tmp_path: Path) -> None:
    """It runs to its end, and no loop is invented; what the hub's own threads hold is there."""
    path = tmp_path / "app.gilscope"
    run(NEIGHBOURS, path, "gevent")
    found = read_whole(path)
    assert found.analysis.loops == ()
    assert found.of(EventKind.RUN)


@pytest.mark.skipif(importlib.util.find_spec("memray") is None, reason="memray is not installed")
def test_memray_may_come_before_or_go_after(tmp_path: Path) -> None:
    """Two tools that change the same tables, nested one way and the other."""
    path = tmp_path / "app.gilscope"
    run(NEIGHBOURS, path, "memray", quiet=False)
    assert read_whole(path).of(EventKind.RUN)
