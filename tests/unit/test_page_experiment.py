"""The page of an experiment: everything in a summary is on it, and nothing in it is markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gilscope.report import page_experiment

np = pytest.importorskip("numpy")

from gilscope.bench.summary import summarize  # noqa: E402 - needs numpy
from tests.made_run import MadeRun, latencies_ns  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

ATTACK = "</script><img src=x onerror=alert(1)>"
LIMIT = {"arm": "batch", "against": "none", "figure": "p99_ms", "at_most": 1.2, "as": "ratio"}


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    """Five blocks of three arms, of which `batch` is slower by half, and a cell that is invalid."""
    run = MadeRun(tmp_path, arms=("none", "batch"), thresholds=[LIMIT], question=ATTACK)
    random = np.random.default_rng(1)
    for block in range(5):
        for arm, factor in (("none", 1), ("none.again", 1), ("batch", 1.5)):
            run.cell(arm, block, latencies_ns(random, 2000, factor=factor))
    run.cell("batch", 5, valid=False, problems=[ATTACK])
    return dict(summarize(tmp_path))


def test_sections_come_in_the_order_of_the_questions(summary: dict[str, Any]) -> None:
    """The answer, what was not seen, latency, cost, spans, pairs, thresholds, and how it was made."""
    page = page_experiment.render(summary)
    headings = [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]
    assert headings == [
        "What was not seen",
        "Latency by percentile",
        "Cost",
        "Spans delivered",
        "Pairs, and the noise",
        "Thresholds",
        "How this was made",
    ]


def test_figures_stand_with_their_intervals(summary: dict[str, Any]) -> None:
    """As the summary has them."""
    figure = summary["points"][0]["arms"]["batch"]["latency_ms"]["p99"]
    expected = f"{figure['value']:.1f} [{figure['low']:.1f} to {figure['high']:.1f}]"
    assert expected in page_experiment.render(summary)


def test_threshold_that_was_missed_says_so(summary: dict[str, Any]) -> None:
    """A ratio of 1.5 is over 1.2."""
    page = page_experiment.render(summary)
    assert "batch against none (ratio), p99_ms: at most 1.2" in page
    assert ">missed<" in page


def test_text_of_a_summary_is_never_markup(summary: dict[str, Any]) -> None:
    """Question, problems and names of pages are escaped."""
    page = page_experiment.render(summary, [ATTACK])
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_summary_without_points_is_a_page_all_the_same(summary: dict[str, Any]) -> None:
    """A run of which nothing is valid still says why."""
    page = page_experiment.render({**summary, "points": []})
    assert "is left out of every figure" in page
