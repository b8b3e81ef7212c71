"""Spans handed to a child process that exports them: what people build by hand to get the exporter off the loop.

Written to be as good as it gets: the span is reduced to plain values on the thread that ends it, one feeder thread
pickles batches of a bounded queue, and the child makes spans of them again for the stock exporter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0


class SubprocessSpanProcessor(SpanProcessor):
    """Exports over OTLP/HTTP from a child process.

    Attributes:
        dropped: spans that the queue had no room for.
        failed: spans that the child could not export.

    Threading: as every span processor; a thread of its own pickles batches and writes them to the child.
    """

    def __init__(self, endpoint: str) -> None:
        """The child runs; queue, batches and delay are as the OTEL_BSP_* variables say, or upstream's defaults.

        Raises:
            RuntimeError: it did not start.
        """
        self._batch_spans = int(os.environ.get(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, "512"))
        self._delay_s = int(os.environ.get(OTEL_BSP_SCHEDULE_DELAY, "5000")) / 1e3
        queue_spans = int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "2048"))
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._child = context.Process(target=export, args=(theirs, endpoint), daemon=True, name="gilscope-exporter")
        self._child.start()
        theirs.close()
        if not self._connection.poll(_START_TIMEOUT_S):
            raise RuntimeError(f"the exporting child did not start within {_START_TIMEOUT_S} s")
        self._connection.recv()
        self.dropped = 0
        self.failed = 0
        self._queue: queue.Queue[tuple[Any, ...]] = queue.Queue(queue_spans)
        self._urgent = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._feed, name="SubprocessSpanFeeder", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """The span will be exported, or is counted as dropped."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        try:
            self._queue.put_nowait(_reduced(span))
        except queue.Full:
            self.dropped += 1
            return
        if self._queue.qsize() >= self._batch_spans:
            self._urgent.set()

    def _feed(self) -> None:
        while not (self._stopping and self._queue.empty()):
            self._urgent.wait(self._delay_s)
            self._urgent.clear()
            while batch := self._take():
                if not self._exported(batch):
                    self.failed += len(batch)
                for _ in batch:
                    self._queue.task_done()

    def _take(self) -> list[tuple[Any, ...]]:
        batch: list[tuple[Any, ...]] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < self._batch_spans:
                batch.append(self._queue.get_nowait())
        return batch

    def _exported(self, batch: list[tuple[Any, ...]]) -> bool:
        try:
            self._connection.send(batch)
            return bool(self._connection.recv())
        except (OSError, EOFError):  # the child has died
            return False

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether every span that has ended was exported or counted in time."""
        deadline_s = time.monotonic() + timeout_millis / 1e3
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks:
                self._urgent.set()
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._queue.all_tasks_done.wait(min(left_s, 0.1))
        return True

    def shutdown(self) -> None:
        """The child has ended."""
        if self._stopping:
            return
        self._stopping = True
        self._urgent.set()
        self._thread.join(_STOP_TIMEOUT_S)
        self._connection.close()
        self._child.join(_STOP_TIMEOUT_S)
        if self._child.is_alive():
            self._child.terminate()


def _reduced(span: ReadableSpan) -> tuple[Any, ...]:
    """Return what the child makes the span of again; values are copied, as the application may change them."""
    scope = span.instrumentation_scope
    return (
        span.name,
        span.context,
        span.parent,
        span.kind,
        span.start_time,
        span.end_time,
        dict(span.attributes or {}),
        [(event.name, dict(event.attributes or {}), event.timestamp) for event in span.events],
        [(link.context, dict(link.attributes or {})) for link in span.links],
        span.status,
        dict(span.resource.attributes),
        None if scope is None else (scope.name, scope.version, scope.schema_url, dict(scope.attributes or {})),
    )


def export(connection: Connection, endpoint: str) -> None:
    """In the child: every batch that came has been exported; the parent has closed the connection."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link

    exporter = OTLPSpanExporter(endpoint=endpoint)
    resources: dict[tuple[Any, ...], Resource] = {}
    connection.send("ready")
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            spans = []
            for (
                name,
                context,
                parent,
                kind,
                start,
                end,
                attributes,
                events,
                links,
                status,
                resource,
                scope,
            ) in connection.recv():
                key = tuple(sorted((name, str(value)) for name, value in resource.items()))
                if key not in resources:
                    resources[key] = Resource(resource)
                spans.append(
                    ReadableSpan(
                        name,
                        context,
                        parent,
                        resources[key],
                        attributes,
                        [Event(event, values, timestamp) for event, values, timestamp in events],
                        [Link(linked, values) for linked, values in links],
                        kind,
                        status=status,
                        start_time=start,
                        end_time=end,
                        instrumentation_scope=None if scope is None else InstrumentationScope(*scope),
                    )
                )
            connection.send(exporter.export(spans) is SpanExportResult.SUCCESS)
    exporter.shutdown()  # type: ignore[no-untyped-call]
