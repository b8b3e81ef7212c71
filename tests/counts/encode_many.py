"""Encodes each kind of span again and again: what callgrind counts, one dump for each. Argument: how many times."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tests.counts import driver

SAMPLED = SpanContext(
    0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=False, trace_flags=TraceFlags(1)
)
PARENT = SpanContext(SAMPLED.trace_id, 0x00F067AA0BA902B7, is_remote=False, trace_flags=TraceFlags(1))
TEN: dict[str, Any] = {
    "http.request.method": "GET",
    "url.path": "/items/42",
    "http.response.status_code": 200,
    "server.address": "localhost",
    "server.port": 8080,
    "user.id": "u-123456",
    "cache.hit": True,
    "db.rows": 17,
    "ratio": 0.25,
    "http.route": "/items/{id}",
}
SPANS: dict[str, dict[str, Any]] = {
    "no attributes": {"attributes": BoundedAttributes(128)},
    "ten attributes": {"attributes": BoundedAttributes(128, TEN)},
    "an exception": {
        "attributes": BoundedAttributes(128, TEN),
        "events": BoundedList.from_seq(
            128, [Event("exception", BoundedAttributes(128, {"exception.stacktrace": "a line\n" * 200}), 1)]
        ),
        "status": Status(StatusCode.ERROR, "it was wrong"),
    },
    "containers": {"attributes": BoundedAttributes(128, {"list": [1, "a", 2.5] * 10, "map": TEN})},
    "text of 500 KB": {"attributes": BoundedAttributes(128, {"body": "x" * 500_000})},
    "text of 2 KB, not ASCII": {"attributes": BoundedAttributes(128, {"body": "naïve ¤" * 150, "wide": "€uro" * 250})},
}


def make_span(which: str) -> ReadableSpan:
    """Return a span as the SDK leaves it when it ends."""
    return ReadableSpan(
        **{
            "name": "GET /items/{id}",
            "context": SAMPLED,
            "parent": PARENT,
            "resource": Resource({"service.name": "counts"}),
            "events": BoundedList(128),
            "links": BoundedList(128),
            "kind": SpanKind.SERVER,
            "status": Status(StatusCode.UNSET),
            "start_time": 1_700_000_000_000_000_000,
            "end_time": 1_700_000_000_001_000_000,
            "instrumentation_scope": InstrumentationScope("counts", "1.0"),
            **SPANS[which],
        }
    )


if __name__ == "__main__":
    for name in SPANS:
        ended = make_span(name)
        driver.load().encode(ended)
        driver.load().repeat(ended, int(sys.argv[1]))
