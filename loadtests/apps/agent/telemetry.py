"""OpenTelemetry as a service sets it up for itself: the SDK, batches, OTLP over HTTP, FastAPI's instrumentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from loadtests.apps.agent.steps import http_instrumented

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from loadtests.apps.agent.settings import Settings


def start(app: FastAPI, settings: Settings) -> Callable[[], None]:
    """The app is traced, and spans go to where the OTEL_EXPORTER_OTLP_* variables say.

    Returns:
        What is to be called at the end: it sends the spans that are left. Can block for the exporter's time limit.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource({SERVICE_NAME: "support-agent", SERVICE_VERSION: "1.0"})
    # The environment's last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    provider = TracerProvider(resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if http_instrumented(settings):
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        # Without a span for each ASGI message, of which a stream has as many as it has pieces.
        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=provider, excluded_urls="health,ready", exclude_spans=["receive", "send"]
        )
    return provider.shutdown
