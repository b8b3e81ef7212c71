"""`python -m experiments.first_span`: see README.md."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, main

PROGRAM = Path(__file__).with_name("program.py")
# A processor that does nothing.
SDK = "SDK"


def milliseconds(processor: str) -> float:
    """Return what a fresh interpreter needed for its first span."""
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM), processor], capture_output=True, text=True, timeout=60, check=True
    )
    return float(done.stdout)


def block(run: Block) -> Figures:
    """Start programs with the arm's processor and without one, by turns, and return the difference of the medians."""
    name = arms.processor_of(run.arm)
    for processor in (SDK, name):
        milliseconds(processor)  # once for the files to be in memory, and compiled
    pairs = [(milliseconds(SDK), milliseconds(name)) for _ in range(run.count("starts"))]
    sdk_ms, total_ms = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"beyond_ms": total_ms - sdk_ms, "total_ms": total_ms}


EXPERIMENT = Experiment(
    name="first_span",
    question="How long do importing a processor and its first span take, beyond the SDK itself?",
    arms=arms.ALL,
    metrics=(Metric("beyond_ms", "beyond the SDK", "ms"), Metric("total_ms", "with the SDK", "ms")),
    targets=(Target("import and first span, beyond the SDK", "beyond_ms", arms.NATIVE, 60.0),),
    block=block,
    full={"blocks": 9, "starts": 5},
    tiny={"blocks": 1, "starts": 1},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
