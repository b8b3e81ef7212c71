"""The sink speaks OTLP/HTTP as a real receiver does, and counts exactly what it received."""

from __future__ import annotations

import gzip
import http.client
import threading
import zlib
from typing import TYPE_CHECKING

import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # has stubs, but no py.typed
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from gilscope.bench.sink import BodyMissingError, Sink
from tests.integration.sink_client import (
    PROTOBUF,
    TIMEOUT_S,
    batch,
    connected,
    post,
    post_once,
    raw_connection,
    read_answer,
    read_head,
    read_until_closed,
    request_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY_BYTES = 1 << 20
GZIP = ("content-type: application/x-protobuf", "content-encoding: gzip")
CUT_SHORT = gzip.compress(batch(9))[:-9]


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Sink]:
    with Sink(keep_bodies=100, track_ids=True, max_body_bytes=MAX_BODY_BYTES, max_connections=50) as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(name="sink")
def _sink(shared: Sink) -> Sink:
    shared.reset()
    return shared


@pytest.mark.parametrize(
    ("encoding", "encode"), [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_body_of_each_encoding_is_counted_and_kept(sink: Sink, encoding: str, encode: type[bytes]) -> None:
    """What was sent is what is kept, and its sizes are told apart."""
    body = batch(7)
    wire = encode(body)
    answer = post_once(sink, wire, {"Content-Encoding": encoding})
    assert (answer.status, answer.body) == (200, b"")
    stats = sink.stats()
    assert (stats.spans_received, stats.spans_accepted, stats.distinct_spans_accepted) == (7, 7, 7)
    assert (stats.wire_bytes, stats.decoded_bytes) == (len(wire), len(body))
    assert stats.encodings == {encoding: 1}
    assert stats.answers == {"200": 1}
    assert sink.bodies() == [body]


def test_several_gzip_members_are_one_body(sink: Sink) -> None:
    """RFC 1952 lets a compressor start anew in the middle."""
    body = batch(3)
    wire = gzip.compress(body[:40]) + gzip.compress(body[40:])
    assert post_once(sink, wire, {"Content-Encoding": "gzip"}).status == 200
    assert sink.bodies() == [body]


def test_chunked_body_is_counted_like_any_other(sink: Sink) -> None:
    """A body of unknown length in small chunks arrives whole."""
    body = batch(100)
    with connected(sink) as connection:
        chunks = (body[i : i + 100] for i in range(0, len(body), 100))
        connection.request("POST", "/v1/traces", chunks, PROTOBUF, encode_chunked=True)
        assert connection.getresponse().status == 200
    assert sink.bodies() == [body]


def test_upstreams_exporter_delivers_its_spans(sink: Sink) -> None:
    """The SDK's own exporter is content with the answers, and its spans are what is kept."""
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=sink.http_endpoint, compression=Compression.Gzip)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for name in ("first", "second"):
        provider.get_tracer("test").start_span(name).end()
    provider.shutdown()
    names = [
        span.name
        for body in sink.bodies()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names == ["first", "second"]
    assert sink.stats().encodings == {"gzip": 2}


def test_kept_alive_connection_serves_many_requests(sink: Sink) -> None:
    """One connection is opened for all of them, and the records say that they shared it."""
    with connected(sink) as connection:
        for _ in range(20):
            assert post(connection, batch(1)).status == 200
        stats = sink.stats()
        assert (stats.requests, stats.connections_opened, stats.connections_open) == (20, 1, 1)
    assert {record.connection for record in sink.requests()} == {1}


def test_pipelined_requests_are_all_answered_in_order(sink: Sink) -> None:
    """A client that does not wait gets its answers one after the other."""
    requests = [request_bytes(batch(1)), request_bytes(b"\xff"), request_bytes(batch(2))] * 10
    with raw_connection(sink.http_port) as connection:
        connection.sendall(b"".join(requests))
        answers = [read_answer(connection) for _ in requests]
    assert [answer.split(b" ")[1] for answer in answers] == [b"200", b"400", b"200"] * 10
    assert sink.stats().spans_accepted == 30


def test_http_1_0_request_is_answered_and_closed(sink: Sink) -> None:
    """Without keep-alive the connection ends after the answer."""
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(batch(1)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read_until_closed(connection).startswith(b"HTTP/1.1 200 ")
    assert sink.stats().spans_accepted == 1


def test_client_that_expects_continue_is_told_to(sink: Sink) -> None:
    """A body above 1 MiB is not sent by curl before it has read this."""
    body = batch(1)
    headers = ("content-type: application/x-protobuf", f"content-length: {len(body)}", "expect: 100-continue")
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(b"", *headers))
        assert read_head(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")


def test_client_that_expects_continue_is_refused_before_its_body(sink: Sink) -> None:
    """A body that would be refused need not be sent."""
    headers = ("content-type: text/plain", "content-length: 1000", "expect: 100-continue")
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(b"", *headers))
        assert read_until_closed(connection).startswith(b"HTTP/1.1 415 ")
    assert sink.stats().answers == {"415": 1}


def test_offered_upgrade_is_ignored(sink: Sink) -> None:
    """For HTTP/2 curl offers h2c; a receiver of HTTP/1.1 goes on, on the same connection too."""
    body = batch(1)
    headers = (
        "content-type: application/x-protobuf", f"content-length: {len(body)}",
        "connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA",
    )  # fmt: skip
    with raw_connection(sink.http_port) as connection:
        for _ in range(2):
            connection.sendall(request_bytes(body, *headers))
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")
    assert sink.stats().spans_accepted == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (request_bytes(b"", target="/v1/metrics"), 404),
        (request_bytes(b"", method="GET"), 405),
        (request_bytes(b"", "content-type: application/x-protobuf"), 411),
        (request_bytes(bytes(MAX_BODY_BYTES + 1)), 413),
        (request_bytes(b"{}", "content-type: application/json", "content-length: 2"), 415),
        (request_bytes(b"", "content-length: 0"), 415),
        (request_bytes(b"-", "content-type: application/x-protobuf", "content-length: 1", "content-encoding: br"), 415),
        (request_bytes(b"", "content-type: application/x-protobuf", "content-length: 0", "expect: a miracle"), 417),
        (request_bytes(b"", *[f"x-{i}: y" for i in range(300)], "content-length: 0"), 431),
        (request_bytes(b"", "x: " + "y" * 100_000, "content-length: 0"), 431),
        (request_bytes(b"\x0a\x00"), 200),
        (request_bytes(b"\x0a\x01"), 400),
        (request_bytes(CUT_SHORT, *GZIP, f"content-length: {len(CUT_SHORT)}"), 400),
        (request_bytes(b"-", *GZIP, "content-length: 1"), 400),
        (b"this is not HTTP\r\n\r\n", 400),
        (b"POST /v1/traces HTTP/1.1\r\ncontent-length: minus one\r\n\r\n", 400),
    ],
)
def test_request_of_each_kind_gets_its_status(sink: Sink, request_: bytes, status: int) -> None:
    """Requests that are wrong are told so, with a `google.rpc.Status` that says what was expected."""
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_)
        answer = http.client.HTTPResponse(connection, method=request_.split(b" ")[0].decode())
        answer.begin()
        body = answer.read()
    assert answer.status == status
    if status != 200:
        assert Status.FromString(body).message
        assert sink.stats().spans_received == 0
    assert sink.stats().answers == {str(status): 1}


