"""Subinterpreters, with the main one's GIL and with one of their own."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from tests.accuracy.recorded import needs_probe, read, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    needs_probe,
    pytest.mark.skipif(
        importlib.util.find_spec("_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters") is None,
        reason="this interpreter has no subinterpreters",
    ),
]
GILS = [
    "shared",
    pytest.param("own", marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="new in 3.12")),
]


@pytest.mark.parametrize("gil", GILS)
def test_interpreters_that_come_and_go_do_no_harm(tmp_path: Path, gil: str) -> None:
    """They live and die by the dozen while three recordings begin and end; the last capture is whole."""
    path = tmp_path / "app.gilscope"
    run("tests.integration.programs.probe_interpreters", path, gil, 6)
    found = read(path)
    assert found.end is not None
    assert not found.problems
    assert [thread.name for thread in found.threads.values() if thread.loop] == ["loop"]
