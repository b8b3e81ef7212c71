"""What `gilscope report` writes where: the page, a picture, a summary, a comparison, the page of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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


@pytest.fixture
def run_folder(tmp_path: Path, capture: Path) -> Path:
    """A run of which the probe and py-spy have watched one arm, and nothing was measured."""
    folder = tmp_path / "run"
    for number, kind in enumerate(("probe", "pyspy")):
        cell = folder / "cells" / f"{number:04}-batch-{kind}"
        cell.mkdir(parents=True)
        facts = {"cell": number, "arm": "batch", "point": {}, "kind": kind, "problems": [], "notes": []}
        (cell / "cell.json").write_text(json.dumps(facts))
    (folder / "cells/0000-batch-probe/capture.gilscope").write_bytes(capture.read_bytes())
    (folder / "cells/0001-batch-pyspy/pyspy.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


def test_report_of_a_run_has_its_captures_and_links_to_their_pages(run_folder: Path) -> None:
    """Pages that are not there are written; paths hold wherever the folder is moved."""
    assert cli.main(["report", str(run_folder)]) == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert 'href="cells/0000-batch-probe/capture.html#stall=1"' in page
    assert "py-spy, of the whole block: samples of all threads" in page
    assert (run_folder / "cells/0000-batch-probe/capture.html").exists()


def test_page_of_a_capture_of_a_run_is_written_again_only_if_told_so(run_folder: Path) -> None:
    """As everything else that is there."""
    page = run_folder / "cells/0000-batch-probe/capture.html"
    page.write_text("mine")
    assert cli.main(["report", str(run_folder)]) == 0
    assert page.read_text(encoding="utf-8") == "mine"
    assert cli.main(["report", str(run_folder), "--force"]) == 0
    assert page.read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": None}, "0001-batch-pyspy: what was seen there is not on this page"),
        ({"problems": ["the load was late"]}, "although it is invalid: the load was late"),
        ({"notes": ["py-spy is not installed"]}, "0001-batch-pyspy: py-spy is not installed"),
    ],
)
def test_report_of_a_run_tells_what_it_did_not_see(run_folder: Path, change: dict[str, Any], expected: str) -> None:
    """A cell that cannot be read, one that may not count, and what py-spy could not do."""
    path = run_folder / "cells/0001-batch-pyspy/cell.json"
    facts = {**json.loads(path.read_bytes()), **change}
    path.write_text(json.dumps({name: value for name, value in facts.items() if value is not None}))
    assert cli.main(["report", str(run_folder)]) == 0
    assert expected in (run_folder / "report.html").read_text(encoding="utf-8")


def test_report_of_a_run_has_what_came_of_its_dumps(run_folder: Path) -> None:
    """With a link to them."""
    path = run_folder / "cells/0001-batch-pyspy/cell.json"
    facts = {**json.loads(path.read_bytes()), "kind": "pyspy-dump", "notes": ["3 of 20 dumps were in time"]}
    path.write_text(json.dumps(facts))
    path.with_name("stalls-pyspy.jsonl").touch()
    assert cli.main(["report", str(run_folder)]) == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert '3 of 20 dumps were in time (<a href="cells/0001-batch-pyspy/stalls-pyspy.jsonl">' in page


def test_damaged_capture_of_a_run_is_told_on_its_page(run_folder: Path) -> None:
    """The rest is there all the same."""
    (run_folder / "cells/0000-batch-probe/capture.gilscope").write_bytes(b"no capture")
    assert cli.main(["report", str(run_folder)]) == 0
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert "0000-batch-probe: what was seen there is not on this page" in page
    assert "samples of all threads" in page


@pytest.mark.parametrize(
    ("points", "expected"),
    [(0, ["percentiles.svg"]), (1, ["percentiles.svg"]), (2, ["percentiles-1.svg", "percentiles-2.svg"])],
)
def test_picture_of_a_run_is_its_percentiles(run_folder: Path, points: int, expected: list[str]) -> None:
    """One for each point of the plan."""
    summary = {**SUMMARY, "points": [{"answer": "Nothing.", "arms": {}}] * points}
    (run_folder / "summary.json").write_text(json.dumps(summary))
    assert cli.main(["report", str(run_folder), "--format", "svg"]) == 0
    assert sorted(path.name for path in run_folder.glob("*.svg")) == expected
    assert "Latency by percentile" in (run_folder / expected[0]).read_text(encoding="utf-8")


def test_pictures_of_several_points_have_no_one_name(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second would replace the first."""
    summary = {**SUMMARY, "points": [{"answer": "Nothing.", "arms": {}}] * 2}
    (run_folder / "summary.json").write_text(json.dumps(summary))
    assert cli.main(["report", str(run_folder), "--format", "svg", "-o", str(run_folder / "p.svg")]) == 1
    assert "has 2 points" in capsys.readouterr().err
    assert not list(run_folder.glob("*.svg"))


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
