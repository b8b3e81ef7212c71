"""NativeSpanProcessor without its native half."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gilscope import NativeSpanProcessor
from gilscope.errors import NotNativeError
from gilscope.spans import lifetime
from gilscope.spans import processor as processor_module
from gilscope.spans.stats import Dropped, Failed, SpanStats

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from tests.unit.fake_pipeline import Pipeline


def end_spans(provider: TracerProvider, count: int = 1) -> None:
    """Start and end so many spans."""
    tracer = provider.get_tracer("test")
    for number in range(count):
        tracer.start_span(f"span {number}").end()


def test_without_arguments_exports_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, pipelines: list[Pipeline], provider: TracerProvider
) -> None:
    """OTEL_* alone configures it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1000")
    processor = NativeSpanProcessor()
    provider.add_span_processor(processor)
    end_spans(provider, 3)
    (pipeline,) = pipelines
    assert [span.name for span in pipeline.queue] == ["span 0", "span 1", "span 2"]
    assert pipeline.settings["url"] == "http://collector:4318/v1/traces"
    assert pipeline.settings["max_queue_size"] == 1000
    assert processor.force_flush() is True
    assert len(pipeline.exported) == 3


def test_http_exporters_settings_are_taken_over(pipelines: list[Pipeline]) -> None:
    """And its request limit with them."""
    exporter: Any = OTLPSpanExporter(endpoint="http://h:1/x", headers={"k": "v"})
    exporter._max_request_size = 5000
    NativeSpanProcessor(exporter, 100, 50, 10, 1000, compression="gzip").shutdown()
    settings = pipelines[0].settings
    assert (settings["url"], dict(settings["headers"])["k"], settings["compression"]) == ("http://h:1/x", "v", "gzip")
    assert (settings["max_queue_size"], settings["schedule_delay_millis"]) == (100, 50.0)
    assert (settings["max_export_batch_size"], settings["export_timeout_millis"]) == (10, 1000.0)
    assert settings["max_request_bytes"] == 5000


def test_processor_looks_like_upstreams() -> None:
    """Third parties scan for the class and read private attributes."""
    exporter = OTLPSpanExporter()
    processor = NativeSpanProcessor(exporter, 100, 50, 10, 1000)
    assert isinstance(processor, BatchSpanProcessor)
    batch: Any = processor._batch_processor
    assert (batch._max_queue_size, batch._max_export_batch_size) == (100, 10)
    assert (batch._schedule_delay_millis, batch._schedule_delay, batch._export_timeout_millis) == (50.0, 0.05, 1000.0)
    assert (len(batch._queue), batch._queue.maxlen, batch._shutdown) == (0, 100, False)
    assert batch._worker_thread.is_alive()
    assert batch._exporter is processor.span_exporter is exporter
    assert NativeSpanProcessor._default_max_queue_size() == 2048  # type: ignore[no-untyped-call]
    processor.shutdown()
    assert batch._shutdown
    assert not batch._worker_thread.is_alive()


@pytest.mark.skipif(processor_module.HAS_BATCH_PROCESSOR, reason="the attributes of an SDK before 1.34")
def test_processor_looks_like_an_old_upstreams() -> None:
    """Before 1.34 these were the processor's own."""
    processor: Any = NativeSpanProcessor(OTLPSpanExporter(), 100, 50, 10, 1000)
    assert (processor.max_queue_size, processor.max_export_batch_size, processor.schedule_delay_millis) == (100, 10, 50)
    assert (len(processor.queue), processor.export_timeout_millis, processor.done) == (0, 1000, False)
    assert processor.worker_thread.is_alive()
    processor.shutdown()
    assert processor.done


def test_other_exporter_keeps_upstreams_behaviour(
    caplog: pytest.LogCaptureFixture, pipelines: list[Pipeline], provider: TracerProvider
) -> None:
    """It is upstream's class then, thread and all, and says so once."""
    exporter = InMemorySpanExporter()
    processor = NativeSpanProcessor(exporter, schedule_delay_millis=60000, endpoint="http://ignored:1")
    NativeSpanProcessor(InMemorySpanExporter(), endpoint="http://ignored:1").shutdown()
    provider.add_span_processor(processor)
    end_spans(provider)
    assert processor.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["span 0"]
    assert getattr(processor, "span_exporter", exporter) is exporter
    assert not processor.native
    with pytest.raises(NotNativeError, match="is not one of OpenTelemetry's two"):
        processor.stats()
    assert not pipelines
    said = [record.getMessage() for record in caplog.records if record.name.startswith("gilscope")]
    assert len(said) == 1
    assert said[0].startswith("InMemorySpanExporter keeps upstream's BatchSpanProcessor, because ")
    assert said[0].endswith("; ignored: endpoint")


@pytest.mark.parametrize("arguments", [{"max_queue_size": 0}, {"schedule_delay_millis": 0}, {"max_queue_size": 100}])
def test_arguments_that_upstream_refuses_are_refused(arguments: dict[str, Any]) -> None:
    """With ValueError, whichever path is taken."""
    for exporter in (OTLPSpanExporter(), ConsoleSpanExporter()):
        with pytest.raises(ValueError, match="must be"):
            NativeSpanProcessor(exporter, **arguments)
        with pytest.raises(ValueError, match="must be"):
            BatchSpanProcessor(exporter, **arguments)


