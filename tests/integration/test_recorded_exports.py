"""A recording tells of the exports of a native processor in its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider

import gilscope
from gilscope.bench.sink import faults
from gilscope.bench.sink.client import Sink
from gilscope.capture import EventKind, open_capture
from tests.accuracy.recorded import needs_probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gilscope.capture import Event

pytestmark = needs_probe
SPANS = 30
QUEUED, EXPORTED, DROPPED, FAILED = 1, 2, 3, 4


@pytest.fixture(scope="module")
def receiver() -> Iterator[Sink]:
    """One receiver for all tests of this file."""
    with Sink() as sink:
        yield sink


@pytest.fixture
def sink(receiver: Sink) -> Sink:
    """The receiver without faults."""
    receiver.reset()
    return receiver


def recorded(sink: Sink, path: Path) -> tuple[list[Event], dict[int, int]]:
    """Return the exports of two flushes, of which the first is before the recording, and what became of all spans."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(gilscope.NativeSpanProcessor(endpoint=sink.http_endpoint, schedule_delay_millis=60_000))
    tracer = provider.get_tracer("tests")

    def export() -> None:
        for number in range(SPANS):
            tracer.start_span(f"operation {number}").end()
        provider.force_flush()

    export()
    with gilscope.record(path):
        export()
    export()
    provider.shutdown()
    with open_capture(path) as capture:
        events = list(capture.events())
    became = {event.count: event.a for event in events if event.kind == EventKind.SPANS}
    return [event for event in events if event.kind == EventKind.EXPORT], became


@pytest.mark.smoke
def test_export_is_told_while_it_is_recorded(sink: Sink, tmp_path: Path) -> None:
    """The one request of that time: when, its spans and bytes as the receiver has them; the books are those of all."""
    (export,), became = recorded(sink, tmp_path / "app.gilscope")
    assert (export.thread, export.count, export.b) == (0, SPANS, 0)
    assert export.duration_ns > 0
    request = sink.requests()[1]
    assert export.a == request.wire_bytes
    assert export.start_ns < request.arrived_ns < export.end_ns
    assert became == {QUEUED: 0, EXPORTED: 2 * SPANS, DROPPED: 0, FAILED: 0}


def test_refused_export_is_told_as_refused(sink: Sink, tmp_path: Path) -> None:
    """What the collector did not accept is in `b`, and in the books under failed."""
    sink.set_faults(faults.Status(status=400))
    (export,), became = recorded(sink, tmp_path / "app.gilscope")
    assert (export.count, export.b) == (SPANS, SPANS)
    assert became[FAILED] == 2 * SPANS
