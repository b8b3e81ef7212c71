"""Native messages in Python's logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from gilscope import NativeSpanProcessor
from gilscope.spans.messages import MessageLog

if TYPE_CHECKING:
    from gilscope.spans.settings import Protocol
    from opentelemetry.sdk.trace import TracerProvider

    from tests.unit.fake_pipeline import Pipeline


@pytest.mark.parametrize(
    ("protocol", "text", "name"),
    [
        ("http/protobuf", "Failed to export", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("grpc", "Failed to export", "opentelemetry.exporter.otlp.proto.grpc.exporter"),
    ],
)
def test_message_is_logged_under_upstreams_name(
    caplog: pytest.LogCaptureFixture, protocol: Protocol, text: str, name: str
) -> None:
    """So that the levels a program has set apply."""
    MessageLog(protocol)(logging.ERROR, text, 0)
    assert caplog.record_tuples == [(name, logging.ERROR, text)]


def test_full_queue_is_logged_under_the_sdks_name(caplog: pytest.LogCaptureFixture) -> None:
    """The processor says it upstream, not the exporter."""
    MessageLog("grpc")(logging.WARNING, "Queue full, dropping Span.", 41)
    (record,) = caplog.records
    assert record.name.startswith("opentelemetry.sdk.")
    assert record.getMessage() == "Queue full, dropping Span. (suppressed 41)"


class Broken(logging.Handler):
    """A handler with a bug, of which logging itself does not take care."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("broken handler")


def test_broken_handler_does_not_reach_the_application(pipelines: list[Pipeline], provider: TracerProvider) -> None:
    """Ending a span never raises."""
    provider.add_span_processor(NativeSpanProcessor())
    pipelines[0].messages.append((logging.ERROR, "Failed", 0))
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    handler = Broken()
    logger.addHandler(handler)
    try:
        provider.get_tracer("t").start_span("s").end()
    finally:
        logger.removeHandler(handler)
    assert len(pipelines[0].queue) == 1
    assert not pipelines[0].messages
