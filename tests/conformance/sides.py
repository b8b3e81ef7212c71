"""The two sides of a conformance test, and what is known to differ between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gilscope import NativeSpanProcessor

if TYPE_CHECKING:
    from gilscope.bench.sink import Sink

UPSTREAM = "upstream"
OURS = "gilscope"
SIDES = (UPSTREAM, OURS)
HTTP = "http/protobuf"
GRPC = "grpc"
PROTOCOLS = (HTTP, GRPC)

HOUR_MILLIS = 3_600_000


@dataclass(frozen=True)
class Difference:
    """What each side does where they are known to differ, and why ours does."""

    upstream: object
    gilscope: object
    reason: str

    def of(self, side: str) -> object:
        """Return what the side does."""
        return self.upstream if side == UPSTREAM else self.gilscope


DIFFERENCES = {
    "full queue": Difference("drops the oldest", "drops the newest", "a span that is in the ring is never taken back"),
    "flush of a rejected span": Difference(True, False, "force_flush says whether the collector took the spans"),
    "flush with a timeout": Difference("waits for the exporter", "returns in time", "the timeout is the caller's"),
    "3xx": Difference("lost in silence", "lost and logged", "no redirect is followed, so that nothing was delivered"),
    "partial success": Difference("in silence", "logged", "spans were lost, and the collector has said why"),
    "collected processor": Difference("its thread stays", "its thread ends", "nobody can shut it down any more"),
}


@dataclass
class Service:
    """A provider with one processor of one side."""

    provider: TracerProvider
    processor: BatchSpanProcessor

    def end_spans(self, *names: str) -> None:
        """Start and end spans of these names."""
        tracer = self.provider.get_tracer("conformance", "1.0")
        for name in names:
            tracer.start_span(name).end()


def exporter_for(protocol: str, sink: Sink, **arguments: Any) -> Any:
    """Return upstream's exporter to the sink."""
    if protocol == GRPC:
        return GrpcExporter(endpoint=sink.grpc_endpoint, **arguments)
    return HttpExporter(endpoint=sink.http_endpoint, **arguments)


def service(side: str, exporter: Any = None, **batch: Any) -> Service:
    """Return a service of the side.

    Args:
        side: upstream or gilscope.
        exporter: both sides take the same; None stands for one that only the environment configures.
        batch: the processor's own arguments; the schedule delay is an hour unless given.
    """
    batch.setdefault("schedule_delay_millis", HOUR_MILLIS)
    provider = TracerProvider(resource=Resource({"service.name": "conformance"}), shutdown_on_exit=False)
    if side == UPSTREAM:
        processor: BatchSpanProcessor = BatchSpanProcessor(HttpExporter() if exporter is None else exporter, **batch)
    else:
        ours = NativeSpanProcessor(exporter, **batch)
        assert ours.native
        processor = ours
    provider.add_span_processor(processor)
    return Service(provider, processor)


def names_received(sink: Sink) -> list[str]:
    """Return the names of all spans that came, in their order."""
    names: list[str] = []
    for body in sink.bodies():
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                names += [span.name for span in scope.spans]
    return names
