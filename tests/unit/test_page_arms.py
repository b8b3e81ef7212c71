"""What the page of an experiment says of its captures: every arm beside the others, and nothing that has no room."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from gilscope.analysis import analyse
from gilscope.analysis.model import WeightedStack
from gilscope.report import page_arms
from gilscope.report.markup import joined
from gilscope.report.page_arms import Picture, Watched
from tests.made_capture import LOOP, MadeCapture, stack

PICTURE = Picture("samples of all threads", "cells/0009-batch-pyspy/pyspy.svg", "<svg xmlns='...'/>")


def waiting(waits: int, at: float = 100) -> MadeCapture:
    """Return a second in which the loop waits for the GIL so often, 5 ms each, behind `encode`."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    made.convoy(at, waits, stack=made.stack(stack("encode")))
    made.iteration(999, 1000, cpu=1)
    return made


def computing(length: float) -> MadeCapture:
    """Return a second in which the loop computes in `parse` once for so many ms."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    parse = made.stack(stack("parse", "handle"))
    made.run(LOOP, 500, 500 + length, parse)
    made.sample(LOOP, 500 + length / 2, parse)
    made.iteration(500, 500 + length, cpu=length)
    made.iteration(999, 1000, cpu=1)
    return made


def watched(arm: str, made: MadeCapture) -> Watched:
    """Return an arm that the probe has watched, with its page."""
    return Watched(arm, {}, analyse(made), f"cells/{arm}/capture.html")


def rows(page: str, caption: str) -> list[list[str]]:
    """Return the text of the cells of a table, row by row, by the beginning of its caption."""
    table = page.partition(f"<caption>{caption}")[2].partition("</table>")[0]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr>")[1:]]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in found]


def compared(page: str) -> list[str]:
    """Return the names of the graphs of a change."""
    return re.findall(r"<summary>Change: (.*?)</summary>", page)


def page_of(*arms: Watched) -> str:
    """Return the sections."""
    return joined(page_arms.sections(arms))


def test_tables_of_times_have_shares_of_the_recording() -> None:
    """Of a second, 31 ms in a stall, of which 25 ms waiting for the GIL; two iterations of 1 ms beside it."""
    page = page_of(watched("batch", waiting(5)))
    head, row = rows(page, "Where the loop&#x27;s time went")
    shares = {"loop busy": "3 %", "GIL wait": "2 %", "on CPU": "<1 %", "blocked": "0 %", "no core": "0 %"}
    assert dict(zip(head, row, strict=True)) == {"arm": "batch", **shares, "unattributed": "0 %"}
    _, row = rows(page, "Stalls and iterations")
    assert row == ["batch", "60", "3 %", "31 ms", "31 ms"]


def test_table_of_holders_names_who_made_the_loop_wait() -> None:
    """With the time, and its share of all waiting; an arm without waits says so."""
    _, batch, none = rows(page_of(watched("batch", waiting(5)), watched("none", computing(30))), "Who held the GIL")
    assert batch[:2] == ["batch", "OtelBatchSpanRecordProcessor: 25 ms, 100 % of the waiting"]
    assert none[:2] == ["none", "nobody: no wait for it"]


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (["none", "native", "batch"], ["batch against native"]),
        (["none", "native", "sdk"], ["none against native"]),
        (["batch"], []),
    ],
)
def test_change_is_between_batch_and_native_or_the_first_two(arms: list[str], expected: list[str]) -> None:
    """One arm alone has no change."""
    assert compared(page_of(*(watched(arm, waiting(5)) for arm in arms))) == expected


def test_change_between_arms_without_stalls_is_not_drawn() -> None:
    """There is nothing to see."""
    quiet = computing(2)
    assert compared(page_of(watched("batch", quiet), watched("native", quiet))) == []


def test_worst_stalls_are_of_all_arms_and_lead_to_their_pages() -> None:
    """The longest first, each with what most of it was, and a link that opens it."""
    page = page_of(watched("batch", waiting(5)), watched("none", computing(60)), watched("native", waiting(8)))
    _, *found = rows(page, "The longest 3 of 3 stalls")
    assert found == [
        ["none", "60 ms computing in parse  main.py:10", "60 ms", "0.500 s"],
        [
            "native",
            "40 ms GIL wait, held by OtelBatchSpanRecordProcessor in encode  main.py:10",
            "49 ms",
            "0.100 s",
        ],
        [
            "batch",
            "25 ms GIL wait, held by OtelBatchSpanRecordProcessor in encode  main.py:10",
            "31 ms",
            "0.100 s",
        ],
    ]
    assert 'href="cells/none/capture.html#stall=1"' in page


def test_findings_stand_by_arm() -> None:
    """What one arm has and the other has not is one row."""
    head, *found = rows(page_of(watched("batch", waiting(5)), watched("none", computing(60))), "Stalled time that each")
    assert head == ["finding", "batch", "none"]
    assert ["The loop computed in parse", "none", "60 ms, 100 %"] in found
    assert ["A telemetry exporter's thread held the GIL while the loop waited", "25 ms, 81 %", "none"] in found


def test_point_of_a_plan_with_factors_has_tables_of_its_own() -> None:
    """With its levels in words, and names that tell the graphs apart."""
    arms = [replace(watched("batch", waiting(5)), point={"users": users}) for users in (10, 100)]
    page = page_of(*arms)
    assert rows(page, "Where the loop&#x27;s time went at users 10:")[1][0] == "batch"
    assert 'data-name="batch at users 10"' in page
    assert 'data-name="batch at users 100"' in page


def test_py_spy_without_the_probe_is_shown_all_the_same() -> None:
    """As pictures of the whole block, and as nothing else."""
    page = page_of(Watched("batch", {}, pictures=[PICTURE]))
    assert "py-spy, of the whole block: samples of all threads" in page
    assert "data:image/svg+xml" in page
    assert "Where the loop" not in page


def test_dumps_of_stalls_are_told_and_linked() -> None:
    """How many came in time is all that the page says of them."""
    dumps = Watched("batch", {}, dumps=["3 of 20 dumps were in time"], dumps_path="cells/14/stalls-pyspy.jsonl")
    assert '3 of 20 dumps were in time (<a href="cells/14/stalls-pyspy.jsonl">the dumps</a>).' in page_of(dumps)


def test_picture_that_has_no_room_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page says why."""
    monkeypatch.setattr(page_arms, "_PY_SPY_BYTES", 10)
    page = page_of(Watched("batch", {}, pictures=[PICTURE]))
    assert "data:image" not in page
    assert "left out here, so that this page stays under 5 MB" in page
    assert f'href="{PICTURE.path}"' in page


