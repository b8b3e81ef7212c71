"""A watch and OpenTelemetry: events of the spans that stalled, and metrics."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gilscope
from tests.accuracy.recorded import LOOPS, needs_gil, needs_probe
from tests.integration.programs.watch_load import block, burner, eventually, run, spin, stalls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Tracer

pytestmark = needs_probe

Points = dict[str, dict[frozenset[tuple[str, object]], float]]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Return where ended spans are."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Iterator[Tracer]:
    """Return a tracer of a provider that nothing else knows."""
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider.get_tracer("t")
    provider.shutdown()


@contextmanager
def another_thread() -> Iterator[None]:
    """Until the `with` ends, a thread wants the GIL every few milliseconds."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.002):
            pass

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


ALONE = pytest.param(nullcontext)


@pytest.mark.smoke
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("beside", [another_thread, ALONE])
def test_stall_is_an_event_of_the_span_whose_task_stalled(
    beside: Callable[[], AbstractContextManager[None]], loop: str, tracer: Tracer, spans: InMemorySpanExporter
) -> None:
    """Of three tasks with spans of their own, one computes for 200 ms: its span alone has the event, and one event."""

    async def quick(name: str) -> None:
        with tracer.start_as_current_span(name):
            for _ in range(20):
                await asyncio.sleep(0.001)

    async def slow() -> None:
        await asyncio.sleep(0.005)
        with tracer.start_as_current_span("slow"):
            spin(0.2)
            await asyncio.sleep(0.001)

    async def main() -> None:
        await asyncio.gather(quick("before"), slow(), quick("after"))

    # Far more than the other iterations take on a busy machine.
    with gilscope.watch(log=False, stall_threshold_ms=100), beside():
        run(main(), loop)
    events = {span.name: span.events for span in spans.get_finished_spans()}
    (event,) = events.pop("slow")
    assert event.name == "gilscope.stall"
    assert event.attributes is not None
    elapsed_ms, gil_wait_ms = (event.attributes[f"gilscope.stall.{key}_ms"] for key in ("elapsed", "gil_wait"))
    assert isinstance(elapsed_ms, float)
    assert isinstance(gil_wait_ms, float)
    assert elapsed_ms >= 100
    assert 0 <= gil_wait_ms <= elapsed_ms
    assert events == {"before": (), "after": ()}


def test_span_events_off_adds_none(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    """Whoever does not want them has none."""

    async def main() -> None:
        with tracer.start_as_current_span("slow"):
            await asyncio.sleep(0.001)
            spin(0.06)

    with gilscope.watch(log=False, span_events=False), another_thread():
        run(main())
    assert [span.events for span in spans.get_finished_spans()] == [()]


def collected(reader: InMemoryMetricReader) -> Points:
    """Return the points of gilscope's metrics, by name and attributes."""
    found: Points = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else []:
        for scope in resource.scope_metrics:
            for metric in scope.metrics if scope.scope.name == "gilscope" else []:
                for point in metric.data.data_points:
                    key = frozenset((point.attributes or {}).items())
                    found.setdefault(metric.name, {})[key] = point.value  # type: ignore[union-attr]
    return found


@pytest.mark.smoke
@needs_gil
def test_totals_are_metrics_while_something_is_watched() -> None:
    """Two watches after another on one provider: each is seen while it runs, and nothing in between."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    loop = frozenset({("gilscope.loop", "MainThread")})
    wait = frozenset({("gilscope.waiter", "MainThread"), ("gilscope.holder", "burner")})
    for _ in range(2):
        with gilscope.watch(log=False, meter_provider=provider) as watch, burner():
            run(stalls(spin, 0.03, 2))
            eventually(lambda: sum(found.on_cpu_seconds for found in watch.totals().loops.values()) >= 0.059)
            points = collected(reader)
            totals = watch.totals()
            assert points["gilscope.loop.iterations"][loop] <= totals.loops["MainThread"].iterations
            assert points["gilscope.loop.stalls"][loop] >= 2
            assert points["gilscope.loop.stalled"][loop] >= 0.06
            assert points["gilscope.loop.busy"][loop] >= points["gilscope.loop.on_cpu"][loop] >= 0.059
            assert points["gilscope.loop.iteration.max"][loop] >= points["gilscope.loop.iteration.p50"][loop] > 0
            assert 0 < points["gilscope.gil.wait"][wait] <= totals.waits["MainThread", "burner"]
            assert points["gilscope.gil.held"].keys() >= {frozenset({("gilscope.thread", "burner")})}
            assert points["gilscope.lost_events"][frozenset({("gilscope.reason", "ring_full")})] == 0
        assert collected(reader) == {}
    provider.shutdown()


def test_gauges_tell_of_the_time_since_the_collection_before() -> None:
    """A long iteration is the maximum once; without iterations there is none."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    loop = frozenset({("gilscope.loop", "MainThread")})
    with gilscope.watch(log=False, meter_provider=provider) as watch:

        def longest() -> float:
            return collected(reader)["gilscope.loop.iteration.max"][loop]

        def until(counter: str, more: int, seconds: float) -> None:
            loops = watch.totals().loops
            wanted = getattr(loops["MainThread"], counter) + more if loops else more
            run(stalls(block, seconds, 2))
            eventually(lambda: sum(getattr(found, counter) for found in watch.totals().loops.values()) >= wanted)

        until("stalls", 2, 0.25)
        assert longest() >= 0.25
        until("iterations", 1, 0.0)
        # A busy machine makes iterations longer, but hardly so much.
        assert longest() < 0.25
        eventually(lambda: "gilscope.loop.iteration.max" not in collected(reader))
    provider.shutdown()
