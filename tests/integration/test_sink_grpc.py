"""The sink speaks OTLP/gRPC as a real receiver does, with the same counts, and with gRPC's own faults."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # has stubs, but no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from gilscope.bench.sink import Sink, faults
from tests.integration.sink_client import HOST, TIMEOUT_S, batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MAX_BODY_BYTES = 1 << 20


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Sink]:
    with Sink(keep_bodies=100, track_ids=True, max_body_bytes=MAX_BODY_BYTES) as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(name="sink")
def _sink(shared: Sink) -> Sink:
    shared.reset()
    return shared


@pytest.fixture(name="channel")
def _channel(sink: Sink) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{HOST}:{sink.grpc_port}") as channel:
        yield channel


def export(
    channel: grpc.Channel, body: bytes, timeout_s: float = TIMEOUT_S, compression: grpc.Compression | None = None
) -> ExportTraceServiceResponse:
    """Sends a body, and returns the answer."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    return ExportTraceServiceResponse.FromString(call(body, timeout=timeout_s, compression=compression))


def export_error(channel: grpc.Channel, body: bytes, timeout_s: float = TIMEOUT_S) -> grpc.RpcError:
    """Sends a body, and returns the failure that it meets."""
    with pytest.raises(grpc.RpcError) as caught:
        export(channel, body, timeout_s)
    return caught.value


def trailers(error: grpc.RpcError) -> dict[str, str | bytes]:
    """Returns the metadata that came with a failure."""
    return dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))


@pytest.mark.parametrize(
    ("compression", "encoding"),
    [
        (grpc.Compression.NoCompression, "identity"),
        (grpc.Compression.Gzip, "gzip"),
        (grpc.Compression.Deflate, "deflate"),
    ],
)
def test_message_of_each_encoding_is_counted_and_kept(
    sink: Sink, channel: grpc.Channel, compression: grpc.Compression, encoding: str
) -> None:
    """The size on the wire is told from the decompressed one."""
    body = batch(20, name="a name that compresses " * 10)
    assert not export(channel, body, compression=compression).HasField("partial_success")
    stats = sink.stats()
    assert (stats.grpc_requests, stats.http_requests) == (1, 0)
    assert (stats.spans_received, stats.spans_accepted, stats.distinct_spans_accepted) == (20, 20, 20)
    assert stats.encodings == {encoding: 1}
    assert stats.decoded_bytes == len(body)
    assert (stats.wire_bytes < len(body) / 2) == (encoding != "identity")
    assert stats.answers == {"OK": 1}
    assert sink.bodies() == [body]


def test_empty_message_is_accepted(sink: Sink, channel: grpc.Channel) -> None:
    """It is a request without spans."""
    export(channel, b"")
    assert sink.stats().answers == {"OK": 1}


def test_upstreams_exporter_delivers_its_spans(sink: Sink) -> None:
    """The SDK's own exporter is content with the answers, and its headers are kept."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=sink.grpc_endpoint, insecure=True, headers={"api-key": "secret"})
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(3):
        provider.get_tracer("test").start_span("operation").end()
    provider.shutdown()
    assert sink.stats().spans_accepted == 3
    record = sink.requests()[0]
    assert (record.protocol, record.target, record.header("api-key")) == ("grpc", METHOD, "secret")


@pytest.mark.parametrize("body", [b"\xff", b"\x1f\x8b not gzip"])
def test_damaged_message_is_an_invalid_argument(sink: Sink, channel: grpc.Channel, body: bytes) -> None:
    """It is refused and counted as that."""
    assert export_error(channel, body).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sink.stats().answers == {"INVALID_ARGUMENT": 1}


def test_message_beyond_the_servers_limit_is_refused(sink: Sink, channel: grpc.Channel) -> None:
    """The server refuses it before the sink sees it."""
    assert export_error(channel, bytes(MAX_BODY_BYTES + 1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sink.stats().requests == 0


@pytest.mark.parametrize("code", faults.GRPC_CODES)
def test_each_status_code_can_be_had(sink: Sink, channel: grpc.Channel, code: str) -> None:
    """The client sees the code and the message, and the spans are rejected."""
    sink.set_faults(faults.GrpcStatus(code=code, message="as asked", times=1))
    error = export_error(channel, batch(3))
    assert (error.code(), error.details()) == (grpc.StatusCode[code], "as asked")
    export(channel, batch(2))
    stats = sink.stats()
    assert (stats.spans_rejected, stats.spans_accepted) == (3, 2)
    assert stats.answers == {code: 1, "OK": 1}


def test_retry_info_comes_in_status_details(sink: Sink, channel: grpc.Channel) -> None:
    """As an Any in a `google.rpc.Status` that repeats code and message."""
    sink.set_faults(faults.GrpcStatus(message="busy", retry_delay_ms=1500))
    metadata = trailers(export_error(channel, batch(1)))
    assert "google.rpc.retryinfo-bin" not in metadata
    status = Status.FromString(metadata["grpc-status-details-bin"])
    assert (status.code, status.message) == (grpc.StatusCode.UNAVAILABLE.value[0], "busy")
    retry_info = RetryInfo()
    assert status.details[0].Unpack(retry_info)
    assert retry_info.retry_delay.ToMilliseconds() == 1500


def test_retry_info_comes_by_itself(sink: Sink, channel: grpc.Channel) -> None:
    """Under the name that upstream's exporter reads."""
    sink.set_faults(faults.GrpcStatus(retry_delay_ms=20, retry_info_in="retryinfo"))
    metadata = trailers(export_error(channel, batch(1)))
    assert "grpc-status-details-bin" not in metadata
    assert RetryInfo.FromString(metadata["google.rpc.retryinfo-bin"]).retry_delay.ToMilliseconds() == 20


