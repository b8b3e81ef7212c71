"""What `gilscope bench` ends with, by what a run has left; the runs are made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gilscope.bench import run as run_module
from gilscope.cli import main
from tests.made_run import MadeRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gilscope.bench.plan import Plan

APP = "shop.main:app"


def made(valid: bool) -> Callable[[Plan, Path, Any], None]:
    """Return what runs a plan without running it: it leaves one cell of the arm `none`, of 20 ms a request."""

    def run(plan: Plan, folder: Path, _: object) -> None:
        left = MadeRun(folder, arms=["none"], repeats=1, thresholds=plan.thresholds)
        left.cell("none", 0, valid=valid, problems=[] if valid else ["the load was late"])

    return run


@pytest.mark.parametrize(
    ("valid", "at_most_ms", "status"), [(True, 1e9, 0), (False, 1e9, 1), (True, 1e-6, 3)], ids=["met", "none", "missed"]
)
def test_bench_ends_with_the_status_of_what_was_measured(
    valid: bool, at_most_ms: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CI can tell a missed threshold (3) from a run in which nothing could be measured (1)."""
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[[thresholds]]\narm = "none"\nfigure = "max_ms"\nat_most = {at_most_ms}\n', encoding="utf-8")
    monkeypatch.setattr(run_module, "run", made(valid))
    assert main(["bench", APP, "--arms", "none", "--plan", str(plan), "--out", str(tmp_path / "run")]) == status


def test_bench_too_short_for_p99_says_so_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after an hour: 4 users who think for 0.1 s make 24 requests in 0.6 s."""

    def run(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run", run)
    words = ["--users", "4", "--think-time", "0.1", "--duration", "0.6", "--repeats", "1"]
    main(["bench", APP, *words, "--out", str(tmp_path / "run")])
    assert "p99 needs 1,000 requests an arm, and there will be 24 at most" in capsys.readouterr().err


def test_bench_that_waits_for_workers_says_how_to_start_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a line of its own, whole, so that it can be copied."""
    monkeypatch.setattr(run_module, "run", made(valid=True))
    words = ["--arms", "none", "--master", "10.0.0.5:5557", "--expect-workers", "4"]
    main(["bench", APP, *words, "--out", str(tmp_path / "run")])
    assert "other machines, 4 in all: python -m gilscope.bench.worker 10.0.0.5:5557\n" in capsys.readouterr().err
