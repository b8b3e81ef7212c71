"""The page of an experiment in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

np = pytest.importorskip("numpy")

from gilscope.analysis import analyse  # noqa: E402 - needs numpy
from gilscope.bench.summary import summarize  # noqa: E402
from gilscope.capture import Thread  # noqa: E402
from gilscope.report import page_experiment  # noqa: E402
from gilscope.report.page_arms import Picture, Watched  # noqa: E402
from tests.made_capture import EXPORTER, LOOP, MadeCapture, stack  # noqa: E402
from tests.made_run import MadeRun, latencies_ns  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Opener

ATTACK = "</script></title><!--<script>--><img src=x onerror=\"document.title='broken in'\">'\"&amp;]]>"
BREAK_IN = "document.title = top.document.title = 'broken in'; document.documentElement.remove()"
# As py-spy's, which have a script of their own, and as they must not be: with more than that.
PICTURE = f"""<?xml version="1.0" standalone="no"?>
<svg version="1.1" width="1200" height="60" viewBox="0 0 1200 60" onload="{BREAK_IN}" xmlns="http://www.w3.org/2000/svg">
<script>{BREAK_IN}</script><image href="http://127.0.0.1:9/x.png" width="9" height="9"/>
<style>@import url("http://127.0.0.1:9/x.css");</style><rect width="1200" height="60" fill="#eeeeb0"/></svg>
"""


def stalled(function: str, waits: int) -> MadeCapture:
    """Return a capture with one convoy of so many waits behind a function."""
    made = MadeCapture()
    made.iteration(0, 1, cpu=1)
    made.convoy(100, waits, stack=made.stack(stack(function, file=f"/srv/shop/{function}.py")))
    made.iteration(999, 1000, cpu=1)
    return made


def hostile() -> MadeCapture:
    """Return a capture in which everything is named so that it would break out of the page."""
    made = MadeCapture(metadata={"gil": ATTACK, "argv": [ATTACK], "python": ATTACK})
    made.threads = {number: Thread(number, number, 0, number == LOOP, ATTACK) for number in (LOOP, EXPORTER)}
    attack = made.stack(stack(ATTACK, file=ATTACK))
    end = made.convoy(0, 5, stack=attack, own=attack)
    made.run(LOOP, end, end + 30, attack)
    made.sample(LOOP, end + 10, attack)
    made.iteration(end, end + 30, cpu=30)
    return made


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of five blocks of three arms, all watched, of which one is called what no arm may be called."""
    folder = tmp_path_factory.mktemp("experiment")
    run = MadeRun(folder / "run", arms=("none", "batch"), question=ATTACK)
    random = np.random.default_rng(1)
    for block in range(5):
        for arm, factor in (("none", 1), ("none.again", 1), ("batch", 1.5)):
            run.cell(arm, block, latencies_ns(random, 2000, factor=factor))
    picture = Picture("samples of all threads", "cells/3/pyspy.svg", PICTURE)
    watched = [
        Watched("native", {}, analyse(stalled("send", 5)), "cells/1/capture.html"),
        Watched("batch", {}, analyse(stalled("encode", 9)), "cells/2/capture.html", [picture]),
        Watched(ATTACK, {}, analyse(hostile()), ATTACK, [Picture(ATTACK, ATTACK, PICTURE)]),
    ]
    path = folder / "report.html"
    path.write_text(page_experiment.render(summarize(folder / "run"), watched, [ATTACK]), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True])
def test_page_is_clean_for_axe(opener: Opener, experiment: Path, dark: bool) -> None:
    """With everything unfolded, axe-core finds nothing that it is sure of."""
    assert opener.found_by_axe(experiment, dark=dark) == []


@pytest.mark.parametrize("scripts", [False, True])
def test_pictures_are_there_with_and_without_scripts(opener: Opener, experiment: Path, scripts: bool) -> None:
    """They are images in the page; nothing is fetched, and the page's policy forbids none of it."""
    with opener.opened(experiment, scripts=scripts) as page:
        page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
        images = page.locator("img.still")
        widths = images.evaluate_all(
            "(images) => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)))"
        )
    # Percentiles, where the time went, two of py-spy's; and the flame graphs where no script draws them.
    assert len(widths) == (4 if scripts else 7)
    assert min(widths) > 900
    assert [url for url in opener.requests if not url.startswith("data:")] == [experiment.as_uri()]
    assert opener.errors == []


def test_attack_in_every_field_stays_text(opener: Opener, experiment: Path) -> None:
    """Names, paths and the pictures of others are shown, and do nothing."""
    with opener.opened(experiment) as page:
        page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
        page.locator("img.still").evaluate_all("(images) => Promise.all(images.map((image) => image.decode()))")
        assert page.title().replace("document.title='broken in'", "").startswith("gilscope: </script>")
        assert page.locator("img:not(.still), [onerror], [onload]").count() == 0
        assert page.locator("script:not([type='application/json'])").count() == 1
        assert ATTACK in page.locator("#time").inner_text()
    assert opener.errors == []


def test_flame_graph_of_an_arm_is_drawn_when_it_is_opened(opener: Opener, experiment: Path) -> None:
    """Each from its own capture; the change has those of both, as more or less of each second."""
    with opener.opened(experiment) as page:
        change = page.locator("[data-picture=flame][data-name='batch against native']")
        functions = [row.split()[0] for row in change.locator("tbody tr").all_inner_texts()]
        assert sorted(functions) == ["encode", "send"]
        for arm, function in (("batch", "encode"), ("native", "send")):
            page.locator("summary").get_by_text(arm, exact=True).click()
            graph = page.locator(f"[data-picture=flame][data-name='{arm}']")
            graph.locator("canvas.flame").wait_for()
            assert graph.locator("tbody tr td").first.inner_text() == function
    assert opener.errors == []


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_no_wider_than_the_screen(opener: Opener, experiment: Path, width: int) -> None:
    """Only tables and pictures scroll sideways, each by itself, with everything unfolded."""
    with opener.opened(experiment, width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
        page.locator("[data-name=batch] canvas.flame").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == width
