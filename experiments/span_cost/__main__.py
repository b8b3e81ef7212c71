"""`python -m experiments.span_cost`: see README.md."""

from __future__ import annotations

import sys
import time

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, check, main
from experiments.spans.process import ThreadCpu, native_thread_names, next_thread_state, wait_until_asleep

BATCH_SPANS = 512
# A processor gets a span as soon as it was made, while it is in the cache: so spans are made and handed over by turns,
# in groups that are small for the cache and long for the clock (a thread's CPU clock takes a system call).
GROUP_SPANS = 32
WARM_UP_BATCHES = 2
NATIVE_GZIP = f"{arms.NATIVE}, gzip"
NS_PER_US = 1e3


def block(run: Block) -> Figures:
    """Hand over batches of spans, each when the one before it was delivered, and return the CPU time of one span."""
    from experiments.spans import workload

    maker = workload.Maker()
    python_threads = 1
    state_before = next_thread_state()
    arm = arms.make(run.arm, run.sink.http_endpoint, compression="gzip" if run.arm.endswith("gzip") else "none")
    python_threads += arms.processor_of(run.arm) == arms.BATCH
    sent = app_ns = 0
    before = ThreadCpu.now()
    for batch in range(WARM_UP_BATCHES + run.count("batches")):
        if batch == WARM_UP_BATCHES:
            app_ns = 0
            wait_until_asleep()
            before = ThreadCpu.now()
        # Kept until the batch is delivered, so that no arm's figure has the cost of freeing them.
        kept = []
        for _ in range(BATCH_SPANS // GROUP_SPANS):
            spans = maker.make(GROUP_SPANS)
            began_ns = time.thread_time_ns()
            arms.end_each(arm.processor, spans)
            app_ns += time.thread_time_ns() - began_ns
            kept += spans
        sent += BATCH_SPANS
        run.sink.wait_for_spans(sent, timeout_s=30.0)
        arm.settle()
        kept.clear()
    wait_until_asleep()
    used = ThreadCpu.now().since(before)
    native_threads = native_thread_names()
    check(len(sys._current_frames()) <= python_threads, "frames of Python's own threads only")
    states = next_thread_state() - state_before - 1
    check(arm.processor.force_flush(), "a flush without loss")
    check(run.sink.stats().spans_accepted == sent, f"all {sent} spans at the collector")
    check(bool(native_threads) == (arms.processor_of(run.arm) != arms.BATCH), "a native thread, or none")
    measured = run.count("batches") * BATCH_SPANS
    return {
        "app_us": app_ns / measured / NS_PER_US,
        "python_us": used.python_ns / measured / NS_PER_US,
        "gil_us": (app_ns + used.python_ns) / measured / NS_PER_US,
        "native_us": used.native_ns / measured / NS_PER_US,
        "states": states,
    }


EXPERIMENT = Experiment(
    name="span_cost",
    question="What does exporting one span of ten attributes cost, and on which thread?",
    arms=(*arms.ALL, *(f"{arm}, gzip" for arm in arms.ALL)),
    metrics=(
        Metric("app_us", "app thread", "us"),
        Metric("python_us", "background Python", "us"),
        Metric("gil_us", "both together", "us"),
        Metric("native_us", "native thread", "us"),
        Metric("states", "threads that could run Python", "started"),
    ),
    targets=(
        Target("`on_end`, CPU on the app thread", "app_us", arms.NATIVE, 1.5),
        Target("GIL time per span in total", "gil_us", arms.NATIVE, 40.0, peer=arms.BATCH),
        Target("GIL time per span in total", "gil_us", arms.NATIVE, 6.0, peer=arms.FASTOTEL),
        Target("background Python CPU per span", "python_us", arms.NATIVE, 0.0),
        Target("background threads that could run Python", "states", arms.NATIVE, 0.0),
        Target("native thread CPU per span", "native_us", arms.NATIVE, 1.0),
        Target("native thread CPU per span, gzip", "native_us", NATIVE_GZIP, 4.0),
    ),
    block=block,
    full={"blocks": 9, "batches": 40},
    tiny={"blocks": 1, "batches": 2},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
