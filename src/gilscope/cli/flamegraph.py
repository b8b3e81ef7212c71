"""Draws the stacks that the stalls are made of, as an SVG that stands alone.

Widths are milliseconds of stalls, not samples: who held the GIL while the loop waited for it, what the loop ran itself,
and where it was blocked or had no core.

For example:
  gilscope flamegraph app.gilscope            # writes app.svg: open it in a browser
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING

from gilscope.cli import output, reading
from gilscope.report import flamegraph

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_PYTHON = re.compile(r"python[\d.]*t?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    reading.add_arguments(parser)
    output.add_arguments(parser, "beside the capture, as .svg")


def run(arguments: argparse.Namespace) -> int:
    """The SVG is written; returns 0."""
    name = arguments.output or reading.beside(arguments.capture, ".svg")
    with output.opened(name, force=arguments.force) as stream:
        analysis = reading.analysis_of(arguments)
        title = f"Stalls of {_command(analysis.facts.argv) or PurePath(arguments.capture).name}"
        stream.write(flamegraph.render(analysis.stall_stacks, title=title, subtitle=analysis.verdict))
    output.tell(name, "open it in a browser")
    return 0


def _command(argv: Sequence[str]) -> str:
    """Return a command as one would name it: what Python runs, without its path, and its arguments."""
    if not argv:
        return ""
    name, *rest = argv
    if _PYTHON.fullmatch(PurePath(name).name) and rest:
        if rest[0] == "-m" and len(rest) > 1:
            _, name, *rest = rest
        elif not rest[0].startswith("-"):
            name, *rest = rest
    return shlex.join([PurePath(name).name, *rest])
