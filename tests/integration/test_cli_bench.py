"""`gilscope bench` as it is typed: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="the extra `bench` is not installed")

TIMEOUT_S = 120.0
ATTEMPTS = 4
ROOT = Path(__file__).parents[2]
APP = "tests.integration.programs.bench_apps:untraced"
SHORT = ["--factory", "--path", "/work", "--users", "4", "--think-time", "0.1", "--duration", "0.6", "--warmup", "0.3"]
ONE_ARM = ["--arms", "none", "--repeats", "1", "--no-probe"]


def bench(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Return how the command ended, and what it printed."""
    command = [sys.executable, "-m", "gilscope", "bench", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def bench_somehow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Return how the command ended once a cell was valid: on a busy machine the load is late, and none may be."""
    for attempt in range(ATTEMPTS):
        ended = bench(APP, *SHORT, *ONE_ARM, *words, "--out", str(folder / f"run{attempt}"))
        if "no cell is valid" not in ended.stderr:
            break
    return ended


def test_bench_of_an_application_prints_the_answer_and_writes_the_summary(tmp_path: Path) -> None:
    """The answer, a table and the page's path are printed; page and summary hold the same."""
    ended = bench_somehow(tmp_path)
    assert ended.returncode == 0, ended.stderr
    path = max(tmp_path.glob("run*/summary.json"))
    assert json.loads(path.read_bytes())["answer"] in ended.stdout
    page = path.with_name("report.html")
    assert str(page) in ended.stdout
    assert "</html>" in page.read_text(encoding="utf-8")


def test_bench_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    """So that the same command can be given again once the mistake is mended."""
    ended = bench("tests.integration.programs.bench_apps:nothing_like_it", "--out", str(tmp_path / "run"))
    assert ended.returncode == 1
    assert not (tmp_path / "run").exists()


def test_bench_into_a_folder_that_is_not_empty_changes_nothing(tmp_path: Path) -> None:
    """What was measured before is not overwritten."""
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    ended = bench(APP, "--out", str(tmp_path))
    assert (ended.returncode, [path.name for path in tmp_path.iterdir()]) == (2, ["notes.txt"])
    assert "--resume" in ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([APP, "--arms", "fast"], "the command line: arms: expected some of none, sdk, batch, subprocess, native"),
        ([APP, "--header", "text"], "--header: expected NAME:VALUE, got 'text'"),
        ([APP, "--env", "text"], "--env: expected NAME=VALUE, got 'text'"),
        ([APP, "--plan", "nowhere.toml"], "nowhere.toml: cannot be read: No such file or directory"),
        ([APP, "--resume", "--out", "nowhere"], "nowhere/plan.json is not there"),
        ([APP, "--locustfile", "nowhere.py"], "locustfile: expected a file, got 'nowhere.py'"),
        ([APP, "--master", "5557"], "expect_workers: expected 1 or more, and only with master, got 0"),
        (["shop"], "app: expected module:attribute, as uvicorn takes it, got 'shop'"),
        ([], "expected APP, as uvicorn takes it"),
    ],
)
def test_bench_with_a_mistake_says_it_in_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    """What is wrong is told before anything is started or written, and the status is that of a wrong command."""
    ended = bench(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_bench_that_goes_on_with_another_plan_is_refused(tmp_path: Path) -> None:
    """One run is of one plan."""
    (tmp_path / "plan.json").write_text(json.dumps({"app": APP, "users": 4}), encoding="utf-8")
    ended = bench("--users", "5", "--resume", "--out", str(tmp_path))
    assert ended.returncode == 2
    assert "leave out users" in ended.stderr
