"""`python -m experiments.large_attribute`: see README.md."""

from __future__ import annotations

import statistics
import sys
import time

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, check, main
from experiments.spans.process import ThreadCpu, wait_until_asleep

NS_PER_US = 1e3
NS_PER_MS = 1e6


def block(run: Block) -> Figures:
    """Hand over spans with one large attribute, each when the one before it was delivered, and time each call."""
    from experiments.spans import workload

    size_bytes, count = run.count("attribute_bytes"), run.count("spans")
    small = workload.Maker()
    large = workload.Maker(lambda tracer, number: workload.end_large(tracer, number, size_bytes))
    arm = arms.make(run.arm, run.sink.http_endpoint)
    # The first span starts a thread and connects; what it costs is another question.
    arms.end_each(arm.processor, small.make(1))
    arm.processor.force_flush()
    wait_until_asleep()
    before = ThreadCpu.now()
    called_ns = []
    flushed_ns = 0
    for _ in range(count):
        (span,) = large.make(1)
        began_ns = time.perf_counter_ns()
        arm.processor.on_end(span)
        called_ns.append(time.perf_counter_ns() - began_ns)
        # BatchSpanProcessor encodes and sends in the thread that flushes; that time counts as background.
        began_ns = time.thread_time_ns()
        arm.processor.force_flush()
        flushed_ns += time.thread_time_ns() - began_ns
    wait_until_asleep()
    python_ns = ThreadCpu.now().since(before).python_ns + flushed_ns
    check(run.sink.stats().spans_accepted == count + 1, f"all {count + 1} spans at the collector")
    return {
        "median_us": statistics.median(called_ns) / NS_PER_US,
        "max_us": max(called_ns) / NS_PER_US,
        "later_ms": python_ns / count / NS_PER_MS,
    }


EXPERIMENT = Experiment(
    name="large_attribute",
    question="How long does the app thread stand still for a span with one attribute of 500 KB?",
    arms=arms.ALL,
    metrics=(
        Metric("median_us", "`on_end`, median", "us"),
        Metric("max_us", "`on_end`, longest", "us"),
        Metric("later_ms", "Python CPU later, per span", "ms"),
    ),
    targets=(
        Target("stall for a 500 KB attribute, median", "median_us", arms.NATIVE, 120.0),
        Target("stall for a 500 KB attribute, longest", "max_us", arms.NATIVE, 120.0),
    ),
    block=block,
    full={"blocks": 9, "spans": 40, "attribute_bytes": 500_000},
    tiny={"blocks": 1, "spans": 3, "attribute_bytes": 500_000},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
