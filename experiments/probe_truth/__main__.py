"""`python -m experiments.probe_truth`: see README.md."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from experiments.probe.experiment import ProbeExperiment, main, needs
from experiments.probe_truth import oracle
from experiments.probe_truth.run import GILSCOPE, NOTHING, run
from experiments.probe_truth.tools import PySpy, Sampler, py_spy_missing, sampler_missing
from experiments.spans.experiment import Metric, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from experiments.spans.experiment import Figures, Sizes

UPROBES, WATCHDOG, GILKNOCKER, VIZTRACER = "kernel uprobes", "watchdog thread", "gilknocker", "VizTracer"
GIL_LOAD = "gil_load"
INSIDE = {
    GILSCOPE: "gilscope",
    WATCHDOG: "watchdog",
    GILKNOCKER: "gilknocker",
    GIL_LOAD: "gil_load",
    VIZTRACER: "VizTracer",
}
PY_SPY = {"py-spy, 100 Hz": partial(PySpy, rate=100), "py-spy, 1 kHz": partial(PySpy, rate=1000)}
SAMPLER = {
    "profiling.sampling --mode gil": partial(Sampler, mode="gil"),
    "profiling.sampling --mode wall": partial(Sampler, mode="wall"),
}
BESIDE: dict[str, Callable[[int], PySpy | Sampler]] = {**PY_SPY, **SAMPLER}


def block(arm: str, sizes: Sizes) -> Figures:
    """Run the target under a tool twice: for what the tool costs, and with the kernel's record, for what it says."""
    once = partial(run, seconds=sizes["seconds"], loop="uvloop", tool=INSIDE.get(arm, NOTHING), beside=BESIDE.get(arm))
    alone = once(checked=arm == UPROBES)
    figures = alone.speed()
    if arm not in {NOTHING, UPROBES, VIZTRACER} and oracle.why_not() is None:
        figures.update({**alone.failures(), **once(checked=True).judged()})
    return figures


class TruthExperiment(ProbeExperiment):
    """What is told of CPython 3.15, with its own sampler, is kept in a folder of its own."""

    @property
    def folder(self) -> Path:
        """Where its README.md and summary.json are."""
        return super().folder if sampler_missing() else super().folder / "3.15"


EXPERIMENT = TruthExperiment(
    name="probe_truth",
    question="Does the probe tell the truth about the GIL, and what do other tools tell?",
    arms={
        NOTHING: lambda: None,
        GILSCOPE: partial(needs, "gilscope._probe"),
        UPROBES: oracle.why_not,
        **dict.fromkeys(PY_SPY, py_spy_missing),
        **dict.fromkeys(SAMPLER, sampler_missing),
        WATCHDOG: lambda: None,
        GILKNOCKER: partial(needs, "gilknocker"),
        GIL_LOAD: partial(needs, "gil_load"),
        VIZTRACER: partial(needs, "viztracer"),
    },
    metrics=(
        Metric("items_per_s", "work done", "items/s"),
        Metric("lag_p99_ms", "loop lag p99", "ms"),
        Metric("failed_samples", "samples that failed", "%"),
        Metric("loop_found", "the loop's waited time found", "%"),
        Metric("loop_holders", "its holders right", "%"),
        Metric("functions", "their function on the stack", "%"),
        Metric("waiting_error", "error of its share of waiting", "points"),
        Metric("holding_error", "error of the shares of holding", "points"),
    ),
    details=(
        Metric("waits", "waits of 1 ms and more", ""),
        Metric("found", "waited time found", "%"),
        Metric("invented", "waited time that was none", "%"),
        Metric("length_error_us", "error of a wait's length, median", "us"),
        Metric("holders", "holders right", "%"),
    ),
    targets=(
        Target("waited time found, all threads", "found", GILSCOPE, 97.0, "more"),
        Target("waited time that was none", "invented", GILSCOPE, 1.0),
        Target("error of a wait's length, waits of 1 ms and more, median", "length_error_us", GILSCOPE, 5.0),
        Target("holders right, waits of 1 ms and more", "holders", GILSCOPE, 99.0, "more"),
    ),
    block=block,
    full={"blocks": 4, "seconds": 4.0},
    tiny={"blocks": 1, "seconds": 0.6},
    packages=("uvloop", "py-spy", "gilknocker", "gil_load", "viztracer", "gilscope"),
    placed="target and tools on any core",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
