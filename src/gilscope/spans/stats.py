"""What became of every span, by reason: `ended == exported + dropped + failed + queued`, always."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

C = TypeVar("C", bound="Counts")


@dataclass(frozen=True)
class Counts:
    """Spans by reason; a field for each."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_reason().values())

    def by_reason(self) -> dict[str, int]:
        """Return each reason with its spans."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Dropped(Counts):
    """Spans that never were in the queue.

    Attributes:
        queue_full: `max_queue_size` or `max_queue_bytes` was reached; the newest span is the one dropped.
        too_large: larger than the queue can ever take.
        shutdown: ended after shutdown.
        encoding: not a span that can be encoded.
        no_memory: no memory to encode it.
    """

    queue_full: int = 0
    too_large: int = 0
    shutdown: int = 0
    encoding: int = 0
    no_memory: int = 0


@dataclass(frozen=True)
class Failed(Counts):
    """Spans that were queued and did not reach the collector.

    Attributes:
        rejected: the collector's final no to the whole request.
        partial_success: rejected by a collector that took the rest of the request.
        timeout: the export timeout came first, retries included.
        unreachable: no connection, all through the retries.
        too_large: one span alone is more than the collector takes.
        shutdown: the shutdown's time ran out.
        internal: no memory for the request, or no thread.
    """

    rejected: int = 0
    partial_success: int = 0
    timeout: int = 0
    unreachable: int = 0
    too_large: int = 0
    shutdown: int = 0
    internal: int = 0


@dataclass(frozen=True)
class SpanStats:
    """Counts since the start of this process; a forked child counts from zero.

    Attributes:
        ended: sampled spans that were handed over.
        queued: in the queue, those being sent included.
        requests: attempts.
        splits: requests that the collector found too large and that were cut in two.
        request_bytes: bodies before compression.
        sent_bytes: bodies as sent.
        thread_cpu_ns: CPU time of the native thread.
        replaced_values: values that OTLP cannot carry and that were replaced.
    """

    ended: int
    exported: int
    dropped: Dropped
    failed: Failed
    queued: int
    queued_bytes: int
    requests: int
    retries: int
    splits: int
    request_bytes: int
    sent_bytes: int
    thread_cpu_ns: int
    replaced_values: int

    @property
    def unaccounted(self) -> int:
        """Spans that are in none of the counts: zero, or something is broken."""
        return self.ended - self.exported - self.dropped.total - self.failed.total - self.queued

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> SpanStats:
        """Return the stats for what the native pipeline counted."""
        plain = {field.name: counts[field.name] for field in fields(cls) if field.name not in {"dropped", "failed"}}
        return cls(dropped=_counts(Dropped, counts["dropped"]), failed=_counts(Failed, counts["failed"]), **plain)


def _counts(kind: type[C], by_reason: Mapping[str, int]) -> C:
    return kind(**dict(by_reason))
