"""What a request looks like: address, headers, compression and content, by argument and by environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conformance.sides import GRPC, HTTP, SIDES, Service, exporter_for
from tests.conformance.sides import service as make_service

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.bench.sink import RequestRecord, Sink


def only_request(sink: Sink, service: Service) -> RequestRecord:
    """Return the request that one span makes."""
    # Long enough that both transports find compressing it worth while.
    service.end_spans("one " * 200)
    service.processor.force_flush()
    (request,) = sink.requests()
    return request


# Variables (with {base} for the sink's address), and what they must lead to.
ENVIRONMENTS: list[tuple[dict[str, str], dict[str, object]]] = [
    ({"ENDPOINT": "{base}"}, {"target": "/v1/traces"}),
    ({"ENDPOINT": "{base}/"}, {"target": "/v1/traces"}),
    ({"ENDPOINT": "{base}/base"}, {"target": "/base/v1/traces"}),
    ({"TRACES_ENDPOINT": "{base}/own", "ENDPOINT": "http://127.0.0.1:9"}, {"target": "/own"}),
    ({"TRACES_ENDPOINT": "", "ENDPOINT": "{base}"}, {"target": "/v1/traces"}),
    ({"TRACES_ENDPOINT": "{base}/v1/traces?key=a%20b"}, {"target": "/v1/traces?key=a%20b"}),
    ({"ENDPOINT": "{base}", "HEADERS": "a=1,B=x%20y,c=d=e"}, {"a": "1", "b": "x y", "c": "d=e"}),
    ({"ENDPOINT": "{base}", "HEADERS": "a=1", "TRACES_HEADERS": "a=2"}, {"a": "2"}),
    ({"ENDPOINT": "{base}", "HEADERS": "b=1", "TRACES_HEADERS": "a=2"}, {"a": "2", "b": None}),
    ({"ENDPOINT": "{base}", "HEADERS": "a=1,malformed,b=2"}, {"a": "1", "b": "2"}),
    ({"ENDPOINT": "{base}", "HEADERS": "authorization=Bearer a.b-c"}, {"authorization": "Bearer a.b-c"}),
    ({"ENDPOINT": "{base}", "COMPRESSION": "gzip"}, {"encoding": "gzip"}),
    ({"ENDPOINT": "{base}", "COMPRESSION": "GZIP "}, {"encoding": "gzip"}),
    ({"ENDPOINT": "{base}", "COMPRESSION": "gzip", "TRACES_COMPRESSION": "deflate"}, {"encoding": "deflate"}),
    ({"ENDPOINT": "{base}", "COMPRESSION": "gzip", "TRACES_COMPRESSION": "none"}, {"encoding": "identity"}),
    ({"ENDPOINT": "{base}", "COMPRESSION": "zstd"}, {"encoding": "identity"}),
    ({"ENDPOINT": "{base}", "TIMEOUT": "soon"}, {"target": "/v1/traces"}),
    ({"TRACES_ENDPOINT": "http://me:secret@{host}/own"}, {"authorization": "Basic bWU6c2VjcmV0"}),
]


@pytest.mark.parametrize(("variables", "expected"), ENVIRONMENTS)
def test_environment_leads_to_its_request(
    monkeypatch: pytest.MonkeyPatch,
    sink: Sink,
    start: Callable[..., Service],
    variables: dict[str, str],
    expected: dict[str, object],
) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_* before OTEL_EXPORTER_OTLP_*."""
    host = f"127.0.0.1:{sink.http_port}"
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value.format(base=f"http://{host}", host=host))
    request = only_request(sink, start())
    headers = dict(request.headers)
    found = {name: getattr(request, name) if hasattr(request, name) else headers.get(name) for name in expected}
    assert found == expected


def test_sides_send_the_same_headers(sink: Sink) -> None:
    """But for what a transport is free to choose."""
    seen: dict[str, dict[str, str]] = {}
    for name in SIDES:
        sink.reset()
        service = make_service(name, exporter_for(HTTP, sink, headers={"X-Tenant": "t"}, compression=Compression.Gzip))
        seen[name] = dict(only_request(sink, service).headers)
        service.provider.shutdown()
    upstream, ours = (seen[name] for name in SIDES)
    free = {"accept", "accept-encoding", "connection", "content-length", "user-agent"}
    assert {k: v for k, v in ours.items() if k not in free} == {k: v for k, v in upstream.items() if k not in free}
    assert ours["user-agent"].startswith(upstream["user-agent"] + " gilscope/")


def test_sides_send_the_same_content(sink: Sink, protocol: str) -> None:
    """Resource, scope and span; the encoders are compared in depth elsewhere."""
    services = [make_service(name, exporter_for(protocol, sink)) for name in SIDES]
    span = (
        services[0].provider.get_tracer("scope", "1.2", "https://schema").start_span("name", attributes={"k": [1, 2]})
    )
    span.end()
    services[1].processor.on_end(span)  # type: ignore[arg-type]
    for service in services:
        service.processor.force_flush()
        service.provider.shutdown()
    first, second = (ExportTraceServiceRequest.FromString(body) for body in sink.bodies())
    assert first == second
    assert first.resource_spans[0].scope_spans[0].scope.name == "scope"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"headers": {"k": "v"}}, {"k": "v"}),
        ({"headers": (("k", "v"), ("l", "w"))}, {"k": "v", "l": "w"}),
        ({"headers": "k=v%20w"}, {"k": "v w"}),
        ({"headers": (("data-bin", b"\x00\xff"),)}, {"data-bin": "AP8"}),
    ],
)
def test_grpc_metadata_is_sent(
    sink: Sink, start: Callable[..., Service], arguments: dict[str, Any], expected: dict[str, str]
) -> None:
    """In each of the forms that the exporter takes; binary values as gRPC encodes them."""
    headers = dict(only_request(sink, start(exporter_for(GRPC, sink, **arguments))).headers)
    assert {name: headers.get(name) for name in expected} == expected
    assert headers["user-agent"].startswith("OTel-OTLP-Exporter-Python/")


def test_grpc_compression_is_used(sink: Sink, start: Callable[..., Service]) -> None:
    """gzip, message by message."""
    request = only_request(sink, start(exporter_for(GRPC, sink, compression=grpc.Compression.Gzip)))
    assert request.encoding == "gzip"


@pytest.mark.parametrize("form", ["http://{host}", "{host}", "http://{host}/ignored", "dns:///{host}", "ipv4:{host}"])
def test_grpc_endpoint_forms_reach_the_collector(sink: Sink, start: Callable[..., Service], form: str) -> None:
    """Without TLS, because it was said so."""
    exporter = GrpcExporter(endpoint=form.format(host=f"127.0.0.1:{sink.grpc_port}"), insecure=True)
    request = only_request(sink, start(exporter))
    assert request.target == "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def test_http_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, sink: Sink, start: Callable[..., Service]
) -> None:
    """The sink itself stands for the proxy: what it gets is an absolute target."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{sink.http_port}")
    monkeypatch.setenv("no_proxy", "")
    service = start(HttpExporter(endpoint="http://collector.invalid/v1/traces"))
    assert "collector.invalid" in dict(only_request(sink, service).headers)["host"]


def test_no_proxy_goes_past_the_proxy(
    monkeypatch: pytest.MonkeyPatch, sink: Sink, start: Callable[..., Service]
) -> None:
    """By address."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    assert only_request(sink, start(exporter_for(HTTP, sink))).target == "/v1/traces"
