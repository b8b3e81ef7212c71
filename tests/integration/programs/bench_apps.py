"""Applications for the bench: traced in each of the ways that people do it, or broken."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from opentelemetry import trace

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

SPANS = 3  # of a request, beside those of FastAPI's instrumentation
STALL_S = 0.6  # py-spy needs some 0.1 s to begin, and more on a busy machine


def block(seconds: float) -> None:
    """Keep the loop from running."""
    time.sleep(seconds)


def _provider(processor: SpanProcessor | None = None) -> TracerProvider:
    """Return a provider of the application's own, which exports to where nobody listens."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter("http://127.0.0.1:9/v1/traces")))
    return provider


def _answering(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/work")
    async def work() -> bool:
        recording = False
        tracer = trace.get_tracer("bench_apps")
        for number in range(SPANS):
            with tracer.start_as_current_span(f"step {number}") as span:
                span.set_attribute("number", number)
                recording = span.is_recording()
                span.add_event("worked", {"number": number})
                await asyncio.sleep(0)
        return recording

    @app.get("/failing")
    async def failing() -> Response:
        return Response("no stock", status_code=500)

    @app.get("/hanging")
    async def hanging() -> None:
        await asyncio.Event().wait()

    @app.get("/stalling")
    async def stalling() -> str:
        block(STALL_S)
        return "done"

    @app.get("/dying")
    async def dying() -> str:
        asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGKILL)
        return "done"

    return app


def untraced() -> FastAPI:
    """Return an application that arranges no tracing."""
    return _answering()


def traced() -> FastAPI:
    """Return one that has its own provider with a BatchSpanProcessor."""
    trace.set_tracer_provider(_provider())
    return _answering()


def traced_by_a_subclass() -> FastAPI:
    """Return one whose processor is of a class of its own, as Langfuse's is, beside a simple one."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    class Processor(BatchSpanProcessor):
        pass

    exporter = OTLPSpanExporter("http://127.0.0.1:9/v1/traces")
    provider = _provider(Processor(exporter))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return _answering()


def traced_while_it_starts() -> FastAPI:
    """Return one that makes its provider in its lifespan."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        trace.set_tracer_provider(_provider())
        yield

    return _answering(lifespan=lifespan)


def exporting_nothing() -> FastAPI:
    """Return one with a provider that exports nothing."""
    from opentelemetry.sdk.trace import SpanProcessor

    trace.set_tracer_provider(_provider(SpanProcessor()))
    return _answering()


def lossy() -> FastAPI:
    """Return one in which a NativeSpanProcessor loses every fifth span without a word."""
    from gilscope import NativeSpanProcessor

    class Lossy(NativeSpanProcessor):
        numbers = itertools.count()

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            honest = self.on_end
            self.on_end = lambda span: honest(span) if next(self.numbers) % 5 else None  # type: ignore[method-assign]

    gilscope.NativeSpanProcessor = Lossy  # type: ignore[misc]
    return _answering()


def keeping_the_loop() -> FastAPI:
    """Return one in which a BatchSpanProcessor takes five milliseconds for each span."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    honest = BatchSpanProcessor.on_end

    def on_end(processor: BatchSpanProcessor, span: Any) -> None:
        block(0.005)
        honest(processor, span)

    BatchSpanProcessor.on_end = on_end  # type: ignore[method-assign, assignment]
    return _answering()


def without_start() -> FastAPI:
    """Return one that fails while it starts."""

    async def connect() -> None:
        raise RuntimeError("no database")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await connect()
        yield

    return _answering(lifespan=lifespan)
