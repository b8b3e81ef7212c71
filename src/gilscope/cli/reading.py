"""A capture that a command was given, read and analysed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.analysis import analyse
from gilscope.capture import open_capture
from gilscope.cli.numbers import positive

if TYPE_CHECKING:
    import argparse

    from gilscope.analysis.model import Analysis

NS_PER_MS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the capture and `--threshold-ms`."""
    parser.add_argument("capture", metavar="CAPTURE", help="what `gilscope record` wrote")
    parser.add_argument(
        "--threshold-ms",
        metavar="MS",
        type=positive,
        help="an iteration of the loop that takes longer is a stall (default: as recorded)",
    )


def analysis_of(arguments: argparse.Namespace) -> Analysis:
    """Return what the capture says.

    Raises:
        CaptureError: it cannot be read.
    """
    threshold_ms = arguments.threshold_ms
    with open_capture(arguments.capture) as capture:
        return analyse(capture, None if threshold_ms is None else round(threshold_ms * NS_PER_MS))


def beside(capture: str, suffix: str) -> str:
    """Return the name of a file beside the capture: `app.svg` for `app.gilscope` and `.svg`."""
    path = Path(capture)
    return str(path.with_name(path.name.removesuffix(".gilscope") + suffix))
