"""Decoded, what we send is what upstream's encoder makes of the same spans, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gilscope._spans import encode_request
from tests.property.strategies import ATTRIBUTES, RAW_ATTRIBUTES, RESOURCES, SCOPES, assert_same, by_upstream, spans

if TYPE_CHECKING:
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

SAMPLED = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
EMPTY = Resource({})


def with_value(value: object) -> ReadableSpan:
    """A span with one attribute of this value, not cleaned by the SDK."""
    attributes: Any = {"key": value}
    return ReadableSpan("name", SAMPLED, resource=EMPTY, attributes=attributes)


@pytest.mark.smoke
@given(spans())
def test_span_of_any_kind_equals_upstream(span: Any) -> None:
    """One span, whatever is in it."""
    assert_same(encode_request([span]), by_upstream([span]))


@given(ATTRIBUTES)
def test_attributes_of_any_kind_equal_upstream(attributes: Any) -> None:
    """Attributes alone, so that many more kinds of values are tried."""
    span = ReadableSpan("name", SAMPLED, resource=EMPTY, attributes=attributes)
    assert_same(encode_request([span]), by_upstream([span]))


@given(st.data(), st.lists(RESOURCES, min_size=2, max_size=2), st.lists(SCOPES, min_size=1, max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_request_of_two_resources_and_many_scopes_equals_upstream(
    data: st.DataObject, resources: list[Resource], scopes: list[InstrumentationScope | None]
) -> None:
    """Spans come out below the resource and the scope that they were made with."""
    batch = data.draw(st.lists(spans(st.sampled_from(resources), st.sampled_from(scopes)), min_size=1, max_size=8))
    assert_same(encode_request(batch), by_upstream(batch))


@given(st.lists(RAW_ATTRIBUTES, min_size=1, max_size=3), st.booleans(), st.sampled_from(SpanKind))
@example(attributes=[{"a": 1}, {"a": True}, {"a": 1.0}], fails=True, kind=SpanKind.CLIENT)
def test_span_recorded_by_the_sdk_equals_upstream(attributes: list[Any], fails: bool, kind: SpanKind) -> None:
    """The way of a real span: tracer, events, exception, status, end."""
    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(resource=EMPTY, shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("library", "1.2", attributes={"scope": 1})
    with tracer.start_as_current_span("outer", kind=kind) as outer:
        for number, values in enumerate(attributes):
            with tracer.start_as_current_span(f"inner {number}", attributes=values) as inner:
                inner.add_event("event", values)
                inner.add_link(outer.get_span_context(), values)
                if fails:
                    inner.record_exception(ValueError("wrong"))
                    inner.set_status(Status(StatusCode.ERROR, "it was wrong"))
    assert len(ended) == len(attributes) + 1
    assert_same(encode_request(ended), by_upstream(ended))


@pytest.mark.smoke
@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63), True, False, None),
        *(0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324),
        *(
            "",
            "a",
            "é",
            "€",
            "\U0001f600",
            "a\0b",
            "ÿ" * 9,
            "\ufffd",
            "\uffff",
            "\U0010ffff",
            "\u0800\U00010000",
            "\x7f\x80\u07ff\u0800",
            b"",
            b"\xff\0",
        ),
        *([], (), {}, [None], [[]], [{}], {"": None}, {1: 2, None: 3, (1, 2): 4}, [1, "a", None, 2.5, True, b"x", [1]]),
    ],
    ids=repr,
)
def test_value_at_an_edge_equals_upstream(value: object) -> None:
    """Where representations change length, sign, form or presence."""
    assert_same(encode_request([with_value(value)]), by_upstream([with_value(value)]))


@pytest.mark.parametrize("size", [*range(40), 126, 127, 128, 129, 4095, 4096, 4097, 16383, 16384, 16385, 2_097_152])
@pytest.mark.parametrize("letter", ["a", "é", "€", "\U0001f600"])
def test_text_of_every_length_class_equals_upstream(size: int, letter: str) -> None:
    """Lengths of one to four bytes, short copies of every size, long text copied and lent."""
    span = with_value([letter * size, {letter * size: letter * size}])
    assert_same(encode_request([span]), by_upstream([span]))


def nested(levels: int, container: type[list[Any] | dict[str, Any]]) -> Any:
    """Containers in containers, `levels` of them."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if container is list else {"k": value}
    return value


# 100 messages is what protobuf takes: Request, ResourceSpans, ScopeSpans, Span, KeyValue, AnyValue, and then two for
# each list, three for each mapping.
@pytest.mark.parametrize(("container", "deepest"), [(list, 47), (dict, 31)])
def test_nesting_as_deep_as_receivers_take_equals_upstream(container: Any, deepest: int) -> None:
    """Up to the limit nothing is cut; behind it upstream's request cannot be read by anyone, and ours can."""
    span = with_value(nested(deepest, container))
    assert_same(encode_request([span]), by_upstream([span]))
    deeper = with_value(nested(deepest + 5, container))
    request = ExportTraceServiceRequest.FromString(encode_request([deeper]))
    (value,) = request.resource_spans[0].scope_spans[0].spans[0].attributes
    assert "..." in str(value)
