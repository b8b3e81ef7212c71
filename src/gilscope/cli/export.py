"""Writes a capture in a format of other tools.

  speedscope   the stalls' stacks, for https://www.speedscope.app
  collapsed    the same as lines of text, for flamegraph.pl, inferno and the like
  perfetto     everything on a time line: GIL, iterations, stalls; for https://ui.perfetto.dev

For example:
  gilscope export app.gilscope --format perfetto      # writes app.perfetto.json
  gilscope export app.gilscope --format collapsed -o - | flamegraph.pl > app.svg
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from gilscope.capture import open_capture
from gilscope.cli import output, reading
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    import argparse

_SUFFIXES = {"speedscope": ".speedscope.json", "perfetto": ".perfetto.json", "collapsed": ".collapsed.txt"}
_WHERE = {
    "speedscope": "open it at https://www.speedscope.app",
    "perfetto": "open it at https://ui.perfetto.dev",
    "collapsed": "flamegraph.pl reads it",
}


class FormatError(GilscopeError):
    """The format has no use for what else was asked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    reading.add_arguments(parser)
    parser.add_argument("--format", choices=_SUFFIXES, required=True, help="what to write")
    output.add_arguments(parser, "beside the capture")


def run(arguments: argparse.Namespace) -> int:
    """The file is written; returns 0."""
    if arguments.format == "perfetto" and arguments.threshold_ms is not None:
        raise FormatError("--threshold-ms is for stacks of stalls: a perfetto trace has everything, leave it out")
    name = arguments.output or reading.beside(arguments.capture, _SUFFIXES[arguments.format])
    with output.opened(name, force=arguments.force) as stream:
        _write(arguments, stream)
    output.tell(name, _WHERE[arguments.format])
    return 0


def _write(arguments: argparse.Namespace, stream: TextIO) -> None:
    if arguments.format == "perfetto":
        from gilscope.report import perfetto

        with open_capture(arguments.capture) as capture:
            perfetto.write(capture, stream)
    elif arguments.format == "speedscope":
        from gilscope.report import speedscope

        json.dump(speedscope.to_dict(reading.analysis_of(arguments).stall_stacks, name=arguments.capture), stream)
    else:
        from gilscope.report import collapsed

        stream.write(collapsed.render(reading.analysis_of(arguments).stall_stacks))
