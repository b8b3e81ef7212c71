"""A watch and its process: forks, the end, and an environment without OpenTelemetry."""

from __future__ import annotations

import pytest

from tests.accuracy.recorded import needs_probe, run

pytestmark = needs_probe


@pytest.mark.smoke
def test_forked_child_has_no_watch_and_may_start_its_own() -> None:
    """Three children under load: the inherited watch does nothing there, and the parent's goes on with its own port."""
    assert run("tests.integration.programs.watch_forks", 3) == {"failed": 0}


@pytest.mark.smoke
def test_watch_without_opentelemetry_works_until_the_process_ends() -> None:
    """Nothing is said on standard error, neither at the start nor by a process that ends without `stop`."""
    said = run("tests.integration.programs.watch_alone")
    assert said["stalls"] >= 1
    assert said["running"] is False
    assert any("block (watch_load.py:" in text for text in said["told"])
    assert not {"opentelemetry", "http"} & set(said["loaded"])
