"""Native messages in Python's logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from gilscope import NativeSpanProcessor
from gilscope.spans.messages import MessageLog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from gilscope.spans.settings import Protocol
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


def test_percent_sign_is_no_format(caplog: pytest.LogCaptureFixture) -> None:
    """The collector's words are in the text."""
    MessageLog("grpc")(logging.ERROR, "100 %s", 0)
    assert caplog.records[0].getMessage() == "100 %s"


def test_two_messages_pass_upstreams_duplicate_filter(caplog: pytest.LogCaptureFixture) -> None:
    """It sits on the gRPC exporter's logger, and lets the second of two equal ones through after 20 seconds."""
    log = MessageLog("grpc")
    for number in range(3):
        log(logging.ERROR, f"Failed {number}", 0)
    assert [record.getMessage() for record in caplog.records] == ["Failed 0", "Failed 1", "Failed 2"]


class Broken(logging.Handler):
    """A handler with a bug, of which logging itself does not take care."""

    def emit(self, record: logging.LogRecord) -> None:
        """Fail."""
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
