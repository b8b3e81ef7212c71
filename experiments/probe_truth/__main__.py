"""`python -m experiments.probe_truth`: see README.md."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from experiments.probe.experiment import ProbeExperiment, main, needs
from experiments.probe_truth import oracle
from experiments.probe_truth.run import GILSCOPE, NOTHING, run
from experiments.probe_truth.tools import py_spy_missing
from experiments.spans.experiment import Metric, Target

if TYPE_CHECKING:
    from experiments.spans.experiment import Figures, Sizes

UPROBES, WATCHDOG, GILKNOCKER, VIZTRACER = "kernel uprobes", "watchdog thread", "gilknocker", "VizTracer"
INSIDE = {GILSCOPE: "gilscope", WATCHDOG: "watchdog", GILKNOCKER: "gilknocker", VIZTRACER: "VizTracer"}
SPY_RATES = {"py-spy, 100 Hz": 100, "py-spy, 1 kHz": 1000}


def block(arm: str, sizes: Sizes) -> Figures:
    """Run the target under a tool twice: for what the tool costs, and with the kernel's record, for what it says."""
    once = partial(
        run, seconds=sizes["seconds"], loop="uvloop", tool=INSIDE.get(arm, NOTHING), spy_rate=SPY_RATES.get(arm, 0)
    )
    figures = once(checked=arm == UPROBES).speed()
    if arm not in {NOTHING, UPROBES, VIZTRACER} and oracle.why_not() is None:
        figures.update(once(checked=True).judged())
    return figures


EXPERIMENT = ProbeExperiment(
    name="probe_truth",
    question="Does the probe tell the truth about the GIL, and what do other tools tell?",
    arms={
        NOTHING: lambda: None,
        GILSCOPE: partial(needs, "gilscope._probe"),
        UPROBES: oracle.why_not,
        **dict.fromkeys(SPY_RATES, py_spy_missing),
        WATCHDOG: lambda: None,
        GILKNOCKER: partial(needs, "gilknocker"),
        VIZTRACER: partial(needs, "viztracer"),
    },
    metrics=(
        Metric("items_per_s", "work done", "items/s"),
        Metric("lag_p99_ms", "loop lag p99", "ms"),
        Metric("loop_found", "the loop's waited time found", "%"),
        Metric("loop_holders", "its holders right", "%"),
        Metric("waiting_error", "error of its share of waiting", "points"),
        Metric("holding_error", "error of the shares of holding", "points"),
    ),
    details=(
        Metric("waits", "waits of 1 ms and more", ""),
        Metric("found", "waited time found", "%"),
        Metric("invented", "waited time that was none", "%"),
        Metric("length_error_us", "error of a wait's length, median", "us"),
        Metric("holders", "holders right", "%"),
        Metric("functions", "holder's function on the stack", "%"),
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
    packages=("uvloop", "py-spy", "gilknocker", "viztracer", "gilscope"),
    placed="target and tools on any core",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
