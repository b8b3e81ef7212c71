"""The reference app: its span tree, its streams, its contexts, and the whole of it as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import StatusCode

from gilscope.bench.sink.client import Sink
from loadtests.apps.agent import logs, main
from loadtests.apps.agent.messages import Question
from loadtests.apps.agent.settings import Settings
from loadtests.apps.agent.steps import spans_per_request
from loadtests.apps.agent.workflow import Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

# Still in the package, for those who used them.
REPLACED = {
    "gen_ai.system",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
}
ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0

# Each span with the one it lies in, by hand from the README.
TREE = Counter(
    [
        ("invoke_workflow support_chat", None),
        ("guard input", "invoke_workflow support_chat"),
        ("load memory", "invoke_workflow support_chat"),
        ("invoke_agent support", "invoke_workflow support_chat"),
        ("chat gpt-4o-mini", "invoke_agent support"),
        ("retrieval articles", "invoke_agent support"),
        ("embeddings text-embedding-3-small", "retrieval articles"),
        ("retrieval tickets", "invoke_agent support"),
        ("rerank", "invoke_agent support"),
        ("chat gpt-4o-mini", "invoke_agent support"),
        ("execute_tool find_order", "invoke_agent support"),
        ("execute_tool check_warranty", "invoke_agent support"),
        ("assemble prompt", "invoke_agent support"),
        ("chat gpt-4o", "invoke_agent support"),
        ("guard output", "invoke_workflow support_chat"),
        ("save memory", "invoke_workflow support_chat"),
        ("account cost", "invoke_workflow support_chat"),
    ]
)


class Traced:
    """The app with a provider of its own, and the spans it has made."""

    def __init__(self, **settings: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.settings = Settings(**settings)
        self.app = main.create_app(self.settings, self.provider)

    def ask(self, *conversations: str, path: str = "/chat") -> list[httpx.Response]:
        """Return the answers to these, asked all at once."""
        return asyncio.run(_ask(self.app, conversations, path))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All that have ended."""
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """Return the only one of this name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span


async def _ask(app: FastAPI, conversations: tuple[str, ...], path: str) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", timeout=DEADLINE_S) as client:
        return await asyncio.gather(
            *(client.post(path, json={"conversation": name, "text": "Where is it?"}) for name in conversations)
        )


def tree(spans: tuple[ReadableSpan, ...]) -> Counter[tuple[str, str | None]]:
    """Return how often each span lies in which."""
    names = {span.context.span_id: span.name for span in spans}
    return Counter((span.name, names[span.parent.span_id] if span.parent else None) for span in spans)


def events(text: str) -> list[tuple[str, Any]]:
    """Return the names and data of server-sent events."""
    parts = [event.split("\ndata: ") for event in text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data)) for name, data in parts]


@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_request_makes_exactly_the_tree_of_the_readme(path: str) -> None:
    """Names, parents and count; a stream makes the same."""
    traced = Traced()
    (response,) = traced.ask("c1", path=path)
    assert response.status_code == 200
    assert tree(traced.spans) == TREE
    assert len(traced.spans) == spans_per_request(traced.settings)


@pytest.mark.parametrize("steps", [1, 5, 13, 16, 40])
def test_steps_setting_makes_exactly_so_many_spans_in_one_trace(steps: int) -> None:
    """With fewer or more than there are, all hang together below the workflow's."""
    traced = Traced(steps=steps)
    traced.ask("c1")
    assert len(traced.spans) == spans_per_request(traced.settings) == steps + 1
    assert [parent for _, parent in tree(traced.spans).elements()].count(None) == 1


def test_attributes_of_every_span_are_as_many_as_people_set() -> None:
    """8 to 20, content included."""
    traced = Traced()
    traced.ask("c1")
    assert {
        span.name: len(span.attributes or ()) for span in traced.spans if not 8 <= len(span.attributes or ()) <= 20
    } == {}


def test_attributes_of_model_call_follow_the_conventions() -> None:
    """What the answer says of tokens and cost, the spans say, under the names that back ends read."""
    traced = Traced()
    answer = traced.ask("c1")[0].json()
    chat = dict(traced.span("chat gpt-4o").attributes or {})
    assert chat["gen_ai.operation.name"] == "chat"
    assert (chat["gen_ai.provider.name"], chat["gen_ai.request.model"]) == ("openai", "gpt-4o")
    assert chat["gen_ai.usage.input_tokens"] == answer["input_tokens"]
    assert chat["gen_ai.usage.output_tokens"] == answer["output_tokens"]
    assert chat["gen_ai.response.finish_reasons"] == ("stop",)
    assert [event.name for event in traced.span("chat gpt-4o").events] == ["app.first_token"]
    assert (traced.span("account cost").attributes or {})["gen_ai.usage.cost"] == answer["cost_usd"]


