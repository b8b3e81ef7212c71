"""The reference app's settings, work, payloads and logs: what is read, what is drawn, what is written."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from loadtests.apps.agent.logs import JsonFormatter
from loadtests.apps.agent.payloads import content, payload
from loadtests.apps.agent.settings import Settings, SettingsError
from loadtests.apps.agent.steps import Step, spans_per_request
from loadtests.apps.agent.work import work_for


def test_settings_nothing_set_are_the_defaults() -> None:
    """Sixteen steps, half a kilobyte a span, not traced by itself; an empty variable is not set."""
    assert Settings.from_environment({"AGENT_STEPS": " "}) == Settings()
    assert (Settings().steps, len(Step)) == (16, 16)


def test_settings_all_set_are_read() -> None:
    """Each variable reaches its field."""
    assert Settings.from_environment(
        {
            "AGENT_TRACING": "ON",
            "AGENT_STEPS": "4",
            "AGENT_PAYLOAD_BYTES": "20000",
            "AGENT_LARGE_SHARE": "0.01",
            "AGENT_LARGE_BYTES": "100000",
            "AGENT_TOOL_FAILURE_SHARE": "0.5",
            "AGENT_TIME_TO_FIRST_TOKEN_MS": "200",
            "AGENT_TOKENS_PER_SECOND": "80",
            "AGENT_LOG_LEVEL": "info",
        }
    ) == Settings(
        tracing=True,
        steps=4,
        payload_bytes=20_000,
        large_share=0.01,
        large_bytes=100_000,
        tool_failure_share=0.5,
        time_to_first_token_ms=200,
        tokens_per_second=80,
        log_level="INFO",
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AGENT_TRACING", "maybe", "AGENT_TRACING must be off or on, got 'maybe'"),
        ("AGENT_STEPS", "0", "AGENT_STEPS must be a whole number from 1 to 1000, got '0'"),
        ("AGENT_STEPS", "4.5", "AGENT_STEPS must be a whole number from 1 to 1000, got '4.5'"),
        ("AGENT_PAYLOAD_BYTES", "499", "AGENT_PAYLOAD_BYTES must be 0 or from 500 to 500000, got '499'"),
        ("AGENT_LARGE_SHARE", "1.1", "AGENT_LARGE_SHARE must be a number from 0 to 1, got '1.1'"),
        ("AGENT_LARGE_SHARE", "nan", "AGENT_LARGE_SHARE must be a number from 0 to 1, got 'nan'"),
        ("AGENT_LOG_LEVEL", "loud", "AGENT_LOG_LEVEL must be DEBUG or INFO or WARNING or ERROR, got 'loud'"),
    ],
)
def test_settings_bad_value_is_refused_with_its_name(name: str, value: str, expected: str) -> None:
    """What was expected, what came, and which variable."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({name: value})
    assert str(caught.value) == expected


@pytest.mark.parametrize("payload_bytes", [500, 501, 500_000])
def test_payload_of_any_size_is_json_of_exactly_that_size(payload_bytes: int) -> None:
    """The bytes lie in both attributes, and a reader of messages can read them."""
    made = payload("in", "out", payload_bytes)
    assert len(made.input.encode()) + len(made.output.encode()) == payload_bytes
    assert [json.loads(text)[0]["role"] for text in (made.input, made.output)] == ["user", "assistant"]


def test_payload_smaller_than_its_frame_is_refused() -> None:
    """The message says how much it needs."""
    with pytest.raises(ValueError, match=r"size_bytes must be >= \d\d, got 20"):
        content("user", 20)


def test_work_of_same_conversation_is_the_same_and_of_another_differs() -> None:
    """Every arm of a measurement gets the same requests to work on."""
    assert work_for("c1", Settings()) == work_for("c1", Settings())
    assert work_for("c1", Settings()) != work_for("c2", Settings())


def test_work_shares_come_near_what_is_set_and_leave_the_rest_alone() -> None:
    """Of 5,000 conversations, 1 % and 10 %, within four standard deviations of either."""
    conversations = [f"user-{number}" for number in range(5000)]
    settings = Settings(tool_failure_share=0.01, large_share=0.1)
    works = [work_for(conversation, settings) for conversation in conversations]
    assert 22 <= sum(work.tool_fails for work in works) <= 78
    assert 415 <= sum(work.large for work in works) <= 585
    without = [work_for(conversation, Settings(tool_failure_share=0, large_share=0)) for conversation in conversations]
    assert [work.chunk_waits_s for work in works] == [work.chunk_waits_s for work in without]


@pytest.mark.parametrize(("instrumented", "expected"), [(True, 10), (False, 9)])
def test_spans_per_request_with_own_tracing_counts_the_http_span_if_it_is_made(
    monkeypatch: pytest.MonkeyPatch, instrumented: bool, expected: int
) -> None:
    """Eight steps, the workflow, and the HTTP request where FastAPI's instrumentation is installed."""
    monkeypatch.setattr("loadtests.apps.agent.steps.find_spec", lambda _: object() if instrumented else None)
    assert spans_per_request(Settings(steps=8, tracing=True)) == expected
    assert spans_per_request(Settings(steps=8, tracing=False)) == 9


def _logged(**options: Any) -> dict[str, Any]:
    """Return what a warning becomes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("agent")  # noqa: LOG001 not to be known to others
    logger.addHandler(handler)
    logger.warning("tool %s", "failed", **options)
    read: dict[str, Any] = json.loads(stream.getvalue())
    return read


def test_log_in_a_span_carries_its_ids_and_what_was_added() -> None:
    """As a back end joins logs and traces: 32 and 16 hexadecimal digits."""
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        entry = _logged(extra={"tool": "find_order"})
    context = span.get_span_context()
    assert (entry["trace_id"], entry["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (entry["message"], entry["level"], entry["tool"]) == ("tool failed", "WARNING", "find_order")


def test_log_outside_a_span_has_no_ids() -> None:
    """Rather none than zeros."""
    assert not {"trace_id", "span_id"} & _logged().keys()


def test_log_of_an_exception_is_one_line_with_its_traceback() -> None:
    """A line is an object, or nothing can read it."""
    try:
        int("bad")
    except ValueError:
        entry = _logged(exc_info=sys.exc_info())
    assert entry["exception"].endswith("ValueError: invalid literal for int() with base 10: 'bad'")
