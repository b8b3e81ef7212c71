"""The page of an experiment in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

np = pytest.importorskip("numpy")

from gilscope.bench.summary import summarize  # noqa: E402 - needs numpy
from gilscope.report import page_experiment  # noqa: E402
from tests.made_run import MadeRun, latencies_ns  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Opener


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The page of five blocks of two arms."""
    run = MadeRun(tmp_path / "run", arms=("none", "batch"))
    random = np.random.default_rng(1)
    for block in range(5):
        for arm, factor in (("none", 1), ("none.again", 1), ("batch", 1.5)):
            run.cell(arm, block, latencies_ns(random, 2000, factor=factor))
    path = tmp_path / "report.html"
    path.write_text(page_experiment.render(summarize(tmp_path / "run"), ["cells/1/a.html"]), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True])
def test_page_is_clean_for_axe(opener: Opener, experiment: Path, dark: bool) -> None:
    """With everything unfolded, axe-core finds nothing that it is sure of."""
    assert opener.found_by_axe(experiment, dark=dark) == []


@pytest.mark.parametrize("scripts", [False, True])
def test_picture_is_there_with_and_without_scripts(opener: Opener, experiment: Path, scripts: bool) -> None:
    """It is an image in the page; nothing is fetched, and the page's policy forbids none of it."""
    with opener.opened(experiment, scripts=scripts) as page:
        assert page.locator("img.still").evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 900
    assert [url for url in opener.requests if not url.startswith("data:")] == [experiment.as_uri()]
    assert opener.errors == []


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_no_wider_than_the_screen(opener: Opener, experiment: Path, width: int) -> None:
    """Only tables scroll sideways, each by itself."""
    with opener.opened(experiment, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