def test_names_of_attributes_are_those_of_the_current_conventions() -> None:
    """None is made up but the cost's, and none has been replaced."""
    if not hasattr(gen_ai_attributes, "GEN_AI_WORKFLOW_NAME"):
        pytest.skip("the conventions that are installed are older than the app's")
    known = {name for name in vars(gen_ai_attributes).values() if isinstance(name, str)} - REPLACED
    traced = Traced()
    traced.ask("c1")
    of_events = [event.attributes for span in traced.spans for event in span.events]
    of_all = [*(span.attributes for span in traced.spans), *of_events]
    used = {name for attributes in of_all for name in attributes or () if name.startswith("gen_ai.")}
    assert used - known == {"gen_ai.usage.cost"}


def test_cost_is_linked_to_the_call_it_pays_for() -> None:
    """The one link of the trace."""
    traced = Traced()
    traced.ask("c1")
    linked = {span.name: [link.context.span_id for link in span.links] for span in traced.spans if span.links}
    assert linked == {"account cost": [traced.span("chat gpt-4o").context.span_id]}


def test_payload_setting_is_on_every_steps_span() -> None:
    """Content attributes of 20 kB a span, and the same string objects for each request: they cost nothing to make."""
    traced = Traced(payload_bytes=20_000)
    traced.ask("c1", "c2")
    names = {"input.value", "output.value", "gen_ai.input.messages", "gen_ai.output.messages"}
    names |= {"gen_ai.tool.call.arguments", "gen_ai.tool.call.result"}
    contents = [
        [value for name, value in (span.attributes or {}).items() if name in names]
        for span in traced.spans
        if span.parent
    ]
    assert [sum(len(str(value)) for value in content) for content in contents] == [20_000] * 32
    assert len({id(value) for content in contents for value in content}) == 32  # of 64


def test_large_share_puts_the_state_on_the_agents_span() -> None:
    """Of all requests, when the share is one."""
    traced = Traced(large_share=1.0, large_bytes=200_000)
    traced.ask("c1")
    assert len(str((traced.span("invoke_agent support").attributes or {})["app.agent.state"])) == 200_000


def test_failing_tool_is_tried_again_recorded_and_answered() -> None:
    """An exception event on a span that is not an error, and the tree as ever."""
    traced = Traced(tool_failure_share=1.0)
    (response,) = traced.ask("c1")
    tool = traced.span("execute_tool find_order")
    assert response.status_code == 200
    assert [event.name for event in tool.events] == ["exception"]
    assert "got 503" in str((tool.events[0].attributes or {})["exception.message"])
    assert (tool.status.status_code, (tool.attributes or {})["app.tool.attempts"]) == (StatusCode.UNSET, 2)
    assert tree(traced.spans) == TREE


def test_log_of_failing_tool_carries_the_ids_of_its_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning leads to the call that failed."""
    traced = Traced(tool_failure_share=1.0)
    lines: list[str] = []
    (handler,) = (each for each in logs.LOGGER.handlers if isinstance(each.formatter, logs.JsonFormatter))
    monkeypatch.setattr(handler, "emit", lambda record: lines.append(handler.format(record)))
    traced.ask("c1")
    (entry,) = map(json.loads, lines)
    context = traced.span("execute_tool find_order").context
    assert (entry["trace_id"], entry["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


def test_stream_is_pieces_and_then_what_chat_answers() -> None:
    """The pieces make the answer's text."""
    traced = Traced()
    (answer,) = traced.ask("c1")
    (stream,) = traced.ask("c1", path="/chat/stream")
    *tokens, last = events(stream.text)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert last == ("answer", answer.json())
    assert {name for name, _ in tokens} == {"token"}
    assert len(tokens) > 1
    assert "".join(data["text"] for _, data in tokens).rstrip() == answer.json()["text"]


