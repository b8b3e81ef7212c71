"""Totals in Prometheus' text format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gilscope.probe.lengths import Lengths
    from gilscope.probe.totals import LoopTotals, ThreadTotals, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Most holds take microseconds.
GIL_BUCKETS_SECONDS = (0.00001, 0.0001, 0.0005, *BUCKETS_SECONDS)

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_LOOPS: tuple[tuple[str, str, Callable[[LoopTotals], float]], ...] = (
    ("loop_iterations_total", "Iterations of the event loop.", lambda loop: loop.iterations),
    ("loop_on_cpu_seconds_total", "Time of the iterations on CPU.", lambda loop: loop.on_cpu_seconds),
    ("loop_gil_wait_seconds_total", "Time of the iterations waiting for the GIL.", lambda loop: loop.gil_wait_seconds),
    ("loop_stalls_total", "Iterations that took longer than the threshold.", lambda loop: loop.stalls),
    ("loop_stall_seconds_total", "Time of the iterations that took longer.", lambda loop: loop.stalled_seconds),
)
_THREADS: tuple[tuple[str, str, Callable[[ThreadTotals], float]], ...] = (
    ("gil_held_seconds_total", "Time for which threads had the GIL.", lambda thread: thread.held_seconds),
    ("gil_takes_total", "How often threads took the GIL.", lambda thread: thread.takes),
    ("gil_forced_switches_total", "How often threads were made to let go of the GIL.", lambda thread: thread.forced),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[ThreadTotals], tuple[Lengths, float]]], ...] = (
    (
        "gil_hold_seconds",
        "How long threads had the GIL at a time.",
        lambda thread: (thread.hold_lengths, thread.held_seconds),
    ),
    (
        "gil_wait_duration_seconds",
        "How long threads waited for the GIL at a time.",
        lambda thread: (thread.wait_lengths, thread.waited_seconds),
    ),
)


def exposition(totals: Totals) -> str:
    """Return the totals as a scrape wants them."""
    return "".join(f"{line}\n" for line in _lines(totals))


def _lines(totals: Totals) -> Iterator[str]:
    for name, text, value in _LOOPS:
        yield from _counter(name, text, ((f"loop={_quoted(key)}", value(loop)) for key, loop in totals.loops.items()))
    yield from _histogram(
        "loop_iteration_seconds",
        "How long iterations of the event loop were.",
        BUCKETS_SECONDS,
        ((f"loop={_quoted(key)}", loop.iteration_lengths, loop.busy_seconds) for key, loop in totals.loops.items()),
    )
    yield from _counter(
        "gil_wait_seconds_total",
        "Time for which threads waited for the GIL, by who had it meanwhile.",
        (
            (f"waiter={_quoted(waiter)},holder={_quoted(holder)}", seconds)
            for (waiter, holder), seconds in totals.waits.items()
        ),
    )
    for name, text, of_thread in _THREADS:
        points = ((f"thread={_quoted(key)}", of_thread(thread)) for key, thread in totals.threads.items())
        yield from _counter(name, text, points)
    for name, text, lengths_and_sum in _HISTOGRAMS:
        yield from _histogram(
            name,
            text,
            GIL_BUCKETS_SECONDS,
            ((f"thread={_quoted(key)}", *lengths_and_sum(thread)) for key, thread in totals.threads.items()),
        )
    yield from _counter(
        "lost_events_total",
        "Events that could not be counted.",
        ((f"reason={_quoted(reason)}", count) for reason, count in totals.lost.items()),
    )


def _counter(name: str, text: str, points: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP gilscope_{name} {text}"
    yield f"# TYPE gilscope_{name} counter"
    for labels, value in points:
        yield f"gilscope_{name}{{{labels}}} {value!r}"


def _histogram(
    name: str, text: str, bounds_seconds: tuple[float, ...], points: Iterable[tuple[str, Lengths, float]]
) -> Iterator[str]:
    yield f"# HELP gilscope_{name} {text}"
    yield f"# TYPE gilscope_{name} histogram"
    for label, lengths, sum_seconds in points:
        for bound, count in zip(bounds_seconds, lengths.counts_within(bounds_seconds), strict=True):
            yield f'gilscope_{name}_bucket{{{label},le="{bound!r}"}} {count}'
        yield f'gilscope_{name}_bucket{{{label},le="+Inf"}} {lengths.count}'
        yield f"gilscope_{name}_sum{{{label}}} {sum_seconds!r}"
        yield f"gilscope_{name}_count{{{label}}} {lengths.count}"


def _quoted(value: str) -> str:
    return f'"{value.translate(_ESCAPED)}"'