def test_body_that_decompresses_beyond_the_limit_is_refused(sink: Sink) -> None:
    """A small bomb stays small."""
    bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1))
    assert post_once(sink, bomb, {"Content-Encoding": "gzip"}).status == 413


def test_chunked_body_beyond_the_limit_is_refused(sink: Sink) -> None:
    """A length that was never said is bounded too, and the client gets to read why."""
    with connected(sink) as connection:
        chunks = (bytes(1 << 16) for _ in range(20))
        connection.request("POST", "/v1/traces", chunks, PROTOBUF, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_connection_beyond_the_limit_is_closed_at_once(sink: Sink) -> None:
    """The sink stays bounded, and says how often it had to."""
    connections = [raw_connection(sink.http_port) for _ in range(50)]
    for connection in connections:
        connection.__enter__()
    try:
        with raw_connection(sink.http_port) as one_more:
            assert read_until_closed(one_more) == b""
        stats = sink.stats()
        assert (stats.connections_open, stats.connections_refused) == (50, 1)
    finally:
        for connection in connections:
            connection.__exit__(None, None, None)


def test_counts_are_exact_under_concurrency(sink: Sink) -> None:
    """Eight clients at once, of which each says how many spans it sent."""
    batches = [[batch(spans) for spans in range(client, client + 20)] for client in range(8)]

    def send(client: int) -> None:
        with connected(sink) as connection:
            for body in batches[client]:
                assert post(connection, body).status == 200

    clients = [threading.Thread(target=send, args=(client,)) for client in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(TIMEOUT_S)
    sent = sum(spans for client in range(8) for spans in range(client, client + 20))
    stats = sink.stats()
    assert (stats.requests, stats.http_requests, stats.connections_opened) == (160, 160, 8)
    assert (stats.spans_received, stats.spans_accepted, stats.distinct_spans_accepted) == (sent, sent, sent)
    assert (stats.spans_rejected, stats.spans_unanswered, stats.spans_pending) == (0, 0, 0)
    assert stats.decoded_bytes == sum(len(body) for client in batches for body in client)
    assert sorted(record.number for record in sink.requests()) == list(range(1, 161))


def test_span_sent_twice_is_a_duplicate(sink: Sink) -> None:
    """Ids are compared between requests."""
    body = batch(5)
    for _ in range(3):
        assert post_once(sink, body).status == 200
    stats = sink.stats()
    assert (stats.spans_accepted, stats.distinct_spans_accepted, stats.duplicate_spans_accepted) == (15, 5, 10)
    assert (stats.distinct_spans_received, stats.duplicate_spans_received) == (5, 10)


def test_ids_beyond_the_bound_are_not_compared_and_said_so() -> None:
    """The set of ids stays bounded."""
    with Sink(track_ids=10) as sink:
        assert post_once(sink, batch(11)).status == 200
        stats = sink.stats()
        assert (stats.spans_accepted, stats.distinct_spans_accepted, stats.ids_overflowed) == (11, 10, True)


def test_bodies_beyond_the_bound_are_forgotten_oldest_first() -> None:
    """The last N are kept; asking for all of them is an error then, asking for the records is not."""
    bodies = [batch(1) for _ in range(5)]
    with Sink(keep_bodies=2, keep_requests=3) as sink:
        for body in bodies:
            assert post_once(sink, body).status == 200
        assert [record.body for record in sink.requests()] == [None, *bodies[3:]]
        with pytest.raises(BodyMissingError, match="5 bodies were received, 2 of them are kept"):
            sink.bodies()


def test_damage_inside_a_span_is_found_with_validate() -> None:
    """Without `validate` a span is opaque; with it a body that the generated classes do not take is refused."""
    damaged = batch(1).replace(b"operation", b"op\xff\xff\xff\xff\xff\xff\xff")  # no valid UTF-8
    with Sink() as lenient, Sink(validate=True) as strict:
        assert post_once(lenient, damaged).status == 200
        assert post_once(strict, damaged).status == 400


def test_record_tells_headers_and_outcome(sink: Sink) -> None:
    """What a test wants to know about a request is kept with it."""
    post_once(sink, batch(2), {"Authorization": "Bearer x"})
    post_once(sink, b"\xff")
    good, bad = sink.requests()
    assert (good.header("authorization"), good.target, good.method) == ("Bearer x", "/v1/traces", "POST")
    assert (good.outcome, good.answer, good.spans, good.fault) == ("accepted", "200", 2, "")
    assert (bad.outcome, bad.answer, bad.spans, bad.encoding) == ("rejected", "400", 0, "")
    assert good.finished_ns is not None
    assert good.arrived_ns < good.finished_ns < bad.arrived_ns
