"""One experiment on the probe: a question, the arms that are compared, and what their figures must reach.

As the experiments on span processors (`experiments.spans.experiment`), but the figures of a block come from outside of
the process under test, which each arm starts anew, and an arm has only those figures that it can have.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.spans import report
from experiments.spans.experiment import FAILED, ROOT, TARGET_MISSED, BlockError, judge, parser
from gilscope.bench.machine import cpu_model, package_version

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from experiments.spans.experiment import Figures, Metric, Sizes, Target


@dataclass(frozen=True)
class ProbeExperiment:
    """A question, and how it is answered.

    Attributes:
        name: of its folder.
        arms: each with what must be there for it, as a function that returns why it is not there, or None.
        metrics: the figures that arms are compared by.
        details: more figures, of which targets tell.
        block: runs one arm once; the names of its figures are those of metrics and details, or some of them.
        full: sizes of a run, and `blocks`, how many.
        tiny: sizes that take seconds, for the tests.
        packages: whose versions matter.
        placed: where the processes run.
    """

    name: str
    question: str
    arms: dict[str, Callable[[], str | None]]
    metrics: tuple[Metric, ...]
    details: tuple[Metric, ...]
    targets: tuple[Target, ...]
    block: Callable[[str, Sizes], Figures]
    full: Sizes
    tiny: Sizes
    packages: tuple[str, ...]
    placed: str

    @property
    def folder(self) -> Path:
        """Where its README.md and summary.json are."""
        return ROOT / "experiments" / self.name

    def run(self, *, sizes: Sizes, seed: int, arms: list[str]) -> dict[str, Any]:
        """Return the summary of a run; progress goes to standard error.

        Raises:
            BlockError: a block failed, or what it found cannot be.
        """
        missing = {arm: why for arm in arms if (why := self.arms[arm]()) is not None}
        running = [arm for arm in arms if arm not in missing]
        order = random.Random(seed)
        values: dict[str, list[Figures]] = {arm: [] for arm in running}
        blocks = int(sizes["blocks"])
        for number in range(blocks):
            for arm in order.sample(running, len(running)):
                print(f"{self.name}: block {number + 1} of {blocks}, {arm}", file=sys.stderr, flush=True)
                try:
                    values[arm].append(self.block(arm, sizes))
                except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
                    raise BlockError(f"{self.name}, {arm}: {error}") from error
        return {
            "experiment": self.name,
            "question": self.question,
            "command": f"python -m experiments.{self.name}",
            "machine": f"{_machine(self.packages)}; {self.placed}",
            "seed": seed,
            "sizes": sizes,
            "metrics": [_described(metric) for metric in self.metrics],
            "details": [_described(metric) for metric in self.details],
            "arms": {
                arm: {
                    metric.name: _summarise([block[metric.name] for block in values[arm]])
                    for metric in (*self.metrics, *self.details)
                    if metric.name in values[arm][0]
                }
                for arm in running
            },
            "left_out": [f"{arm} ({why})" for arm, why in missing.items()],
            "targets": [judge(target, values) for target in self.targets if _measured(target, values)],
        }


def _measured(target: Target, values: dict[str, list[Figures]]) -> bool:
    arms = {target.arm, target.peer or target.arm}
    return all(target.metric in figures for arm in arms for figures in values.get(arm, [{}]))


def _described(metric: Metric) -> dict[str, str]:
    return {"name": metric.name, "title": metric.title, "unit": metric.unit}


def _summarise(values: list[float]) -> dict[str, Any]:
    return {
        "n": len(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def _machine(packages: tuple[str, ...]) -> str:
    python = f"{sys.implementation.name} {platform.python_version()}"
    versions = ", ".join(f"{name} {found}" for name in packages if (found := package_version(name)) is not None)
    return f"{os.cpu_count()} cores of {cpu_model()}, Linux {platform.release()}, {python}, {versions}"


def needs(module: str) -> str | None:
    """Return why there is no such module; None if it is there."""
    return None if find_spec(module) is not None else "not installed"


def figures(summary: report.Summary) -> str:
    """Return each arm's figures: median over the blocks, and their range; a dash where it has none."""
    metrics = summary["metrics"]
    rows = [["", *(f"{metric['title']}, {metric['unit']}" for metric in metrics)]]
    for arm, values in summary["arms"].items():
        rows.append([arm, *(report.spread(values[m["name"]]) if m["name"] in values else "-" for m in metrics)])
    return report.table(rows)


def as_text(summary: report.Summary) -> str:
    """Return what is to be said of a run, as it stands in the README."""
    all_metrics = {**summary, "metrics": [*summary["metrics"], *summary["details"]]}
    parts = [figures(summary), *([report.targets([all_metrics])] if summary["targets"] else [])]
    left_out = [f"Left out: {', '.join(summary['left_out'])}."] if summary["left_out"] else []
    return "\n\n".join([*parts, report.provenance({**summary, "left_out": []}), *left_out])


def write(folder: Path, summary: report.Summary) -> None:
    """The folder's summary.json holds the summary, and its README.md shows it."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    report.replace_figures(folder / "README.md", as_text(summary))


def main(experiment: ProbeExperiment) -> int:
    """Return the exit code of `python -m experiments.NAME`."""
    options_parser = parser(f"python -m experiments.{experiment.name}", experiment.question)
    options_parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there too")
    options_parser.add_argument(
        "--arm", action="append", choices=list(experiment.arms), help="only this one; may be repeated"
    )
    options = options_parser.parse_args()
    try:
        summary = experiment.run(
            sizes=_sizes(experiment, options), seed=options.seed, arms=options.arm or list(experiment.arms)
        )
    except BlockError as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{summary['question']}\n\n{as_text(summary)}")
    if options.write:
        write(experiment.folder, summary)
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0 if all(target["met"] for target in summary["targets"]) else TARGET_MISSED


def _sizes(experiment: ProbeExperiment, options: argparse.Namespace) -> Sizes:
    sizes = dict(experiment.tiny if options.tiny else experiment.full)
    if options.blocks is not None:
        sizes["blocks"] = options.blocks
    sizes.update((name, value) for name, value in options.size if name in sizes)
    return sizes
