"""The server under load, with each arm and each way to be traced: every span is received once, or not at all."""

from __future__ import annotations

import http.client
import importlib.util
import os
from contextlib import closing
from typing import Any

import pytest

from gilscope.bench.child import Child, ChildError
from gilscope.bench.sink.client import Sink
from tests.integration.programs import bench_apps

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gilscope._spans") is None, reason="spans are not built")

TIMEOUT_S = 60.0
REQUESTS = 5


def serve(app: str, arm: str, endpoint: str, loop: str = "uvloop", **environment: str) -> Child:
    """Return a server of one of the applications that ends when it is stopped."""
    options = [f"tests.integration.programs.bench_apps:{app}", "--factory", "--arm", arm, "--endpoint", endpoint]
    return Child(
        "gilscope.bench.server",
        [*options, "--loop", loop],
        environment={**os.environ, **environment},
        timeout_s=TIMEOUT_S,
    )


def finish_after_requests(server: Child) -> dict[str, Any]:
    """Return what the server tells of its spans after a few requests."""
    for _ in range(REQUESTS):
        with closing(http.client.HTTPConnection("127.0.0.1", server.ready["port"], timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/work")
            response = connection.getresponse()
            assert response.status == 200
            recording = response.read() == b"true"
    server.write("finish")
    return {"recording": recording, **server.read(TIMEOUT_S)}


def received_from(app: str, arm: str, **options: str) -> tuple[dict[str, Any], int]:
    """Return what the server tells of its spans, and how many were received."""
    with Sink(track_ids=True) as sink:
        server = serve(app, arm, sink.http_endpoint, **options)
        try:
            told = finish_after_requests(server)
        finally:
            server.stop()
        stats = sink.stats()
        assert stats.spans_accepted == stats.distinct_spans_accepted
        return told, stats.spans_accepted


@pytest.mark.parametrize("arm", ["batch", "subprocess", "native"])
def test_arm_that_exports_delivers_every_span_once(arm: str) -> None:
    """An application that arranges nothing is traced, and all that it makes arrives."""
    told, received = received_from("untraced", arm)
    assert told["made"] == received
    assert told["made"] >= REQUESTS * bench_apps.SPANS
    assert told["flushed"]


@pytest.mark.parametrize("arm", ["none", "sdk"])
def test_arm_that_does_not_export_delivers_nothing(arm: str) -> None:
    """Without tracing no span is made, even by an application that traces itself; thrown away, none arrives."""
    told, received = received_from("traced", arm)
    is_made = arm == "sdk"
    assert (told["recording"], told["made"] > 0, received) == (is_made, is_made, 0)


@pytest.mark.parametrize(
    ("app", "replaced"),
    [
        ("traced", ["BatchSpanProcessor"]),
        ("traced_by_a_subclass", ["Processor", "SimpleSpanProcessor"]),
        ("traced_while_it_starts", ["BatchSpanProcessor"]),
        ("exporting_nothing", []),
    ],
)
def test_application_that_traces_itself_exports_through_the_arm_alone(app: str, replaced: list[str]) -> None:
    """What the application has arranged to export with is replaced, by one processor."""
    told, received = received_from(app, "native")
    assert told["replaced"] == replaced
    assert told["made"] == received
    assert told["made"] >= REQUESTS * bench_apps.SPANS


def test_subprocess_arm_with_a_full_queue_counts_what_it_drops() -> None:
    """A queue of two spans, looked at every minute, has room for no third."""
    told, received = received_from(
        "untraced", "subprocess", OTEL_BSP_MAX_QUEUE_SIZE="2", OTEL_BSP_SCHEDULE_DELAY="60000"
    )
    assert told["dropped"] > 0
    assert told["made"] == received + told["dropped"]


def test_subprocess_arm_without_a_receiver_counts_what_failed() -> None:
    """What the child cannot deliver is told, and not passed off as exported."""
    server = serve("untraced", "subprocess", "http://127.0.0.1:9/v1/traces", OTEL_EXPORTER_OTLP_TIMEOUT="1")
    try:
        told = finish_after_requests(server)
    finally:
        server.stop()
    assert told["failed"] == told["made"] > 0


@pytest.mark.parametrize(
    ("app", "said"),
    [("absent", 'Attribute "absent" not found in module'), ("without_start", "no database")],
)
def test_server_of_an_application_that_does_not_start_says_why(app: str, said: str) -> None:
    """The message has what the process wrote."""
    with pytest.raises(ChildError, match=said):
        serve(app, "none", "http://127.0.0.1:9/v1/traces")
