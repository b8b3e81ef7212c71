"""The report page as it was when somebody looked at it: kept pictures, compared with a tolerance.

Text is left out: its fonts are the system's, and other tests read it. What is compared is everything else, made smaller
by 8: at most 8 pixels may then differ by more than 24 of 255. After a change that is meant, look at the page, and renew
the pictures:

    RENEW_SCREENSHOTS=1 python -m pytest tests/browser/test_screenshots.py
"""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.analysis import analyse
from gilscope.report import page_capture
from gilscope.report.timeline import timeline
from tests.made_capture import EXPORTER, LOOP, WORKER, MadeCapture, stack

if TYPE_CHECKING:
    from playwright.sync_api import Browser

KEPT = Path(__file__).with_name("screenshots")
RENEW = "RENEW_SCREENSHOTS"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "width": 1280, "media": "screen"},
    "dark": {"color_scheme": "dark", "width": 1280, "media": "screen"},
    "phone": {"color_scheme": "light", "width": 390, "media": "screen"},
    "print": {"color_scheme": "dark", "width": 800, "media": "print"},
}
# Lines of one height, whatever the font; nothing is as wide as its text.
WITHOUT_TEXT = """
* { font: 12px/20px sans-serif !important; color: transparent !important; white-space: nowrap !important;
    flex-wrap: nowrap !important; overflow: hidden; }
table { table-layout: fixed; }
::before, ::placeholder { color: transparent !important; }
button, select, input { width: 70px !important; min-width: 0 !important; }
"""
WITHOUT_TEXT_ON_CANVAS = "CanvasRenderingContext2D.prototype.fillText = () => undefined;"
MOST_PIXELS, MOST_LEVELS = 8, 24
PIXELS_THAT_DIFFER = """
async ([one, other, mostLevels]) => {
  const smaller = async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const [width, height] = [Math.ceil(image.width / 8), Math.ceil(image.height / 8)];
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  };
  const [mine, kept] = [await smaller(one), await smaller(other)];
  if (mine.width !== kept.width || mine.height !== kept.height) return Infinity;
  let different = 0;
  for (let at = 0; at < mine.data.length; at += 4) {
    const levels = [0, 1, 2].map((channel) => Math.abs(mine.data[at + channel] - kept.data[at + channel]));
    different += Math.max(...levels) > mostLevels;
  }
  return different;
}
"""


def everything() -> MadeCapture:
    """Return 40 s with stalls of every cause, collections, and exports of which one is not accepted."""
    made = MadeCapture()
    encode, parse = (
        made.stack(stack("encode", "export", "run", file="exporter.py")),
        made.stack(stack("parse", "handle")),
    )
    read, dumps = made.stack(stack("read", "load", file="db.py")), made.stack(stack("dumps", "render", file="json.py"))
    for second in range(40):
        at = 1000.0 * second
        for step in range(0, 600, 7):
            made.iteration(at + step, at + step + 1 + step % 5, cpu=1)
            made.run(WORKER, at + step + 5.5, at + step + 6.5, dumps)
        if second % 9 == 1:
            made.convoy(at + 700, 30, stack=encode)
            made.export(at + 690, at + 1400, refused=40 if second == 19 else 0)
        elif second % 9 == 3:
            made.run(LOOP, at + 700, at + 950, parse)
            made.sample(LOOP, at + 720, parse)
            made.collection(LOOP, at + 750, at + 850, stack=parse)
            made.iteration(at + 700, at + 950, cpu=250)
        elif second % 9 == 5:
            made.blocked(at + 700, at + 850, read)
            made.iteration(at + 700, at + 851, cpu=1)
        elif second % 9 == 7:
            made.run(EXPORTER, at + 650, at + 660)
            made.iteration(at + 700, at + 800, cpu=50)
    return made


@pytest.fixture(scope="module")
def everything_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a capture that has a bit of everything."""
    made = everything()
    analysis = analyse(made)
    path = tmp_path_factory.mktemp("screenshots") / "everything.html"
    path.write_text(page_capture.render(analysis, timeline(made, analysis), "shop", "a test"), encoding="utf-8")
    return path


def screenshot(browser: Browser, path: Path, *, color_scheme: Any, width: int, media: Any) -> bytes:
    """Return the whole page as a PNG, without its text."""
    # The page's policy forbids any style but its own.
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=color_scheme, reduced_motion="reduce", bypass_csp=True
    )
    page = context.new_page()
    page.add_init_script(WITHOUT_TEXT_ON_CANVAS)
    page.goto(path.as_uri())
    page.add_style_tag(content=WITHOUT_TEXT)
    page.emulate_media(media=media)
    page.evaluate("() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    taken = page.screenshot(full_page=True)
    context.close()
    return taken


@pytest.mark.parametrize("look", LOOKS)
def test_page_looks_as_it_did(browser: Browser, everything_page: Path, tmp_path: Path, look: str) -> None:
    """Light, dark, on a phone and on paper; the picture that was taken is kept where it differs."""
    taken, kept = screenshot(browser, everything_page, **LOOKS[look]), KEPT / f"{look}.png"
    if os.environ.get(RENEW) == "1":
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(taken)
    (tmp_path / kept.name).write_bytes(taken)
    pictures = [f"data:image/png;base64,{b64encode(png).decode('ascii')}" for png in (taken, kept.read_bytes())]
    page = browser.new_page()
    different = page.evaluate(PIXELS_THAT_DIFFER, [*pictures, MOST_LEVELS])
    page.close()
    assert different <= MOST_PIXELS, (
        f"{different} pixels of {tmp_path / kept.name}, made smaller, differ; if that is meant: {RENEW}=1"
    )
