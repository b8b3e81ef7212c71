"""`python -m experiments.burst`: see README.md."""

from __future__ import annotations

import sys
import time
from typing import Any

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, check, main
from experiments.spans.process import memory_bytes

MB = 1e6


def block(run: Block) -> Figures:
    """End many large spans at once, shut the provider down, and return what was lost and the peak of memory."""
    from experiments.spans import workload

    settings: dict[str, Any] = {}
    if arms.processor_of(run.arm) == arms.NATIVE:
        settings["max_queue_bytes"] = run.count("queue_mib") * 2**20
    arm = arms.make(run.arm, run.sink.http_endpoint, **settings)
    source = workload.provider()
    source.add_span_processor(arm.processor)
    tracer = source.get_tracer("experiments.burst", "1.0")
    count, size_bytes = run.count("spans"), run.count("attribute_bytes")
    before_bytes = memory_bytes("VmRSS")
    began_s = time.perf_counter()
    for number in range(count):
        workload.end_large(tracer, number, size_bytes)
    ended_s = time.perf_counter() - began_s
    arm.processor.force_flush()
    source.shutdown()
    arrived = run.sink.stats().spans_accepted
    counted = arm.counted_losses()
    check(counted is None or counted == count - arrived, f"{count - arrived} lost spans to be counted, got {counted}")
    return {
        "lost": count - arrived,
        "peak_mb": memory_bytes("VmHWM") / MB,
        "before_mb": before_bytes / MB,
        "ended_ms": ended_s * 1e3,
    }


EXPERIMENT = Experiment(
    name="burst",
    question="What becomes of 600 spans of 200 KB that end at once, and what memory does it take?",
    arms=arms.ALL,
    metrics=(
        Metric("lost", "lost", "spans"),
        Metric("peak_mb", "peak of resident memory", "MB"),
        Metric("before_mb", "before the burst", "MB"),
        Metric("ended_ms", "until the last had ended", "ms"),
    ),
    targets=(
        Target("lost of 600 spans of 200 KB", "lost", arms.NATIVE, 0.0),
        Target("peak of memory with them", "peak_mb", arms.NATIVE, 200.0),
    ),
    block=block,
    full={"blocks": 5, "spans": 600, "attribute_bytes": 200_000, "queue_mib": 160},
    tiny={"blocks": 1, "spans": 20, "attribute_bytes": 200_000, "queue_mib": 16},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
