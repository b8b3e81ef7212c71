"""What `gilscope report` writes where: the page, a picture, a summary, a comparison, the page of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gilscope import cli
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
LOOP = 1
ITERATION = 3
SUMMARY = {
    "question": "What does it cost?",
    "answer": "Nothing.",
    "points": [],
    "thresholds": [],
    "invalid": [],
    "how": {"seed": 1},
}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """One iteration of 40 ms on the CPU."""
    writer = CaptureWriter({"argv": ["/usr/bin/python3", "/srv/serve.py", "--all"], "stall_threshold_ns": 20 * MS})
    writer.definitions(capture_writer.thread(LOOP, "MainThread", loop=1))
    writer.events(capture_writer.event(ITERATION, 0, LOOP, 0, 40 * MS, count=1, a=40 * MS))
    return writer.end().write(tmp_path / "app.gilscope")


def test_report_is_a_page_beside_the_capture(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, and not written again without --force."""
    page = capture.with_suffix(".html")
    assert cli.main(["report", str(capture)]) == 0
    assert "<title>gilscope: serve.py --all</title>" in page.read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(f"{page} (")
    assert cli.main(["report", str(capture)]) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main(["report", str(capture), "--force"]) == 0


@pytest.mark.parametrize(("form", "expected"), [("--text", "The loop was stalled"), ("--markdown", "### Stalls of")])
def test_text_and_markdown_go_to_standard_output(
    capture: Path, form: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written beside the capture."""
    assert cli.main(["report", str(capture), form]) == 0
    assert capsys.readouterr().out.startswith(expected)
    assert list(capture.parent.iterdir()) == [capture]


def test_picture_is_an_svg_beside_the_capture(capture: Path) -> None:
    """As `gilscope flamegraph` draws it."""
    assert cli.main(["report", str(capture), "--format", "svg"]) == 0
    assert capture.with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")


def test_comparison_names_both_captures(capture: Path) -> None:
    """In the title and in the verdict."""
    other = capture.with_name("before.gilscope")
    other.write_bytes(capture.read_bytes())
    page = capture.with_name("change.html")
    assert cli.main(["report", str(capture), "--against", str(other), "-o", str(page)]) == 0
    assert "<title>gilscope: app.gilscope against before.gilscope</title>" in page.read_text(encoding="utf-8")


def test_threshold_holds_for_the_page(capture: Path) -> None:
    """What is no stall is not told as one."""
    assert cli.main(["report", str(capture), "--threshold-ms", "50"]) == 0
    assert "No stalls, so there is nothing to draw." in capture.with_suffix(".html").read_text(encoding="utf-8")


def test_report_of_a_run_is_in_its_folder_and_links_to_pages(tmp_path: Path) -> None:
    """Pages of captures beside the cells are linked, by paths that hold wherever the folder is moved."""
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    cell = tmp_path / "cells" / "0003-batch"
    cell.mkdir(parents=True)
    (cell / "capture.html").write_text("a page")
    assert cli.main(["report", str(tmp_path)]) == 0
    assert 'href="cells/0003-batch/capture.html"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_folder_without_a_summary_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was expected, and writes nothing."""
    assert cli.main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "summary.json: expected the summary of a run" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [["--json"], ["--text"], ["--against", "x"], ["--fail-over-ms", "5"]])
def test_option_that_a_run_has_not_is_refused(
    tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """To ignore what was asked would be worse."""
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    assert cli.main(["report", str(tmp_path), *option]) == 1
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_comparison_in_another_form_is_refused(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a page and nothing else."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(["report", str(capture), "--against", str(capture), "--json"])
    assert "not allowed with" in capsys.readouterr().err
