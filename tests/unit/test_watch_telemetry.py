"""Stalls as events of spans, and a meter that does not work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from gilscope.telemetry.metrics import show
from gilscope.telemetry.spans import add_stall_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

    from gilscope.probe.watching import Watch

MS = 1_000_000


class Interrupted(list[str]):
    """An attribute's value: the SDK reads it while it has locked the span, and the main thread stalls there."""

    def __iter__(self) -> Iterator[str]:
        add_stall_event(30 * MS, 0)
        return super().__iter__()


def test_stall_is_an_event_of_the_current_span(provider: TracerProvider) -> None:
    """In milliseconds."""
    with provider.get_tracer("t").start_as_current_span("s") as span:
        add_stall_event(30 * MS, 12 * MS)
    (event,) = cast("ReadableSpan", span).events
    assert event.name == "gilscope.stall"
    assert dict(event.attributes or {}) == {"gilscope.stall.elapsed_ms": 30.0, "gilscope.stall.gil_wait_ms": 12.0}


def test_stall_without_a_recording_span_is_no_event() -> None:
    """Neither outside of spans nor in one that is not sampled."""
    add_stall_event(30 * MS, 0)
    with trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
        add_stall_event(30 * MS, 0)


@pytest.mark.timeout(30)
def test_stall_inside_of_the_sdk_does_not_wait_for_the_lock_that_it_has_interrupted(provider: TracerProvider) -> None:
    """A span's lock is not re-entrant: adding the event there would stop the loop for ever."""
    with provider.get_tracer("t").start_as_current_span("s") as span:
        span.set_attribute("k", Interrupted(["a"]))
    assert cast("ReadableSpan", span).events == ()
    assert (cast("ReadableSpan", span).attributes or {})["k"] == ("a",)


def test_stall_inside_of_a_span_processor_is_no_event(provider: TracerProvider) -> None:
    """Called by the SDK: whatever it has locked then."""

    class Stalling(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            with trace.use_span(span):
                add_stall_event(30 * MS, 0)

    provider.add_span_processor(Stalling())
    span = provider.get_tracer("t").start_span("s")
    span.end()
    assert cast("ReadableSpan", span).events == ()


def test_meter_provider_that_fails_is_logged_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Metrics are not worth a service."""
    show(cast("Watch", object()), cast("MeterProvider", _Broken()))
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "gilscope's metrics cannot be had")
    ]


class _Broken:
    def get_meter(self, name: str) -> None:
        raise RuntimeError(name)
