"""The pages of a run: report.html, and beside each capture what `gilscope report` makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope._version import __version__
from gilscope.analysis import analyse
from gilscope.capture import open_capture
from gilscope.errors import CaptureError
from gilscope.report import page_capture, page_experiment
from gilscope.report.page import NoPageError
from gilscope.report.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(run_folder: Path, summary: Mapping[str, Any]) -> Path | None:
    """The pages are written, those that were there made anew.

    Args:
        run_folder: of a run that has been summarised.
        summary: as `gilscope.bench.summary` makes it.

    Returns:
        That of the run; None where the package was built without the page.
    """
    pages = []
    try:
        for path in sorted(run_folder.glob("cells/*/capture.gilscope")):
            page = path.with_suffix(".html")
            try:
                page.write_text(_of_capture(path), encoding="utf-8")
            except CaptureError:  # cut off in the middle of nothing; the cell says why
                continue
            pages.append(page.relative_to(run_folder).as_posix())
        report = run_folder / "report.html"
        report.write_text(page_experiment.render(summary, pages), encoding="utf-8")
    except NoPageError:
        return None
    return report


def _of_capture(path: Path) -> str:
    with open_capture(path) as capture:
        analysis = analyse(capture)
        drawn = timeline(capture, analysis)
    return page_capture.render(analysis, drawn, path.parent.name, f"gilscope {__version__}: gilscope bench")