def test_room_for_pictures_goes_to_the_first_of_every_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to all those of one arm."""
    monkeypatch.setattr(page_arms, "_PY_SPY_BYTES", 2 * len(PICTURE.svg) * 4 // 3 + 4)
    pictures = {arm: [replace(PICTURE, path=f"{arm}-{kind}.svg") for kind in ("gil", "all")] for arm in "ab"}
    page = page_of(*(Watched(arm, {}, pictures=drawn) for arm, drawn in pictures.items()))
    for arm, part in zip("ab", page.split("<summary>")[-2:], strict=True):
        before, after = part.split(f'href="{arm}-all.svg"')
        assert before.count("data:image") == 1
        assert "data:image" not in after


def test_page_of_many_large_captures_stays_small_and_says_what_it_left_out() -> None:
    """Graphs for which there is no room lead to the captures' own pages."""
    stacks = [stack(*(f"step_{(7 * number + depth) % 500}" for depth in range(30))) for number in range(2000)]
    heavy = tuple(WeightedStack("on_cpu", "MainThread", each, 3000 - number) for number, each in enumerate(stacks))
    analysis = replace(analyse(waiting(5)), stall_stacks=heavy)
    arms = [Watched(f"arm {number}", {}, analysis, f"cells/{number}/capture.html") for number in range(12)]
    page = page_of(*arms)
    assert 1_500_000 < len(page) < 3_000_000
    drawn = [arm.name for arm in arms if f'data-name="{arm.name}"' in page]
    assert 12 - len(drawn) == page.count("The flame graph is left out here") > 0
    assert 'href="cells/11/capture.html"' in page


def test_nothing_that_was_watched_has_no_section() -> None:
    """A run without the probe and py-spy says nothing of them."""
    assert page_of() == ""
