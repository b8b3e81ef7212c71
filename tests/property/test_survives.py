"""What upstream cannot encode costs a value, never a span, never a batch, and never an exception."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from gilscope._spans import encode_request
from tests.counts import driver
from tests.property import broken
from tests.property.strategies import by_upstream, grouped, spans

SAMPLED = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
EMPTY = Resource({})
BAD_VALUES = st.sampled_from(list(broken.VALUES.values())).map(lambda make: make())


def shown(value: object) -> str:
    """A name for a case, of objects that may raise when asked for one."""
    return ascii(value) if isinstance(value, (str, int, bytes)) else type(value).__name__


def make_span(**fields: Any) -> ReadableSpan:
    """A good span, except for what is given."""
    return ReadableSpan(**{"name": "good", "context": SAMPLED, "resource": EMPTY, **fields})


def encoded(span: object) -> tuple[Any, int]:
    """The span as a receiver sees it, alone and between two others; and how many values were replaced."""
    driver.load().reset()
    status, _record, replaced, _defines = driver.load().encode(span)
    assert status == driver.OK
    good = make_span()
    requests = [ExportTraceServiceRequest.FromString(encode_request(batch)) for batch in ([span], [good, span, good])]
    (alone,) = [span for of in requests[0].resource_spans for scope in of.scope_spans for span in scope.spans]
    together = [span for of in requests[1].resource_spans for scope in of.scope_spans for span in scope.spans]
    assert len(together) == 3
    return alone, replaced


def of_kind(value: Any) -> Any:
    """The Python value of an AnyValue."""
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


@pytest.mark.parametrize("what", broken.VALUES)
def test_attribute_that_cannot_be_encoded_costs_itself_alone(what: str) -> None:
    """Its neighbours in span, event, link, list and mapping are there, and it is counted."""
    make = broken.VALUES[what]

    def attributes() -> Any:
        return {"before": 1, "bad": make(), "list": [2, make(), 3], "map": {"a": make()}, "after": 4}

    event = Event("event", attributes(), 5)
    span, replaced = encoded(
        make_span(attributes=attributes(), events=[event], links=[Link(SAMPLED, attributes())], kind=None)
    )
    for found in (span.attributes, span.events[0].attributes, span.links[0].attributes):
        assert [item.key for item in found] == ["before", "bad", "list", "map", "after"]
        assert found[0].value.int_value == 1
        assert found[4].value.int_value == 4
        items = found[2].value.array_value.values
        assert (items[0].int_value, items[-1].int_value, len(items)) == (2, 3, 3)
    # The kind is one. A container that changes or is a mock's may have been read as it said it was.
    harmless = {"mock of a dict", "mapping that changes", "list that is emptied", "dict that is emptied"}
    assert replaced > (0 if what in harmless else 9)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\ufffd\ufffd"),
        ("\udfff\U0001f600", "\ufffd\U0001f600"),
        (2**63, "9223372036854775808"),
        (-(2**64), "-18446744073709551616"),
        (1j, "1j"),
        ({1}, "{1}"),
        (ValueError("wrong"), "wrong"),
        (broken.RaisingText(), None),
        (broken.Impostor(), "impostor"),
    ],
    ids=shown,
)
def test_value_that_cannot_be_encoded_is_replaced_by_the_nearest(value: Any, expected: str | None) -> None:
    """One value is counted, and what is sent says as much of it as OTLP can."""
    span, replaced = encoded(make_span(attributes={"bad": value}))
    assert of_kind(span.attributes[0].value) == expected
    assert replaced == 1


@pytest.mark.parametrize("digits", [100, 100_000])
def test_int_too_long_for_decimal_digits_is_sent_in_hexadecimal(digits: int) -> None:
    """The interpreter refuses to convert more than `sys.get_int_max_str_digits` digits."""
    limited = hasattr(sys, "get_int_max_str_digits")
    span, replaced = encoded(make_span(attributes={"bad": 10**digits}))
    expected = hex(10**digits) if digits > 4300 and limited else "1" + "0" * digits
    assert span.attributes[0].value.string_value == expected
    assert replaced == 1


@pytest.mark.parametrize(
    ("field", "bad", "name", "expected"),
    [
        ("name", "a\ud800", "name", "a\ufffd"),
        ("name", 5, "name", "5"),
        ("name", b"\xff!", "name", "\ufffd!"),
        ("name", broken.RaisingText(), "name", ""),
        ("kind", None, "kind", 0),
        ("kind", 1, "kind", 0),
        ("start_time", -1, "start_time_unix_nano", 0),
        ("start_time", 1.5, "start_time_unix_nano", 0),
        ("end_time", 2**64, "end_time_unix_nano", 2**64 - 1),
        ("end_time", "now", "end_time_unix_nano", 0),
        ("parent", SpanContext(1, 2**64 + 5, is_remote=True), "parent_span_id", (5).to_bytes(8, "big")),
        ("parent", SpanContext(1, -1, is_remote=True), "parent_span_id", b"\xff" * 8),
        ("parent", SimpleNamespace(span_id="x", is_remote=False), "parent_span_id", bytes(8)),
    ],
    ids=shown,
)
def test_field_that_cannot_be_encoded_is_replaced_by_the_nearest(
    field: str, bad: Any, name: str, expected: object
) -> None:
    """Upstream loses the whole batch here."""
    with pytest.raises((TypeError, ValueError, KeyError, OverflowError, AttributeError, ZeroDivisionError)):
        by_upstream([make_span(**{field: bad})])
    span, replaced = encoded(make_span(**{field: bad}, attributes={"kept": True}))
    assert getattr(span, name) == expected
    assert replaced == 1
    assert span.attributes[0].value.bool_value


def test_status_and_trace_state_that_cannot_be_encoded_are_replaced() -> None:
    """A lone surrogate, a code that is no int, a pair that is none."""
    state: Any = {"a": "\ud800", "b": broken.RaisingText()}
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    status: Any = SimpleNamespace(status_code=SimpleNamespace(value=2**31), description="\udc00")
    span, replaced = encoded(make_span(context=context, status=status))
    assert span.trace_state == "a=\ufffd,b="
    assert (span.status.code, span.status.message) == (0, "\ufffd")
    assert replaced == 4
    span, replaced = encoded(make_span(status=Status(StatusCode.ERROR, "a\ud800")))
    assert (span.status.code, span.status.message, replaced) == (2, "a\ufffd", 1)


@pytest.mark.parametrize("make", [MagicMock, Mock, lambda: MagicMock(spec=ReadableSpan)], ids=["magic", "mock", "spec"])
def test_mock_of_a_span_is_encoded_or_refused(make: Any) -> None:
    """Mocks answer everything with mocks; what comes of it can be read."""
    status, record, _replaced, _defines = driver.load().encode(make())
    assert status in {driver.OK, driver.NOT_SAMPLED}
    assert (record is not None) == (status == driver.OK)
    ExportTraceServiceRequest.FromString(encode_request([make(), make_span()]))


@pytest.mark.parametrize("thing", [None, 1, "span", object(), broken.RaisingText(), ReadableSpan], ids=shown)
def test_thing_that_is_no_span_is_refused(thing: object) -> None:
    """It is counted as dropped, and the others are sent."""
    assert driver.load().encode(thing)[0] == driver.FAILED
    request = ExportTraceServiceRequest.FromString(encode_request([thing, make_span()]))
    assert len(request.resource_spans[0].scope_spans[0].spans) == 1


@pytest.mark.parametrize("context", [None, SpanContext(1, 2, is_remote=False), 0, ()], ids=shown)
def test_span_that_is_not_sampled_is_not_encoded(context: Any) -> None:
    """Nor counted: it was never to be exported."""
    assert driver.load().encode(make_span(context=context))[0] == driver.NOT_SAMPLED


@pytest.mark.parametrize("field", ["resource", "instrumentation_scope"])
@pytest.mark.parametrize("make", [broken.RaisingText, Mock, MagicMock, object], ids=shown)
def test_scope_that_cannot_be_read_costs_no_span(field: str, make: Any) -> None:
    """The span is sent below what could be read of its resource and scope."""
    span, replaced = encoded(make_span(**{field: make()}))
    assert span.name == "good"
    assert replaced >= (0 if make is MagicMock else 1)


def test_bad_values_in_resource_and_scope_cost_themselves_alone() -> None:
    """As in a span."""
    resource = Resource({"kept": 1})
    resource._attributes._dict = {"bad": 2**70, "kept": "\udfff"}
    scope = InstrumentationScope("a\ud800", "b\ud800")
    driver.load().reset()
    assert driver.load().encode(make_span(resource=resource, instrumentation_scope=scope))[2] == 4
    request = ExportTraceServiceRequest.FromString(
        encode_request([make_span(resource=resource, instrumentation_scope=scope)])
    )
    (of_resource,) = request.resource_spans
    assert [item.value.string_value for item in of_resource.resource.attributes] == [str(2**70), "\ufffd"]
    assert (of_resource.scope_spans[0].scope.name, of_resource.scope_spans[0].scope.version) == ("a\ufffd", "b\ufffd")


def test_collections_that_raise_keep_what_came() -> None:
    """Events, links and attributes that end with an exception."""

    def events() -> Any:
        yield Event("first", None, 1)
        raise ZeroDivisionError

    stand_in = SimpleNamespace(
        **{name: getattr(make_span(), name) for name in ("context", "kind", "parent", "status", "resource")},
        name="stand-in",
        start_time=1,
        end_time=2,
        attributes=MagicMock(**{"items.side_effect": ZeroDivisionError}),
        events=events(),
        links=broken.RaisingText(),
    )
    status, record, replaced, _defines = driver.load().encode(stand_in)
    assert status == driver.OK
    assert record is not None
    assert b"first" in record
    # Attributes, events, links, three counts of dropped ones, no instrumentation scope.
    assert replaced == 7


@given(spans(), spans(), st.dictionaries(st.text(max_size=3), BAD_VALUES, min_size=1, max_size=3))
def test_good_spans_beside_bad_ones_equal_upstream(first: Any, last: Any, attributes: Any) -> None:
    """A batch with a bad span in the middle carries the others as upstream would have."""
    bad = make_span(name="bad", attributes=attributes)
    request = ExportTraceServiceRequest.FromString(encode_request([first, bad, last]))
    groups = grouped(request)
    for key, expected in grouped(by_upstream([first, last])).items():
        missing = set(expected) - set(groups.get(key, []))
        assert len(missing) == 0, key
    assert sum(map(len, groups.values())) == 3


def _answering(answer: object) -> Any:
    return lambda _self: answer


def _raising(_self: object) -> NoReturn:
    raise ZeroDivisionError


def test_exception_of_every_step_is_survived() -> None:
    """Each attribute that is read of a span raises, one after the other, and then each pair of them."""
    good = make_span(attributes={"a": 1}, events=[Event("event", {"b": 2}, 1)], links=[Link(SAMPLED)])
    names = [name for name in dir(ReadableSpan) if not name.startswith("_")]
    names = [name for name in names if name not in {"to_json", "instrumentation_info"}]  # not read: JSON, deprecated
    assert len(names) >= 14
    for broken_names in itertools.combinations_with_replacement(names, 2):
        fields: dict[str, Any] = {name: property(_answering(getattr(good, name))) for name in names}
        fields.update(dict.fromkeys(broken_names, property(_raising)))
        status, record, replaced, _defines = driver.load().encode(type("Span", (), fields)())
        if {"context", "get_span_context"} <= set(broken_names):
            assert status == driver.FAILED
        else:
            assert status == driver.OK, broken_names
            assert record
            assert replaced >= (0 if set(broken_names) & {"context", "get_span_context"} else 1)
