"""The whole way, span to receiver, over real sockets: each fault of the receiver in turn and at random.

After every flush the books must balance, and the receiver's own count must agree with the exporter's.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from gilscope import NativeSpanProcessor
from gilscope.bench.sink import faults as fault
from gilscope.bench.sink.client import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.bench.sink.faults import Fault
    from gilscope.spans.stats import SpanStats

SPANS = 40


@pytest.fixture(scope="module")
def receiver() -> Iterator[Sink]:
    """One receiver for all tests of this file."""
    with Sink(track_ids=True) as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture
def sink(receiver: Sink) -> Sink:
    """The receiver with empty books and without faults."""
    receiver.reset()
    return receiver


class Service:
    """A tracer whose spans go to the sink."""

    def __init__(self, sink: Sink, protocol: str, timeout: float = 10.0, **settings: object) -> None:
        self.processor = NativeSpanProcessor(
            endpoint=sink.grpc_endpoint if protocol == "grpc" else sink.http_endpoint,
            protocol=protocol,
            timeout=timeout,
            schedule_delay_millis=60_000,
            **settings,  # type: ignore[arg-type]  # whatever the constructor takes
        )
        self.provider = TracerProvider(resource=Resource({"service.name": "faulty"}), shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("tests")

    def make(self, spans: int) -> None:
        """End `spans` spans."""
        for number in range(spans):
            with self.tracer.start_as_current_span("step") as span:
                span.set_attribute("number", number)

    def books(self) -> SpanStats:
        """Return the stats, which must balance."""
        stats = self.processor.stats()
        assert stats.unaccounted == 0, stats
        return stats


# What happens once, to the first request; the second one succeeds.
TRANSIENT_HTTP: list[Fault] = [
    fault.Status(status=429, retry_after_s=0, times=1),
    fault.Status(status=502, times=1),
    fault.Status(status=503, retry_after_s=0, times=1),
    fault.Status(status=503, retry_after_s=1, retry_after_as="date", times=1),
    fault.Status(status=504, retry_after_s=0, times=1),
    fault.Reset(when="accept", times=1),
    fault.Reset(when="headers", times=1),
    fault.Reset(when="body", times=1),
    fault.Reset(when="answer", times=1),
    fault.TruncatedAnswer(within="headers", times=1),
    fault.Normal(delay_ms=300, times=1),
    fault.CloseAfterAnswer(),
    fault.CloseAfterAnswer(announce=True),
    fault.IdleClose(idle_ms=0),
    fault.HugeAnswer(where="body", size_bytes=1 << 20),
    fault.DripAnswer(interval_ms=2),
    fault.GarbageAnswer(what="body"),
    fault.Refuse(duration_ms=300),
]
TRANSIENT_GRPC: list[Fault] = [
    fault.GrpcStatus(code=code, retry_delay_ms=1, retry_info_in=place, times=1)
    for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS")
    for place in ("status_details", "retryinfo")
]

FINAL_HTTP: list[Fault] = [
    *(fault.Status(status=status, times=1) for status in (400, 401, 403, 404, 500, 501)),
    fault.Redirect(times=1),
    fault.Status(status=400, rpc_code=3, rpc_message="no such tenant", times=1),
]
FINAL_GRPC: list[Fault] = [
    fault.GrpcStatus(code=code, times=1)
    for code in ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED")
]

HANGING: list[Fault] = [
    fault.Hang(),
    fault.NotReading(when="accept"),
    fault.NotReading(when="headers"),
    fault.Normal(delay_ms=60_000),
    fault.DripAnswer(interval_ms=5_000),
]


def with_protocol(protocol: str, faults: list[Fault]) -> list[object]:
    """Return a parameter for each fault, named by it."""
    return [
        pytest.param(protocol, one, id=f"{protocol}-{number}-{fault.kind_of(one)}") for number, one in enumerate(faults)
    ]


@pytest.mark.parametrize(
    ("protocol", "one"), [*with_protocol("http/protobuf", TRANSIENT_HTTP), *with_protocol("grpc", TRANSIENT_GRPC)]
)
def test_transient_fault_loses_nothing(sink: Sink, protocol: str, one: Fault) -> None:
    """A fault that passes costs time and no span, also on a connection that has been used before."""
    service = Service(sink, protocol)
    for round_number in range(1, 4):
        sink.set_faults(one)
        service.make(SPANS)
        assert service.processor.force_flush(10_000)
        assert service.books().exported == round_number * SPANS
    # Not "accepted": an answer that breaks off after its 200 was not written whole, and is a success all the same.
    assert sink.stats().distinct_spans_received == 3 * SPANS
    service.provider.shutdown()


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("protocol", "one"), [*with_protocol("http/protobuf", FINAL_HTTP), *with_protocol("grpc", FINAL_GRPC)]
)
def test_final_refusal_is_counted_and_told(sink: Sink, protocol: str, one: Fault) -> None:
    """A request that is refused for good is sent once, its spans are counted, and the flush says so."""
    service = Service(sink, protocol)
    sink.set_faults(one)
    service.make(SPANS)
    assert not service.processor.force_flush(10_000)
    stats = service.books()
    assert (stats.failed.rejected, stats.requests) == (SPANS, 1)
    service.make(SPANS)
    assert service.processor.force_flush(10_000)
    assert service.books().exported == sink.stats().distinct_spans_accepted == SPANS
    service.provider.shutdown()


@pytest.mark.smoke
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_partial_success_is_counted_and_not_repeated(sink: Sink, protocol: str) -> None:
    """What a collector rejects of a request that it takes is failed, and the rest exported, in one request."""
    service = Service(sink, protocol)
    sink.set_faults(fault.PartialSuccess(rejected_spans=7, message="seven of them", times=1))
    service.make(SPANS)
    assert not service.processor.force_flush(10_000)
    stats = service.books()
    assert (stats.failed.partial_success, stats.exported, stats.requests) == (7, SPANS - 7, 1)
    assert sink.stats().spans_rejected == 7
    service.provider.shutdown()


@pytest.mark.smoke
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_too_large_is_split_until_it_fits(sink: Sink, protocol: str, compression: str) -> None:
    """A collector with a small limit gets everything, in smaller requests."""
    service = Service(sink, protocol, compression=compression)
    sink.set_faults(fault.TooLarge(limit_bytes=2_000, measured="decoded"))
    service.make(SPANS)
    assert service.processor.force_flush(10_000)
    stats = service.books()
    assert stats.exported == sink.stats().distinct_spans_accepted == SPANS
    assert stats.splits > 0
    service.provider.shutdown()


@pytest.mark.parametrize(
    ("protocol", "one"), [*with_protocol("http/protobuf", HANGING), *with_protocol("grpc", [fault.Hang()])]
)
def test_hanging_collector_ends_with_the_export_timeout(sink: Sink, protocol: str, one: Fault) -> None:
    """A collector that does not answer costs the export timeout, and flush comes back by its own."""
    service = Service(sink, protocol, timeout=0.4)
    sink.set_faults(one)
    service.make(SPANS)
    assert not service.processor.force_flush(10_000)
    assert service.books().failed.timeout == SPANS
    sink.set_faults()
    service.make(SPANS)
    assert service.processor.force_flush(10_000)
    assert service.books().exported == SPANS
    service.provider.shutdown()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_shutdown_of_a_hung_export_counts_the_spans_as_failed(sink: Sink, protocol: str) -> None:
    """A shutdown whose time runs out leaves nothing uncounted, and no thread."""
    service = Service(sink, protocol)
    sink.set_faults(fault.Hang())
    service.make(SPANS)
    service.processor.shutdown(timeout_millis=100)
    stats = service.books()
    assert (stats.failed.shutdown, stats.queued) == (SPANS, 0)
    service.make(1)
    assert service.books().dropped.shutdown == 1


@pytest.mark.parametrize("seed", range(3))
def test_random_faults_keep_the_books(sink: Sink, seed: int) -> None:
    """Whatever happens, in whatever order: every span is in one count, and the receiver's count agrees."""
    choice = random.Random(seed)
    service = Service(sink, "http/protobuf", timeout=0.5, max_queue_size=256, max_export_batch_size=64)
    sink.set_faults(
        fault.Normal(weight=6.0),
        fault.Status(status=503, retry_after_s=0, weight=2.0),
        fault.Status(status=400, weight=1.0),
        fault.PartialSuccess(rejected_spans=3, weight=1.0),
        fault.Reset(when="headers", weight=1.0),
        fault.Reset(when="answer", weight=1.0),
        fault.CloseAfterAnswer(weight=1.0),
        fault.IdleClose(idle_ms=1, weight=1.0),
        fault.TooLarge(limit_bytes=1_500, weight=1.0),
        fault.Hang(weight=0.3),
        seed=seed,
    )
    made = 0
    for _ in range(40):
        spans = choice.randrange(1, 120)
        service.make(spans)
        made += spans
        service.processor.force_flush(choice.choice([0, 5, 2_000]))
        assert service.books().ended == made
    service.provider.shutdown()
    stats = service.books()
    received = sink.stats()
    # An answer that was written whole may have come too late for the exporter, and one that broke off after its 200 is
    # a success: so the receiver's two counts enclose the exporter's.
    assert stats.exported <= received.distinct_spans_received <= stats.ended - stats.dropped.total
    assert received.distinct_spans_accepted <= stats.exported + stats.failed.total
