"""The flame graph's script in a browser: zoom, reset, search and keys; and that names do nothing there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.analysis.model import WeightedStack
from gilscope.capture import Code, Frame, Stack
from gilscope.report import flamegraph

if TYPE_CHECKING:
    from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

ALERT = "</title></text><script>document.title='broken in'</script><img src=x onerror=\"document.title='broken in'\">"
MAIN = Code("main", "/srv/app.py", 1, 0)
WORK = Code("Worker.work", "/srv/work.py", 10, 0)
REST = Code("rest", "/srv/rest.py", 30, 0)
HOSTILE = Code(ALERT, ALERT, 1, 0)

PROBE = """
const frames = [...document.querySelectorAll(".f")];
const named = (name) => frames.find((frame) => frame.querySelector("text").textContent === name);
const field = document.querySelector("input");
const key = (target, key) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const click = (target) => target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
const search = (text) => { field.value = text; field.dispatchEvent(new Event("input")); };
const shown = () => Object.fromEntries(
  frames
    .filter((frame) => frame.style.display !== "none")
    .map((frame) => [
      frame.querySelector("text").textContent.slice(0, 12),
      ["x", "width"].map((name) => Math.round(parseFloat(frame.getAttribute(name)) * 10) / 10),
    ]),
);
const hits = () => document.querySelectorAll(".hit").length + ": " + document.querySelector("output").textContent;
"""


def weighted(ns: int, *codes: Code) -> WeightedStack:
    """Return a stack given from the outermost frame inwards."""
    frames = tuple(Frame(code, code.first_line) for code in reversed(codes))
    return WeightedStack("on_cpu", "MainThread", Stack(frames, truncated=False), ns)


STACKS = [weighted(60, MAIN, WORK, REST), weighted(30, MAIN, REST), weighted(10, MAIN, HOSTILE)]


def dumped(page: Path) -> str:
    """Return the document that a browser has made of a page, after its scripts."""
    assert BROWSER
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [BROWSER, *switches, profile, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def told(tmp_path: Path, expression: str) -> Any:
    """Return what a script finds after a page with the picture in it has loaded."""
    svg = flamegraph.render(STACKS, title=ALERT, subtitle=ALERT)
    probe = f"{PROBE}const told = {expression};\ndocument.body.textContent = JSON.stringify(told);"
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{svg}<script>{probe}</script>", encoding="utf-8")
    found = re.search(r"<body>(.*)</body>", dumped(page), re.DOTALL)
    assert found
    return json.loads(unescape(found[1]))


def test_click_zooms_and_keys_do_the_same(tmp_path: Path) -> None:
    """A frame fills the width, as do its callers; its neighbours are gone until Escape or the button."""
    before, zoomed, entered, escaped, reset = told(
        tmp_path,
        """[
          shown(),
          (click(named("Worker.work").querySelector("rect")), shown()),
          (click(frames[0]), key(named("Worker.work"), "Enter"), shown()),
          (key(field, "Escape"), shown()),
          (click(named("Worker.work")), click(document.querySelector("button")), shown()),
        ]""",
    )
    assert before == escaped == reset
    assert before["Worker.work"] == [0, 60]
    assert before[ALERT[:12]] == [90, 10]
    assert zoomed == entered
    assert zoomed == {
        "all stalls: ": [0, 100],
        "loop on CPU:": [0, 100],
        "MainThread": [0, 100],
        "main": [0, 100],
        "Worker.work": [0, 100],
        "rest": [0, 100],
    }


def test_search_marks_frames_and_counts_their_share_once(tmp_path: Path) -> None:
    """By function or file, whatever its case; what is inside a match is not counted again."""
    found = told(
        tmp_path,
        """["rest", "WORK.PY", "main", "nowhere", "ONERROR="].map((text) => (search(text), hits()))
          .concat([(key(field, "Escape"), field.value + hits())])""",
    )
    assert found == [
        "2: 90.0 % of stall time",
        "1: 60.0 % of stall time",
        "2: 100.0 % of stall time",
        "0: 0.0 % of stall time",
        "1: 10.0 % of stall time",
        "0: ",
    ]


def test_names_do_nothing_in_a_page(tmp_path: Path) -> None:
    """HTML reads an SVG by other rules than XML; neither lets a name become an element."""
    assert told(tmp_path, '[document.title, document.querySelectorAll("img, svg script").length]') == ["", 1]


def test_picture_alone_gets_its_tools(tmp_path: Path) -> None:
    """As a file of its own, which is XML, the script runs too, and names do nothing."""
    page = tmp_path / "picture.svg"
    page.write_text(flamegraph.render(STACKS, title=ALERT, subtitle=ALERT), encoding="utf-8")
    document = dumped(page)
    assert document.count("<input") == 1
    assert "<img" not in document
    assert "broken in</title>" not in document
