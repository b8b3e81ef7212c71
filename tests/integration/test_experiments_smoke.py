"""Each experiment runs in its smallest form, and what it prints and writes holds together."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from experiments.highest_rate.__main__ import highest
from experiments.probe import experiment as probe
from experiments.probe_cost import __main__ as probe_cost
from experiments.probe_truth import __main__ as probe_truth
from experiments.probe_truth import oracle
from experiments.spans import arms, process, report, workload
from experiments.spans.__main__ import NAMES, experiment
from experiments.spans.experiment import ROOT, TARGET_MISSED, Target, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT_S = 100.0


def run_tiny(name: str, folder: Path, as_text: Callable[[dict[str, Any]], str] = report.as_text) -> dict[str, Any]:
    """Return the summary of an experiment's smallest run."""
    file = folder / "summary.json"
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", "--tiny", "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode in {0, TARGET_MISSED}, done.stderr
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert as_text(summary) in done.stdout
    return summary


def median(summary: dict[str, Any], arm: str, metric: str) -> float:
    """Return one figure of a summary."""
    value: float = summary["arms"][arm][metric]["median"]
    return value


@pytest.fixture(params=NAMES)
def summary(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The summary of each experiment in turn."""
    return run_tiny(request.param, tmp_path)


def test_experiment_in_its_smallest_form_measures_what_it_says(summary: dict[str, Any]) -> None:
    """Every arm that can run here has every figure from every block, and what must hold on any machine holds."""
    asked = experiment(summary["experiment"])
    assert list(summary["arms"]) == [arm for arm in asked.arms if arms.available(arm)]
    blocks = summary["sizes"]["blocks"]
    for figures in summary["arms"].values():
        assert list(figures) == [metric.name for metric in asked.metrics]
        assert all(len(figure["values"]) == blocks for figure in figures.values())
        assert all(figure["min"] <= figure["median"] <= figure["max"] for figure in figures.values())
    assert len(summary["targets"]) == sum(
        target.peer is None or target.peer in summary["arms"] for target in asked.targets
    )
    INVARIANTS[summary["experiment"]](summary)


def span_cost(summary: dict[str, Any]) -> None:
    """Only BatchSpanProcessor has a background thread of Python's, and the others have one that is not."""
    for arm, figures in summary["arms"].items():
        batch = arms.processor_of(arm) == arms.BATCH
        assert figures["states"]["median"] == batch
        assert (figures["python_us"]["median"] > 0) == batch
        assert (figures["native_us"]["median"] > 0) != batch
        assert figures["gil_us"]["median"] == pytest.approx(
            figures["app_us"]["median"] + figures["python_us"]["median"]
        )


def ten_thousand(summary: dict[str, Any]) -> None:
    """The smallest run fits in every queue."""
    assert all(median(summary, arm, "lost") == 0 for arm in summary["arms"])


def highest_rate(summary: dict[str, Any]) -> None:
    """The bracket is as narrow as was asked for."""
    for arm in summary["arms"]:
        low, high = median(summary, arm, "spans_per_s"), median(summary, arm, "not_spans_per_s")
        assert low < high <= low * summary["sizes"]["precision"]


def large_attribute(summary: dict[str, Any]) -> None:
    """No call took longer than the longest."""
    assert all(0 < median(summary, arm, "median_us") <= median(summary, arm, "max_us") for arm in summary["arms"])


def burst(summary: dict[str, Any]) -> None:
    """The smallest run fits in every queue and every request."""
    for arm in summary["arms"]:
        assert median(summary, arm, "lost") == 0
        assert median(summary, arm, "peak_mb") > median(summary, arm, "before_mb")


def collector_down(summary: dict[str, Any]) -> None:
    """What ours does not keep it counts, and it keeps what there is room for."""
    for arm in summary["arms"]:
        assert median(summary, arm, "kept") + median(summary, arm, "lost") == summary["sizes"]["spans"]
        assert arms.processor_of(arm) != arms.NATIVE or median(summary, arm, "uncounted") == 0
    assert median(summary, arms.NATIVE, "kept") == 2048
    assert median(summary, f"{arms.NATIVE}, room for all spans", "lost") == 0


def first_span(summary: dict[str, Any]) -> None:
    """The SDK itself takes time."""
    assert all(median(summary, arm, "total_ms") > median(summary, arm, "beyond_ms") for arm in summary["arms"])


INVARIANTS = {
    check.__name__: check
    for check in (span_cost, ten_thousand, highest_rate, large_attribute, burst, collector_down, first_span)
}


PROBE_EXPERIMENTS = [probe_truth.EXPERIMENT, probe_cost.EXPERIMENT]
needs_probe = pytest.mark.skipif(importlib.util.find_spec("gilscope._probe") is None, reason="the probe is not built")


def run_tiny_probe(asked: probe.ProbeExperiment, folder: Path) -> dict[str, Any]:
    """Return the summary of the smallest run, whose arms are all there or are said to be left out."""
    summary = run_tiny(asked.name, folder, probe.as_text)
    missing = [f"{arm} ({why})" for arm, needs in asked.arms.items() if (why := needs()) is not None]
    assert summary["left_out"] == missing
    assert len(summary["arms"]) + len(missing) == len(asked.arms)
    for figures in summary["arms"].values():
        assert all(len(figure["values"]) == summary["sizes"]["blocks"] for figure in figures.values())
    return summary


@needs_probe
@pytest.mark.slow
def test_probe_truth_in_its_smallest_form_measures_every_tool(tmp_path: Path) -> None:
    """Each tool has its speed, and with the kernel's record the figures that it can have."""
    summary = run_tiny_probe(probe_truth.EXPERIMENT, tmp_path)
    speed = ["items_per_s", "lag_p99_ms"]
    assert all(list(figures)[:2] == speed for figures in summary["arms"].values())
    if oracle.why_not() is None:
        assert {"loop_found", "loop_holders"} <= {*summary["arms"]["watchdog thread"]}
        assert median(summary, "gilscope", "found") > 90
        assert len(summary["targets"]) == len(probe_truth.EXPERIMENT.targets)
    else:
        assert all(list(figures) == speed for figures in summary["arms"].values())


@needs_probe
@pytest.mark.slow
def test_probe_cost_in_its_smallest_form_measures_every_tool(tmp_path: Path) -> None:
    """Each loaded server has all figures of a load, and the hooks cost something."""
    summary = run_tiny_probe(probe_cost.EXPERIMENT, tmp_path)
    for arm in (probe_cost.HOOKS, probe_cost.ACCOUNTED):
        assert all(figure["median"] > 0 for figure in summary["arms"].pop(arm).values())
    for arm, figures in summary["arms"].items():
        turned = arm.endswith(probe_cost.TURNS)
        metrics = probe_cost.EXPERIMENT.details[:2] if turned else probe_cost.EXPERIMENT.metrics
        assert list(figures) == [metric.name for metric in metrics]
        assert all(figure["median"] > 0 for figure in figures.values())


def test_span_of_ten_attributes_has_the_size_it_says() -> None:
    """Upstream's encoder makes as many bytes of each such span."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    request = encode_spans(workload.Maker().make(100))
    (scope,) = request.resource_spans[0].scope_spans
    assert {span.ByteSize() for span in scope.spans} == {workload.SPAN_BYTES}
    assert {len(span.attributes) for span in scope.spans} == {10}


def test_thread_that_python_did_not_start_is_noticed_once_it_runs_python() -> None:
    """The proof that no native thread runs Python can fail."""
    before = process.next_thread_state()
    assert process.next_thread_state() == before + 1
    libc = ctypes.CDLL(None)
    ran: list[int] = []
    start = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: ran.append(1))
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, start, None) == 0
    assert libc.pthread_join(thread, None) == 0
    assert ran == [1]
    assert process.next_thread_state() > before + 2


@pytest.mark.parametrize("truth", [30.0, 8_000.0, 1e6])
def test_search_brackets_the_rate_at_which_it_turns(truth: float) -> None:
    """What holds lies at or below the truth, what does not above it, and they are close."""
    low, high = highest(lambda rate: rate <= truth, 8_000.0, 1.05)
    assert low <= truth < high <= low * 1.05


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target("", "x", "ours", 2.0), True),
        (Target("", "x", "ours", 1.9), False),
        (Target("", "x", "ours", 2.1, "more"), False),
        (Target("", "x", "ours", 5.0, peer="theirs"), True),
        (Target("", "x", "ours", 5.1, peer="theirs"), False),
        (Target("", "x", "ours", 0.2, "more", "theirs"), True),
        (Target("", "x", "ours", 0.3, "more", "theirs"), False),
    ],
)
def test_target_isjudged_block_by_block(target: Target, met: bool) -> None:
    """A ratio is that of each block, also where the machine was three times as slow for a block."""
    values = {"ours": [{"x": 2.0}, {"x": 6.0}, {"x": 2.0}], "theirs": [{"x": 10.0}, {"x": 30.0}, {"x": 10.0}]}
    assert judge(target, values)["met"] is met


def test_figures_in_a_readme_are_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    """Writing twice leaves the second figures alone between the marks; a file without marks is left alone."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n", encoding="utf-8")
    report.replace_figures(readme, "first")
    report.replace_figures(readme, "second")
    assert readme.read_text(encoding="utf-8") == f"before\n{report.BEGIN}\n\nsecond\n\n{report.END}\nafter\n"
    readme.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="expected"):
        report.replace_figures(readme, "third")


def test_readmes_show_the_figures_of_their_summaries(tmp_path: Path) -> None:
    """What stands in a README comes from the summary beside it: writing it again changes nothing."""
    for name in NAMES:
        folder = experiment(name).folder
        if (folder / "summary.json").exists():
            text = (folder / "README.md").read_text(encoding="utf-8")
            (tmp_path / "README.md").write_text(text, encoding="utf-8")
            report.write(tmp_path, json.loads((folder / "summary.json").read_text(encoding="utf-8")))
            assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    for asked in PROBE_EXPERIMENTS:
        if (asked.folder / "summary.json").exists():
            text = probe.as_text(json.loads((asked.folder / "summary.json").read_text(encoding="utf-8")))
            assert text in (asked.folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (2048.0, "2,048"), (0.34567, "0.346"), (1.0107, "1.011"), (35.678, "35.7"), (65432.1, "65,400")],
)
def test_number_has_three_digits_unless_it_is_whole(value: float, text: str) -> None:
    """Counts are exact, everything else is rounded; just above 1 there is a digit more."""
    assert report.number(value) == text
