"""The parts of the report page that need no browser: markup, data, and what a page without a template says."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.analysis import analyse
from gilscope.report import page, page_capture, page_compared, page_data
from gilscope.report.markup import Markup, element, joined
from gilscope.report.timeline import timeline
from tests.made_capture import EXPORTER, LOOP, WORKER, MadeCapture, stack

if TYPE_CHECKING:
    from pathlib import Path


def mixed() -> MadeCapture:
    """Return a capture with a stall of waits, computing, and time off the CPU."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    end = made.convoy(100, 4, stack=made.stack(stack("encode")))
    parse = made.stack(stack("parse"))
    made.run(LOOP, end + 10, end + 40, parse)
    made.sample(LOOP, end + 20, parse)
    made.iteration(end + 10, end + 60, cpu=30)
    return made


def data_of(made: MadeCapture) -> dict[str, Any]:
    """Return the data of a capture's page, as a browser would have it."""
    analysis = analyse(made)
    found: dict[str, Any] = json.loads(page_data.as_script(page_data.capture_data(analysis, timeline(made, analysis))))
    return found


def test_element_with_hostile_text_has_it_escaped() -> None:
    """In children and in attributes; only what `element` made is markup."""
    made = element("p", "<b>&", element("i", "x"), title='"><script>')
    assert made == '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;<i>x</i></p>'


def test_attribute_that_is_false_is_left_out() -> None:
    """True is the name alone; names lose what Python needs of underscores."""
    assert (
        element("img", hidden=True, alt=None, lang=False, class_="a", data_n=1) == '<img hidden class="a" data-n="1">'
    )


def test_text_that_was_markup_once_is_text_when_it_was_changed() -> None:
    """Whatever a string method returns has to be escaped again."""
    assert joined([Markup("<b>").lower()]) == "&lt;b&gt;"


