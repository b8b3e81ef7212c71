"""When a batch is sent, what is in it, and what is dropped."""

from __future__ import annotations

import gc
import os
import time
import weakref
from typing import TYPE_CHECKING

from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from gilscope.bench.sink import faults
from tests.conformance.sides import DIFFERENCES, Service, exporter_for, names_received, service

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.bench.sink import Sink


def test_span_is_sent_after_the_schedule_delay(sink: Sink, protocol: str, start: Callable[..., Service]) -> None:
    """Without a flush and without others."""
    start(exporter_for(protocol, sink), schedule_delay_millis=20).end_spans("one")
    sink.wait_for_spans(1)


def test_full_batch_is_sent_before_the_delay(sink: Sink, protocol: str, start: Callable[..., Service]) -> None:
    """As one request of that size."""
    start(exporter_for(protocol, sink), max_export_batch_size=5).end_spans(*"abcde")
    sink.wait_for_spans(5)
    assert [request.spans for request in sink.requests()] == [5]
    assert names_received(sink) == list("abcde")


def test_flush_sends_all_in_batches(sink: Sink, protocol: str, start: Callable[..., Service]) -> None:
    """None larger than asked, none lost, none twice, in order."""
    service = start(exporter_for(protocol, sink), max_export_batch_size=5)
    names = [f"span {number}" for number in range(12)]
    service.end_spans(*names)
    assert service.processor.force_flush()
    assert names_received(sink) == names
    assert max(request.spans for request in sink.requests()) <= 5


def test_flush_of_nothing_sends_nothing(sink: Sink, protocol: str, start: Callable[..., Service]) -> None:
    """And is true."""
    assert start(exporter_for(protocol, sink)).processor.force_flush()
    assert sink.stats().requests == 0


def test_unsampled_span_is_not_sent(sink: Sink, start: Callable[..., Service]) -> None:
    """The sampler's word counts; the sampled one shows that the processor works."""
    service = start(exporter_for("http/protobuf", sink))
    tracer = service.provider.get_tracer("conformance")
    unsampled = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    sampled = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    for parent, name in ((unsampled, "unsampled"), (sampled, "sampled")):
        tracer.start_span(name, set_span_in_context(NonRecordingSpan(parent))).end()
    assert service.processor.force_flush()
    assert names_received(sink) == ["sampled"]


def test_full_queue_drops_by_policy(sink: Sink, side: str, start: Callable[..., Service]) -> None:
    """While the collector takes its time for the first span, fifteen come to a queue of ten."""
    sink.set_faults(faults.Normal(delay_ms=500, times=1))
    service = start(exporter_for("http/protobuf", sink), max_queue_size=10, max_export_batch_size=1)
    service.end_spans("held")
    sink.wait_for("requests", 1)
    names = [f"span {number}" for number in range(15)]
    service.end_spans(*names)
    service.processor.force_flush()
    expected = {"drops the oldest": ["held", *names[5:]], "drops the newest": ["held", *names[:9]]}
    assert names_received(sink) == expected[str(DIFFERENCES["full queue"].of(side))]


def test_shutdown_sends_what_is_queued_and_takes_no_more(
    sink: Sink, protocol: str, start: Callable[..., Service]
) -> None:
    """Idempotent; a flush afterwards is false."""
    service = start(exporter_for(protocol, sink))
    service.end_spans("before")
    service.processor.shutdown()  # type: ignore[no-untyped-call]
    service.end_spans("after")
    service.processor.shutdown()  # type: ignore[no-untyped-call]
    assert service.processor.force_flush() is False
    assert names_received(sink) == ["before"]


def threads() -> set[str]:
    """Return the ids of this process's threads, native ones too."""
    return set(os.listdir("/proc/self/task"))  # noqa: PTH208 - the kernel's


def test_collected_processor_sends_what_it_has(sink: Sink, side: str) -> None:
    """A provider that was dropped without shutdown; what it has queued still arrives."""
    before = threads()
    dropped = service(side, exporter_for("http/protobuf", sink), schedule_delay_millis=100)
    dropped.end_spans("one")
    own = threads() - before
    gone = weakref.ref(dropped.processor)
    del dropped
    gc.collect()
    sink.wait_for_spans(1)
    assert gone() is None
    deadline = time.monotonic() + 10
    if DIFFERENCES["collected processor"].of(side) == "its thread stays":
        assert own <= threads()
        return
    while own & threads():
        assert time.monotonic() < deadline, "its thread stays"
