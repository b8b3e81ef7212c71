"""The SDK's internal metrics for native pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gilscope import NativeSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider

    from tests.unit.fake_pipeline import Pipeline

Points = dict[str, list[tuple[dict[str, object], int]]]


class Meters:
    """A meter provider, and what it has collected."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])

    def collect(self) -> Points:
        """Return the points of gilscope's meter by the name of their metric."""
        found: Points = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else []:
            for scope in resource.scope_metrics:
                for metric in scope.metrics if scope.scope.name == "gilscope" else []:
                    for point in metric.data.data_points:
                        value = int(point.value)  # type: ignore[union-attr]
                        found.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
        return found


@pytest.fixture
def meters(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meters]:
    """Return a provider, with the SDK's internal metrics enabled."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    made = Meters()
    yield made
    made.provider.shutdown()


def test_counts_are_metrics_with_upstreams_names(
    meters: Meters, provider: TracerProvider, pipelines: list[Pipeline]
) -> None:
    """Processed and exported, dropped by reason, queue and capacity."""
    processor = NativeSpanProcessor(endpoint="http://collector/v1/traces", meter_provider=meters.provider)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("t")
    for _ in range(3):
        tracer.start_span("s").end()
    pipelines[0].force_flush(0)
    tracer.start_span("s").end()
    queued = meters.collect()["otel.sdk.processor.span.queue.size"]
    pipelines[0].shutdown(0)
    tracer.start_span("s").end()
    points = meters.collect()
    ((attributes, queued_spans),) = queued
    assert queued_spans == 1
    assert attributes["otel.component.type"] == "batching_span_processor"
    assert str(attributes["otel.component.name"]).startswith("batching_span_processor/")
    assert points["otel.sdk.processor.span.queue.capacity"] == [(attributes, 2048)]
    assert points["otel.sdk.processor.span.processed"] == [
        (attributes, 4),
        ({**attributes, "error.type": "already_shutdown"}, 1),
    ]
    ((exporter, exported),) = points["otel.sdk.exporter.span.exported"]
    assert exported == 4
    assert exporter["otel.component.type"] == "otlp_http_span_exporter"
    assert (exporter["server.address"], exporter["server.port"]) == ("collector", 80)


def test_two_processors_are_told_apart(meters: Meters) -> None:
    """The SDK keeps the callbacks of a name's first instrument only."""
    kept = [NativeSpanProcessor(meter_provider=meters.provider) for _ in range(2)]
    points = meters.collect()["otel.sdk.processor.span.queue.size"]
    assert len({str(attributes["otel.component.name"]) for attributes, _ in points}) == len(kept)


def test_collected_processor_is_no_longer_reported(meters: Meters) -> None:
    """And is not kept alive by being reported."""
    kept = [NativeSpanProcessor(meter_provider=meters.provider) for _ in range(2)]
    kept.pop()
    assert len(meters.collect()["otel.sdk.processor.span.queue.size"]) == 1


def test_metrics_are_off_unless_enabled(monkeypatch: pytest.MonkeyPatch, meters: Meters) -> None:
    """As upstream's."""
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
    NativeSpanProcessor(meter_provider=meters.provider)
    assert meters.collect() == {}


class BrokenProvider(MeterProvider):
    """One that cannot make a meter."""

    def get_meter(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
        """Fail."""
        raise RuntimeError("no meters")


def test_broken_meter_provider_is_survived(meters: Meters, caplog: pytest.LogCaptureFixture) -> None:
    """Metrics are not worth a crash."""
    NativeSpanProcessor(meter_provider=BrokenProvider()).shutdown()
    assert "internal metrics cannot be had" in caplog.text
