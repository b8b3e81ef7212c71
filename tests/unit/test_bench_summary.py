"""The summary of run folders made by hand."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gilscope.bench import requests_file
from gilscope.bench.cells import RunFolderError
from gilscope.bench.requests_file import Request, RequestsFileError
from gilscope.bench.summary import summarize
from gilscope.bench.thresholds import ThresholdError
from tests.made_run import MadeRun

if TYPE_CHECKING:
    from pathlib import Path

EQUAL = {"none": 1.0, "none.again": 1.0, "sdk": 1.0, "batch": 1.0, "native": 1.0}


def summary_of(run: MadeRun) -> Any:
    """Return the summary as a reader of summary.json gets it."""
    return json.loads(json.dumps(summarize(run.folder), allow_nan=False))


def test_requests_written_are_read_back(tmp_path: Path) -> None:
    """The file keeps every column, and nothing else is left in the folder."""
    requests_file.write(tmp_path / "requests.bin", [Request(1, 2, 3, 200), Request(4, 5, 0, 0)])
    found = requests_file.read(tmp_path / "requests.bin")
    assert [column.tolist() for column in found] == [[1, 4], [2, 5], [3, 0], [200, 0]]
    assert [path.name for path in tmp_path.iterdir()] == ["requests.bin"]


def test_requests_file_without_requests_is_read_as_none(tmp_path: Path) -> None:
    """No requests are none, and no error."""
    requests_file.write(tmp_path / "requests.bin", [])
    assert len(requests_file.read(tmp_path / "requests.bin").status) == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "must begin with"),
        (b"GILSCOPE", "must begin with"),
        (b"gsreq\x00\x01\x00" + bytes(33), "1 are left at its end"),
        (b"gsreq\x00\x01\x00" + np.array([5, 5, 4, 200], dtype="<i8").tobytes(), "must be answered after"),
    ],
)
def test_requests_file_that_is_damaged_says_how(tmp_path: Path, data: bytes, said: str) -> None:
    """A damaged file is never read as fewer requests."""
    (tmp_path / "requests.bin").write_bytes(data)
    with pytest.raises(RequestsFileError, match=said):
        requests_file.read(tmp_path / "requests.bin")


def test_summary_of_equal_arms_tells_none_apart(tmp_path: Path) -> None:
    """The answer says so of each arm, and by how much it may differ all the same."""
    run = MadeRun(tmp_path)
    run.fill(EQUAL)
    answer = summary_of(run)["answer"]
    assert answer.startswith("At 100 users, p99 is ")
    assert len(re.findall(r" x \[\d.\d\d x to \d.\d\d x\], which cannot be told apart", answer)) == 3
    assert "native and batch cannot be told apart" in answer


@pytest.mark.parametrize(("native", "word"), [(1.0, "faster"), (4.0, "slower")])
def test_summary_of_native_against_batch_says_which_is_faster(tmp_path: Path, native: float, word: str) -> None:
    """Also where native loses."""
    run = MadeRun(tmp_path)
    run.fill({**EQUAL, "batch": 2.0, "native": native})
    assert f"native is {word} than batch" in summary_of(run)["answer"]


def test_answer_without_the_requests_for_p99_tells_the_percentile_that_it_can(tmp_path: Path) -> None:
    """500 requests tell p90, and the answer says why it is not p99."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    run.cell("none", 0, np.full(500, 20_000_000))
    answer = summary_of(run)["answer"]
    assert answer.startswith("At 100 users, p90 is 20 ms without tracing;")
    assert "no arm has the 1,000 requests that p99 needs" in answer


def test_answer_over_points_has_the_range_of_each_arm_and_where_it_costs_most(tmp_path: Path) -> None:
    """One sentence, however many points; of those where an arm's p99 cannot be told, how many it can."""
    run = MadeRun(tmp_path, arms=["none", "batch"], repeats=1, factors={"users": [10, 100, 300]})
    for users, batch_ms in ((10, 25), (100, 60)):
        run.cell("none", 0, point={"users": users})
        run.cell("batch", 0, np.full(2000, batch_ms * 1_000_000), point={"users": users})
    run.cell("none", 0, point={"users": 300})
    run.cell("batch", 0, np.full(20, 20_000_000), point={"users": 300})
    assert summary_of(run)["answer"] == (
        "Over 3 points, p99 in times of that without tracing: 1.25 x to 3.0 x with BatchSpanProcessor (at 2 of them); "
        "the most is 3.0 x with BatchSpanProcessor at users 100: 60 ms, and 20 ms without tracing. Each point has its "
        "own answer."
    )


