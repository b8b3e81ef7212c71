"""NativeSpanProcessor: BatchSpanProcessor and OTLPSpanExporter in one, without the GIL."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import export as sdk_export
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gilscope.errors import NotNativeError
from gilscope.spans import metrics
from gilscope.spans.batch import NativeBatch
from gilscope.spans.environment import boolean, choose
from gilscope.spans.settings import ExportArguments, batch_settings, export_settings, overridden
from gilscope.spans.sigterm import flush_on_sigterm as flush_on_sigterm_from_now
from gilscope.spans.takeover import Refusal, say_once, take_over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    from gilscope.spans.settings import BatchSettings
    from gilscope.spans.stats import SpanStats

# Since 1.34 the processor's state lives in an object of its own; before, in the processor.
HAS_BATCH_PROCESSOR = hasattr(sdk_export, "BatchProcessor")


class NativeSpanProcessor(BatchSpanProcessor):
    """Exports spans by a native thread that never takes the GIL.

    Without `span_exporter` it is configured by its arguments and the `OTEL_EXPORTER_OTLP_*` variables, as the
    OpenTelemetry specification says (so the protocol is http/protobuf unless told otherwise). With an OTLPSpanExporter
    it takes over that exporter's settings; with any other exporter it is upstream's BatchSpanProcessor, and logs that.

    When the queue is full the newest span is dropped; upstream drops the oldest.

    Args:
        span_exporter: whose settings to take over.
        max_queue_size: spans that may wait (OTEL_BSP_MAX_QUEUE_SIZE, 2048).
        schedule_delay_millis: how long a span may wait for others (OTEL_BSP_SCHEDULE_DELAY, 5000).
        max_export_batch_size: spans of a request (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, 512).
        export_timeout_millis: one export with its retries; zero or less leaves `timeout` alone to limit it
            (OTEL_BSP_EXPORT_TIMEOUT, 30000).
        meter_provider: for `otel.sdk.*` metrics, if OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED is true.
        endpoint: complete URL, or `host:port` for gRPC (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).
        insecure: gRPC without TLS; otherwise the endpoint's scheme says so.
        headers: sent with every request; never logged.
        timeout: of an export, in **seconds**, as in Python's exporters (OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, 10).
        compression: none, gzip, or deflate (HTTP only).
        protocol: http/protobuf or grpc.
        certificate_file: trusted certificates, PEM.
        client_key_file: PEM, for mTLS.
        client_certificate_file: PEM, for mTLS.
        max_queue_bytes: memory that may wait (GILSCOPE_MAX_QUEUE_BYTES, 32 MiB).
        max_request_bytes: of a request, before compression (GILSCOPE_MAX_REQUEST_BYTES, 4 MiB).
        exit_timeout_millis: what sending the rest may cost when the process exits (GILSCOPE_EXIT_TIMEOUT_MILLIS, 5000).
        flush_on_sigterm: flush on SIGTERM too, then do what SIGTERM did before (GILSCOPE_FLUSH_ON_SIGTERM, false).

    Raises:
        SettingsError: an argument that cannot work; a ValueError, as upstream raises.
        ImportError: the native module is not built for this interpreter.
    """

    # On the class, for instances that were turned into this one by `install`.
    _native: NativeBatch | None = None
    _reason = ""

    def __init__(  # noqa: PLR0913 - upstream's arguments, and its exporter's
        self,
        span_exporter: SpanExporter | None = None,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        endpoint: str | None = None,
        insecure: bool | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | str | None = None,
        timeout: float | None = None,
        compression: object = None,
        protocol: str | None = None,
        certificate_file: str | None = None,
        client_key_file: str | None = None,
        client_certificate_file: str | None = None,
        max_queue_bytes: int | None = None,
        max_request_bytes: int | None = None,
        exit_timeout_millis: float | None = None,
        flush_on_sigterm: bool | None = None,
    ) -> None:
        arguments = ExportArguments(
            protocol=protocol,
            endpoint=endpoint,
            insecure=insecure,
            headers=headers,
            timeout=timeout,
            compression=compression,
            certificate_file=certificate_file,
            client_key_file=client_key_file,
            client_certificate_file=client_certificate_file,
        )
        if span_exporter is None:
            settings = export_settings(arguments)
        else:
            taken = take_over(span_exporter)
            if isinstance(taken, Refusal):
                self._be_upstream(
                    taken,
                    arguments,
                    meter_provider,
                    span_exporter=span_exporter,
                    max_queue_size=max_queue_size,
                    schedule_delay_millis=schedule_delay_millis,
                    max_export_batch_size=max_export_batch_size,
                    export_timeout_millis=export_timeout_millis,
                )
                return
            settings = overridden(taken, arguments)
        batch = batch_settings(
            max_queue_size,
            schedule_delay_millis,
            max_export_batch_size,
            export_timeout_millis,
            max_queue_bytes=max_queue_bytes,
            max_request_bytes=max_request_bytes,
            exit_timeout_millis=exit_timeout_millis,
        )
        self._be_native(NativeBatch(span_exporter, settings, batch), batch)
        metrics.register(self._native, meter_provider)
        if choose(flush_on_sigterm, "flush_on_sigterm", ["GILSCOPE_FLUSH_ON_SIGTERM"], boolean, default=False):
            flush_on_sigterm_from_now()

    def _be_upstream(
        self,
        refusal: Refusal,
        arguments: ExportArguments,
        meter_provider: MeterProvider | None,
        **upstream: Any,  # noqa: ANN401 - the arguments of whichever version there is
    ) -> None:
        """Be upstream's class, and say why, once for each kind of exporter."""
        self._reason = refusal.reason
        say_once(logging.WARNING, upstream["span_exporter"], refusal, arguments.given())
        if meter_provider is not None and "meter_provider" in inspect.signature(BatchSpanProcessor.__init__).parameters:
            upstream["meter_provider"] = meter_provider
        super().__init__(**upstream)

    def _be_native(self, native: NativeBatch, batch: BatchSettings) -> None:
        self._native = native
        if HAS_BATCH_PROCESSOR:
            self._batch_processor = native  # type: ignore[assignment]
        else:
            self._look_old(native, batch)
        if not hasattr(BatchSpanProcessor, "span_exporter"):  # a property since 1.34.1
            vars(self)["span_exporter"] = native._exporter
        # Past this class's Python method, unless a subclass has one of its own.
        if type(self).on_end is NativeSpanProcessor.on_end:
            self.on_end = native.emit  # type: ignore[method-assign]

    def _look_old(self, native: NativeBatch, batch: BatchSettings) -> None:
        """Have the attributes of BatchSpanProcessor before 1.34."""
        old: dict[str, object] = {
            "queue": native._queue,
            "worker_thread": native._worker_thread,
            "max_queue_size": batch.max_queue_size,
            "schedule_delay_millis": batch.schedule_delay_millis,
            "max_export_batch_size": batch.max_export_batch_size,
            "export_timeout_millis": batch.export_timeout_millis,
            "done": False,
            "_batch_processor": native,
        }
        vars(self).update(old)

    def on_end(self, span: ReadableSpan) -> None:
        """The span, if it is sampled, is queued or counted as dropped. Never raises, never blocks.

        Threading: any thread.
        """
        native = self._native
        if native is None:
            super().on_end(span)
        else:
            native.emit(span)

    def force_flush(self, timeout_millis: float | None = None) -> bool:
        """Return whether the collector has accepted every span ended before the call.

        Args:
            timeout_millis: 30 seconds if None; while the process exits never more than `exit_timeout_millis`.

        Threading: any thread; blocks, without the GIL, up to the timeout.
        """
        native = self._native
        if native is None:
            return bool(super().force_flush(timeout_millis))  # type: ignore[arg-type]
        return native.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float | None = None) -> bool:  # type: ignore[override] # upstream's returns nothing
        """Return whether nothing was left unsent; no span is taken any more, and the thread is gone. Idempotent.

        Args:
            timeout_millis: 30 seconds if None; while the process exits never more than `exit_timeout_millis`.

        Threading: any thread; blocks, without the GIL, up to the timeout.
        """
        native = self._native
        if native is None:
            super().shutdown()  # type: ignore[no-untyped-call]
            return True
        if not HAS_BATCH_PROCESSOR:
            self.done = True
        return native.shutdown(timeout_millis)

    @property
    def native(self) -> bool:
        """Whether spans are exported natively; otherwise this is upstream's class, for the exporter's sake."""
        return self._native is not None

    def stats(self) -> SpanStats:
        """Return what became of every span.

        Raises:
            NotNativeError: the exporter has kept upstream's path, which does not count.
        """
        if self._native is None:
            raise NotNativeError(f"stats() needs a native processor; this one is upstream's, because {self._reason}")
        return self._native.stats()
