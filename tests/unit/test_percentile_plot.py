"""The picture of latency by percentile: every arm is in it, in place, and no text of others is markup."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from gilscope.report.percentile_plot import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SVG = "{http://www.w3.org/2000/svg}"


def summary(lines: Mapping[str, Sequence[float]], *, intervals: bool = True, question: str = "Why?") -> dict[str, Any]:
    """Return a summary of arms with these values at p50, p90 and p99 (and a largest of twice that)."""

    def arm(values: Sequence[float]) -> dict[str, Any]:
        return {
            "percentiles": [
                {
                    "percentile": percentile,
                    "value": value,
                    "low": value * 0.9 if intervals else None,
                    "high": value * 1.1 if intervals else None,
                }
                for percentile, value in zip((50.0, 90.0, 99.0), values, strict=True)
            ],
            "latency_ms": {"max": {"value": values[-1] * 2}},
        }

    points = [{"answer": "An answer.", "arms": {name: arm(values) for name, values in lines.items()}}]
    return {"question": question, "answer": "An answer.", "points": points}


def drawn(svg: str) -> Iterator[list[tuple[float, float]]]:
    """Yield the points of each arm's line."""
    for line in ET.fromstring(svg).iter(f"{SVG}polyline"):  # noqa: S314  # our own picture
        yield [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]


def test_nines_get_equal_room() -> None:
    """From p50 to p90 is log10(5), from p90 to p99 is 1."""
    (((p50, _), (p90, _), (p99, _)),) = drawn(render(summary({"none": [1, 2, 3]})))
    assert (p90 - p50) / (p99 - p90) == pytest.approx(0.69897, abs=0.001)


def test_equal_factors_get_equal_room() -> None:
    """Up, the scale is logarithmic too."""
    (((_, low), (_, middle), (_, high)),) = drawn(render(summary({"none": [1, 10, 100]})))
    assert low - middle == pytest.approx(middle - high, abs=0.2)


def test_names_of_arms_that_end_alike_do_not_cover_each_other() -> None:
    """Each name has its own line, and none is below the axis."""
    root = ET.fromstring(render(summary({f"arm {number}": [1, 1, 1] for number in range(8)} | {"slow": [9, 9, 9]})))  # noqa: S314  # our own
    names = sorted(float(text.attrib["y"]) for text in root.iter(f"{SVG}text") if text.get("class") == "name")
    assert len(names) == 9
    assert all(below - above >= 15 for above, below in pairwise(names))
    assert names[-1] <= 464


def test_lines_of_six_arms_differ_in_their_dashes() -> None:
    """In grey, colour says nothing."""
    root = ET.fromstring(render(summary({f"arm {number}": [1, 2, 3] for number in range(6)})))  # noqa: S314  # our own
    assert len({line.get("stroke-dasharray") for line in root.iter(f"{SVG}polyline")}) == 6


def test_picture_of_one_value_is_drawn() -> None:
    """A scale needs no spread."""
    assert len(list(drawn(render(summary({"none": [5, 5, 5]}, intervals=False))))) == 1


def test_picture_of_nothing_says_so() -> None:
    """No point, or no arm with percentiles."""
    assert "no latencies to show" in render({"question": "", "answer": "Nothing.", "points": []})
    assert "no latencies to show" in render(summary({}))


def test_answer_that_is_cut_says_so() -> None:
    """The picture has room for three lines; the description has it all."""
    given = summary({"none": [1, 2, 3]})
    given["points"][0]["answer"] = "word " * 150
    quiet = [text.text or "" for text in ET.fromstring(render(given)).iter(f"{SVG}text") if text.get("y") == "80"]  # noqa: S314  # our own
    assert [text[-6:] for text in quiet] == ["word \N{HORIZONTAL ELLIPSIS}"]


def test_description_has_the_answer_and_each_arms_figures() -> None:
    """What a screen reader says in place of the picture."""
    desc = ET.fromstring(render(summary({"none": [1, 2, 3]}))).find(f"{SVG}desc")  # noqa: S314  # our own picture
    assert desc is not None
    assert desc.text == "An answer. none: p50 1 ms, p90 2 ms, p99 3 ms, max 6 ms."


def test_hostile_text_stays_text() -> None:
    """An arm's name and the question are shown as they are."""
    hostile = "</text><script>alert(1)</script>\x1b]]>"
    root = ET.fromstring(render(summary({hostile: [1, 2, 3]}, question=hostile)))  # noqa: S314  # our own picture
    assert list(root.iter(f"{SVG}script")) == []
