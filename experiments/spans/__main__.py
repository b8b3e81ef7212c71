"""`python -m experiments.spans`: runs the experiments on span processors, all of them or those named."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.spans import report
from experiments.spans.experiment import FAILED, ROOT, TARGET_MISSED, BlockError, parser, perform

if TYPE_CHECKING:
    from experiments.spans.experiment import Experiment

NAMES = (
    "span_cost",
    "ten_thousand",
    "highest_rate",
    "large_attribute",
    "burst",
    "collector_down",
    "first_span",
)


def experiment(name: str) -> Experiment:
    """Return an experiment by the name of its folder."""
    found: Experiment = importlib.import_module(f"experiments.{name}.__main__").EXPERIMENT
    return found


def main() -> int:
    """Return the exit code."""
    options_parser = parser(
        "python -m experiments.spans",
        "Runs the experiments on span processors one after the other, each as its own command would, and prints what "
        "was to be reached and what was. With --write every summary.json and the figures in every README are updated.",
    )
    options_parser.add_argument("--all", action="store_true", help="all of them")
    options_parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    options_parser.add_argument("--json", type=Path, metavar="FILE", help="write all summaries there too")
    options = options_parser.parse_args()
    names = NAMES if options.all else tuple(options.names)
    unknown = set(names) - set(NAMES)
    if not names or unknown:
        options_parser.error(
            f"expected --all or some of {', '.join(NAMES)}, got {', '.join(sorted(unknown)) or 'nothing'}"
        )
    try:
        summaries = [perform(experiment(name), options) for name in names]
    except BlockError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(report.targets(summaries))
    if options.write:
        report.write_overview(
            ROOT / "experiments" / "README.md", [_written(name) for name in NAMES if _has_summary(name)]
        )
    if options.json is not None:
        options.json.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")
    return 0 if all(target["met"] for summary in summaries for target in summary["targets"]) else TARGET_MISSED


def _has_summary(name: str) -> bool:
    return (experiment(name).folder / "summary.json").exists()


def _written(name: str) -> report.Summary:
    summary: report.Summary = json.loads((experiment(name).folder / "summary.json").read_text(encoding="utf-8"))
    return summary


if __name__ == "__main__":
    sys.exit(main())
