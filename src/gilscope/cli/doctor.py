"""Says what works here and what does not, or, of a capture, what is wrong with the recorded service.

Without a capture each line begins with `ok`, `no` or `?`, and has the next step below it. With one it tells each
finding with its evidence and its remedy, the one that explains most of the stalls first.

For example:
  gilscope doctor
  gilscope doctor app.gilscope
"""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gilscope.analysis.model import Analysis

_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    parser.add_argument("capture", metavar="CAPTURE", nargs="?", help="what `gilscope record` wrote")


def run(arguments: argparse.Namespace) -> int:
    """The lines are written; returns 1 if `gilscope record` cannot work here, else 0."""
    return _here() if arguments.capture is None else _service(arguments.capture)


def _here() -> int:
    from gilscope.cli import checks

    made = [check() for check in checks.CHECKS]
    for check in made:
        sys.stdout.write(checks.line(check) + "\n")
    return int(any(check.needed and check.state == checks.NO for check in made))


def _service(capture: str) -> int:
    from gilscope.analysis import analyse
    from gilscope.capture import open_capture

    with open_capture(capture) as opened:
        analysis = analyse(opened)
    sys.stdout.write("\n".join(_findings(analysis)) + "\n")
    return 0


def _findings(analysis: Analysis) -> Iterator[str]:
    from gilscope.analysis.durations import percent, spoken
    from gilscope.report.stacks import printable

    yield from _wrapped(printable(analysis.verdict), "", "")
    for number, finding in enumerate(analysis.findings, 1):
        share = percent(finding.stolen_ns, analysis.stalled_ns)
        title = f"{printable(finding.title)} ({spoken(finding.stolen_ns)}, {share} of the stalls)"
        yield from ("", *_wrapped(title, f"{number}. ", "   "))
        for evidence in finding.evidence:
            yield from _wrapped(printable(evidence), "   - ", "     ")
        yield from _wrapped(printable(finding.remedy), "   -> ", "      ")


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=others)
