"""The native half of the span processor: encoder, ring and exporter thread."""

from collections.abc import Callable, Sequence
from typing import Any, final

def observe_exports(observer: object) -> None:
    """From now on the observer is told of each request that an exporter of this process has sent.

    Args:
        observer: a capsule, as ext/core/export_observer.h says.

    Raises:
        ValueError: it is something else.
    """

@final
class Pipeline:
    """Encodes ended spans on the calling thread and exports them on a native one that never takes the GIL.

    Args:
        protocol: "http/protobuf" or "grpc".
        url: complete, with path.
        headers: name and value pairs, as sent.
        timeout_seconds: for one export with its retries; `export_timeout_millis` bounds it too.
        compression: "none", "gzip" or "deflate".
        max_queue_bytes: address space of the queue; a span takes half of it at most.
        max_request_bytes: of a request before compression; a larger span is sent alone.
        on_message: called as `on_message(level, text, suppressed)` from `emit`, `force_flush`, `shutdown` and
            `drain_messages`, on their thread, with `level` as in `logging`.

    Raises:
        ValueError: a setting that the native side cannot work with, named in the message.
    """

    def __init__(
        self,
        *,
        protocol: str,
        url: str,
        unix_socket: str | None,
        headers: Sequence[tuple[str, str]],
        timeout_seconds: float,
        compression: str,
        ca_file: str | None,
        client_certificate_file: str | None,
        client_key_file: str | None,
        proxy: str | None,
        max_queue_size: int,
        max_queue_bytes: int,
        max_export_batch_size: int,
        max_request_bytes: int,
        schedule_delay_millis: float,
        export_timeout_millis: float,
        on_message: Callable[[int, str, int], None],
    ) -> None: ...
    def emit(self, span: object) -> None:
        """The span is in the queue, or counted as dropped, if it is sampled. Never blocks or raises."""
    def force_flush(self, timeout_millis: float) -> bool:
        """Every span emitted before the call has been accepted by the collector: True.

        Threading: releases the GIL; back by the timeout, or when a signal handler raises.
        """
    def shutdown(self, timeout_millis: float) -> bool:
        """No span is taken any more and the thread is gone; True if everything was accepted.

        Threading: releases the GIL; back soon after the timeout, or after a signal handler has raised.
        """
    def stats(self) -> dict[str, Any]:
        """Counts since the start of this process.

        `ended`, `exported`, `queued`, `queued_bytes`, `requests`, `retries`, `splits`, `request_bytes`, `sent_bytes`,
        `thread_cpu_ns`, `replaced_values`; `dropped` by reason: `queue_full`, `too_large`, `shutdown`, `encoding`,
        `no_memory`; and `failed`: `rejected`, `partial_success`, `timeout`, `unreachable`, `too_large`, `shutdown`,
        `internal`.
        """
    def drain_messages(self) -> None:
        """What the native thread had to say has been passed to `on_message`."""

def encode_request(spans: Sequence[object]) -> bytes:
    """Return the ExportTraceServiceRequest that the exporter would send for these spans, uncompressed."""
