"""`python -m experiments.highest_rate`: see README.md."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from experiments.spans import arms
from experiments.spans.experiment import Block, Experiment, Figures, Metric, Target, main

if TYPE_CHECKING:
    from collections.abc import Callable

HANDED_OVER = "spans made before"
GROWTH = 1.6
# A step that ends this much late did not keep its rate.
LATE = 1.03


def highest(holds: Callable[[float], bool], first: float, precision: float) -> tuple[float, float]:
    """Return the highest rate that holds and the lowest that does not, as close together as the precision asks.

    Args:
        holds: tries a rate.
        first: a rate to begin with; while it does not hold, smaller ones are tried.
        precision: the second over the first is at most this.
    """
    low, high = 0.0, 0.0
    rate = first
    while not (low and high):
        if holds(rate):
            low, rate = rate, rate * GROWTH
        else:
            high, rate = rate, rate / GROWTH
    while high / low > precision:
        middle = (low * high) ** 0.5
        if holds(middle):
            low = middle
        else:
            high = middle
    return low, high


def block(run: Block) -> Figures:
    """Search for the highest rate at which, for some seconds, every span arrives and the schedule is kept."""
    from experiments.spans import workload

    seconds = run.sizes["seconds"]
    before = workload.Maker().make(4096) if run.arm.endswith(HANDED_OVER) else []
    steps = 0

    def holds(spans_per_s: float) -> bool:
        nonlocal steps
        steps += 1
        run.sink.reset()
        arm = arms.make(run.arm, run.sink.http_endpoint)
        source = workload.provider()
        source.add_span_processor(arm.processor)
        tracer = source.get_tracer("experiments.highest_rate", "1.0")
        if before:
            on_end = arm.processor.on_end
            made, took_s = workload.at_rate(lambda number: on_end(before[number % 4096]), spans_per_s, seconds)
        else:
            made, took_s = workload.at_rate(
                lambda number: workload.end_ten_attributes(tracer, number), spans_per_s, seconds
            )
        arm.processor.force_flush()
        source.shutdown()
        return took_s <= seconds * LATE and run.sink.stats().spans_accepted == made

    def holds_in_one_of_two(spans_per_s: float) -> bool:
        return holds(spans_per_s) or holds(spans_per_s)

    low, high = highest(holds_in_one_of_two, run.sizes["first_spans_per_s"], run.sizes["precision"])
    return {"spans_per_s": low, "not_spans_per_s": high, "steps": steps}


EXPERIMENT = Experiment(
    name="highest_rate",
    question="What is the highest rate of spans at which none is lost, with default settings and one core?",
    arms=(*arms.ALL, *(f"{arm}, {HANDED_OVER}" for arm in arms.ALL)),
    metrics=(
        Metric("spans_per_s", "nothing lost at", "spans/s"),
        Metric("not_spans_per_s", "lost, or late, at", "spans/s"),
        Metric("steps", "tries", "steps"),
    ),
    targets=(
        Target("highest rate without loss", "spans_per_s", arms.NATIVE, 3.0, "more", arms.BATCH),
        Target(
            "highest rate without loss, processor alone",
            "spans_per_s",
            f"{arms.NATIVE}, {HANDED_OVER}",
            3.0,
            "more",
            f"{arms.BATCH}, {HANDED_OVER}",
        ),
    ),
    block=block,
    full={"blocks": 3, "seconds": 4, "first_spans_per_s": 8_000, "precision": 1.08},
    tiny={"blocks": 1, "seconds": 0.05, "first_spans_per_s": 8_000, "precision": 2.0},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
