"""The spans that the processors are given. Needs the SDK; only processes under test import this."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Tracer

SPAN_BYTES = 445
"""What the span with ten attributes is encoded; tests/integration/test_experiments_smoke.py checks it."""

_TICK_S = 0.001
# A generator that cannot keep up stops after this many times the planned duration.
_PATIENCE = 3.0


class Maker(SpanProcessor):
    """Makes spans as the SDK hands them to `on_end`, and keeps them in place of handing them to a processor."""

    def __init__(self, end: Callable[[Tracer, int], None] | None = None) -> None:
        """Makes nothing yet.

        Args:
            end: starts and ends a span; the one with ten attributes if None.
        """
        source = provider()
        source.add_span_processor(self)
        self._tracer = source.get_tracer("experiments.spans", "1.0")
        self._end = end or end_ten_attributes
        self._ended: list[ReadableSpan] = []
        self._made = 0

    def on_end(self, span: ReadableSpan) -> None:
        """The span is kept for `make`."""
        self._ended.append(span)

    def make(self, count: int) -> list[ReadableSpan]:
        """Return so many new spans."""
        for number in range(self._made, self._made + count):
            self._end(self._tracer, number)
        self._made += count
        made, self._ended = self._ended, []
        return made


def provider() -> TracerProvider:
    """Return a provider with the resource of OpenTelemetry's performance-benchmark.md, and the default sampler."""
    return TracerProvider(
        resource=Resource(
            {"service.name": "experiment", "service.version": "0123456789", "service.instance.id": str(uuid.uuid4())}
        ),
        shutdown_on_exit=False,
    )


def end_ten_attributes(tracer: Tracer, number: int) -> None:
    """Start and end the span of an HTTP request: ten attributes of four types, `SPAN_BYTES` when encoded."""
    tracer.start_span(
        "GET /v1/customers/{id}/orders",
        attributes={
            "http.request.method": "GET",
            "url.path": f"/v1/customers/{number % 1_000_000:06d}/orders",
            "http.route": "/v1/customers/{id}/orders",
            "http.response.status_code": 200,
            "server.address": "api.example.com",
            "server.port": 8443,
            "network.protocol.version": "1.1",
            "user_agent.original": "python-httpx/0.28.1 (CPython3; Linux x86_64)",
            "app.cache.hit": number % 2 == 0,
            "app.score": number / 4096,
        },
    ).end()


def end_specified(tracer: Tracer, number: int) -> None:
    """Start and end the span of OpenTelemetry's performance-benchmark.md: one integer attribute and one event."""
    span = tracer.start_span("operation", attributes={"number": number})
    span.add_event("event")
    span.end()


def end_large(tracer: Tracer, number: int, attribute_bytes: int) -> None:
    """Start and end a span with one string attribute of that size, a string of its own each time."""
    tracer.start_span("large", attributes={"payload": f"{number:010d}" + "x" * (attribute_bytes - 10)}).end()


def at_rate(make: Callable[[int], None], spans_per_s: float, seconds: float) -> tuple[int, float]:
    """Return how many spans were made, and in how many seconds: on schedule, and late ones as soon as possible."""
    total = round(spans_per_s * seconds)
    made = 0
    started_s = time.perf_counter()
    while made < total:
        passed_s = time.perf_counter() - started_s
        if passed_s > seconds * _PATIENCE:
            break
        due = min(total, int(passed_s * spans_per_s) + 1)
        if made == due:
            time.sleep(_TICK_S)
        for number in range(made, due):
            make(number)
        made = due
    return made, time.perf_counter() - started_s
