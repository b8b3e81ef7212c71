"""Recordings that begin and end all the time leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.accuracy.recorded import needs_probe, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_probe


@pytest.mark.parametrize(
    "times", [pytest.param(60, marks=pytest.mark.smoke), pytest.param(1000, marks=pytest.mark.soak)]
)
def test_recording_again_and_again_under_load_leaves_nothing_behind(tmp_path: Path, times: int) -> None:
    """Memory stays where it was after a quarter of the recordings, so do threads and files, and one more is whole.

    What the allocators keep varies by a megabyte; a leak of a single page each time would be three at a thousand.
    """
    path = tmp_path / "app.gilscope"
    used = run("tests.integration.programs.probe_attach", path, times)
    early, late = used["early"], used["late"]
    assert late["resident_kb"] - early["resident_kb"] < 2_000
    assert (late["threads"], late["files"]) == (early["threads"], early["files"])
    found = read_whole(path)
    assert len([thread for thread in found.threads.values() if thread.loop]) == 1
