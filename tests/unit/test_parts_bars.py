"""The picture of where the loop's time went: bars as long as their share, which read without colour."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from gilscope.analysis.model import Parts
from gilscope.report.parts_bars import Bar, render

SVG = "{http://www.w3.org/2000/svg}"
NOTHING = Parts(0, (), 0, 0, 0, 0, 0, 0, 0)


def parts(waited: int, on_cpu: int, blocked: int = 0) -> Parts:
    """Return where the time of an iteration went."""
    return Parts(waited + on_cpu + blocked, (), 0, waited, on_cpu, blocked, 0, 0, 0)


def bars(*drawn: Bar) -> list[tuple[str, float, float]]:
    """Return what fills each part of the bars, where it begins and how wide it is."""
    found = ET.fromstring(render(drawn)).iter(f"{SVG}rect")  # noqa: S314  # our own picture
    return [
        (rect.attrib["fill"], float(rect.attrib["x"]), float(rect.attrib["width"]))
        for rect in found
        if rect.get("height") == "22"
    ]


def test_parts_follow_each_other_and_are_as_wide_as_their_share() -> None:
    """Waiting twice as long as running is twice as wide."""
    (_, first_x, waited), (_, second_x, ran) = bars(Bar("batch", parts(20, 10), NOTHING, 1000))
    assert waited == pytest.approx(2 * ran, abs=0.02)
    assert second_x == pytest.approx(first_x + waited, abs=0.02)


def test_recordings_of_different_length_compare() -> None:
    """Twice the time in a recording twice as long is a bar of the same length."""
    (_, _, short), (_, _, long) = bars(
        Bar("none", parts(0, 10), NOTHING, 1000), Bar("batch", parts(0, 20), NOTHING, 2000)
    )
    assert short == long


def test_parts_differ_in_more_than_colour() -> None:
    """Each kind of time has its own hatching."""
    patterns = ET.fromstring(render([])).iter(f"{SVG}pattern")  # noqa: S314  # our own picture
    hatches = [tuple(tuple(shape.attrib.items()) for shape in pattern[1]) for pattern in patterns]
    assert len(set(hatches)) == len(hatches) == 5


def test_hostile_name_stays_text() -> None:
    """It is cut, shown, and no markup."""
    root = ET.fromstring(render([Bar("<script>alert(1)</script>\x1b", NOTHING, NOTHING, 0)]))  # noqa: S314  # our own
    assert list(root.iter(f"{SVG}script")) == []
