"""What each answer of the collector leads to."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from gilscope.bench.sink import faults
from tests.conformance.sides import DIFFERENCES, GRPC, HTTP, OURS, Service, exporter_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.bench.sink import Sink
    from gilscope.bench.sink.faults import Fault

LOST = "lost and logged"
SILENT = "lost in silence"
RETRIED = "retried"

# Source: OTLP specification 1.x, "Failures", and "Retryable Response Codes".
HTTP_STATUSES = {
    301: DIFFERENCES["3xx"],
    302: DIFFERENCES["3xx"],
    304: DIFFERENCES["3xx"],
    400: LOST,
    401: LOST,
    403: LOST,
    404: LOST,
    408: LOST,
    413: LOST,
    415: LOST,
    429: RETRIED,
    500: LOST,
    501: LOST,
    502: RETRIED,
    503: RETRIED,
    504: RETRIED,
    505: LOST,
}
GRPC_CODES = {
    "CANCELLED": RETRIED,
    "UNKNOWN": LOST,
    "INVALID_ARGUMENT": LOST,
    "DEADLINE_EXCEEDED": RETRIED,
    "NOT_FOUND": LOST,
    "PERMISSION_DENIED": LOST,
    "FAILED_PRECONDITION": LOST,
    "ABORTED": RETRIED,
    "OUT_OF_RANGE": RETRIED,
    "UNIMPLEMENTED": LOST,
    "INTERNAL": LOST,
    "UNAVAILABLE": RETRIED,
    "DATA_LOSS": RETRIED,
    "UNAUTHENTICATED": LOST,
}


def outcome(sink: Sink, service: Service, caplog: pytest.LogCaptureFixture, fault: Fault) -> str:
    """Return what one faulty answer led to."""
    sink.set_faults(fault)
    service.end_spans("one")
    with caplog.at_level(logging.WARNING):
        service.processor.force_flush(10_000)
    if sink.stats().spans_accepted:
        return RETRIED
    logged = [r for r in caplog.records if r.levelno == logging.ERROR and r.name.startswith("opentelemetry.exporter.")]
    return LOST if logged else SILENT


@pytest.mark.parametrize(("status", "expected"), HTTP_STATUSES.items())
def test_http_status_leads_to_its_outcome(
    sink: Sink,
    side: str,
    start: Callable[..., Service],
    caplog: pytest.LogCaptureFixture,
    status: int,
    expected: object,
) -> None:
    """Each status once, then success."""
    service = start(exporter_for(HTTP, sink))
    # Upstream waits for a second otherwise; a refusal has no Retry-After.
    retry_after_s = 0 if expected == RETRIED else None
    wanted = expected if isinstance(expected, str) else expected.of(side)  # type: ignore[attr-defined]
    fault = faults.Status(status=status, retry_after_s=retry_after_s, times=1)
    assert outcome(sink, service, caplog, fault) == wanted


@pytest.mark.parametrize(("code", "expected"), GRPC_CODES.items())
def test_grpc_code_leads_to_its_outcome(
    sink: Sink, start: Callable[..., Service], caplog: pytest.LogCaptureFixture, code: str, expected: str
) -> None:
    """Each code once, then success; the delay is the server's."""
    service = start(exporter_for(GRPC, sink, insecure=True))
    fault = faults.GrpcStatus(code=code, retry_delay_ms=10, retry_info_in="both", times=1)
    assert outcome(sink, service, caplog, fault) == expected


def test_lost_connection_is_retried(
    sink: Sink, start: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    """It may have been an idle one that the server closed."""
    service = start(exporter_for(HTTP, sink))
    assert outcome(sink, service, caplog, faults.Reset(when="headers", times=1)) == RETRIED


def test_retry_after_is_waited_for(sink: Sink, start: Callable[..., Service]) -> None:
    """Not less than the server asks for."""
    service = start(exporter_for(HTTP, sink))
    sink.set_faults(faults.Status(status=503, retry_after_s=1, times=1))
    service.end_spans("one")
    service.processor.force_flush(10_000)
    first, second = sink.requests()
    assert second.arrived_ns - first.arrived_ns >= 1e9


def test_partial_success_is_not_retried(
    sink: Sink, side: str, protocol: str, start: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    """Both leave it; ours says so."""
    service = start(exporter_for(protocol, sink))
    sink.set_faults(faults.PartialSuccess(rejected_spans=2, message="too old", times=1))
    service.end_spans("a", "b", "c")
    with caplog.at_level(logging.WARNING):
        service.processor.force_flush()
    assert sink.stats().requests == 1
    said = "logged" if "too old" in caplog.text else "in silence"
    assert said == DIFFERENCES["partial success"].of(side)


def test_flush_tells_whether_spans_were_taken(sink: Sink, side: str, start: Callable[..., Service]) -> None:
    """Upstream's is true whenever it has tried."""
    service = start(exporter_for(HTTP, sink))
    sink.set_faults(faults.Status(status=400, times=1))
    service.end_spans("one")
    assert service.processor.force_flush() is DIFFERENCES["flush of a rejected span"].of(side)


def test_flush_returns_by_its_timeout(sink: Sink, side: str, start: Callable[..., Service]) -> None:
    """With a collector that hangs, and an exporter whose own timeout is longer."""
    service = start(exporter_for(HTTP, sink, timeout=2))
    sink.set_faults(faults.Hang(times=1))
    service.end_spans("one")
    begun = time.monotonic()
    flushed = service.processor.force_flush(200)
    in_time = time.monotonic() - begun < 1.5
    expected = DIFFERENCES["flush with a timeout"].of(side)
    assert ("returns in time" if in_time else "waits for the exporter") == expected
    assert flushed is (side != OURS)
