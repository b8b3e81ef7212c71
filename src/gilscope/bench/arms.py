"""The arms: what becomes of a span when it ends, whatever the application has arranged.

An arm is put in place before the application is imported. A `TracerProvider` that the application makes gets one
exporting processor, the arm's, instead of every processor of its own that exports; processors that do not export stay.
An application that arranges nothing gets a provider, and FastAPI's instrumentation where that is installed.
"""

from __future__ import annotations

import enum
import os
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

_SERVICE = "gilscope-bench"
FLUSH_TIMEOUT_MS = 30_000


class Arm(str, enum.Enum):
    """What spans are exported with."""

    NONE = "none"
    SDK = "sdk"
    BATCH = "batch"
    SUBPROCESS = "subprocess"
    NATIVE = "native"

    def processor(self, endpoint: str) -> SpanProcessor:
        """Return a processor that exports to this URL over OTLP/HTTP, at the settings of the environment.

        Raises:
            ImportError: a package is missing, or gilscope's native module is not built.
        """
        if self in {Arm.NONE, Arm.SDK}:
            return SpanProcessor()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        if self is Arm.SUBPROCESS:
            from gilscope.bench.subprocess_processor import SubprocessSpanProcessor

            return SubprocessSpanProcessor(endpoint)
        exporter = OTLPSpanExporter(endpoint=endpoint)
        if self is Arm.NATIVE:
            from gilscope import NativeSpanProcessor

            return NativeSpanProcessor(exporter)
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return BatchSpanProcessor(exporter)


class Counted(SpanProcessor):
    """Counts the spans that end, and hands them to a processor."""

    def __init__(self, processor: SpanProcessor) -> None:
        self.processor = processor
        self.spans = 0
        self._on_end = processor.on_end

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ANN401  # upstream's types, which differ
        """Pass it on."""
        self.processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass it on, counted if it is sampled: others are not exported by anybody."""
        if span.context is not None and span.context.trace_flags.sampled:
            self.spans += 1
        self._on_end(span)

    def shutdown(self) -> None:
        """Pass it on."""
        self.processor.shutdown()

    def force_flush(self, timeout_millis: int = FLUSH_TIMEOUT_MS) -> bool:
        """Pass it on."""
        return self.processor.force_flush(timeout_millis)


class Pipeline:
    """An arm that is in place in this process.

    Attributes:
        replaced: the processors of the application's own that have been replaced, by the names of their classes.
    """

    def __init__(self, arm: Arm, endpoint: str) -> None:
        """The arm is in place for every provider that is made from now on.

        Raises:
            ImportError: as `Arm.processor`.
        """
        self.replaced: list[str] = []
        self._arm = arm
        self._endpoint = endpoint
        self._counted: list[Counted] = []
        self._served: weakref.WeakSet[TracerProvider] = weakref.WeakSet()
        self._add: Callable[[TracerProvider, SpanProcessor], None] = TracerProvider.add_span_processor
        if arm is Arm.NONE:
            os.environ["OTEL_SDK_DISABLED"] = "true"
            return
        arm.processor(endpoint).shutdown()  # what is missing is told now, and is loaded before the first request
        pipeline = self

        def add_span_processor(provider: TracerProvider, processor: SpanProcessor) -> None:
            if not _exports(processor):
                pipeline._add(provider, processor)
                return
            pipeline.replaced.append(type(processor).__name__)
            processor.shutdown()
            pipeline._serve(provider)

        TracerProvider.add_span_processor = add_span_processor  # type: ignore[method-assign, assignment]  # its first parameter has another name

    def instrument(self, application: object) -> None:
        """An application that is imported, and has not been instrumented, is; it may still make its provider."""
        if self._arm is not Arm.NONE and not getattr(application, "_is_instrumented_by_opentelemetry", False):
            _instrument(application)

    def complete(self) -> None:
        """An application that has started without an exporting provider has one."""
        from opentelemetry import trace

        if self._arm is Arm.NONE or self._counted:
            return
        provider = trace.get_tracer_provider()
        if isinstance(provider, TracerProvider):  # the application's own, which exports nothing
            self._serve(provider)
            return
        from opentelemetry.sdk.resources import Resource

        provider = TracerProvider(resource=Resource.create({"service.name": _SERVICE}), shutdown_on_exit=False)
        self._serve(provider)
        trace.set_tracer_provider(provider)

    def _serve(self, provider: TracerProvider) -> None:
        if provider not in self._served:
            self._served.add(provider)
            counted = Counted(self._arm.processor(self._endpoint))
            self._counted.append(counted)
            self._add(provider, counted)

    @property
    def spans(self) -> int:
        """How many sampled spans have ended."""
        return sum(counted.spans for counted in self._counted)

    def finish(self) -> dict[str, int | bool]:
        """Every span has been exported or given up; return what the processors tell of those.

        Returns:
            `flushed`, whether all said so; `dropped` and `failed`, spans, as far as the processor counts them.
        """
        flushed = all(counted.force_flush(FLUSH_TIMEOUT_MS) for counted in self._counted)
        for counted in self._counted:
            counted.shutdown()
        told = [_told(counted.processor) for counted in self._counted]
        return {
            "flushed": flushed,
            "dropped": sum(dropped for dropped, _ in told),
            "failed": sum(failed for _, failed in told),
        }


def _exports(processor: SpanProcessor) -> bool:
    """Return whether it sends spans away: a BatchSpanProcessor or a subclass, or another one with an exporter."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter

    if isinstance(processor, (BatchSpanProcessor, SimpleSpanProcessor)):
        return True
    return isinstance(getattr(processor, "span_exporter", None), SpanExporter)


def _instrument(application: object) -> None:
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ImportError:
        return
    from fastapi import FastAPI

    if isinstance(application, FastAPI):
        FastAPIInstrumentor.instrument_app(application)


def _told(processor: SpanProcessor) -> tuple[int, int]:
    """Return the spans that the processor has dropped and those that failed; upstream's count nothing."""
    from gilscope import NativeSpanProcessor
    from gilscope.bench.subprocess_processor import SubprocessSpanProcessor

    if isinstance(processor, SubprocessSpanProcessor):
        return processor.dropped, processor.failed
    if isinstance(processor, NativeSpanProcessor):
        stats = processor.stats()
        return stats.dropped.total, stats.failed.total
    return 0, 0
