"""The steps of the workflow, and the span of each."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING

from opentelemetry.trace import INVALID_SPAN, SpanKind

from loadtests.apps.agent.payloads import payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.trace import Link, Span, Tracer
    from opentelemetry.util.types import AttributeValue

    from loadtests.apps.agent.payloads import Payload
    from loadtests.apps.agent.settings import Settings


SMALL_MODEL = "gpt-4o-mini"
LARGE_MODEL = "gpt-4o"
EMBEDDING_MODEL = "text-embedding-3-small"


class Step(Enum):
    """What is done for a request, in the order in which it is begun."""

    GUARD_INPUT = "guard input"
    LOAD_MEMORY = "load memory"
    INVOKE_AGENT = "invoke agent"
    REWRITE_QUERY = "rewrite query"
    RETRIEVE_ARTICLES = "retrieve articles"
    EMBED_QUERY = "embed query"
    RETRIEVE_TICKETS = "retrieve tickets"
    RERANK = "rerank"
    CHOOSE_TOOLS = "choose tools"
    FIND_ORDER = "find order"
    CHECK_WARRANTY = "check warranty"
    ASSEMBLE_PROMPT = "assemble prompt"
    ANSWER = "answer"
    GUARD_OUTPUT = "guard output"
    SAVE_MEMORY = "save memory"
    ACCOUNT_COST = "account cost"


# Where the GenAI conventions have a name: the operation and what it is done to.
_CONVENTIONAL_NAMES = {
    Step.INVOKE_AGENT: "invoke_agent support",
    Step.REWRITE_QUERY: f"chat {SMALL_MODEL}",
    Step.RETRIEVE_ARTICLES: "retrieval articles",
    Step.EMBED_QUERY: f"embeddings {EMBEDDING_MODEL}",
    Step.RETRIEVE_TICKETS: "retrieval tickets",
    Step.CHOOSE_TOOLS: f"chat {SMALL_MODEL}",
    Step.FIND_ORDER: "execute_tool find_order",
    Step.CHECK_WARRANTY: "execute_tool check_warranty",
    Step.ANSWER: f"chat {LARGE_MODEL}",
}

_CHATS = (Step.REWRITE_QUERY, Step.CHOOSE_TOOLS, Step.ANSWER, Step.INVOKE_AGENT)
_TOOLS = (Step.FIND_ORDER, Step.CHECK_WARRANTY)


def http_instrumented(settings: Settings) -> bool:
    """Return whether the service makes a span of each HTTP request, too."""
    # The parent first: find_spec raises where a parent is missing.
    return (
        settings.tracing
        and find_spec("opentelemetry.instrumentation") is not None
        and find_spec("opentelemetry.instrumentation.fastapi") is not None
    )


def spans_per_request(settings: Settings) -> int:
    """Return how many spans an answered request to /chat or /chat/stream makes, retried tools or not: exactly so many.

    The workflow's, one for each step, and the HTTP request's if the service instruments FastAPI.
    """
    return 1 + settings.steps + http_instrumented(settings)


class StepSpans:
    """Makes the spans of as many steps as are to be traced; the other steps are worked through without one.

    Attributes:
        extra_checks: Spans to be made beyond those of the steps, so that there are as many as asked for.
        extra_content: The content attributes of each of those.
    """

    def __init__(self, tracer: Tracer, settings: Settings) -> None:
        self._tracer = tracer
        self._traced = frozenset(list(Step)[: settings.steps])
        self._payloads: dict[Step, Payload] = {}
        if settings.payload_bytes > 0:
            self._payloads = {step: _payload(step, settings.payload_bytes) for step in Step}
        self.extra_checks = max(0, settings.steps - len(Step))
        checked = self._payloads.get(Step.GUARD_OUTPUT)
        self.extra_content: dict[str, str] = {}
        if checked is not None:
            self.extra_content = {checked.input_name: checked.input, checked.output_name: checked.output}

    @contextmanager
    def span(
        self,
        step: Step,
        attributes: Mapping[str, AttributeValue],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
    ) -> Iterator[Span]:
        """The step has a span, current in the block; its output is set if the block does not raise."""
        if step not in self._traced:
            yield INVALID_SPAN  # not made current: the spans below belong to the one above
            return
        carried = self._payloads.get(step)
        if carried is not None:
            attributes = {**attributes, carried.input_name: carried.input}
        with self._tracer.start_as_current_span(
            _CONVENTIONAL_NAMES.get(step, step.value), kind=kind, attributes=attributes, links=links
        ) as span:
            yield span
            if carried is not None:
                span.set_attribute(carried.output_name, carried.output)


def _payload(step: Step, payload_bytes: int) -> Payload:
    if step in _CHATS:
        return payload("gen_ai.input.messages", "gen_ai.output.messages", payload_bytes)
    if step in _TOOLS:
        return payload("gen_ai.tool.call.arguments", "gen_ai.tool.call.result", payload_bytes)
    return payload("input.value", "output.value", payload_bytes)
