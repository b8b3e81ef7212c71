"""The pages that commands write: of a capture, and of a run of the bench with those of its captures."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope._version import __version__
from gilscope.analysis import analyse
from gilscope.capture import open_capture
from gilscope.errors import CaptureError
from gilscope.report import page_capture, page_experiment
from gilscope.report.page_arms import Picture, Watched
from gilscope.report.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gilscope.analysis.model import Analysis

# Kinds of cells, and what `gilscope.bench.py_spy` leaves in them.
_WATCHING = ("probe", "pyspy", "pyspy-dump")
_PY_SPY = {
    "pyspy-gil.svg": "samples of the threads that had the GIL",
    "pyspy.svg": "samples of all threads",
}


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


def write_captures(run_folder: Path, *, anew: bool = True) -> None:
    """Beside each capture of a run of the bench is its page, made anew or as it was.

    Raises:
        NoPageError: as `of_capture`.
    """
    for path in run_folder.glob("cells/*/capture.gilscope"):
        written = path.with_suffix(".html")
        if written.exists() and not anew:
            continue
        try:
            _, page = of_capture(str(path))
        except CaptureError:  # of a cell that was lost, which says so itself
            continue
        written.write_text(page, encoding="utf-8")


def of_run(run_folder: Path, summary: Mapping[str, Any]) -> str:
    """Return the page of a run of the bench; it links the pages and pictures that are beside its cells.

    Raises:
        NoPageError: as `of_capture`.
    """
    found: dict[tuple[str, str], Watched] = {}
    unseen = []
    for path in sorted(run_folder.glob("cells/*/cell.json")):
        try:
            facts = json.loads(path.read_bytes())
            if facts["kind"] not in _WATCHING:
                continue
            key = json.dumps(facts["point"]), facts["arm"]
            one = _with_files(found.get(key) or Watched(facts["arm"], facts["point"]), path.parent, run_folder)
            notes = [str(note) for note in facts.get("notes", ())]
            dumps = path.with_name("stalls-pyspy.jsonl")
            if dumps.exists():
                one = replace(one, dumps=notes, dumps_path=dumps.relative_to(run_folder).as_posix())
            else:
                unseen += [f"{path.parent.name}: {note}" for note in notes]
            found[key] = one
            if problems := facts["problems"]:
                unseen.append(f"{path.parent.name}: is on this page although it is invalid: {'; '.join(problems)}")
        except (CaptureError, ValueError, KeyError, TypeError) as error:
            unseen.append(f"{path.parent.name}: what was seen there is not on this page: {error}")
    return page_experiment.render(summary, found.values(), unseen)


def _with_files(one: Watched, cell: Path, run_folder: Path) -> Watched:
    """Return what was watched with what is in a cell's folder: a capture and its page, or py-spy's pictures."""
    where = cell.relative_to(run_folder)
    pictures = [
        Picture(words, (where / name).as_posix(), (cell / name).read_text(encoding="utf-8", errors="replace"))
        for name, words in _PY_SPY.items()
        if (cell / name).exists()
    ]
    if pictures:
        one = replace(one, pictures=pictures)
    path = cell / "capture.gilscope"
    if path.exists():
        with open_capture(path) as capture:
            one = replace(one, analysis=analyse(capture))
        if path.with_suffix(".html").exists():
            one = replace(one, page=(where / "capture.html").as_posix())
    return one
