"""The service: `create_app()`, and `app` for `uvicorn loadtests.apps.agent.main:app`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from loadtests.apps.agent import logs, telemetry
from loadtests.apps.agent.messages import Answer, Question  # noqa: TC001 FastAPI reads them when it runs
from loadtests.apps.agent.settings import Settings
from loadtests.apps.agent.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.trace import TracerProvider

_NOT_READY = 503


def create_app(settings: Settings | None = None, tracer_provider: TracerProvider | None = None) -> FastAPI:
    """Return the service.

    Args:
        settings: By default those of the environment.
        tracer_provider: Traces the workflow; by default the global one, which may be set before or after this call.

    Raises:
        SettingsError: The environment has a value that cannot work.
    """
    settings = Settings.from_environment() if settings is None else settings
    logs.set_up(settings.log_level)
    ready = False

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal ready
        ready = True
        yield
        ready = False
        if stop_telemetry is not None:
            await asyncio.to_thread(stop_telemetry)

    app = FastAPI(title="support agent", lifespan=lifespan)
    stop_telemetry = telemetry.start(app, settings) if settings.tracing else None
    workflow = Workflow(settings, tracer_provider)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready")
    async def is_ready(response: Response) -> dict[str, bool]:
        if not ready:
            response.status_code = _NOT_READY
        return {"ready": ready}

    @app.post("/chat")
    async def chat(question: Question) -> Answer:
        return await workflow.run(question)

    @app.post("/chat/stream")
    async def chat_stream(question: Question) -> StreamingResponse:
        return StreamingResponse(_events(workflow, question), media_type="text/event-stream")

    return app


async def _events(workflow: Workflow, question: Question) -> AsyncIterator[str]:
    """Yield server-sent events: `token` for each piece, then `answer` with all that /chat answers."""
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    # A task of its own: spans are current in one context from begin to end, which a generator's caller may change.
    running = asyncio.ensure_future(workflow.run(question, on_text=pieces.put_nowait))
    running.add_done_callback(lambda _: pieces.put_nowait(None))
    try:
        while (piece := await pieces.get()) is not None:
            yield f"event: token\ndata: {json.dumps({'text': piece})}\n\n"
        answer = await running
        yield f"event: answer\ndata: {answer.model_dump_json()}\n\n"
    finally:
        running.cancel()  # the user has gone; does nothing to a task that is done


app = create_app()
