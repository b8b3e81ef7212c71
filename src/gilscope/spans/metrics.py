"""The SDK's internal metrics (`otel.sdk.processor.span.*`, `otel.sdk.exporter.span.*`) for native pipelines.

Observable instruments that read counts when they are collected, because a native thread cannot call Python. One set
for each meter provider: the SDK keeps the callbacks of the first instrument of a name only. Under a meter of
gilscope's own, where upstream's instruments of the same names cannot get in the way.

Source: OpenTelemetry semantic conventions, otel/sdk-metrics.md. `inflight` and `operation.duration` are not among them:
the one is part of the queue here, the other cannot be a histogram without a call for each request.
"""

from __future__ import annotations

import itertools
import logging
import os
import weakref
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from gilscope.spans.batch import NativeBatch
    from gilscope.spans.stats import SpanStats

    Attributes = dict[str, str | int]
    Callback = Callable[[CallbackOptions], Iterable[Observation]]

logger = logging.getLogger(__name__)

ENABLED_BY = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"

# Upstream's value for error.type where it has one.
_DROPPED_AS = {"shutdown": "already_shutdown"}

_numbers = itertools.count()


class _Source(NamedTuple):
    """A pipeline with the attributes of its processor and of its exporter."""

    batch: weakref.ref[NativeBatch]
    processor: Attributes
    exporter: Attributes


_sources: weakref.WeakKeyDictionary[MeterProvider, list[_Source]] = weakref.WeakKeyDictionary()


def register(batch: NativeBatch | None, meter_provider: MeterProvider | None) -> None:
    """The batch's counts are among the provider's metrics, if the SDK's internal metrics are enabled. Never raises."""
    if batch is None or os.environ.get(ENABLED_BY, "").strip().lower() != "true":
        return
    try:
        from opentelemetry.metrics import get_meter_provider

        _register(batch, meter_provider or get_meter_provider())
    except Exception:
        logger.exception("The SDK's internal metrics cannot be had for gilscope")


def _register(batch: NativeBatch, provider: MeterProvider) -> None:
    place = urlsplit(batch.settings.url)
    number = next(_numbers)
    kind = "otlp_grpc_span_exporter" if batch.settings.protocol == "grpc" else "otlp_http_span_exporter"
    exporter: Attributes = {"otel.component.type": kind, "otel.component.name": f"{kind}/gilscope-{number}"}
    if place.hostname and batch.settings.unix_socket is None:
        exporter["server.address"] = place.hostname
        exporter["server.port"] = place.port or (443 if place.scheme == "https" else 80)
    kind = "batching_span_processor"
    processor: Attributes = {"otel.component.type": kind, "otel.component.name": f"{kind}/gilscope-{number}"}
    source = _Source(weakref.ref(batch), processor, exporter)
    known = _sources.get(provider)
    if known is not None:
        known.append(source)
        return
    _sources[provider] = sources = [source]
    meter = provider.get_meter("gilscope")
    meter.create_observable_counter(
        "otel.sdk.processor.span.processed",
        [_callback(sources, _processed)],
        "{span}",
        "The number of spans for which the processing has finished, either successful or failed.",
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.size",
        [_callback(sources, _queue_size)],
        "{span}",
        "The number of spans in the queue of a given instance of an SDK span processor.",
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.capacity",
        [_callback(sources, _queue_capacity)],
        "{span}",
        "The maximum number of spans the queue of a given instance of an SDK span processor can hold.",
    )
    meter.create_observable_counter(
        "otel.sdk.exporter.span.exported",
        [_callback(sources, _exported)],
        "{span}",
        "The number of spans for which the export has finished, either successful or failed.",
    )


Point = tuple[int, "Attributes"]


def _callback(sources: list[_Source], points: Callable[[NativeBatch, SpanStats, _Source], Iterable[Point]]) -> Callback:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        for source in list(sources):
            batch = source.batch()
            if batch is None:
                sources.remove(source)
                continue
            for value, attributes in points(batch, batch.stats(), source):
                yield Observation(value, attributes)

    return observe


def _processed(_batch: NativeBatch, stats: SpanStats, source: _Source) -> Iterable[Point]:
    yield stats.exported + stats.failed.total, source.processor
    for reason, spans in stats.dropped.by_reason().items():
        if spans:
            yield spans, {**source.processor, "error.type": _DROPPED_AS.get(reason, reason)}


def _queue_size(_batch: NativeBatch, stats: SpanStats, source: _Source) -> Iterable[Point]:
    yield stats.queued, source.processor


def _queue_capacity(batch: NativeBatch, _stats: SpanStats, source: _Source) -> Iterable[Point]:
    yield batch._max_queue_size, source.processor


def _exported(_batch: NativeBatch, stats: SpanStats, source: _Source) -> Iterable[Point]:
    yield stats.exported, source.exporter
    for reason, spans in stats.failed.by_reason().items():
        if spans:
            yield spans, {**source.exporter, "error.type": reason}
