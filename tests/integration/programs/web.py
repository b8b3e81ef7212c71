"""A traced ASGI application without a framework: each request is one span. Its provider is made at import.

The endpoint comes from OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, as in any service.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider

from gilscope import NativeSpanProcessor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

provider = TracerProvider()
provider.add_span_processor(NativeSpanProcessor())
tracer = provider.get_tracer("web")
if os.environ.get("SPANS_AT_IMPORT"):
    with tracer.start_as_current_span("import"):
        pass


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answer with the pid of the process that did it."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    with tracer.start_as_current_span("request") as span:
        span.set_attribute("pid", os.getpid())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def wsgi(_environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """The same for a WSGI server."""
    with tracer.start_as_current_span("request") as span:
        span.set_attribute("pid", os.getpid())
    start_response("200 OK", [("Connection", "close")])
    return [str(os.getpid()).encode()]
