"""`python -m gilscope.bench.sink.benchmark`: how many spans a second one core of the sink takes.

The client is in this process and as cheap as can be (it repeats bytes made beforehand), so that the sink limits.
"Per core" divides by the CPU time of the sink's process, which leaves the client out even where cores are few.
"""

from __future__ import annotations

import argparse
import gzip
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gilscope.bench.sink import Sink, otlp
from gilscope.bench.sink.grpc_receiver import METHOD, SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable

SPANS = 512
START_NS = 1_700_000_000_000_000_000
ROUNDS = 50


def batch(attributes: int) -> bytes:
    """Returns a serialized request of `SPANS` spans with so many attributes each."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "benchmark"
    scope = resource.scope_spans.add()
    scope.scope.name = "gilscope.bench.sink.benchmark"
    for _ in range(SPANS):
        span = scope.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), name="operation", kind=1)
        span.start_time_unix_nano = START_NS
        span.end_time_unix_nano = START_NS + 1_000_000
        for i in range(attributes):
            span.attributes.add(key=f"attribute.{i}").value.string_value = f"value of attribute {i}"
    return request.SerializeToString()


def send_http(port: int, body: bytes, encoding: str, until_s: float) -> None:
    """Sends the body over one keep-alive connection, again and again, until the time has come."""
    head = (
        f"POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/x-protobuf\r\n"
        f"content-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while time.monotonic() < until_s:
            connection.sendall(request)
            answer = connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"expected status 200, got {answer[:100]!r}")


def send_grpc(port: int, body: bytes, encoding: str, until_s: float) -> None:
    """Sends the body over one channel, again and again, until the time has come."""
    compression = grpc.Compression.Gzip if encoding == "gzip" else grpc.Compression.NoCompression
    with grpc.insecure_channel(f"127.0.0.1:{port}", compression=compression) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{METHOD}")
        while time.monotonic() < until_s:
            export(body)


def measure_sink(protocol: str, encoding: str, attributes: int, seconds: float, *, track_ids: bool) -> str:
    """Returns a line with the throughput of a fresh sink."""
    protobuf = batch(attributes)
    send = send_http if protocol == "http" else send_grpc
    body = gzip.compress(protobuf, 1) if (protocol, encoding) == ("http", "gzip") else protobuf
    with Sink(track_ids=track_ids) as sink:
        port = sink.http_port if protocol == "http" else sink.grpc_port
        before = sink.stats()
        start_s = time.monotonic()
        clients = [threading.Thread(target=send, args=(port, body, encoding, start_s + seconds)) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        wall_s = time.monotonic() - start_s
        stats = sink.stats()
    cpu_s = stats.cpu_seconds - before.cpu_seconds
    return (
        f"{protocol:5} {encoding:9} {attributes:3} attributes  {len(protobuf) // SPANS:5} bytes/span  "
        f"{stats.spans_accepted / wall_s:12,.0f} spans/s  {stats.spans_accepted / cpu_s:12,.0f} spans/s per core"
    )


def count_by_full_parse(protobuf: bytes) -> int:
    """Counts spans with the generated classes, as `otlp.count_spans` would without its trimmed schema."""
    request = ExportTraceServiceRequest.FromString(protobuf)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def count_by_scan(protobuf: bytes) -> int:
    """Counts spans by walking over the wire format in Python."""
    spans = 0
    for resource_start, resource_end in _submessages(protobuf, 0, len(protobuf), 1):
        for scope_start, scope_end in _submessages(protobuf, resource_start, resource_end, 2):
            spans += sum(1 for _ in _submessages(protobuf, scope_start, scope_end, 2))
    return spans


def measure_count(count: Callable[[bytes], int], protobuf: bytes) -> float:
    """Returns the best time of one count, in seconds."""
    best_s = float("inf")
    for _ in range(ROUNDS):
        start_s = time.perf_counter()
        spans = count(protobuf)
        best_s = min(best_s, time.perf_counter() - start_s)
        if spans != SPANS:
            raise RuntimeError(f"expected {SPANS} spans, got {spans}")
    return best_s


def _submessages(protobuf: bytes, start: int, end: int, wanted: int) -> list[tuple[int, int]]:
    """Returns where the wanted field's values lie, all of them of wire type 2."""
    found = []
    while start < end:
        tag, start = _varint(protobuf, start)
        if tag & 7 != 2:  # noqa: PLR2004  # the benchmark's batches have nothing else down to the spans
            raise DecodeError("expected a length-delimited field")
        size, start = _varint(protobuf, start)
        if tag >> 3 == wanted:
            found.append((start, start + size))
        start += size
    return found


def _varint(protobuf: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = protobuf[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the continuation bit
            return value, start
        shift += 7


def main() -> None:
    """Prints a line for each measurement."""
    parser = argparse.ArgumentParser(prog="python -m gilscope.bench.sink.benchmark", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each measurement; default %(default)s")
    parser.add_argument("--attributes", type=int, default=10, help="attributes of a span; default %(default)s")
    parser.add_argument("--track-ids", action="store_true", help="let the sink compare span ids")
    parser.add_argument("--count", action="store_true", help="compare ways of counting spans instead")
    options = parser.parse_args()
    if options.count:
        for attributes in (0, 10, 50):
            protobuf = batch(attributes)
            for count in (otlp.count_spans, otlp.count_by_ids, count_by_full_parse, count_by_scan):
                best_s = measure_count(count, protobuf)
                print(f"{attributes:3} attributes  {count.__name__:20} {best_s * 1e6:7.0f} us for {SPANS} spans")
        return
    for protocol in ("http", "grpc"):
        for encoding in ("identity", "gzip"):
            line = measure_sink(protocol, encoding, options.attributes, options.seconds, track_ids=options.track_ids)
            print(line, flush=True)


if __name__ == "__main__":
    main()
