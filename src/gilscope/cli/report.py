"""Says why the loop stalled: the verdict, its causes with their remedies, and the worst stalls with their stacks.

A stall is an iteration of the event loop that took longer than the threshold. Its time is divided, exactly, into
waiting for the GIL (by whoever held it), running, and being blocked.

For example:
  gilscope report app.gilscope
  gilscope report app.gilscope --json -o app.json
  gilscope report app.gilscope --fail-over-ms 50    # exit code 3 if the loop stood still for longer than that
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

from gilscope.analysis.durations import spoken
from gilscope.cli import output, reading
from gilscope.cli.numbers import positive
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    import argparse

    from gilscope.analysis.model import Analysis

_THRESHOLD_MISSED = 3
_WIDTHS = (60, 120)
_WIDTH_OF_FILES = 100


class NothingToJudgeError(GilscopeError):
    """A limit was given for what the capture does not show."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    reading.add_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--text", action="store_true", help="for people (the default)")
    form.add_argument("--json", action="store_true", help="for programs; all durations in nanoseconds")
    output.add_arguments(parser, "standard output")
    parser.add_argument(
        "--fail-over-ms", metavar="MS", type=positive, help="exit with 3 if the longest stall is longer than this"
    )


def run(arguments: argparse.Namespace) -> int:
    """The report is written; returns 3 if the longest stall is over the limit, else 0."""
    name = arguments.output or "-"
    with output.opened(name, force=arguments.force) as stream:
        analysis = reading.analysis_of(arguments)
        stream.write(_json(analysis) if arguments.json else _text(analysis, name))
    return 0 if arguments.fail_over_ms is None else _judge(analysis, arguments.fail_over_ms)


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
