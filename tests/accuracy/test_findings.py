"""Programs that each have one fault: it is the first finding, and names what was planted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.accuracy.recorded import LOOPS, needs_probe, read_whole, run

if TYPE_CHECKING:
    from pathlib import Path

    from gilscope.analysis import Analysis

pytestmark = needs_probe
# A busy machine takes its core from any thread; the findings that say so are then true, and no fault of the program.
BUSY = {"no_core", "holder_without_core"}
# What looks at the same time from another side.
RELATED = {"exporter_thread": {"gil_convoy", "long_c_call"}}


def analysed(directory: Path, program: str, loop: str) -> Analysis:
    """Return what the capture of a program says."""
    path = directory / "app.gilscope"
    run("tests.accuracy.programs_findings", program, loop, path)
    return read_whole(path).analysis


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("program", "kind", "names"),
    [
        ("gil_convoy", "gil_convoy", ["miner had the GIL in 100 %"]),
        ("blocking_call", "blocking_call", ["load_prices (accuracy/programs_findings.py:"]),
        ("large_json", "long_c_call", ["(json)", "reporter in JSONEncoder", "make_report"]),
        ("regex", "long_c_call", ["(re)", "checker in fullmatch", "check_name"]),
        ("exporter_thread", "exporter_thread", ["OtelBatchSpan"]),
        ("garbage_collection", "garbage_collection", ["generation 2"]),
        ("too_many_threads", "too_many_threads", ["had the GIL one after the other"]),
        ("cpu_in_callback", "cpu_in_callback", ["score (accuracy/programs_findings.py:"]),
        ("no_core", "no_core", ["run queue"]),
        ("holder_without_core", "holder_without_core", ["miner: about"]),
    ],
)
def test_planted_fault_is_the_first_finding(
    tmp_path: Path, loop: str, program: str, kind: str, names: list[str]
) -> None:
    """It names the planted function or thread, and what has nothing to do with it claims less than half as much."""
    found = [
        finding
        for finding in analysed(tmp_path, program, loop).findings
        if finding.kind == kind or finding.kind not in BUSY
    ]
    first = found[0]
    assert first.kind == kind
    said = "\n".join((first.title, *first.evidence))
    assert [name for name in names if name not in said] == []
    unrelated = [finding for finding in found if finding.kind not in {kind, *RELATED.get(kind, ())}]
    assert [finding for finding in unrelated if 2 * finding.stolen_ns > first.stolen_ns] == []


def test_collection_is_in_the_stacks_below_what_called_it(tmp_path: Path) -> None:
    """Nearly all of the stalled time: for it no sample has to be in the collection, and its frames are by samples."""
    analysis = analysed(tmp_path, "garbage_collection", "asyncio")
    seen_ns = {tuple(frame.code.name for frame in weighted.stack.frames[:2]): 0 for weighted in analysis.stall_stacks}
    for weighted in analysis.stall_stacks:
        seen_ns[tuple(frame.code.name for frame in weighted.stack.frames[:2])] += weighted.ns
    collected_ns = sum(ns for names, ns in seen_ns.items() if names[:1] == ("[garbage collection]",))
    assert collected_ns >= 0.9 * analysis.stalled_ns
    below = "garbage_collection.<locals>.load_catalogue"
    assert seen_ns["[garbage collection]", below] >= 0.9 * collected_ns
    assert "it collected garbage (generation 2)" in analysis.verdict
