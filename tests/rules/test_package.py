"""What is installed: one version everywhere, and the entry point that other tools look for."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from tests.rules import source


@pytest.mark.smoke
def test_installed_version_is_the_one_in_the_source() -> None:
    """The distribution's metadata carries the version of the source that the tests belong to."""
    text = (source.ROOT / "src" / "gilscope" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    assert found
    assert version("gilscope") == found.group(1) == importlib.import_module("gilscope").__version__


@pytest.mark.smoke
def test_entry_point_for_auto_instrumentation_can_be_loaded() -> None:
    """`opentelemetry-instrument` finds one function of ours before it instruments."""
    (entry,) = [entry for entry in entry_points(group="opentelemetry_pre_instrument") if entry.name == "gilscope"]
    assert callable(entry.load())


@pytest.mark.smoke
def test_spans_arrive_from_a_process_that_only_installed_it() -> None:
    """The script that tries the wheel passes on what is installed here, and prints nothing but its result."""
    script = source.ROOT / ".ci" / "wheel_smoke.py"
    result = subprocess.run([sys.executable, "-I", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    spans, probe = result.stdout.splitlines()
    assert spans == f"gilscope {version('gilscope')}: 10 of 10 spans arrived"
    assert re.match(r"the probe: the loop was stalled for \d+ ms .*\(1 stall\)", probe)


def test_every_requirement_is_pinned() -> None:
    """What pyproject.toml asks for has its version in constraints.txt, and that file has versions only."""
    constraints = (source.ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z\d-]+)==[\w.]+(?:; python_version [<>=]+ \"[\d.]+\")?$", constraints, re.MULTILINE))
    assert len(pinned) <= len(constraints.splitlines())
    lines = [line for line in constraints.splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.partition("==")[0] not in pinned] == []
    project = (source.ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.entry-points")[0]
    asked = re.findall(
        r'^    "([a-z][a-z\d-]*)(?:>=[\d.]+)?(?:; [^"]+)?",$', project.partition("dependencies]")[2], re.MULTILINE
    )
    assert {"pytest", "locust", "fastotel"} <= set(asked)
    assert [name for name in asked if name not in pinned] == []