def test_retry_info_comes_both_ways(sink: Sink, channel: grpc.Channel) -> None:
    """In either place."""
    sink.set_faults(faults.GrpcStatus(retry_delay_ms=20, retry_info_in="both"))
    assert {"grpc-status-details-bin", "google.rpc.retryinfo-bin"} <= set(trailers(export_error(channel, batch(1))))


def test_partial_success_rejects_some_spans(sink: Sink, channel: grpc.Channel) -> None:
    """The rest is accepted."""
    sink.set_faults(faults.PartialSuccess(rejected_spans=3, message="too old"))
    partial = export(channel, batch(10)).partial_success
    assert (partial.rejected_spans, partial.error_message) == (3, "too old")
    stats = sink.stats()
    assert (stats.spans_accepted, stats.spans_rejected) == (7, 3)


def test_delay_holds_the_answer_back(sink: Sink, channel: grpc.Channel) -> None:
    """The answer is a success, not before its time."""
    sink.set_faults(faults.Normal(delay_ms=150))
    start_s = time.monotonic()
    export(channel, batch(1))
    assert time.monotonic() - start_s >= 0.15


def test_hang_lasts_until_the_deadline(sink: Sink, channel: grpc.Channel) -> None:
    """The spans are unanswered once the client has given up."""
    sink.set_faults(faults.Hang())
    assert export_error(channel, batch(4), timeout_s=0.2).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stats = sink.wait_for("spans_unanswered", 4)
    assert (stats.spans_pending, stats.answers) == (0, {})


def test_only_messages_above_the_limit_are_too_large(sink: Sink, channel: grpc.Channel) -> None:
    """Smaller ones pass, and do not use the fault up."""
    small, large = batch(5), batch(50)
    sink.set_faults(faults.TooLarge(limit_bytes=len(small), times=1))
    export(channel, small)
    assert export_error(channel, large).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    export(channel, large)
    assert sink.stats().spans_rejected == 50


def test_faults_of_http_pass_grpc_over(sink: Sink, channel: grpc.Channel) -> None:
    """And are not used up by it."""
    sink.set_faults(faults.Status(status=503, times=1), faults.GrpcStatus(code="ABORTED", times=1))
    assert export_error(channel, batch(1)).code() is grpc.StatusCode.ABORTED
    export(channel, batch(1))
    assert sink.stats().faults == {"grpc_status": 1}


def test_counts_are_exact_under_concurrency(sink: Sink) -> None:
    """Six channels at once, of which each says how many spans it sent."""

    def send(client: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # or else all channels share one connection
        with grpc.insecure_channel(f"{HOST}:{sink.grpc_port}", options=options) as channel:
            for spans in range(client, client + 20):
                export(channel, batch(spans))

    clients = [threading.Thread(target=send, args=(client,)) for client in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(TIMEOUT_S)
    sent = sum(spans for client in range(6) for spans in range(client, client + 20))
    stats = sink.stats()
    assert (stats.requests, stats.connections_opened) == (120, 6)
    assert (stats.spans_received, stats.spans_accepted, stats.distinct_spans_accepted) == (sent, sent, sent)
    assert (stats.spans_rejected, stats.spans_unanswered, stats.spans_pending) == (0, 0, 0)
