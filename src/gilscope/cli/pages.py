"""The pages that commands write: of a capture, and of a run of the bench with those of its captures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope._version import __version__
from gilscope.analysis import analyse
from gilscope.capture import open_capture
from gilscope.errors import CaptureError
from gilscope.report import page_capture, page_experiment
from gilscope.report.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gilscope.analysis.model import Analysis


def made() -> str:
    """Return by what a page is made: this command."""
    return f"gilscope {__version__}: {shlex.join(['gilscope', *sys.argv[1:]])}"


def recorded(analysis: Analysis, capture: str) -> str:
    """Return what was recorded, as one would name it."""
    if not analysis.facts.argv:
        return Path(capture).name
    name, *rest = analysis.facts.argv
    if Path(name).name.startswith("python") and rest and not rest[0].startswith("-"):
        name, *rest = rest
    return " ".join([Path(name).name, *rest])


def of_capture(path: str, threshold_ns: int | None = None) -> tuple[Analysis, str]:
    """Return what a capture says, and the page of that.

    Raises:
        CaptureError: it cannot be read.
        NoPageError: the package was built without the page.
    """
    with open_capture(path) as capture:
        analysis = analyse(capture, threshold_ns)
        drawn = timeline(capture, analysis)
    return analysis, page_capture.render(analysis, drawn, recorded(analysis, path), made())


def write_captures(run_folder: Path) -> None:
    """Beside each capture of a run of the bench is its page, made anew.

    Raises:
        NoPageError: as `of_capture`.
    """
    for path in run_folder.glob("cells/*/capture.gilscope"):
        try:
            _, page = of_capture(str(path))
        except CaptureError:  # of a cell that was lost, which says so itself
            continue
        path.with_suffix(".html").write_text(page, encoding="utf-8")


def of_run(run_folder: Path, summary: Mapping[str, Any]) -> str:
    """Return the page of a run of the bench; it links the pages that are beside its cells.

    Raises:
        NoPageError: as `of_capture`.
    """
    pages = sorted(page.relative_to(run_folder).as_posix() for page in run_folder.glob("cells/*/*.html"))
    return page_experiment.render(summary, pages)