def test_script_data_with_hostile_text_cannot_end_its_element() -> None:
    """No `<`, `>`, `&` or line separator is left, and the text comes back as it was."""
    text = "</script><!--\u2028\u2029&lt;]]>\ud800"
    written = page_data.as_script({text: text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert written.isascii()
    assert json.loads(written) == {text: text}


def times_us(groups: list[list[int]]) -> Counter[int]:
    """Return the time of each weight in groups of stalls together, by its place."""
    sums: Counter[int] = Counter()
    for _start, _length, _stalls, *pairs in groups:
        sums.update(dict(zip(pairs[::2], pairs[1::2], strict=True)))
    return sums


def test_weights_of_each_stall_sum_up_to_its_length() -> None:
    """A flame graph of a stretch is as wide as the stalls in it."""
    groups = data_of(mixed())["groups"]
    assert [(stalls, sum(times[1::2])) for _start, _length, stalls, *times in groups] == [(1, 25_000), (1, 50_000)]


def test_stretch_of_everything_has_the_weights_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks too light to be drawn are told together, by cause, and nothing is lost."""
    monkeypatch.setattr(page_data, "_MOST_STACKS", 2)
    data = data_of(mixed())
    assert times_us(data["groups"]) == {place: ns // 1000 for place, (*_, ns) in enumerate(data["weights"])}
    assert "(lighter stacks)" in data["threads"]


def test_figures_have_intervals_or_the_reason_why_there_are_none() -> None:
    """In both kinds of page; the reason is among what was not seen."""

    def pages(seconds: int) -> tuple[str, str]:
        made = MadeCapture()
        for second in range(seconds):
            made.iteration(1000 * second, 1000 * second + 10 + second, cpu=10 + second)
        made.iteration(1000 * seconds - 1, 1000 * seconds, cpu=1)
        analysis = analyse(made)
        compared = page_compared.Compared("now", "before", analysis, analysis)
        return (
            page_capture.render(analysis, timeline(made, analysis), "shop", "a test"),
            page_compared.render(compared, "a test"),
        )

    for found in pages(60):
        assert "In brackets are 95 % intervals" in found
        assert "by the bootstrap: 12 blocks of 5.0 s" in found
        assert re.search(r"50( a minute)? \[\d+ to \d+\]", found)
    for found in pages(20):
        assert "In brackets" not in found
        assert "none: they need 6 blocks of 5.0 s" in found
    assert "intervals need 30 s or more, and this is 20 s" in pages(20)[0]


def test_comparison_is_of_a_second_of_recording() -> None:
    """A recording twice as long with the same share stalled has the same weights."""

    def stalled(times: int) -> MadeCapture:
        made = MadeCapture()
        encode = made.stack(stack("encode"))
        for time in range(times):
            made.iteration(1000 * time, 1000 * time + 1, cpu=1)
            made.convoy(1000 * time + 100, 4, stack=encode)
            made.iteration(1000 * time + 999, 1000 * time + 1000, cpu=1)
        return made

    data = page_data.compared_data(analyse(stalled(1)), analyse(stalled(4)))
    assert data["weights"]
    assert all(now == pytest.approx(before, rel=1e-6) for *_, now, before in data["weights"])


def test_page_without_a_template_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As when the package was built without the page."""
    monkeypatch.setattr("importlib.resources.files", lambda _package: tmp_path)
    with pytest.raises(page.NoPageError, match="install again"):
        page.render("title", [], [])


def test_text_that_looks_like_a_place_of_the_template_is_not_filled() -> None:
    """What was put in is not looked at again."""
    mark = Markup("<!--gilscope:data-->")
    made = page.render("title", [mark], [], {"found": 1})
    assert made.count(mark) == 1
    assert '{"found":1}' in made


def test_lanes_have_the_loop_first_and_then_holders() -> None:
    """Below the loop its waits; then who had the GIL, the longest first; then collections."""
    made = MadeCapture()
    made.convoy(0, 4)
    made.run(WORKER, 100, 101)
    made.collection(LOOP, 26, 27)
    lanes = [(lane["kind"], lane["label"].strip()) for lane in timeline(made, analyse(made))["lanes"]]
    assert lanes[:3] == [
        ("iterations", "loop MainThread"),
        ("waits", "waits for the GIL"),
        ("holds", "GIL: OtelBatchSpanRecordProcessor"),
    ]
    assert lanes[-1] == ("collections", "garbage collection")


def test_exports_have_a_lane_and_those_not_accepted_one_below() -> None:
    """Each request is exact, however short it was."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    made.export(100, 100.5)
    made.export(60_000, 60_001, refused=3)
    lanes = {lane["label"].strip(): lane["spans"] for lane in timeline(made, analyse(made))["lanes"][1:]}
    assert lanes == {"span exports": [100_000, 500, 59_900_000, 1000], "not accepted": [60_000_000, 1000]}


def test_short_spans_are_merged_and_their_time_is_kept() -> None:
    """What the cells say was covered is, to their precision, what was."""
    made = MadeCapture()
    for step in range(20_000):
        made.iteration(step, step + 0.25, cpu=0.25)
    drawn = timeline(made, analyse(made))
    (lane,) = drawn["lanes"]
    assert lane["spans"] == []
    assert sum(lane["cells"][1::2]) * drawn["cell_ns"] / 255 == pytest.approx(20_000 * 0.25e6, rel=0.02)


def test_stall_stays_exact_among_more_spans_than_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest are drawn one by one; the rest is merged."""
    monkeypatch.setattr("gilscope.report.timeline._MOST_SPANS", 2)
    made = MadeCapture()
    for step in range(100):
        made.iteration(step * 10, step * 10 + 8, cpu=8)
    for step in range(3):
        made.iteration(2000 + step * 100, 2030 + step * 100, cpu=30)
    (lane,) = timeline(made, analyse(made))["lanes"]
    assert lane["spans"][1::2] == [30_000] * 3
    assert lane["cells"]


def test_what_happened_in_a_stall_is_not_merged() -> None:
    """However short it was."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    made.run(EXPORTER, 60_010, 60_010.1)
    made.run(EXPORTER, 60_100, 60_100.1)
    made.wait(LOOP, 60_010, 60_010.1)
    made.iteration(60_000, 60_040, cpu=39, waited=0.1)
    made.iteration(60_110, 60_111, cpu=1)
    (holds,) = (lane for lane in timeline(made, analyse(made))["lanes"] if lane["kind"] == "holds")
    assert holds["spans"] == [60_010_000, 100]


def test_lengths_of_iterations_are_told_to_four_percent() -> None:
    """One byte each, by the cell in which they began."""
    made = MadeCapture()
    made.iteration(0, 3, cpu=3)
    made.iteration(10, 17, cpu=7)
    drawn = timeline(made, analyse(made))
    sizes = b64decode(drawn["iterations"]["sizes"])
    lengths_ms = [2 ** ((size + 0.5) / drawn["size_steps_per_octave"]) / 1000 for size in sizes]
    assert lengths_ms == pytest.approx([3, 7], rel=0.04)
    assert sum(drawn["iterations"]["counts"][1::2]) == 2


def test_time_before_the_recording_is_not_drawn() -> None:
    """An event with a start that no clock can have told makes no lane of its own length."""
    made = MadeCapture()
    made.metadata["started_monotonic_ns"] = 1_000_000_000
    made.iteration(100, 101, cpu=1)
    made.iteration(2000, 2001, cpu=1)
    (lane,) = timeline(made, analyse(made))["lanes"]
    assert len(lane["spans"]) + len(lane["cells"]) == 2
