"""What the README shows of Python runs, and its table of settings is the constructor's."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gilscope import NativeSpanProcessor
from gilscope.bench.sink import Sink

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PREFIXES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")


def settings() -> list[tuple[list[str], list[str]]]:
    """Return each row's arguments and variables."""
    rows = re.findall(r"^\| (`[a-z_]+`[^|]*) \| (`[^|]*) \|", README, re.MULTILINE)
    return [(re.findall(r"`(\w+)`", arguments), re.findall(r"`([*\w]+)`", names)) for arguments, names in rows]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_readme_snippet_runs_and_says_nothing_bad(snippet: str, tmp_path: Path) -> None:
    """In a fresh process with a receiver at hand, and without a word on standard error."""
    with Sink() as sink:
        base = sink.http_endpoint.removesuffix("/v1/traces")
        env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": base}
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_readme_has_the_snippets_that_are_run() -> None:
    """A recording, a watch, one for each way to use the span processor, and one for the accounting."""
    assert len(SNIPPETS) == 5


def test_readme_lists_every_argument_of_the_constructor() -> None:
    """And none that does not exist."""
    listed = {argument for arguments, _ in settings() for argument in arguments}
    parameters = set(inspect.signature(NativeSpanProcessor).parameters) - {"span_exporter"}
    assert listed == parameters


def test_readme_lists_variables_that_are_read() -> None:
    """Each is named in the source, or made of a prefix and a suffix that are."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "gilscope").rglob("*.py"))
    for prefix in PREFIXES:
        assert f'"{prefix}"' in source
    names = [name for _, found in settings() for name in found]
    assert len(names) == 18
    assert [name for name in names if f'"{name.removeprefix("*")}"' not in source] == []
