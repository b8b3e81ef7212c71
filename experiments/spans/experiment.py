"""One experiment: a question, the arms that are compared, and what their figures must reach.

An experiment is a folder with a `__main__.py` that makes an `Experiment` and calls `main`. Its function `block` runs
one arm once and returns figures; it is called in a fresh process on a core of its own, with a fresh collector (the sink
of the load tests, a real one on a socket) on another core. A run is some blocks; in each, every arm runs once, in
random order, so that what disturbs the machine for a while disturbs all arms alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.spans import arms as arms_module
from experiments.spans import process, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gilscope.bench.sink import Sink

ROOT = Path(__file__).resolve().parents[2]

FAILED = 1
TARGET_MISSED = 3

_CLEARED = ("OTEL_", "GILSCOPE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")

Figures = dict[str, float]
Sizes = dict[str, float]
"""Names and values that say how much is measured; a whole number where a count is meant."""


@dataclass(frozen=True)
class Metric:
    """A figure that each arm gives in each block."""

    name: str
    title: str
    unit: str


@dataclass(frozen=True)
class Target:
    """What a figure must reach.

    Attributes:
        metric: the figure's name.
        arm: whose.
        peer: the arm it is set in proportion to, block by block; None compares the figure itself.
        reach: the figure is at most or at least this; with a peer, how many times better than the peer's it is.
        kind: which side is better; `fewer` and `more` say it of the figure, also with a peer.
    """

    what: str
    metric: str
    arm: str
    reach: float
    kind: Literal["fewer", "more"] = "fewer"
    peer: str | None = None


@dataclass(frozen=True)
class Block:
    """What a block is to do, in its own process."""

    arm: str
    sizes: Sizes
    sink: Sink

    def count(self, size: str) -> int:
        """Return a size that is a count."""
        return int(self.sizes[size])


@dataclass(frozen=True)
class Experiment:
    """A question, and how it is answered.

    Attributes:
        name: of its folder.
        arms: names as `arms.processor_of` takes them.
        block: runs one arm once; the names of its figures are those of `metrics`.
        full: sizes of a run, and `blocks`, how many.
        tiny: sizes that take seconds, for the tests.
    """

    name: str
    question: str
    arms: tuple[str, ...]
    metrics: tuple[Metric, ...]
    targets: tuple[Target, ...]
    block: Callable[[Block], Figures]
    full: Sizes
    tiny: Sizes

    @property
    def folder(self) -> Path:
        """Where its README.md and summary.json are."""
        return ROOT / "experiments" / self.name

    def run(
        self, *, sizes: Sizes, seed: int, arms: Sequence[str] | None = None, say: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any]:
        """Return the summary of a run.

        Raises:
            BlockError: a block failed, or what it counted does not add up.
        """
        wanted = [arm for arm in self.arms if arms is None or arms_module.processor_of(arm) in arms]
        running = [arm for arm in wanted if arms_module.available(arm)]
        order = random.Random(seed)
        values: dict[str, list[Figures]] = {arm: [] for arm in running}
        blocks = int(sizes["blocks"])
        for number in range(blocks):
            for arm in order.sample(running, len(running)):
                say(f"{self.name}: block {number + 1} of {blocks}, {arm}")
                values[arm].append(self._run_block(arm, sizes))
        return {
            "experiment": self.name,
            "question": self.question,
            "command": f"python -m experiments.{self.name}",
            "machine": process.machine(),
            "seed": seed,
            "sizes": sizes,
            "metrics": [{"name": m.name, "title": m.title, "unit": m.unit} for m in self.metrics],
            "arms": {
                arm: {m.name: _summarise([block[m.name] for block in values[arm]]) for m in self.metrics}
                for arm in running
            },
            "left_out": [arm for arm in wanted if arm not in running],
            "targets": [judge(target, values) for target in self.targets if _measured(target, values)],
        }

    def _run_block(self, arm: str, sizes: Sizes) -> Figures:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_CLEARED)}
        asked = json.dumps({"arm": arm, "sizes": sizes})
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                [sys.executable, "-m", f"experiments.{self.name}", "--block", asked],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=600,
                check=False,
            )
            errors.seek(0)
            said = errors.read().decode(errors="replace")
        if done.returncode != 0:
            raise BlockError(f"{self.name}, {arm}: exit code {done.returncode}\n{said[-4000:]}")
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures

    def run_in_this_process(self, asked: str) -> None:
        """Run a block as `_run_block` asked for it, and print its figures."""
        from gilscope.bench.sink import Sink

        document = json.loads(asked)
        cores = process.Cores.choose()
        os.sched_setaffinity(0, {cores.others})
        with Sink() as sink:
            os.sched_setaffinity(0, {cores.tested})
            figures = self.block(Block(document["arm"], document["sizes"], sink))
            if sink.errors():
                raise BlockError(f"expected a collector without errors, got {sink.errors()}")
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()
        # Past the exit handlers: processors that were left unable to deliver would wait for their timeouts.
        os._exit(0)


class BlockError(RuntimeError):
    """A block failed; a run without it would be another experiment."""


def check(condition: bool, expected: str) -> None:  # noqa: FBT001  # reads as an assertion
    """Return if the condition holds: a figure from a run that does not add up is no figure.

    Raises:
        BlockError: it does not.
    """
    if not condition:
        raise BlockError(f"expected {expected}")


def _summarise(values: list[float]) -> dict[str, Any]:
    return {
        "n": len(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def _measured(target: Target, values: Mapping[str, list[Figures]]) -> bool:
    return target.arm in values and (target.peer is None or target.peer in values)


def judge(target: Target, values: Mapping[str, list[Figures]]) -> dict[str, Any]:
    """Return what was reached; with a peer, the ratio within each block, since a block's arms ran side by side."""
    ours = [block[target.metric] for block in values[target.arm]]
    if target.peer is None:
        reached = _summarise(ours)
        met = reached["median"] <= target.reach if target.kind == "fewer" else reached["median"] >= target.reach
    else:
        theirs = [block[target.metric] for block in values[target.peer]]
        better = list(zip(theirs, ours, strict=True) if target.kind == "fewer" else zip(ours, theirs, strict=True))
        # An arm that needs nothing at all is better than by any factor.
        reached = _summarise([high / low if low > 0 else sys.float_info.max for high, low in better])
        met = reached["median"] >= target.reach
    return {
        "what": target.what,
        "metric": target.metric,
        "arm": target.arm,
        "peer": target.peer,
        "kind": target.kind,
        "reach": target.reach,
        "reached": {name: reached[name] for name in ("n", "median", "min", "max")},
        "met": met,
    }


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return the options that one experiment and all of them have in common."""
    made = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="exit codes: 0 fine, 1 a block failed, 2 usage, 3 a target was missed",
    )
    made.add_argument("--blocks", type=int, metavar="N", help="how often each arm runs")
    made.add_argument(
        "--size", action="append", type=_size, default=[], metavar="NAME=VALUE", help="how much to measure"
    )
    made.add_argument("--tiny", action="store_true", help="the smallest run that still shows something")
    made.add_argument("--seed", type=int, default=1, help="of the order of the arms; default %(default)s")
    made.add_argument("--write", action="store_true", help="write summary.json, and the figures in the README files")
    return made


def sizes_of(experiment: Experiment, options: argparse.Namespace) -> Sizes:
    """Return the sizes that the command line asks for."""
    sizes = dict(experiment.tiny if options.tiny else experiment.full)
    if options.blocks is not None:
        sizes["blocks"] = options.blocks
    sizes.update((name, value) for name, value in options.size if name in sizes)
    return sizes


def _size(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    number = float(value)
    return name, int(number) if number.is_integer() else number


def perform(experiment: Experiment, options: argparse.Namespace, arms: Sequence[str] | None = None) -> dict[str, Any]:
    """Run an experiment as the command line asks for, print its tables, and return its summary."""
    summary = experiment.run(
        sizes=sizes_of(experiment, options),
        seed=options.seed,
        arms=arms,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(report.as_text(summary))
    if options.write:
        report.write(experiment.folder, summary)
    return summary


def main(experiment: Experiment) -> int:
    """Return the exit code of `python -m experiments.NAME`."""
    options_parser = parser(f"python -m experiments.{experiment.name}", experiment.question)
    options_parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary there too")
    options_parser.add_argument("--arms", metavar="NAME[,NAME]", help=f"only these of {', '.join(arms_module.ALL)}")
    options_parser.add_argument("--block", help=argparse.SUPPRESS)
    options = options_parser.parse_args()
    if options.block is not None:
        experiment.run_in_this_process(options.block)
    arms = None if options.arms is None else options.arms.split(",")
    try:
        summary = perform(experiment, options, arms)
    except BlockError as error:
        print(error, file=sys.stderr)
        return FAILED
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0 if all(target["met"] for target in summary["targets"]) else TARGET_MISSED
