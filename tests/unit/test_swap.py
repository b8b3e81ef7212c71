"""install() and uninstall()."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace import export as sdk_export
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

import gilscope
from gilscope.spans import swap, takeover
from gilscope.spans.batch import NativeBatch
from gilscope.spans.processor import HAS_BATCH_PROCESSOR, NativeSpanProcessor
from gilscope.spans.settings import ExportSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.unit.fake_pipeline import Pipeline

needs_batch_processor = pytest.mark.skipif(not HAS_BATCH_PROCESSOR, reason="since opentelemetry-sdk 1.34")
OTLP = ExportSettings("http/protobuf", "http://collector:4318/v1/traces", ())


class Recorder(SpanExporter):
    """Stands for an OTLPSpanExporter that can be taken over, and shows what upstream's path sent."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.shut_down = False
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep the names."""
        self.entered.set()
        self.go_on.wait(10)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Keep that it was called."""
        self.shut_down = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Have nothing to do."""
        return True


@pytest.fixture(autouse=True)
def recorders_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Recorder pass for an exporter with settings."""
    original = takeover.take_over

    def take_over(exporter: object) -> object:
        return OTLP if type(exporter) is Recorder else original(exporter)

    for name, module in list(sys.modules.items()):
        if name.startswith("gilscope.spans") and hasattr(module, "take_over"):
            monkeypatch.setattr(module, "take_over", take_over)


def end_span(provider: TracerProvider, name: str = "span") -> None:
    """Start and end a span."""
    provider.get_tracer("t").start_span(name).end()


def test_batch_processor_of_a_provider_becomes_native(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """With its own settings."""
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="http://h:1/x"), 100, 50, 10, 1000))
    report = gilscope.install(provider)
    assert report.swapped == (swap.Swapped("BatchSpanProcessor", "http://h:1/x"),)
    assert (report.kept, report.error, report.patched) == ((), None, False)
    (processor,) = provider._active_span_processor._span_processors
    assert isinstance(processor, NativeSpanProcessor)
    settings = pipelines[0].settings
    assert (settings["max_queue_size"], settings["schedule_delay_millis"]) == (100, 50.0)
    assert (settings["max_export_batch_size"], settings["export_timeout_millis"]) == (10, 1000.0)
    end_span(provider)
    assert len(pipelines[0].queue) == 1
    assert processor.native
    assert "exports natively to http://h:1/x" in str(report)


def test_spans_that_wait_upstream_move_over(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """None is lost, none is sent twice, in the order that they ended in."""
    exporter = Recorder()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3600_000))
    for name in ("first", "second"):
        end_span(provider, name)
    gilscope.install(provider)
    end_span(provider, "third")
    assert [span.name for span in pipelines[0].queue] == ["first", "second", "third"]
    assert exporter.names == []


def test_request_on_its_way_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider, pipelines: list[Pipeline]
) -> None:
    """A batch that upstream's thread has taken is upstream's to send, and install does not wait for it for long."""
    from gilscope.spans import hand_over

    monkeypatch.setattr(hand_over, "_HAND_OVER_SECONDS", 0.01)
    exporter = Recorder()
    exporter.go_on.clear()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3600_000, max_export_batch_size=1))
    end_span(provider, "on its way")
    assert exporter.entered.wait(10)
    end_span(provider, "waits")
    gilscope.install(provider)
    exporter.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "gilscope-hand-over":
            thread.join(10)
    assert exporter.names == ["on its way"]
    assert [span.name for span in pipelines[0].queue] == ["waits"]


