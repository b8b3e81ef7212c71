"""The page of an experiment: everything in a summary is on it, and nothing in it is markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.analysis import analyse
from gilscope.report import page_experiment
from gilscope.report.page_arms import Watched
from tests.made_capture import MadeCapture

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


def headings(page: str) -> list[str]:
    """Return those of the sections, in order."""
    return [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]


def test_sections_come_in_the_order_of_the_questions(summary: dict[str, Any]) -> None:
    """The answer, what was not seen, latency, cost, spans, pairs, thresholds, and how it was made."""
    assert headings(page_experiment.render(summary)) == [
        "What was not seen",
        "Latency by percentile",
        "Cost",
        "Spans delivered",
        "Pairs, and the noise",
        "Thresholds",
        "How this was made",
    ]


def test_sections_of_the_captures_stand_between_latency_and_cost(summary: dict[str, Any]) -> None:
    """Timeline, where the time went, flame graphs, worst stalls, findings."""
    made = MadeCapture()
    made.convoy(0, 5)
    page = page_experiment.render(summary, [Watched("batch", {}, analyse(made), "cells/1/capture.html")])
    assert headings(page)[1:8] == [
        "Latency by percentile",
        "Timeline",
        "Where the loop&#x27;s time went, per arm",
        "Flame graphs of the stalls, per arm",
        "Worst stalls of all arms",
        "Findings, per arm",
        "Cost",
    ]


def test_regions_of_a_page_with_several_points_have_names_of_their_own(summary: dict[str, Any]) -> None:
    """A screen reader lists tables and pictures by them."""
    made = MadeCapture()
    made.convoy(0, 5)
    levels = [{"users": users} for users in (10, 100)]
    page = page_experiment.render(
        {**summary, "points": [{**summary["points"][0], "point": point} for point in levels]},
        [Watched(arm, point, analyse(made)) for point in levels for arm in ("batch", "native")],
    )
    names = re.findall('aria-label="([^"]*)"', page)
    assert len(names) == len(set(names)) > 20


def test_figures_on_top_are_of_the_arms_that_are_asked_for_first(summary: dict[str, Any]) -> None:
    """Where there is no room for all, the second of the A/A pair and `sdk` make room for `native`."""
    arms = summary["points"][0]["arms"]
    named = dict.fromkeys(("none", "sdk", "batch", "subprocess", "native", "none.again"), arms["batch"])
    page = page_experiment.render({**summary, "points": [{**summary["points"][0], "arms": named}]})
    shown = [part.partition("</dt>")[0] for part in page.split("<dt>")[1:]]
    assert shown == ["p99, none", "p99, batch", "p99, subprocess", "p99, native"]


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
    """Question and problems are escaped, and why something was not seen."""
    page = page_experiment.render(summary, unseen=[ATTACK])
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_summary_without_points_is_a_page_all_the_same(summary: dict[str, Any]) -> None:
    """A run of which nothing is valid still says why."""
    page = page_experiment.render({**summary, "points": []})
    assert "is left out of every figure" in page