def test_on_end_goes_straight_to_the_pipeline(pipelines: list[Pipeline]) -> None:
    """No Python frame of ours is between."""
    assert vars(NativeSpanProcessor())["on_end"] == pipelines[0].emit


class Counting(NativeSpanProcessor):
    """As a third party would write it."""

    seen = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Count, and pass on."""
        self.seen += 1
        super().on_end(span)


def test_overridden_on_end_is_called(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """A subclass sees each span, and can pass it on."""
    processor = Counting()
    provider.add_span_processor(processor)
    end_spans(provider, 2)
    assert (processor.seen, len(pipelines[0].queue)) == (2, 2)


def test_assigned_methods_are_called(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """Traceloop sets on_start; others wrap on_end."""
    processor: Any = NativeSpanProcessor()
    provider.add_span_processor(processor)
    started: list[object] = []
    processor.on_start = lambda span, parent_context=None: started.append(span)
    inner = processor.on_end

    def wrapped(span: ReadableSpan) -> None:
        inner(span)

    processor.on_end = wrapped
    end_spans(provider)
    assert (len(started), len(pipelines[0].queue)) == (1, 1)


def test_timeouts_are_upstreams_while_running(pipelines: list[Pipeline]) -> None:
    """Half a minute without an argument."""
    processor = NativeSpanProcessor()
    processor.force_flush()
    processor.force_flush(1234)
    processor.force_flush(0)
    assert processor.shutdown() is True
    assert (pipelines[0].flush_timeouts, pipelines[0].shutdown_timeouts) == ([30000.0, 1234.0, 0.0], [30000.0])


def test_timeouts_at_exit_have_a_budget_of_their_own(
    monkeypatch: pytest.MonkeyPatch, pipelines: list[Pipeline]
) -> None:
    """A process that is told to go must not take half a minute."""
    processor = NativeSpanProcessor(exit_timeout_millis=700)
    monkeypatch.setattr(lifetime, "exiting", lambda: True)
    processor.force_flush(300)
    processor.force_flush()
    processor.shutdown()
    assert (pipelines[0].flush_timeouts, pipelines[0].shutdown_timeouts) == ([300.0, 700.0], [700.0])


def test_shutdown_is_idempotent_and_ends_the_exporter(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """Spans that end later are counted."""
    exporter: Any = OTLPSpanExporter()
    processor = NativeSpanProcessor(exporter)
    provider.add_span_processor(processor)
    assert processor.shutdown() is True
    assert processor.shutdown() is False
    assert exporter._shutdown
    assert len(pipelines[0].shutdown_timeouts) == 1
    end_spans(provider)
    assert processor.force_flush() is False
    stats = processor.stats()
    assert stats.dropped.shutdown == 1


def test_shutdown_tells_the_truth(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """With a collector that does not answer, False."""
    processor = NativeSpanProcessor()
    provider.add_span_processor(processor)
    pipelines[0].reachable = False
    end_spans(provider)
    assert processor.force_flush() is False
    assert processor.shutdown() is False


def test_dropped_processor_is_collected(pipelines: list[Pipeline]) -> None:
    """Its pipeline ends with it."""
    processor = NativeSpanProcessor()
    gone = weakref.ref(processor)
    del processor
    gc.collect()
    assert gone() is None
    assert pipelines[0].stopped


def test_stats_are_typed_and_add_up(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """Ended == exported + dropped + failed + queued."""
    processor = NativeSpanProcessor()
    provider.add_span_processor(processor)
    end_spans(provider, 2)
    processor.force_flush()
    end_spans(provider)
    stats = processor.stats()
    assert isinstance(stats, SpanStats)
    assert (stats.ended, stats.exported, stats.queued, stats.unaccounted) == (3, 2, 1, 0)
    assert (stats.dropped, stats.failed) == (Dropped(), Failed())
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.ended = 0  # type: ignore[misc]


def test_unaccounted_spans_show() -> None:
    """The sum is checked, not assumed."""
    plain = {field.name: 0 for field in dataclasses.fields(SpanStats)}
    counts = plain | {
        "ended": 10,
        "exported": 3,
        "dropped": {"queue_full": 2},
        "failed": {"timeout": 1, "partial_success": 1},
    }
    stats = SpanStats.of(counts)
    assert (stats.dropped.total, stats.failed.total, stats.unaccounted) == (2, 2, 3)
    assert stats.failed.by_reason()["timeout"] == 1


def test_processor_without_native_module_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that it was not built for."""
    monkeypatch.setitem(__import__("sys").modules, "gilscope._spans", None)
    with pytest.raises(ImportError):
        NativeSpanProcessor()


def test_simple_processor_is_not_one_of_ours() -> None:
    """The subclass relation goes one way."""
    assert not issubclass(SimpleSpanProcessor, NativeSpanProcessor)
