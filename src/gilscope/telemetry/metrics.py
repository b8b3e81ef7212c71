"""A watch's totals as observable instruments of a meter.

One set for each meter provider, and none is ever taken away: OpenTelemetry has no way to. They show nothing while
nothing is watched. A histogram cannot be observed, so the lengths of iterations, holds and waits are gauges: p50, p99
and the longest since the collection before; several readers of one provider shorten each other's intervals.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider, Observation, get_meter_provider

from gilscope.probe.lengths import Lengths
from gilscope.probe.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions

    from gilscope.probe.totals import LoopTotals, ThreadTotals
    from gilscope.probe.watching import Watch

__all__ = ["MeterProvider", "show"]

logger = logging.getLogger("gilscope")

_LOOP_COUNTERS: tuple[tuple[str, str, str, Callable[[LoopTotals], float]], ...] = (
    ("iterations", "{iteration}", "Iterations of the event loop.", lambda loop: loop.iterations),
    ("busy", "s", "Time of the iterations.", lambda loop: loop.busy_seconds),
    ("on_cpu", "s", "Time of the iterations on CPU.", lambda loop: loop.on_cpu_seconds),
    ("gil_wait", "s", "Time of the iterations waiting for the GIL.", lambda loop: loop.gil_wait_seconds),
    ("stalls", "{stall}", "Iterations that took longer than the threshold.", lambda loop: loop.stalls),
    ("stalled", "s", "Time of the iterations that took longer.", lambda loop: loop.stalled_seconds),
)
_THREAD_COUNTERS: tuple[tuple[str, str, str, Callable[[ThreadTotals], float]], ...] = (
    ("held", "s", "Time for which threads had the GIL.", lambda thread: thread.held_seconds),
    ("takes", "{take}", "How often threads took the GIL.", lambda thread: thread.takes),
    ("forced_switches", "{switch}", "How often threads were made to let go of the GIL.", lambda thread: thread.forced),
)
# The prefix of the gauges, what they are of, the attribute that tells whose, and their histograms by that.
_LENGTHS: tuple[tuple[str, str, str, Callable[[Totals], dict[str, Lengths]]], ...] = (
    (
        "gilscope.loop.iteration",
        "iterations",
        "gilscope.loop",
        lambda totals: {key: loop.iteration_lengths for key, loop in totals.loops.items()},
    ),
    (
        "gilscope.gil.hold",
        "holds of the GIL",
        "gilscope.thread",
        lambda totals: {key: thread.hold_lengths for key, thread in totals.threads.items()},
    ),
    (
        "gilscope.gil.wait_duration",
        "waits for the GIL",
        "gilscope.thread",
        lambda totals: {key: thread.wait_lengths for key, thread in totals.threads.items()},
    ),
)
_QUANTILES: tuple[tuple[str, str, Callable[[Lengths], float]], ...] = (
    ("p50", "Half of the {} were not longer.", lambda lengths: lengths.quantile_seconds(0.5)),
    ("p99", "99 % of the {} were not longer.", lambda lengths: lengths.quantile_seconds(0.99)),
    ("max", "The longest of the {}.", lambda lengths: lengths.max_seconds),
)


class _Source:
    """The latest watch, if it still runs: its totals, read once for all instruments of a collection.

    Threading: any; collections at the same time get intervals that are not quite their own.
    """

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self._read: Watch | None = None
        self._served: set[str] = set()
        self._totals = self._before = Totals()

    def totals(self, instrument: str) -> Totals:
        """Return totals that this instrument has not been served yet."""
        watch = self.watch
        if watch is None or not watch.running:
            return Totals()
        if instrument in self._served or watch is not self._read:
            self._before = self._totals if watch is self._read else Totals()
            self._totals, self._read = watch.totals(), watch
            self._served.clear()
        self._served.add(instrument)
        return self._totals

    def lengths(self, instrument: str, of: Callable[[Totals], dict[str, Lengths]]) -> Iterator[tuple[str, Lengths]]:
        """Return the lengths since the collection before, by loop or thread; without those that had none."""
        totals = self.totals(instrument)
        before = of(self._before)
        for name, known in of(totals).items():
            lengths = known.since(before.get(name, Lengths()))
            if lengths.buckets:
                yield name, lengths


# The global provider is set once in a process, and a proxy before: it is the same one in any case.
_global: _Source | None = None
_sources: weakref.WeakKeyDictionary[MeterProvider, _Source] = weakref.WeakKeyDictionary()


def show(watch: Watch, meter_provider: MeterProvider | None) -> None:
    """The watch's totals are among the provider's metrics, for as long as it runs. Never raises."""
    try:
        _source(meter_provider).watch = watch
    except Exception:
        logger.exception("gilscope's metrics cannot be had")


def _source(meter_provider: MeterProvider | None) -> _Source:
    global _global  # noqa: PLW0603  # see there
    known = _global if meter_provider is None else _sources.get(meter_provider)
    if known is not None:
        return known
    source = _Source()
    _register(source, meter_provider or get_meter_provider())
    if meter_provider is None:
        _global = source
    else:
        _sources[meter_provider] = source
    return source


def _register(source: _Source, provider: MeterProvider) -> None:
    meter = provider.get_meter("gilscope")

    def counter(name: str, unit: str, text: str, points: Callable[[Totals], Iterable[Observation]]) -> None:
        meter.create_observable_counter(name, [lambda _: points(source.totals(name))], unit, text)

    for name, unit, text, of_loop in _LOOP_COUNTERS:
        counter(f"gilscope.loop.{name}", unit, text, _of_loops(of_loop))
    for prefix, what, key, lengths in _LENGTHS:
        for name, text, quantile in _QUANTILES:
            gauge = f"{prefix}.{name}"
            points = _of_lengths(source, gauge, key, lengths, quantile)
            meter.create_observable_gauge(gauge, [points], "s", text.format(what))
    counter("gilscope.gil.wait", "s", "Time for which threads waited for the GIL, by who had it meanwhile.", _waits)
    for name, unit, text, of_thread in _THREAD_COUNTERS:
        counter(f"gilscope.gil.{name}", unit, text, _of_threads(of_thread))
    counter("gilscope.lost_events", "{event}", "Events that could not be counted.", _lost)


def _of_loops(value: Callable[[LoopTotals], float]) -> Callable[[Totals], Iterable[Observation]]:
    return lambda totals: [Observation(value(loop), {"gilscope.loop": key}) for key, loop in totals.loops.items()]


def _of_threads(value: Callable[[ThreadTotals], float]) -> Callable[[Totals], Iterable[Observation]]:
    return lambda totals: [
        Observation(value(thread), {"gilscope.thread": key}) for key, thread in totals.threads.items()
    ]


def _of_lengths(
    source: _Source,
    name: str,
    key: str,
    lengths: Callable[[Totals], dict[str, Lengths]],
    quantile: Callable[[Lengths], float],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(quantile(of), {key: whose}) for whose, of in source.lengths(name, lengths)]


def _waits(totals: Totals) -> Iterable[Observation]:
    return [
        Observation(seconds, {"gilscope.waiter": waiter, "gilscope.holder": holder})
        for (waiter, holder), seconds in totals.waits.items()
    ]


def _lost(totals: Totals) -> Iterable[Observation]:
    return [Observation(count, {"gilscope.reason": reason}) for reason, count in totals.lost.items()]