def test_stream_given_up_by_its_user_ends_the_work_and_the_spans() -> None:
    """No task goes on for nobody, and no span stays open: those begun are there."""
    traced = Traced(tokens_per_second=1.0)

    async def give_up() -> None:
        stream = main._events(
            Workflow(traced.settings, traced.provider), Question(conversation="c1", text="Where is it?")
        )
        assert (await stream.__anext__()).startswith("event: token")
        await stream.aclose()  # type: ignore[attr-defined] # it is a generator
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, going_on = await asyncio.wait(left, timeout=DEADLINE_S / 10)
            assert not going_on

    asyncio.run(give_up())
    after: Counter[tuple[str, str | None]] = Counter()
    after[("guard output", "invoke_workflow support_chat")] = 1
    after[("save memory", "invoke_workflow support_chat")] = 1
    after[("account cost", "invoke_workflow support_chat")] = 1
    assert tree(traced.spans) == TREE - after


def test_requests_at_once_keep_their_contexts_apart() -> None:
    """Of fifty, each has a trace of its own with the whole tree, and no span of another's conversation."""
    traced = Traced()
    traced.ask(*(f"c{number}" for number in range(50)), path="/chat")
    traces: dict[int, list[ReadableSpan]] = {}
    for span in traced.spans:
        traces.setdefault(span.context.trace_id, []).append(span)
    assert len(traces) == 50
    assert all(tree(tuple(spans)) == TREE for spans in traces.values())
    said = [{(span.attributes or {})["gen_ai.conversation.id"] for span in spans} for spans in traces.values()]
    assert all(len(conversations) == 1 for conversations in said)


def test_question_without_text_is_refused() -> None:
    """Status 422, and no span."""
    traced = Traced()

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=traced.app), base_url="http://agent") as client:
            return await client.post("/chat", json={"conversation": "c1"})

    assert (asyncio.run(ask()).status_code, traced.spans) == (422, ())


def test_app_with_the_api_only_answers() -> None:
    """Where the SDK is not installed, every span is a no-op."""
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "import asyncio, httpx\n"
        "from loadtests.apps.agent.main import app\n"
        "async def ask():\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url='http://agent') as client:\n"
        "        print((await client.post('/chat', json={'conversation': 'c', 'text': 't'})).status_code)\n"
        "asyncio.run(ask())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.stdout, done.stderr) == ("200\n", "")


@contextmanager
def served(environment: dict[str, str]) -> Iterator[str]:
    """The app is a process that answers; at the end it is told to stop, and waited for."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "loadtests.apps.agent", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                assert httpx.get(f"{url}/ready").json() == {"ready": True}
                break
            except httpx.TransportError:
                assert server.poll() is None, server.stderr and server.stderr.read()
                assert time.monotonic() < deadline_s
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.communicate(timeout=DEADLINE_S)
        finally:
            server.kill()


def test_process_with_own_tracing_delivers_every_span() -> None:
    """As many as `spans_per_request` says, the HTTP request's included, flushed at the end."""
    with Sink(track_ids=True, keep_requests=0) as sink:
        environment = {"AGENT_TRACING": "on", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": sink.http_endpoint}
        with served(environment) as url:
            for path in ("/chat", "/chat/stream", "/chat"):
                assert httpx.post(f"{url}{path}", json={"conversation": "c", "text": "t"}).status_code == 200
        assert sink.stats().distinct_spans_accepted == 3 * spans_per_request(Settings(tracing=True)) == 54


def test_process_with_bad_variable_says_which_and_exits_2() -> None:
    """One line, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.apps.agent"],
        cwd=ROOT,
        env={**os.environ, "AGENT_STEPS": "many"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "AGENT_STEPS must be a whole number from 1 to 1000, got 'many'\n")


def test_locusts_users_are_answered_on_both_paths(tmp_path: Path) -> None:
    """The locustfile runs by itself, and no request of it fails."""
    figures = tmp_path / "figures"
    with served({}) as url:
        command = ["-f", "loadtests/users/agent_user.py", "--headless", "-u", "10", "-r", "10", "-t", "6s", "-H", url]
        done = subprocess.run(
            [sys.executable, "-m", "locust", *command, "--json-file", str(figures)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    entries = json.loads(figures.with_suffix(".json").read_text())
    assert {entry["name"] for entry in entries if entry["num_requests"]} == {"/chat", "/chat/stream"}
    assert [entry["num_failures"] for entry in entries] == [0, 0]
