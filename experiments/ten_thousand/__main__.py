"""`python -m experiments.ten_thousand`: see README.md."""

from __future__ import annotations

import sys
import time

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, check, main

TEN_ATTRIBUTES = "ten attributes"


def block(run: Block) -> Figures:
    """Start and end spans at the rate, shut the provider down, and return what did not arrive."""
    from experiments.spans import workload

    end = workload.end_ten_attributes if run.arm.endswith(TEN_ATTRIBUTES) else workload.end_specified
    arm = arms.make(run.arm, run.sink.http_endpoint)
    source = workload.provider()
    source.add_span_processor(arm.processor)
    tracer = source.get_tracer("experiments.ten_thousand", "1.0")
    used_s = time.process_time()
    made, took_s = workload.at_rate(lambda number: end(tracer, number), run.sizes["spans_per_s"], run.sizes["seconds"])
    used_s = time.process_time() - used_s
    arm.processor.force_flush()
    source.shutdown()
    arrived = run.sink.stats().spans_accepted
    counted = arm.counted_losses()
    check(0 < arrived <= made, f"up to {made} spans at the collector, got {arrived}")
    check(counted is None or counted == made - arrived, f"{made - arrived} lost spans to be counted, got {counted}")
    return {
        "lost_percent": 100.0 * (made - arrived) / made,
        "lost": made - arrived,
        "made_per_s": made / took_s,
        "cpu_percent": 100.0 * used_s / took_s,
    }


EXPERIMENT = Experiment(
    name="ten_thousand",
    question="How many spans are lost at 10,000 spans a second, with default settings?",
    arms=(*arms.ALL, *(f"{arm}, {TEN_ATTRIBUTES}" for arm in arms.ALL)),
    metrics=(
        Metric("lost_percent", "lost", "%"),
        Metric("lost", "lost", "spans"),
        Metric("made_per_s", "made", "spans/s"),
        Metric("cpu_percent", "CPU of the process", "% of a core"),
    ),
    targets=(
        Target("lost at 10,000 spans/s", "lost", arms.NATIVE, 0.0),
        Target("lost at 10,000 spans/s, ten attributes", "lost", f"{arms.NATIVE}, {TEN_ATTRIBUTES}", 0.0),
    ),
    block=block,
    full={"blocks": 3, "spans_per_s": 10_000, "seconds": 15},
    tiny={"blocks": 1, "spans_per_s": 1_000, "seconds": 0.2},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
