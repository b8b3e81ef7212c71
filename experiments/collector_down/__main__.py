"""`python -m experiments.collector_down`: see README.md."""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, check, main
from experiments.spans.process import memory_bytes

MB = 1e6
WARM_UP_SPANS = 2000
ROOM_FOR_ALL = f"{arms.NATIVE}, room for all spans"
ONE_MIB = f"{arms.NATIVE}, room for 1 MiB"
FLUSH_S = 30.0


def block(run: Block) -> Figures:
    """End spans while the collector refuses connections, let it come back, and compare what arrives with the count."""
    from experiments.spans import workload
    from gilscope.bench.sink import faults

    count = run.count("spans")
    settings: dict[str, Any] = {}
    if run.arm in {ROOM_FOR_ALL, ONE_MIB}:
        settings["max_queue_size"] = count
    if run.arm == ONE_MIB:
        settings["max_queue_bytes"] = 2**20
    run.sink.set_faults(faults.Refuse())
    workload.Maker().make(WARM_UP_SPANS)
    arm = arms.make(run.arm, run.sink.http_endpoint, **settings)
    source = workload.provider()
    source.add_span_processor(arm.processor)
    tracer = source.get_tracer("experiments.collector_down", "1.0")
    gc.collect()
    before_bytes = memory_bytes("VmRSS")
    for number in range(count):
        workload.end_ten_attributes(tracer, number)
    gc.collect()
    grown_bytes = memory_bytes("VmRSS") - before_bytes
    run.sink.set_faults()
    deadline_s = time.monotonic() + FLUSH_S
    while not arm.processor.force_flush(5000) and time.monotonic() < deadline_s:
        pass
    source.shutdown()
    kept = run.sink.stats().spans_accepted
    lost = count - kept
    counted = arm.counted_losses()
    check(0 < kept <= count, f"some of {count} spans at the collector, got {kept}")
    return {
        "grown_mb": grown_bytes / MB,
        "kept": kept,
        "lost": lost,
        "uncounted": abs(lost - (counted or 0)),
    }


EXPERIMENT = Experiment(
    name="collector_down",
    question="With the collector down: what memory do 19,200 spans take, which are kept, are the others counted?",
    arms=(*arms.ALL, ROOM_FOR_ALL, ONE_MIB),
    metrics=(
        Metric("grown_mb", "growth of resident memory", "MB"),
        Metric("kept", "kept", "spans"),
        Metric("lost", "lost", "spans"),
        Metric("uncounted", "of those not counted, or counted and not lost", "spans"),
    ),
    targets=(
        Target("growth with the collector down", "grown_mb", arms.NATIVE, 1.0, peer=arms.BATCH),
        Target("growth with a queue of 1 MiB", "grown_mb", ONE_MIB, 3.0),
        Target("growth with a queue of 32 MiB that holds all spans", "grown_mb", ROOM_FOR_ALL, 36.0),
        Target("lost spans that were not counted", "uncounted", arms.NATIVE, 0.0),
        Target("lost spans that were not counted, queue of 1 MiB", "uncounted", ONE_MIB, 0.0),
        Target("spans lost with room for all", "lost", ROOM_FOR_ALL, 0.0),
    ),
    block=block,
    full={"blocks": 3, "spans": 19_200},
    tiny={"blocks": 1, "spans": 2_600},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
