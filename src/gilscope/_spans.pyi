"""The native half of the span processor: encoder, ring and exporter thread."""

from collections.abc import Callable, Sequence
from typing import Any, final

@final
class Pipeline:
    """Encodes ended spans on the calling thread and exports them on a native one that never takes the GIL.

    Args:
        protocol: "http/protobuf" or "grpc".
        url: complete, with path.
        headers: name and value pairs, as sent.
        timeout_seconds: for one export with its retries; `export_timeout_millis` bounds it too.
        on_message: called as `on_message(level, text, suppressed)` from `emit`, `force_flush`, `shutdown` and `drain_messages`,
            on their thread, with `level` a `logging` level.

    Raises:
        ValueError: a setting the native side cannot work with, named in the message.
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
        """The span is in the ring, or counted as dropped, if it is sampled. Never raises, never blocks."""
    def force_flush(self, timeout_millis: float) -> bool:
        """Every span emitted before the call has been accepted by the collector. Releases the GIL; back by the timeout."""
    def shutdown(self, timeout_millis: float) -> bool:
        """No span is taken any more and the thread is gone. True if nothing was left unsent. Releases the GIL."""
    def stats(self) -> dict[str, Any]:
        """Counts since the start of this process: `ended`, `exported`, `dropped` and `failed` (dicts by reason), `queued`,
        `queued_bytes`, `requests`, `retries`, `splits`, `request_bytes`, `sent_bytes`, `thread_cpu_ns`, `replaced_values`."""
    def drain_messages(self) -> None:
        """What the native thread had to say has been passed to `on_message`."""

def encode_request(spans: Sequence[object]) -> bytes:
    """The ExportTraceServiceRequest that the exporter would send for these spans, uncompressed."""