def test_spans_that_were_never_to_be_sent_are_not_lost(tmp_path: Path) -> None:
    """The arm `sdk` makes spans and exports none; an arm that drops some is named in the answer."""
    run = MadeRun(tmp_path, arms=["sdk", "batch"], repeats=1)
    run.cell("sdk", 0, spans={"made": 900, "received": 0, "dropped": 0, "failed": 0, "unaccounted": 0})
    run.cell("batch", 0, spans={"made": 900, "received": 880, "dropped": 15, "failed": 5, "unaccounted": 0})
    found = summary_of(run)
    lost = {
        name: (arm["spans"]["lost"], arm["lost_spans"]["value"]) for name, arm in found["points"][0]["arms"].items()
    }
    assert lost == {"sdk": (0, 0.0), "batch": (20, 20.0)}
    assert "; batch lost 20 of 900 spans" in found["answer"]
    assert "sdk lost" not in found["answer"]


def test_summary_has_latencies_from_the_intended_start(tmp_path: Path) -> None:
    """A request sent late has waited already."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    folder = run.cell("none", 0)
    requests_file.write(folder / "requests.bin", [Request(0, 5_000_000, 7_000_000, 200)] * 20)
    assert summary_of(run)["points"][0]["arms"]["none"]["latency_ms"]["p50"]["value"] == 7.0


def test_summary_has_the_pauses_of_collections_by_generation(tmp_path: Path) -> None:
    """Counts and pauses are sums over the blocks, the longest is the longest of all; the figures are a block's."""
    run = MadeRun(tmp_path, arms=["none"], repeats=2)
    for block, pause_ns in enumerate((30_000_000, 50_000_000)):
        young = {"collections": 20, "pause_ns": 4_000_000, "longest_pause_ns": 1_000_000}
        old = {"collections": 2, "pause_ns": 2 * pause_ns, "longest_pause_ns": pause_ns}
        run.cell("none", block, server={"gc": [young, old]}, from_ns=0, until_ns=2_000_000_000)
    arm = summary_of(run)["points"][0]["arms"]["none"]
    assert arm["gc"] == [
        {"collections": 40, "pause_ms": 8.0, "longest_ms": 1.0},
        {"collections": 4, "pause_ms": 160.0, "longest_ms": 50.0},
    ]
    assert (arm["gc_pause_ms_per_s"]["value"], arm["gc_pause_longest_ms"]["value"]) == (42.0, 40.0)


def test_summary_leaves_an_invalid_cell_out_and_lists_it(tmp_path: Path) -> None:
    """Its latencies change nothing, and its problems are told."""
    run = MadeRun(tmp_path, arms=["none"], repeats=2)
    run.cell("none", 0)
    run.cell("none", 1, np.full(2000, 10**12), valid=False, problems=["the load was saturated"])
    found = summary_of(run)
    assert found["points"][0]["arms"]["none"]["latency_ms"]["max"]["value"] == 20.0
    assert found["points"][0]["arms"]["none"]["notes"][0] == "1 valid of 2 blocks"
    assert found["invalid"] == [{"cell": 1, "arm": "none", "problems": ["the load was saturated"]}]


def test_summary_counts_the_repeat_of_an_invalid_cell(tmp_path: Path) -> None:
    """A block whose cell was run again is whole."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    run.cell("none", 0, valid=False, problems=["failed requests"])
    run.cell("none", 0)
    assert summary_of(run)["points"][0]["arms"]["none"]["blocks"] == 1


@pytest.mark.parametrize("damage", [b"", b"gsreq\x00\x01\x00"])
def test_summary_lists_a_cell_whose_requests_are_lost_as_invalid(tmp_path: Path, damage: bytes) -> None:
    """A damaged or empty file costs its cell and nothing else."""
    run = MadeRun(tmp_path, arms=["none", "sdk"], repeats=1)
    run.cell("none", 0)
    (run.cell("sdk", 0) / "requests.bin").write_bytes(damage)
    found = summary_of(run)
    assert [cell["arm"] for cell in found["invalid"]] == ["sdk"]
    assert "nothing valid of sdk" in found["answer"]


def test_summary_leaves_unanswered_requests_in_no_figure(tmp_path: Path) -> None:
    """A cell that claims to be valid and has a request without an answer is not."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    requests_file.write(run.cell("none", 0) / "requests.bin", [Request(0, 0, 0, 0)] * 2000)
    assert summary_of(run)["invalid"][0]["problems"] == ["2000 requests without an answer"]


def test_summary_of_a_cell_that_was_never_finished_says_so(tmp_path: Path) -> None:
    """A folder without cell.json is what a run leaves that was ended."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    (run.cell("none", 0) / "cell.json").unlink()
    found = summary_of(run)
    assert found["answer"] == "At 100 users, nothing can be told: no cell is valid."
    assert found["invalid"][0]["problems"] == ["not finished; resume the run"]


def test_summary_leaves_cells_with_py_spy_out_of_the_figures(tmp_path: Path) -> None:
    """py-spy's pauses are part of what such a cell measures."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    run.cell("none", 0)
    run.cell("none", 0, np.full(2000, 10**12), kind="pyspy")
    assert summary_of(run)["points"][0]["arms"]["none"]["latency_ms"]["max"]["value"] == 20.0


