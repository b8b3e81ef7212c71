"""The workflow of a request: sixteen steps, what each records, and how they lie in each other.

Source: OpenTelemetry semantic conventions for generative AI (spans, agent spans, events), which since 1.44 have a
repository of their own and keep these names; database 1.44. `gen_ai.usage.cost` is none of theirs: they have no name
for it, and this is the one that back ends read.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from loadtests.apps.agent import services
from loadtests.apps.agent.logs import LOGGER
from loadtests.apps.agent.messages import Answer
from loadtests.apps.agent.payloads import content
from loadtests.apps.agent.steps import EMBEDDING_MODEL, LARGE_MODEL, SMALL_MODEL, Step, StepSpans
from loadtests.apps.agent.work import work_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span, SpanContext, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from loadtests.apps.agent.messages import Question
    from loadtests.apps.agent.settings import Settings
    from loadtests.apps.agent.work import Work

_FORBIDDEN = re.compile(r"\b(?:\d[ -]?){13,16}\b|\bpassword\s*[:=]", re.IGNORECASE)
_NAME = "support_chat"
_REWRITE_TOKENS = 14
_CHOICE_TOKENS = 32
_USD_PER_INPUT_TOKEN = 2.5e-6
_USD_PER_OUTPUT_TOKEN = 10e-6
_PASSAGES_KEPT = 5


@dataclass(frozen=True)
class _Turn:
    """One request on its way.

    Attributes:
        common: What all its spans say.
    """

    question: Question
    work: Work
    common: dict[str, AttributeValue]


class Workflow:
    """Answers questions.

    Threading: one event loop; one tool is called in a thread of the loop's default executor.
    """

    def __init__(self, settings: Settings, tracer_provider: TracerProvider | None = None) -> None:
        self._settings = settings
        self._tracer = trace.get_tracer("loadtests.apps.agent", "1.0", tracer_provider)
        self._steps = StepSpans(self._tracer, settings)
        self._model = services.ModelEndpoint(settings)
        self._large_state = content("system", settings.large_bytes)

    async def run(self, question: Question, on_text: Callable[[str], None] | None = None) -> Answer:
        """Return the answer; makes the workflow's span below the current one, and the steps' below it.

        Args:
            question: What is to be answered.
            on_text: Called with each piece of the text as it comes.
        """
        turn = _Turn(
            question,
            work_for(question.conversation, self._settings),
            {
                "gen_ai.conversation.id": question.conversation,
                "gen_ai.workflow.name": _NAME,
                "session.id": question.conversation,
                "app.tenant": "shop",
            },
        )
        with self._tracer.start_as_current_span(
            f"invoke_workflow {_NAME}",
            attributes={
                **turn.common,
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.output.type": "text",
                "app.question.characters": len(question.text),
                "app.streaming": on_text is not None,
            },
        ) as span:
            self._guard_input(turn)
            await self._load_memory(turn)
            text, answered_by = await self._invoke_agent(turn, on_text)
            self._guard_output(turn, text)
            await self._save_memory(turn)
            answer = self._account_cost(turn, text, answered_by)
            span.set_attribute("gen_ai.usage.cost", answer.cost_usd)
            LOGGER.info("answered", extra={"conversation": question.conversation, "tokens": answer.output_tokens})
        return answer

    def _guard_input(self, turn: _Turn) -> None:
        with self._step(turn, Step.GUARD_INPUT, _guard_attributes("input", len(turn.question.text))) as span:
            _record_verdict(span, turn.question.text)

    def _guard_output(self, turn: _Turn, text: str) -> None:
        with self._step(turn, Step.GUARD_OUTPUT, _guard_attributes("output", len(text))) as span:
            _record_verdict(span, text)
            for number in range(self._steps.extra_checks):
                with self._tracer.start_as_current_span(
                    "check policy", attributes={**turn.common, **self._steps.extra_content, "app.policy": number}
                ):
                    pass

    async def _load_memory(self, turn: _Turn) -> None:
        attributes = _database_attributes("SELECT", "messages")
        with self._step(turn, Step.LOAD_MEMORY, attributes, SpanKind.CLIENT) as span:
            await services.query_database()
            span.set_attribute("db.response.returned_rows", 6)

    async def _save_memory(self, turn: _Turn) -> None:
        attributes = _database_attributes("INSERT", "messages")
        with self._step(turn, Step.SAVE_MEMORY, attributes, SpanKind.CLIENT) as span:
            await services.query_database()
            span.set_attribute("db.response.returned_rows", 0)

    async def _invoke_agent(self, turn: _Turn, on_text: Callable[[str], None] | None) -> tuple[str, SpanContext]:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "openai",
            "gen_ai.agent.id": "asst_5j66UpCpwteGg4YSxUnt7lPY",
            "gen_ai.agent.name": "support",
            "gen_ai.agent.description": "Answers questions about orders and warranties",
            "gen_ai.request.model": LARGE_MODEL,
            "gen_ai.output.type": "text",
        }
        if turn.work.large:
            attributes["app.agent.state"] = self._large_state
        with self._step(turn, Step.INVOKE_AGENT, attributes) as span:
            await self._chat(turn, Step.REWRITE_QUERY, _REWRITE_TOKENS, "stop")
            await asyncio.gather(self._retrieve_articles(turn), self._retrieve_tickets(turn))
            self._rerank(turn)
            await self._chat(turn, Step.CHOOSE_TOOLS, _CHOICE_TOKENS, "tool_calls")
            await asyncio.gather(self._find_order(turn), self._check_warranty(turn))
            self._assemble_prompt(turn)
            text, answered_by = await self._answer(turn, on_text)
            span.set_attribute("gen_ai.usage.input_tokens", turn.work.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", turn.work.answer_tokens)
        return text, answered_by

    async def _chat(self, turn: _Turn, step: Step, output_tokens: int, finish_reason: str) -> None:
        with self._step(turn, step, _model_attributes(SMALL_MODEL, streams=False), SpanKind.CLIENT) as span:
            await self._model.complete()
            _record_response(span, turn.work, SMALL_MODEL, output_tokens, finish_reason)

    async def _retrieve_articles(self, turn: _Turn) -> None:
        attributes = _retrieval_attributes("articles", "vector")
        with self._step(turn, Step.RETRIEVE_ARTICLES, attributes, SpanKind.CLIENT) as span:
            await self._embed(turn)
            await services.search()
            span.add_event("app.documents.found", {"app.documents.count": 10, "app.documents.best": 0.91})

    async def _embed(self, turn: _Turn) -> None:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": EMBEDDING_MODEL,
            "gen_ai.request.encoding_formats": ("float",),
            "gen_ai.embeddings.dimension.count": 1536,
            "server.address": "api.models.example",
            "server.port": 443,
        }
        with self._step(turn, Step.EMBED_QUERY, attributes, SpanKind.CLIENT) as span:
            await services.embed()
            span.set_attribute("gen_ai.usage.input_tokens", _REWRITE_TOKENS)

    async def _retrieve_tickets(self, turn: _Turn) -> None:
        attributes = _retrieval_attributes("tickets", "text")
        with self._step(turn, Step.RETRIEVE_TICKETS, attributes, SpanKind.CLIENT) as span:
            await services.search()
            span.add_event("app.documents.found", {"app.documents.count": 10, "app.documents.best": 0.74})

    def _rerank(self, turn: _Turn) -> None:
        attributes: dict[str, AttributeValue] = {
            "app.rerank.method": "score",
            "app.rerank.candidates": len(turn.work.scores),
            "app.rerank.kept": _PASSAGES_KEPT,
        }
        with self._step(turn, Step.RERANK, attributes) as span:
            span.set_attribute("app.rerank.scores", sorted(turn.work.scores, reverse=True)[:_PASSAGES_KEPT])

    async def _find_order(self, turn: _Turn) -> None:
        attributes = _tool_attributes("find_order", "Returns an order and where it is", turn.work)
        with self._step(turn, Step.FIND_ORDER, attributes) as span:
            attempts = 1
            try:
                await services.find_order(fails=turn.work.tool_fails)
            except services.ToolError as error:
                # One span for the call with all its attempts, as the conventions say of what is tried again.
                span.record_exception(error)
                LOGGER.warning("a tool failed and is called again", extra={"tool": "find_order", "error": str(error)})
                attempts = 2
                await services.find_order(fails=False)
            span.set_attribute("app.tool.attempts", attempts)

    async def _check_warranty(self, turn: _Turn) -> None:
        attributes = _tool_attributes("check_warranty", "Tells until when a product is under warranty", turn.work)
        with self._step(turn, Step.CHECK_WARRANTY, attributes) as span:
            await asyncio.to_thread(services.check_warranty)
            span.set_attribute("app.tool.attempts", 1)

    def _assemble_prompt(self, turn: _Turn) -> None:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.prompt.name": "support-answer",
            "app.prompt.version": 7,
            "app.prompt.passages": _PASSAGES_KEPT,
            "app.prompt.tool_results": 2,
        }
        with self._step(turn, Step.ASSEMBLE_PROMPT, attributes) as span:
            span.set_attribute("app.prompt.tokens", turn.work.prompt_tokens)

    async def _answer(self, turn: _Turn, on_text: Callable[[str], None] | None) -> tuple[str, SpanContext]:
        with self._step(turn, Step.ANSWER, _model_attributes(LARGE_MODEL, streams=True), SpanKind.CLIENT) as span:
            asked_s = time.monotonic()
            pieces: list[str] = []
            async for piece in self._model.stream(turn.work):
                if not pieces:
                    span.add_event("app.first_token")
                    span.set_attribute("gen_ai.response.time_to_first_chunk", time.monotonic() - asked_s)
                pieces.append(piece)
                if on_text is not None:
                    on_text(piece)
            _record_response(span, turn.work, LARGE_MODEL, turn.work.answer_tokens, "stop")
            return "".join(pieces).rstrip(), span.get_span_context()

    def _account_cost(self, turn: _Turn, text: str, answered_by: SpanContext) -> Answer:
        work = turn.work
        cost_usd = work.prompt_tokens * _USD_PER_INPUT_TOKEN + work.answer_tokens * _USD_PER_OUTPUT_TOKEN
        attributes: dict[str, AttributeValue] = {
            "gen_ai.usage.input_tokens": work.prompt_tokens,
            "gen_ai.usage.output_tokens": work.answer_tokens,
            "gen_ai.usage.cost": cost_usd,
            "app.cost.currency": "USD",
            "gen_ai.request.model": LARGE_MODEL,
        }
        # Where the call that is paid for was not traced, there is nothing to link to.
        links = [Link(answered_by, {"app.link": "billed call"})] if answered_by.is_valid else []
        with self._step(turn, Step.ACCOUNT_COST, attributes, links=links):
            return Answer(
                conversation=turn.question.conversation,
                text=text,
                input_tokens=work.prompt_tokens,
                output_tokens=work.answer_tokens,
                cost_usd=cost_usd,
            )

    def _step(
        self,
        turn: _Turn,
        step: Step,
        attributes: dict[str, AttributeValue],
        kind: SpanKind = SpanKind.INTERNAL,
        links: list[Link] | None = None,
    ) -> AbstractContextManager[Span]:
        return self._steps.span(
            step, {**turn.common, "app.step": step.value, **attributes}, kind=kind, links=links or ()
        )


def _guard_attributes(side: str, characters: int) -> dict[str, AttributeValue]:
    return {
        "app.guardrail.side": side,
        "app.guardrail.rules": ("card number", "password"),
        "app.guardrail.action": "block",
        "app.guardrail.characters": characters,
    }


def _record_verdict(span: Span, text: str) -> None:
    found = _FORBIDDEN.search(text) is not None
    span.add_event(
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": "no secrets",
            "gen_ai.evaluation.score.value": 0.0 if found else 1.0,
            "gen_ai.evaluation.score.label": "fail" if found else "pass",
        },
    )


def _database_attributes(operation: str, table: str) -> dict[str, AttributeValue]:
    return {
        "db.system.name": "postgresql",
        "db.namespace": "support",
        "db.collection.name": table,
        "db.operation.name": operation,
        "db.query.summary": f"{operation} {table}",
        "db.query.text": f"{operation} ... {table} ... $1",  # parameters are never recorded
        "server.address": "postgres.internal.example",
        "server.port": 5432,
    }


def _retrieval_attributes(source: str, method: str) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.provider.name": "openai",
        "gen_ai.data_source.id": source,
        "gen_ai.request.top_k": 10.0,
        "app.retrieval.method": method,
        "server.address": "search.internal.example",
        "server.port": 9200,
    }


def _tool_attributes(tool: str, description: str, work: Work) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": description,
        "gen_ai.tool.call.id": f"call_{tool}_{work.response_id[-8:]}",
    }


def _model_attributes(model: str, *, streams: bool) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.request.stream": streams,
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 512,
        "server.address": "api.models.example",
    }


def _record_response(span: Span, work: Work, model: str, output_tokens: int, finish_reason: str) -> None:
    span.set_attribute("gen_ai.response.id", work.response_id)
    span.set_attribute("gen_ai.response.model", f"{model}-2026-08-06")
    span.set_attribute("gen_ai.response.finish_reasons", (finish_reason,))
    span.set_attribute("gen_ai.usage.input_tokens", work.prompt_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", output_tokens)
