"""The picture of the stalls: what is how wide, what is folded, and that no name in a capture is more than text."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from gilscope import cli
from gilscope.analysis.model import WeightedStack
from gilscope.analysis.names import COLLECTING
from gilscope.capture import Code, Frame, Stack
from gilscope.report import flamegraph
from gilscope.report.layout import columns
from gilscope.report.stacks import CAUSES
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
MS = 1_000_000
MAIN = Code("main", "/srv/app.py", 1, 0)
WORK = Code("Worker.work", "/srv/work.py", 10, 0)
REST = Code("rest", "/srv/work.py", 30, 0)


def weighted(ns: int, *frames: Code | Frame, cause: str = "on_cpu", thread: str = "MainThread") -> WeightedStack:
    """Return a stack given from the outermost frame inwards."""
    known = [frame if isinstance(frame, Frame) else Frame(frame, frame.first_line) for frame in frames]
    return WeightedStack(cause, thread, Stack(tuple(reversed(known)), truncated=False), ns)


@dataclass(frozen=True)
class Drawn:
    """A frame of a picture."""

    name: str
    tooltip: list[str]
    left: float
    width: float
    y: float

    @property
    def right(self) -> float:
        """Where it ends, in per cent."""
        return self.left + self.width


def render(*stacks: WeightedStack) -> str:
    """Return the picture of these."""
    return flamegraph.render(stacks, title="a title", subtitle="a subtitle")


def parsed(svg: str) -> list[ET.Element]:
    """Return all elements of a picture."""
    return list(ET.fromstring(svg.encode("utf-8")).iter())  # noqa: S314 - entities cannot be in it, or a test fails


def drawn(svg: str) -> list[Drawn]:
    """Return the frames of a picture, callers first."""
    return [
        Drawn(
            node.findtext(f"{SVG}text") or "",
            (node.findtext(f"{SVG}title") or "").split("\n"),
            float(node.attrib["x"].rstrip("%")),
            float(node.attrib["width"].rstrip("%")),
            float(node.attrib["y"]),
        )
        for node in parsed(svg)
        if "f" in node.get("class", "").split()
    ]


def text_of(svg: str) -> str:
    """Return all that a reader sees."""
    return "\n".join(node.text or "" for node in parsed(svg) if node.tag == f"{SVG}text")


def named(svg: str, name: str) -> Drawn:
    """Return the one frame with this name."""
    (found,) = [frame for frame in drawn(svg) if frame.name == name]
    return found


def test_frames_are_as_wide_as_their_share_of_stall_time() -> None:
    """Widths are nanoseconds, not the number of stacks."""
    svg = render(weighted(60 * MS, MAIN, WORK), weighted(30 * MS, MAIN, REST), weighted(10 * MS, MAIN))
    assert [(frame.name, frame.left, frame.width) for frame in drawn(svg)] == [
        ("all stalls: 100.00 ms, 100.0 %", 0, 100),
        ("loop on CPU: 100.00 ms, 100.0 %", 0, 100),
        ("MainThread", 0, 100),
        ("main", 0, 100),
        ("Worker.work", 0, 60),
        ("rest", 60, 30),
    ]


def test_causes_stand_side_by_side_with_the_thread_below() -> None:
    """One scale for all, each named with what it cost; below is whose stack it is."""
    svg = render(
        weighted(75 * MS, MAIN, cause="gil_wait", thread="exporter"),
        weighted(20 * MS, MAIN),
        weighted(3 * MS, MAIN, cause="blocked"),
        weighted(2 * MS, MAIN, cause="stopped"),
    )
    assert [(frame.name, frame.left, frame.width) for frame in drawn(svg) if ":" in frame.name] == [
        ("all stalls: 100.00 ms, 100.0 %", 0, 100),
        ("waiting for the GIL: 75.00 ms, 75.0 %", 0, 75),
        ("loop on CPU: 20.00 ms, 20.0 %", 75, 20),
        ("loop blocked: 3.00 ms, 3.0 %", 95, 3),
        ("loop stopped: 2.00 ms, 2.0 %", 98, 2),
    ]
    assert named(svg, "exporter").width == 75
    assert {"waiting for the GIL", "75.00 ms", "3.0 %", "a title", "a subtitle"} <= set(text_of(svg).split("\n"))


def test_equal_frames_are_merged_by_function_with_the_lines_in_the_tooltip() -> None:
    """The line at which a function called does not split it; which cost most is in the tooltip."""
    svg = render(
        *(weighted(line * MS, MAIN, Frame(WORK, line % 8)) for line in range(1, 8)), weighted(8 * MS, MAIN, WORK)
    )
    assert named(svg, "Worker.work").tooltip == [
        "Worker.work",
        "/srv/work.py:10",
        "36.00 ms, 100.0 % of all stalls",
        "line 10: 8.00 ms",
        "line 7: 7.00 ms",
        "line 6: 6.00 ms",
        "line 5: 5.00 ms",
        "line 4: 4.00 ms",
        "3 more lines",
    ]


def test_frames_lie_inside_their_callers() -> None:
    """In every row from left to right without overlap, and nothing wider than what is above it."""
    rng = random.Random(1)
    codes = [Code(f"f{n}", "/srv/x.py", n, 0) for n in range(30)]
    svg = render(
        *(weighted(rng.randint(1, 9 * MS), *rng.sample(codes, 6), cause=rng.choice([*CAUSES])) for _ in range(300))
    )
    rows: dict[float, list[Drawn]] = {}
    for frame in drawn(svg):
        rows.setdefault(frame.y, []).append(frame)
    for above, row in pairwise(rows.values()):
        assert all(left.right <= right.left + 1e-5 for left, right in pairwise(row))
        assert all(
            any(frame.left >= caller.left - 1e-5 and frame.right <= caller.right + 1e-5 for caller in above)
            for frame in row
        )


def test_picture_is_the_same_for_every_order_of_the_stacks() -> None:
    """Two runs over one capture give equal files, ties included."""
    stacks = [weighted(MS, MAIN, Code(name, file, 1, 0)) for name in "abc" for file in "xyz"]
    assert render(*stacks) == render(*reversed(stacks))


@pytest.mark.parametrize("stacks", [[], [weighted(0, MAIN)]])
def test_capture_without_stalls_says_so(stacks: list[WeightedStack]) -> None:
    """An empty picture would look like a broken one."""
    svg = render(*stacks)
    assert "no stalls" in text_of(svg).split("\n")
    assert drawn(svg) == []
    assert "Not drawn" not in svg


def test_stacks_that_cost_nothing_are_not_there() -> None:
    """Neither drawn nor counted among what is not drawn."""
    assert render(weighted(MS, MAIN), weighted(0, WORK)) == render(weighted(MS, MAIN))


def test_narrow_frames_are_folded_into_one_and_the_picture_says_so() -> None:
    """1,000 functions of a thousandth of a tenth are one box, as wide as they are together."""
    codes = [Code(f"f{n}", "/srv/x.py", n, 0) for n in range(1000)]
    svg = render(weighted(900 * MS, MAIN, WORK), *(weighted(MS // 10, MAIN, code) for code in codes))
    assert named(svg, "(1,000 narrow)").width == pytest.approx(10)
    assert "Not drawn: 1,000 of 1,004 frames, each under 0.25 ms." in text_of(svg)


def test_causes_too_narrow_to_draw_are_in_the_legend_only() -> None:
    """Two of them together would be wide enough to fold, and have no name in common."""
    rare = [weighted(MS // 5, MAIN, cause=cause) for cause in ("gil_wait", "blocked")]
    svg = render(weighted(1000 * MS, MAIN), *rare)
    assert [frame.name for frame in drawn(svg)][1:] == ["loop on CPU: 1,000.00 ms, 100.0 %", "MainThread", "main"]
    assert text_of(svg).count("0.20 ms") == 2


def test_hundred_thousand_functions_stay_under_the_limit() -> None:
    """The widest are drawn, the others counted."""
    codes = [Code(f"f{n}", "/srv/x.py", n, 0) for n in range(100_000)]
    stacks = [weighted((1 + n % 7) * MS, *codes[n : n + 25]) for n in range(0, 100_000, 25)]
    svg = render(*stacks)
    assert len(drawn(svg)) <= 2 * flamegraph._MAX_FRAMES
    assert len(svg) < 6_000_000
    assert re.search(r"Not drawn: [\d,]+ of 100,002 frames", text_of(svg))


def test_stack_deeper_than_the_picture_ends_in_a_word() -> None:
    """A runaway recursion is neither 65,535 rows nor a RecursionError here."""
    svg = render(weighted(MS, *([MAIN] * 65_535)))
    assert len(drawn(svg)) == flamegraph._MAX_ROWS
    assert drawn(svg)[-1].name == "(deeper frames)"


def test_missing_frames_have_a_name() -> None:
    """A stack that nobody saw, one that was cut, and a thread without a name."""
    svg = render(
        WeightedStack("on_cpu", "", Stack((), truncated=False), MS),
        WeightedStack("on_cpu", "", Stack((Frame(MAIN, 0),), truncated=True), MS),
    )
    assert [frame.name for frame in drawn(svg)][2:] == [
        "(unnamed thread)",
        "(outer frames not recorded)",
        "main",
        "(stack not seen)",
    ]
    assert named(svg, "main").tooltip[-1] == "line unknown: 1.00 ms"


HOSTILE = [
    "</title><script>alert(1)</script>",
    "]]></script><script>alert(1)//",
    "<![CDATA[x",
    "\" onload='alert(1)' x=\"",
    "&lt;b&gt;&amp;&#60;",
    "<!-- --> <?xml?>",
    "a\x00\x01\x08\x0b\x1b[31m\x7f\x85\ufffe\uffff",
    "line\none\r\ttwo",
    "\ud800 lone",
    "right\u202eto left",
    "x" * 65_535,
    "\N{CJK UNIFIED IDEOGRAPH-4E00} \N{GRINNING FACE}",
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:16]))
def test_names_in_a_capture_are_text_and_nothing_else(text: str) -> None:
    """The elements and attributes of a picture are the same, whatever its functions, files and threads are called."""
    code = Code(text, text, 1, 0)
    tame = Code("f", "f", 1, 0)
    svg = flamegraph.render([weighted(MS, code, thread=text)], title=text, subtitle=text)
    expected = flamegraph.render([weighted(MS, tame, thread="f")], title="f", subtitle="f")
    shade = re.compile(r"on_cpu\d")

    def structure(picture: str) -> list[tuple[str, list[tuple[str, str]]]]:
        return [(node.tag, [(k, shade.sub("", v)) for k, v in node.attrib.items()]) for node in parsed(picture)]

    assert structure(svg) == structure(expected)
    assert svg.count("<script") == 1
    assert len(svg) < len(expected) + 5_000
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ufffe\uffff]", svg)


def test_names_are_shown_as_they_are() -> None:
    """Escaping is undone by the reader of the XML, once."""
    name = "Space.<locals>.<lambda> & \"co\" 'x'"
    assert named(render(weighted(MS, Code(name, "/srv/a&b.py", 3, 0))), name).tooltip[:2] == [name, "/srv/a&b.py:3"]


def test_picture_stands_alone() -> None:
    """Nothing is fetched: no references, and no addresses but the names of the formats."""
    svg = render(weighted(MS, MAIN))
    assert set(re.findall(r"https?:[^\"\s]*", svg)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert not re.search(r"\b(?:href|src|url\(|@import|fetch|XMLHttpRequest|eval|innerHTML)", svg)


def test_title_that_is_too_long_ends_before_the_tools() -> None:
    """They are 420 pixels on the right; wide characters count twice."""
    for title in ("x" * 200, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 200):
        (shown,) = [
            node.text or "" for node in parsed(flamegraph.render([], title=title, subtitle="")) if is_title(node)
        ]
        assert shown.endswith("\N{HORIZONTAL ELLIPSIS}")
        assert 70 <= columns(shown) <= 72


def is_title(node: ET.Element) -> bool:
    """Return whether an element is the title that is drawn."""
    return node.get("class") == "title"


def test_subtitle_is_broken_and_moves_all_that_is_below_it() -> None:
    """A verdict names two places, and their files are as long as they are."""
    short = render(weighted(MS, MAIN))
    said = flamegraph.render([weighted(MS, MAIN)], title="a title", subtitle="word " * 50)
    lines = [line for line in text_of(said).split("\n") if line.startswith("word")]
    assert [len(line) for line in lines] == [189, 60]
    heights = [int(parsed(svg)[0].attrib["height"]) for svg in (short, said)]
    assert heights[1] == heights[0] + 15
    assert drawn(said) == drawn(short)
    (lower,) = [node for node in parsed(said) if node.get("y") == "15" and node.tag == f"{SVG}svg"]
    assert len([node for node in lower.iter() if "f" in node.get("class", "").split()]) == len(drawn(said))


def test_collection_is_a_frame_without_a_file() -> None:
    """In the colour of its cause, for it is what the thread did."""
    svg = render(weighted(MS, MAIN, COLLECTING))
    assert named(svg, "[garbage collection]").tooltip == ["[garbage collection]", "1.00 ms, 100.0 % of all stalls"]
    (box,) = [node for node in parsed(svg) if node.findtext(f"{SVG}text") == "[garbage collection]"]
    assert box.attrib["class"].startswith("f on_cpu")


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (["/venv/bin/python3.11", "/venv/bin/uvicorn", "app:app"], "Stalls of uvicorn app:app"),
        (["/venv/bin/python", "-m", "uvicorn", "app:app"], "Stalls of uvicorn app:app"),
        (["python3.14t", "serve.py"], "Stalls of serve.py"),
        (["python", "-c", "print(1)"], "Stalls of python -c 'print(1)'"),
        (["/usr/bin/serve", "a b"], "Stalls of serve 'a b'"),
        (["python"], "Stalls of python"),
        ([], "Stalls of app.gilscope"),
    ],
)
def test_command_names_what_is_run(argv: list[str], title: str, tmp_path: Path) -> None:
    """Not the interpreter, and not where things are installed."""
    path = str(CaptureWriter({"argv": argv}).end().write(tmp_path / "app.gilscope"))
    picture = tmp_path / "app.svg"
    assert cli.main(["flamegraph", path, "-o", str(picture)]) == 0
    (shown,) = [node.text for node in parsed(picture.read_text(encoding="utf-8")) if is_title(node)]
    assert shown == title