def test_summary_of_arms_at_different_rates_says_so(tmp_path: Path) -> None:
    """A closed loop that reaches 3 % less has measured another load."""
    run = MadeRun(tmp_path, arms=["none", "batch"], repeats=1)
    run.cell("none", 0)
    rates = {"asked": 2000, "ok": 2000, "failed": 0, "asked_per_s": 50.0, "reached_per_s": 48.5}
    run.cell("batch", 0, requests=rates)
    assert "did not carry the same load (batch 48.5 requests/s, none 50.0)" in summary_of(run)["answer"]


def test_summary_of_too_few_requests_gives_the_reason_instead_of_a_figure(tmp_path: Path) -> None:
    """p99.9 of 2,000 requests would be the luck of two."""
    run = MadeRun(tmp_path, arms=["none"], repeats=1)
    run.cell("none", 0)
    found = summary_of(run)["points"][0]["arms"]["none"]["latency_ms"]["p99.9"]
    assert (found["value"], found["why"]) == (None, "needs 10,000 requests, has 2,000")


def test_summary_of_the_same_files_is_the_same(tmp_path: Path) -> None:
    """Intervals are drawn from the plan's seed."""
    run = MadeRun(tmp_path)
    run.fill(EQUAL, requests=500)
    assert summary_of(run) == summary_of(run)


@pytest.mark.parametrize(
    ("threshold", "reached", "met"),
    [
        ({"arm": "batch", "figure": "p50_ms", "at_most": 40}, 40.0, True),
        ({"arm": "batch", "figure": "p50_ms", "at_most": 39}, 40.0, False),
        ({"arm": "batch", "against": "none", "figure": "p99_ms", "at_most": 1.9}, 2.0, False),
        ({"arm": "batch", "against": "none", "figure": "p99_ms", "at_least": 20, "as": "difference"}, 20.0, True),
        ({"arm": "batch", "figure": "lost_spans", "at_most": 0}, 10.0, False),
        ({"arm": "batch", "figure": "p99.9_ms", "at_most": 1e9}, None, False),
        ({"arm": "sdk", "figure": "p50_ms", "at_most": 1e9}, None, False),
    ],
)
def test_threshold_is_met_only_by_a_figure_within_it(
    tmp_path: Path, threshold: dict[str, Any], reached: float | None, met: bool
) -> None:
    """What cannot be told is missed: a run that measured nothing must not pass."""
    run = MadeRun(tmp_path, arms=["none", "batch", "sdk"], repeats=1, thresholds=[threshold])
    run.cell("none", 0)
    run.cell("batch", 0, np.full(2000, 40_000_000))
    (found,) = summary_of(run)["thresholds"]
    assert (found["reached"], found["met"]) == (reached, met)


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ({"arm": "none", "figure": "p98_ms", "at_most": 1}, "figure must be one of p50_ms, .*; got 'p98_ms'"),
        ({"arm": "natve", "figure": "p99_ms", "at_most": 1}, "arm must be one of none, .*; got 'natve'"),
        ({"arm": "none", "figure": "p99_ms"}, "expected at_most or at_least, got neither"),
        ({"arm": "none", "figure": "p99_ms", "at_most": "1"}, "at_most must be a number"),
        ({"arm": "none", "figure": "p99_ms", "atmost": 1}, "got atmost"),
        ({"arm": "none", "figure": "p99_ms", "at_most": 1, "as": "share"}, "as must be one of ratio, difference"),
    ],
)
def test_threshold_that_cannot_be_checked_says_what_was_expected(
    tmp_path: Path, threshold: dict[str, Any], said: str
) -> None:
    """A misspelt threshold must not pass for one that is met."""
    with pytest.raises(ThresholdError, match=said):
        summarize(MadeRun(tmp_path, thresholds=[threshold]).folder)


def test_threshold_at_a_point_that_was_never_reached_is_missed(tmp_path: Path) -> None:
    """A run that was ended early has not met what it did not measure."""
    limit = {"arm": "none", "figure": "p50_ms", "at_most": 100}
    run = MadeRun(tmp_path, arms=["none"], repeats=1, factors={"users": [10, 100]}, thresholds=[limit])
    run.cell("none", 0, point={"users": 10})
    found = summary_of(run)
    assert [(one["point"]["users"], one["met"]) for one in found["thresholds"]] == [(10, True), (100, False)]
    assert found["answer"].endswith("At 100 users, nothing can be told: no cell is valid.")


def test_summary_of_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    """The message names the file that is not there."""
    with pytest.raises(RunFolderError, match=r"plan\.json: No such file.*expected the folder of a bench run"):
        summarize(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_summary_of_a_damaged_cell_file_names_it(tmp_path: Path, text: str) -> None:
    """Half a cell is not guessed at."""
    run = MadeRun(tmp_path, arms=["none"])
    (run.cell("none", 0) / "cell.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"0000-none/cell\.json"):
        summarize(run.folder)
