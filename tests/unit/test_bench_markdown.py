"""The summary as Markdown: complete, and never markup of somebody else's making."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from gilscope.bench.markdown import escape, render
from gilscope.bench.summary import summarize
from tests.made_run import MadeRun

if TYPE_CHECKING:
    from pathlib import Path

NASTY = (
    "<script>alert(1)</script> [x](http://evil) ![y](z) | @team #1 **b** `c` &lt; https://evil www.evil\n# title\x1b"
)


def test_markdown_of_a_run_has_every_part(tmp_path: Path) -> None:
    """Answer, arms, pairs, noise, thresholds, invalid cells and how it was made."""
    run = MadeRun(tmp_path, thresholds=[{"arm": "native", "against": "none", "figure": "p99_ms", "at_most": 0.1}])
    run.fill({"none": 1, "none.again": 1, "sdk": 1, "batch": 2, "native": 1})
    run.cell("batch", 4, valid=False, problems=["late"])
    text = html.unescape(render(summarize(tmp_path)))
    parts = ["**At 100 users, p99 is ", "\n| batch | ", "\n| none.again / none | 1.0", "\n| batch / none | **2."]
    parts += ["5,000 / 4,950 / 50", "**missed**", "- cell 25, batch: late", "- seed: 1", "- cores: 2"]
    assert [part for part in parts if part not in text] == []


def test_markdown_of_a_pair_marks_only_what_is_beyond_the_noise(tmp_path: Path) -> None:
    """Equal arms are in plain type; what differs by a factor of 2 is bold."""
    run = MadeRun(tmp_path)
    run.fill({"none": 1, "none.again": 1, "batch": 2, "native": 1})
    rows = {row.split(" |")[0]: row for row in html.unescape(render(summarize(tmp_path))).splitlines()}
    assert rows["| batch / none"].split(" | ")[1].startswith("**")
    assert not rows["| native / none"].split(" | ")[1].startswith("**")


def test_markdown_has_the_pauses_of_collections(tmp_path: Path) -> None:
    """A row an arm, where the server has told."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    pauses = [{"collections": 7, "pause_ns": 4_000_000, "longest_pause_ns": 3_000_000}] * 3
    run.cell("none", 0, server={"gc": pauses}, from_ns=0, until_ns=2_000_000_000)
    assert "| none | 6.00 | 3.00 | 7: 4.00 ms, longest 3.00 | 7:" in html.unescape(render(summarize(tmp_path)))


def test_markdown_of_arms_with_the_same_note_says_it_once(tmp_path: Path) -> None:
    """A comment on a change is no place for the same words six times."""
    run = MadeRun(tmp_path, arms=["none", "sdk"], repeats=1)
    run.cell("none", 0)
    run.cell("sdk", 0)
    assert html.unescape(render(summarize(tmp_path))).count("- none, sdk: too few requests to tell p99.9\n") == 1


def test_markdown_of_more_points_than_a_comment_holds_counts_what_it_left_out(tmp_path: Path) -> None:
    """GitHub takes 65,536 characters; thresholds and how it was made are kept, points from the end are not."""
    run = MadeRun(tmp_path, thresholds=[{"arm": "native", "against": "none", "figure": "p99_ms", "at_most": 9}])
    run.fill({"none": 1, "none.again": 1, "sdk": 1, "batch": 2, "native": 1}, blocks=2)
    summary = summarize(tmp_path)
    summary["points"] = [{**summary["points"][0], "point": {"users": users}} for users in range(60)]  # type: ignore[index]
    summary["invalid"] = [{"cell": cell, "arm": "batch", "problems": ["late"]} for cell in range(100)]
    text = html.unescape(written := render(summary))
    assert len(written) <= 65_536
    left_out = int(re.search(r"(\d+) of 60 points are left out", text)[1])  # type: ignore[index]
    assert text.count("#### users") == 60 - left_out > 5
    assert [part for part in ("| met |", "and 60 more cells", "- seed: 1") if part not in text] == []


def test_markdown_of_nothing_valid_is_still_rendered(tmp_path: Path) -> None:
    """A run that measured nothing says so."""
    assert "no cell is valid" in html.unescape(render(summarize(MadeRun(tmp_path).folder)))


@pytest.mark.parametrize("where", ["question", "app", "problem", "level"])
def test_markdown_of_hostile_text_has_no_markup_of_it(tmp_path: Path, where: str) -> None:
    """Wherever it comes in, it stays text."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1, **({where: NASTY} if where in {"question", "app"} else {}))
    run.cell("none", 0, point={"loop": NASTY} if where == "level" else {})
    run.cell("none", 1, valid=False, problems=[NASTY if where == "problem" else "late"])
    text = render(summarize(tmp_path))
    assert "alert" in text
    for markup in ("<script", "](", "@team", "#1 ", "`", "**b", "://", "www.", "\n# title", "\x1b"):
        assert markup not in text


def test_escape_keeps_what_is_shown(tmp_path: Path) -> None:
    """Only the characters' spelling changes; a line end and an escape sequence become spaces."""
    shown = html.unescape(escape("a|b <c> @d\n#e\x1b"))
    assert shown == "a|b <c> @d #e"


def test_escape_leaves_no_character_that_begins_markup() -> None:
    """All of ASCII's punctuation that has a meaning is spelt as an entity."""
    assert re.sub(r"&#\d+;", "", escape("\\`*_{}[]#+!|~<>&@$^:-")) == ""