@needs_batch_processor
def test_swapped_processor_is_the_same_object(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """Who holds it may go on flushing it; what was assigned to it stays."""
    processor: Any = BatchSpanProcessor(Recorder())
    started: list[object] = []
    processor.on_start = lambda span, parent_context=None: started.append(span)
    provider.add_span_processor(processor)
    gilscope.install(provider)
    end_span(provider)
    assert processor.force_flush()
    assert (len(pipelines[0].exported), len(started)) == (1, 1)


class LangfuseLike(BatchSpanProcessor):
    """A subclass with an on_end of its own, as Langfuse's."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter)
        self.seen = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Count, and pass on."""
        self.seen += 1
        super().on_end(span)


@needs_batch_processor
def test_subclass_exports_natively_and_stays_itself(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """Only what is inside it is swapped."""
    processor = LangfuseLike(Recorder())
    provider.add_span_processor(processor)
    assert gilscope.install(provider).swapped[0].processor == "LangfuseLike"
    end_span(provider)
    assert (type(processor), processor.seen, len(pipelines[0].queue)) == (LangfuseLike, 1, 1)
    gilscope.uninstall()
    end_span(provider)
    assert processor.seen == 2
    assert len(pipelines[0].exported) == 1


@pytest.mark.skipif(HAS_BATCH_PROCESSOR, reason="before opentelemetry-sdk 1.34")
def test_subclass_of_an_old_sdk_is_kept(provider: TracerProvider) -> None:
    """There is nothing inside it that could be swapped."""
    provider.add_span_processor(LangfuseLike(Recorder()))
    assert "since opentelemetry-sdk 1.34 only" in gilscope.install(provider).kept[0].reason


@pytest.mark.parametrize("multi", [SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor])
def test_nested_processors_are_found(multi: Any, pipelines: list[Pipeline]) -> None:
    """Lists in lists, of either kind."""
    inner = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    inner.add_span_processor(BatchSpanProcessor(Recorder()))
    outer = multi()
    outer.add_span_processor(inner)
    outer.add_span_processor(BatchSpanProcessor(Recorder()))
    provider = TracerProvider(active_span_processor=outer, shutdown_on_exit=False)
    assert len(gilscope.install(provider).swapped) == 2
    end_span(provider)
    assert [len(pipeline.queue) for pipeline in pipelines] == [1, 1]
    provider.shutdown()


def test_what_cannot_be_swapped_is_kept_with_its_reason(provider: TracerProvider) -> None:
    """The report tells what to do about it."""
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    provider.add_span_processor(gilscope.NativeSpanProcessor())
    report = gilscope.install(provider)
    assert report.swapped == ()
    assert [kept.processor for kept in report.kept] == ["BatchSpanProcessor", "SimpleSpanProcessor"]
    assert "ConsoleSpanExporter is not one of" in report.kept[0].reason
    assert "before it returns" in str(report)


def test_install_is_idempotent(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """The second call finds nothing to do."""
    provider.add_span_processor(BatchSpanProcessor(Recorder()))
    gilscope.install(provider)
    assert gilscope.install(provider) == swap.Report()
    assert len(pipelines) == 1


def test_uninstall_puts_upstreams_back(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """The exporter works as before, since it was never shut down; what was queued has been sent."""
    exporter = Recorder()
    provider.add_span_processor(BatchSpanProcessor(exporter, 100, 60_000, 10, 1000))
    gilscope.install(provider)
    end_span(provider, "native")
    gilscope.uninstall()
    end_span(provider, "upstream")
    provider.force_flush()
    (processor,) = provider._active_span_processor._span_processors
    assert type(processor) is BatchSpanProcessor
    assert not isinstance(getattr(processor, "_batch_processor", None), NativeBatch)
    assert exporter.names == ["upstream"]
    assert [span.name for span in pipelines[0].exported] == ["native"]
    assert not exporter.shut_down
    assert gilscope.install(provider).swapped


@pytest.fixture
def no_global_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the start of a program."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)


@pytest.mark.usefixtures("no_global_provider")
def test_install_before_there_is_a_provider_covers_later_processors(
    provider: TracerProvider, pipelines: list[Pipeline]
) -> None:
    """The order of imports should not matter."""
    assert gilscope.install() == swap.Report(patched=True)
    provider.add_span_processor(BatchSpanProcessor(Recorder(), 100, 50, 10, 1000))
    end_span(provider)
    assert len(pipelines[0].queue) == 1
    assert pipelines[0].settings["max_queue_size"] == 100
    other = BatchSpanProcessor(ConsoleSpanExporter())
    assert len(pipelines) == 1
    other.shutdown()  # type: ignore[no-untyped-call]
    gilscope.uninstall()
    BatchSpanProcessor(Recorder()).shutdown()  # type: ignore[no-untyped-call]
    assert len(pipelines) == 1


@needs_batch_processor
@pytest.mark.usefixtures("no_global_provider")
def test_patched_class_reaches_subclasses_and_can_be_subclassed(
    provider: TracerProvider, pipelines: list[Pipeline]
) -> None:
    """Both directions that third parties use."""
    upstream = sdk_export.BatchProcessor  # type: ignore[attr-defined]
    gilscope.install()
    processor = LangfuseLike(Recorder())
    provider.add_span_processor(processor)
    end_span(provider)
    assert len(pipelines[0].queue) == 1
    patched = sdk_export.BatchProcessor  # type: ignore[attr-defined]
    assert issubclass(patched, upstream)
    derived: Any = type("Derived", (patched,), {})
    assert isinstance(derived.__new__(derived), derived)


@needs_batch_processor
@pytest.mark.usefixtures("no_global_provider")
def test_patched_class_that_fails_falls_back(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Upstream's path is always there."""
    gilscope.install()

    def fail(**_settings: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(sys.modules["gilscope._spans"], "Pipeline", fail)
    exporter = Recorder()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    end_span(provider)
    provider.force_flush()
    assert exporter.names == ["span"]
    assert "upstream's is used" in caplog.text


def test_error_does_not_reach_the_application(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """The processor stays as it was."""

    def fail(**_settings: object) -> None:
        raise RuntimeError("no memory")

    exporter = Recorder()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    monkeypatch.setattr(sys.modules["gilscope._spans"], "Pipeline", fail)
    report = gilscope.install(provider)
    assert report.kept == (swap.Kept("BatchSpanProcessor", "RuntimeError: no memory"),)
    assert "could not be swapped" in caplog.text
    end_span(provider)
    provider.force_flush()
    assert exporter.names == ["span"]


def test_missing_native_module_leaves_everything(monkeypatch: pytest.MonkeyPatch, provider: TracerProvider) -> None:
    """Nothing is patched that could not be replaced."""
    monkeypatch.setitem(sys.modules, "gilscope._spans", None)
    provider.add_span_processor(BatchSpanProcessor(Recorder()))
    report = gilscope.install(provider)
    assert report.error is not None
    assert "native module cannot be loaded" in report.error
    assert type(provider._active_span_processor._span_processors[0]) is BatchSpanProcessor


def test_switch_leaves_everything(monkeypatch: pytest.MonkeyPatch, provider: TracerProvider) -> None:
    """GILSCOPE_SPANS=off."""
    monkeypatch.setenv("GILSCOPE_SPANS", "off")
    provider.add_span_processor(BatchSpanProcessor(Recorder()))
    assert gilscope.install(provider) == swap.Report(error="GILSCOPE_SPANS is off")
    assert type(provider._active_span_processor._span_processors[0]) is BatchSpanProcessor


def test_spans_ended_during_install_are_all_there(provider: TracerProvider, pipelines: list[Pipeline]) -> None:
    """Whatever a thread was in the middle of, its span is in one queue or the other."""
    exporter = Recorder()
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=3600_000))
    stop = threading.Event()
    counts: list[int] = []

    def work() -> None:
        count = 0
        while not stop.is_set():
            end_span(provider)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        gilscope.install(provider)
        gilscope.uninstall()
    stop.set()
    for thread in threads:
        thread.join()
    provider.force_flush()
    native = sum(len(pipeline.exported) + len(pipeline.queue) for pipeline in pipelines)
    late = sum(pipeline.dropped_after_shutdown for pipeline in pipelines)
    assert native + len(exporter.names) + late == sum(counts)
    assert late <= len(threads) * 5
