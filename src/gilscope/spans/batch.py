"""One running pipeline, in the shape of upstream's BatchProcessor, which third parties look into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope import exports
from gilscope.spans import lifetime
from gilscope.spans.messages import MessageLog
from gilscope.spans.stats import SpanStats

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from gilscope._spans import Pipeline
    from gilscope.spans.settings import BatchSettings, ExportSettings

# As upstream's shutdown and TracerProvider.force_flush.
DEFAULT_TIMEOUT_MILLIS = 30000.0


class NativeQueue:
    """The queue's length, where upstream has the queue itself. What is in it is bytes, in native memory."""

    def __init__(self, pipeline: Pipeline, max_queue_size: int) -> None:
        self._pipeline = pipeline
        self.maxlen = max_queue_size

    def __len__(self) -> int:
        return int(self._pipeline.stats()["queued"])


class NativeWorker:
    """The exporter thread, where upstream has a threading.Thread; it is native, so there is nothing to join."""

    name = "gilscope-spans"
    daemon = True

    def __init__(self, batch: NativeBatch) -> None:
        self._batch = batch

    def is_alive(self) -> bool:
        """Return whether spans are still taken; the thread itself starts with the first."""
        return not self._batch._shutdown

    def join(self, timeout: float | None = None) -> None:
        """Return at once: `shutdown` is what waits."""


class NativeBatch:
    """Encodes and exports spans natively, from the first span until `shutdown`.

    Attributes:
        emit: takes a span; the pipeline's own, so that nothing stands between.
        settings: how it exports.
    """

    def __init__(self, exporter: SpanExporter | None, settings: ExportSettings, batch: BatchSettings) -> None:
        """Starts nothing.

        Args:
            exporter: the one whose settings these are, if there is one; it is shut down with the batch.
            settings: how to export.
            batch: when, and how much may wait.

        Raises:
            ValueError: a setting that the native side cannot work with.
            ImportError: the native module is not built for this interpreter.
        """
        from gilscope._spans import Pipeline, observe_exports

        exports.accept(observe_exports)
        request_bytes = batch.max_request_bytes
        if settings.max_request_bytes is not None:
            request_bytes = min(request_bytes, settings.max_request_bytes)
        self.settings = settings
        self.pipeline = Pipeline(
            protocol=settings.protocol,
            url=settings.url,
            unix_socket=settings.unix_socket,
            headers=settings.headers,
            timeout_seconds=settings.timeout_seconds,
            compression=settings.compression,
            ca_file=settings.ca_file,
            client_certificate_file=settings.client_certificate_file,
            client_key_file=settings.client_key_file,
            proxy=settings.proxy,
            max_queue_size=batch.max_queue_size,
            max_queue_bytes=batch.max_queue_bytes,
            max_export_batch_size=batch.max_export_batch_size,
            max_request_bytes=request_bytes,
            schedule_delay_millis=batch.schedule_delay_millis,
            export_timeout_millis=batch.export_timeout_millis,
            on_message=MessageLog(settings.protocol),
        )
        self.emit = self.pipeline.emit
        self._exporter = exporter
        self._max_queue_size = batch.max_queue_size
        self._schedule_delay_millis = batch.schedule_delay_millis
        self._schedule_delay = batch.schedule_delay_millis / 1e3
        self._max_export_batch_size = batch.max_export_batch_size
        self._export_timeout_millis = batch.export_timeout_millis
        self._exit_timeout_millis = batch.exit_timeout_millis
        self._queue = NativeQueue(self.pipeline, batch.max_queue_size)
        self._exporting = "Span"
        self._shutdown = False
        lifetime.watch(self, self.pipeline, batch.exit_timeout_millis)

    @property
    def _worker_thread(self) -> NativeWorker:
        return NativeWorker(self)

    def force_flush(self, timeout_millis: float | None = None) -> bool:
        """Return whether the collector has accepted every span emitted before the call; back by the timeout."""
        return self.pipeline.force_flush(self._allowed(timeout_millis))

    def shutdown(self, timeout_millis: float | None = None) -> bool:
        """Return whether nothing was left unsent; no span is taken any more. False when it was shut down before."""
        sent_all = self.stop(timeout_millis)
        exporter = self._exporter
        if exporter is not None and not getattr(exporter, "_shutdown", False):
            exporter.shutdown()
        return sent_all

    def stop(self, timeout_millis: float | None = None) -> bool:
        """As `shutdown`, but the exporter whose settings were taken over stays usable."""
        if self._shutdown:
            return False
        self._shutdown = True
        sent_all = self.pipeline.shutdown(self._allowed(timeout_millis))
        lifetime.forget(self.pipeline)
        return sent_all

    def stats(self) -> SpanStats:
        """Return what became of every span."""
        self.pipeline.drain_messages()
        return SpanStats.of(self.pipeline.stats())

    def _allowed(self, timeout_millis: float | None) -> float:
        """Return the time to take: half a minute is too much for a process that is on its way out."""
        asked = DEFAULT_TIMEOUT_MILLIS if timeout_millis is None else float(timeout_millis)
        return min(asked, self._exit_timeout_millis) if lifetime.exiting() else asked
