"""A support agent behind a chat endpoint: FastAPI, sixteen nested spans for each request, GenAI conventions.

What the agent talks to (models, databases, other services) is simulated: a wait of fixed length, without CPU. The
longest chain of waits is 24 ms, so what a request takes beyond that is this process's own doing. The attributes have
the names and sizes of the real ones.

Source: OpenTelemetry semantic conventions 1.37: gen-ai-spans, gen-ai-agent-spans, database, http, messaging.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue

SPANS_PER_REQUEST = 16

_MODEL = "gpt-4o-mini"
_MODEL_HOST = "api.models.example"
_AGENT_ID = "asst_5j66UpCpwteGg4YSxUnt7lPY"


class Question(BaseModel):
    """What a user says."""

    conversation: str = Field(max_length=64)
    text: str = Field(max_length=2000)


class Answer(BaseModel):
    """What the agent replies, and what it cost."""

    conversation: str
    text: str
    input_tokens: int
    output_tokens: int


class ModelReply(BaseModel):
    """What a model gave back."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


class SupportAgent:
    """Answers a question: guards, looks up knowledge, asks a model, runs the tools it wants, asks again.

    Threading: one event loop.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def answer(self, question: Question) -> Answer:
        """Return the reply; makes fifteen spans below the current one."""
        await self._database("SELECT", "sessions", wait_ms=1)
        self._guard("input", question.text)
        answer = await self._invoke(question)
        self._guard("output", answer.text)
        await self._database("INSERT", "messages", wait_ms=1)
        await self._publish(question.conversation)
        return answer

    async def _invoke(self, question: Question) -> Answer:
        with self._span(
            "invoke_agent support",
            SpanKind.INTERNAL,
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "openai",
                "gen_ai.agent.id": _AGENT_ID,
                "gen_ai.agent.name": "support",
                "gen_ai.agent.description": "Answers questions about orders and stock",
                "gen_ai.conversation.id": question.conversation,
                "gen_ai.request.model": _MODEL,
                "gen_ai.output.type": "text",
            },
        ) as span:
            await self._embed(question.text)
            passages = await self._search()
            self._rerank(passages)
            plan = await self._chat(question, turn=1, finish_reason="tool_calls", wait_ms=7)
            await asyncio.gather(self._look_up_order(), self._check_stock())
            final = await self._chat(question, turn=2, finish_reason="stop", wait_ms=7)
            input_tokens = plan.input_tokens + final.input_tokens
            output_tokens = plan.output_tokens + final.output_tokens
            span.set_attribute("gen_ai.usage.input_tokens", input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", output_tokens)
        return Answer(
            conversation=question.conversation, text=final.text, input_tokens=input_tokens, output_tokens=output_tokens
        )

    def _guard(self, direction: str, text: str) -> None:
        with self._span(
            f"guardrail {direction}",
            SpanKind.INTERNAL,
            {
                "guardrail.name": "pii-and-injection",
                "guardrail.version": "2025-06-01",
                "guardrail.direction": direction,
                "guardrail.text.length": len(text),
                "guardrail.rules.count": 14,
                "guardrail.threshold": 0.85,
                "code.function.name": "SupportAgent._guard",
                "code.file.path": "support/guardrails.py",
            },
        ) as span:
            suspicious = sum(word in text.lower() for word in ("ignore all", "system prompt", "password"))
            span.set_attribute("guardrail.score", suspicious / 3)
            span.set_attribute("guardrail.passed", suspicious == 0)

    async def _embed(self, text: str) -> None:
        with self._span(
            "embeddings text-embedding-3-small",
            SpanKind.CLIENT,
            {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "text-embedding-3-small",
                "gen_ai.response.model": "text-embedding-3-small",
                "gen_ai.request.encoding_formats": ["float"],
                "gen_ai.embeddings.dimension.count": 1536,
                "server.address": _MODEL_HOST,
                "server.port": 443,
                "http.response.status_code": 200,
            },
        ) as span:
            await _elsewhere(2)
            span.set_attribute("gen_ai.usage.input_tokens", len(text) // 4)

    async def _search(self) -> list[str]:
        with self._span(
            "search knowledge",
            SpanKind.CLIENT,
            {
                "db.system.name": "qdrant",
                "db.namespace": "support",
                "db.collection.name": "knowledge",
                "db.operation.name": "search",
                "db.query.summary": "search knowledge",
                "gen_ai.data_source.id": "H7STPQYOND",
                "db.vector.query.top_k": 5,
                "server.address": "vectors.internal.example",
                "server.port": 6334,
            },
        ) as span:
            await _elsewhere(2)
            passages = [f"passage {number}" for number in range(5)]
            span.set_attribute("db.response.returned_rows", len(passages))
        return passages

    def _rerank(self, passages: list[str]) -> None:
        with self._span(
            "rerank passages",
            SpanKind.INTERNAL,
            {
                "rerank.model": "cross-encoder-mini",
                "rerank.candidates.count": len(passages),
                "rerank.top_k": 3,
                "rerank.query.length": 64,
                "rerank.cache.hit": True,
                "rerank.scores": [0.91, 0.84, 0.42],
                "gen_ai.data_source.id": "H7STPQYOND",
                "code.function.name": "SupportAgent._rerank",
                "code.file.path": "support/retrieval.py",
            },
        ) as span:
            passages.sort(key=len)
            span.set_attribute("rerank.kept.count", min(3, len(passages)))

    async def _chat(self, question: Question, *, turn: int, finish_reason: str, wait_ms: int) -> ModelReply:
        with self._span(
            f"chat {_MODEL}",
            SpanKind.CLIENT,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.conversation.id": question.conversation,
                "gen_ai.request.model": _MODEL,
                "gen_ai.request.temperature": 0.2,
                "gen_ai.request.max_tokens": 512,
                "server.address": _MODEL_HOST,
            },
        ) as span:
            await _elsewhere(wait_ms)
            reply = ModelReply(
                text=f"About your question of {len(question.text)} characters: it has been shipped.",
                finish_reason=finish_reason,
                input_tokens=900 + 400 * turn,
                output_tokens=40 * turn,
            )
            span.set_attributes(
                {
                    "gen_ai.response.id": "chatcmpl-9J3uIL87gldCFtiIbyaOvTeYBRA3l",
                    "gen_ai.response.finish_reasons": [reply.finish_reason],
                    "gen_ai.usage.input_tokens": reply.input_tokens,
                    "gen_ai.usage.output_tokens": reply.output_tokens,
                }
            )
        return reply

    async def _look_up_order(self) -> None:
        with self._tool("look_up_order", "call_VSPygqKTWdrhaFErNvMV18Yl") as span:
            with self._span(
                "GET",
                SpanKind.CLIENT,
                {
                    "http.request.method": "GET",
                    "url.full": "https://orders.internal.example/v2/orders/4711",
                    "url.scheme": "https",
                    "server.address": "orders.internal.example",
                    "server.port": 443,
                    "network.protocol.version": "1.1",
                    "network.peer.address": "10.4.0.17",
                    "user_agent.original": "support-agent/3.2",
                },
            ) as request:
                await _elsewhere(3)
                request.set_attribute("http.response.status_code", 200)
                request.set_attribute("http.response.body.size", 1834)
            span.set_attribute("gen_ai.tool.result.length", 1834)

    async def _check_stock(self) -> None:
        with self._tool("check_stock", "call_mszuSIzqtI65i1wAUOE8w5H4") as span:
            await self._database("SELECT", "stock", wait_ms=2)
            span.set_attribute("gen_ai.tool.result.length", 212)

    def _tool(self, name: str, call: str) -> AbstractContextManager[Span]:
        return self._span(
            f"execute_tool {name}",
            SpanKind.INTERNAL,
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": call,
                "gen_ai.tool.description": "Looks into the shop's own systems",
                "gen_ai.agent.id": _AGENT_ID,
                "gen_ai.agent.name": "support",
                "code.function.name": name,
                "code.file.path": "support/tools.py",
            },
        )

    async def _database(self, operation: str, table: str, *, wait_ms: int) -> None:
        with self._span(
            f"{operation} {table}",
            SpanKind.CLIENT,
            {
                "db.system.name": "postgresql",
                "db.namespace": "support",
                "db.collection.name": table,
                "db.operation.name": operation,
                "db.query.text": f"{operation} ... {table} ... $1",  # parameters are never recorded
                "db.query.summary": f"{operation} {table}",
                "server.address": "postgres.internal.example",
                "server.port": 5432,
                "network.peer.address": "10.4.0.9",
            },
        ) as span:
            await _elsewhere(wait_ms)
            span.set_attribute("db.response.returned_rows", 1)

    async def _publish(self, conversation: str) -> None:
        with self._span(
            "send conversations",
            SpanKind.PRODUCER,
            {
                "messaging.system": "kafka",
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": "conversations",
                "messaging.client.id": "support-agent-1",
                "messaging.kafka.message.key": conversation,
                "messaging.message.body.size": 640,
                "server.address": "kafka.internal.example",
                "server.port": 9092,
            },
        ) as span:
            await _elsewhere(1)
            span.set_attribute("messaging.destination.partition.id", "3")

    def _span(self, name: str, kind: SpanKind, attributes: dict[str, AttributeValue]) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(name, kind=kind, attributes=attributes)


async def _elsewhere(wait_ms: int) -> None:
    """Wait as for another machine's answer."""
    await asyncio.sleep(wait_ms / 1000)


def create_app(tracer_provider: TracerProvider | None = None) -> FastAPI:
    """Return the service; without a provider it is traced by the global one."""
    tracer = trace.get_tracer("loadtests.apps.chat", "1.0", tracer_provider)
    agent = SupportAgent(tracer)
    app = FastAPI(title="support agent")

    @app.post("/chat")
    async def chat(question: Question) -> Answer:
        with tracer.start_as_current_span(
            "POST /chat",
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": "/chat",
                "url.path": "/chat",
                "url.scheme": "http",
                "server.address": "support.example",
                "network.protocol.version": "1.1",
                "client.address": "127.0.0.1",
                "user_agent.original": "loadtest",
                "gen_ai.conversation.id": question.conversation,
            },
        ) as span:
            answer = await agent.answer(question)
            span.set_attribute("http.response.status_code", 200)
            return answer

    return app
