"""Says why the loop stalled: the verdict, its causes with their remedies, and the worst stalls with their stacks.

A stall is an iteration of the event loop that took longer than the threshold. Its time is divided, exactly, into
waiting for the GIL (by whoever held it), running, and being blocked.

The default is a page to open in a browser, app.html; it stands alone and fetches nothing.

For example:
  gilscope report app.gilscope                          # writes app.html
  gilscope report app.gilscope --text
  gilscope report runs/today                            # of `gilscope bench`: writes report.html in it
  gilscope report runs/today --format svg               # latency by percentile alone: percentiles.svg
  gilscope report app.gilscope --against before.gilscope -o change.html
  gilscope report app.gilscope --json -o app.json
  gilscope report app.gilscope --fail-over-ms 50    # exit code 3 if the loop stood still for longer than that
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.analysis import analyse
from gilscope.analysis.durations import spoken
from gilscope.capture import open_capture
from gilscope.cli import output, pages, reading
from gilscope.cli.numbers import positive
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    import argparse

    from gilscope.analysis.model import Analysis

_THRESHOLD_MISSED = 3
_WIDTHS = (60, 120)
_WIDTH_OF_FILES = 100


class NoCaptureError(GilscopeError):
    """An option was given that a run of the bench has no answer to."""


class NoSummaryError(GilscopeError):
    """A folder was given that is no run of the bench."""


class NothingToJudgeError(GilscopeError):
    """A limit was given for what the capture does not show."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    reading.add_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--text", action="store_true", help="for a terminal")
    form.add_argument("--json", action="store_true", help="for programs; all durations in nanoseconds")
    form.add_argument("--markdown", action="store_true", help="a summary for a comment on a pull request")
    form.add_argument("--format", choices=("svg",), help="the flame graph (of a run: the percentiles) alone")
    form.add_argument("--against", metavar="CAPTURE", help="a page with the stalls of both captures, and the change")
    output.add_arguments(parser, "the page beside the capture, as .html, a picture as .svg; the rest standard output")
    parser.add_argument(
        "--fail-over-ms", metavar="MS", type=positive, help="exit with 3 if the longest stall is longer than this"
    )


def run(arguments: argparse.Namespace) -> int:
    """The report is written; returns 3 if the longest stall is over the limit, else 0."""
    if Path(arguments.capture).is_dir():
        return _experiment(arguments)
    name = arguments.output or _default_name(arguments)
    with output.opened(name, force=arguments.force) as stream:
        analysis, written = _analysed(arguments, name)
        stream.write(written)
    output.tell(name, "open it in a browser" if name.endswith((".html", ".svg")) else "written")
    return 0 if arguments.fail_over_ms is None else _judge(analysis, arguments.fail_over_ms)


def _experiment(arguments: argparse.Namespace) -> int:
    """The page of a run of the bench is written, or the picture of its percentiles; returns 0."""
    for name in ("text", "json", "markdown", "against", "threshold_ms", "fail_over_ms"):
        if getattr(arguments, name) not in {None, False}:
            option = f"--{name.replace('_', '-')}"
            raise NoCaptureError(f"{option} needs a capture, and {arguments.capture} is a folder: leave it out")
    folder = Path(arguments.capture)
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise NoSummaryError(f"{path}: expected the summary of a run of `gilscope bench`: {error}") from None
    if arguments.format:
        return _percentiles(arguments, folder, summary)
    name = arguments.output or str(folder / "report.html")
    with output.opened(name, force=arguments.force) as stream:
        pages.write_captures(folder, anew=arguments.force)
        stream.write(pages.of_run(folder, summary))
    output.tell(name, "open it in a browser")
    return 0


def _percentiles(arguments: argparse.Namespace, folder: Path, summary: dict[str, Any]) -> int:
    """The picture is written; of a plan with factors one for each point, numbered in the summary's order."""
    from gilscope.report import percentile_plot

    points = range(max(1, len(summary["points"])))
    if arguments.output and len(points) > 1:
        raise NoCaptureError(
            f"-o names one picture, and the run has {len(points)} points with a picture each: leave it out"
        )
    for point in points:
        number = f"-{point + 1}" if len(points) > 1 else ""
        name = arguments.output or str(folder / f"percentiles{number}.svg")
        with output.opened(name, force=arguments.force) as stream:
            stream.write(percentile_plot.render(summary, point))
        output.tell(name, "open it in a browser")
    return 0


def _default_name(arguments: argparse.Namespace) -> str:
    if arguments.text or arguments.json or arguments.markdown:
        return "-"
    return reading.beside(arguments.capture, ".svg" if arguments.format else ".html")


def _analysed(arguments: argparse.Namespace, name: str) -> tuple[Analysis, str]:
    if not (arguments.text or arguments.json or arguments.markdown or arguments.format or arguments.against):
        return pages.of_capture(arguments.capture, _threshold_ns(arguments))
    analysis = reading.analysis_of(arguments)
    if arguments.against:
        return analysis, _compared(arguments, analysis)
    if arguments.json:
        return analysis, _json(analysis)
    if arguments.text:
        return analysis, _text(analysis, name)
    from gilscope.report import flamegraph, markdown

    title = pages.recorded(analysis, arguments.capture)
    if arguments.markdown:
        return analysis, markdown.render(analysis, title)
    return analysis, flamegraph.render(analysis.stall_stacks, title=f"Stalls of {title}", subtitle=analysis.verdict)


def _compared(arguments: argparse.Namespace, analysis: Analysis) -> str:
    from gilscope.report import page_compared

    with open_capture(arguments.against) as capture:
        against = analyse(capture, _threshold_ns(arguments))
    name, other = Path(arguments.capture).name, Path(arguments.against).name
    return page_compared.render(page_compared.Compared(name, other, analysis, against), pages.made())


def _threshold_ns(arguments: argparse.Namespace) -> int | None:
    return None if arguments.threshold_ms is None else round(arguments.threshold_ms * reading.NS_PER_MS)


def _json(analysis: Analysis) -> str:
    from gilscope.report import as_json

    return json.dumps(as_json.to_dict(analysis), indent=2) + "\n"


def _text(analysis: Analysis, name: str) -> str:
    from gilscope.report import text

    narrowest, widest = _WIDTHS
    to_terminal = name == "-" and sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if to_terminal else _WIDTH_OF_FILES
    return text.render(analysis, max(narrowest, min(widest, columns))).rstrip("\n") + "\n"


def _judge(analysis: Analysis, limit_ms: float) -> int:
    if not analysis.loops:
        raise NothingToJudgeError(
            "--fail-over-ms needs an event loop, and the capture has none: record a process that runs one"
        )
    # Of all iterations: the limit may be below the threshold from which they count as stalls.
    longest_ns = max(loop.iterations.max_ns for loop in analysis.loops)
    if longest_ns <= limit_ms * reading.NS_PER_MS:
        return 0
    sys.stderr.write(f"gilscope: the longest stall, {spoken(longest_ns)}, is over --fail-over-ms {limit_ms:g}\n")
    return _THRESHOLD_MISSED
