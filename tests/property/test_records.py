"""The records that the encoder makes: what is interned, who is told, what is kept, what happens within one another."""

from __future__ import annotations

import ctypes
import gc
import resource as limits
import struct
import sys
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tests.counts import driver

SAMPLED = SpanContext(2**127, 2**63, is_remote=False, trace_flags=TraceFlags(1))
RESOURCE = Resource({"service.name": "tests"}, "resource-schema")
SCOPE = InstrumentationScope("library", "1.0", "scope-schema")
# gs_span_record and gs_scope_definition
RECORD = struct.Struct("=II")
DEFINITION = struct.Struct("=III")
INLINE = 0
SCOPE_MAX = 65535


@dataclass
class Parsed:
    """A record, taken apart and read by Google's library."""

    scope_id: int
    resource_id: int | None
    resource_spans: ResourceSpans
    scope_spans: ScopeSpans


def make_span(**fields: Any) -> ReadableSpan:
    """A sampled span, with what is given."""
    given = {"name": "span", "context": SAMPLED, "resource": RESOURCE, "instrumentation_scope": SCOPE}
    return ReadableSpan(**{**given, **fields})


def parse(record: bytes) -> Parsed:
    """Take a record apart as its consumer does."""
    scope_id, definition_bytes = RECORD.unpack_from(record)
    body = RECORD.size + definition_bytes
    resource_id = None
    resource_spans = ResourceSpans()
    scope_fields = b""
    if definition_bytes:
        resource_id, resource_bytes, scope_bytes = DEFINITION.unpack_from(record, RECORD.size)
        start = RECORD.size + DEFINITION.size
        assert start + resource_bytes + scope_bytes == body
        resource_spans = ResourceSpans.FromString(record[start : start + resource_bytes])
        scope_fields = record[start + resource_bytes : body]
    return Parsed(scope_id, resource_id, resource_spans, ScopeSpans.FromString(scope_fields + record[body:]))


def encode(span: object, generation: int = 0, *, pushed: bool = True) -> Parsed:
    """Encode the span, and take its record apart."""
    status, record, _replaced, defines = driver.load().encode(span, generation, pushed)
    assert status == driver.OK
    assert record is not None
    parsed = parse(record)
    assert defines == (parsed.resource_id is not None)
    assert len(parsed.scope_spans.spans) == 1
    return parsed


@pytest.fixture(autouse=True)
def _nothing_interned() -> None:
    driver.load().reset()


def test_first_record_of_a_scope_defines_it_and_the_second_does_not() -> None:
    """The definition holds resource and scope with their schema URLs; the id stays."""
    first, second = encode(make_span()), encode(make_span())
    assert (first.scope_id, first.resource_id, second.scope_id, second.resource_id) == (1, 1, 1, None)
    assert first.resource_spans.schema_url == "resource-schema"
    assert first.resource_spans.resource.attributes[0].value.string_value == "tests"
    assert (first.scope_spans.schema_url, first.scope_spans.scope.name) == ("scope-schema", "library")
    assert second.scope_spans.spans[0] == first.scope_spans.spans[0]


def test_definition_of_a_record_that_was_not_pushed_is_told_again() -> None:
    """Until one of them is in the ring, with the same bytes."""
    lost = [encode(make_span(), pushed=False) for _ in range(3)]
    told, then = encode(make_span()), encode(make_span())
    assert [parsed.resource_id for parsed in [*lost, told, then]] == [1, 1, 1, 1, None]
    assert all(parsed.resource_spans == told.resource_spans for parsed in lost)


def test_new_generation_is_told_everything_anew() -> None:
    """After a fork the consumer is another one; ids stay as they are."""
    encode(make_span())
    child, again = encode(make_span(), 1), encode(make_span(), 1)
    assert (child.scope_id, child.resource_id, again.resource_id) == (1, 1, None)


def test_scopes_that_say_the_same_share_an_id() -> None:
    """Objects that are made anew for each request do not use ids up."""
    for _ in range(1000):
        resource = Resource({"service.name": "tests"}, "resource-schema")
        scope = InstrumentationScope("library", "1.0", "scope-schema")
        assert encode(make_span(resource=resource, instrumentation_scope=scope)).scope_id == 1


def test_scopes_that_python_calls_equal_and_otlp_does_not_are_told_apart() -> None:
    """1, True and 1.0 are equal in Python, and three values in OTLP."""
    scopes = [InstrumentationScope("library", attributes={"a": value}) for value in (1, True, 1.0)]
    assert scopes[0] == scopes[1] == scopes[2]
    assert [encode(make_span(instrumentation_scope=scope)).scope_id for scope in scopes] == [1, 2, 3]


def test_ids_ascend_and_scopes_of_two_resources_are_two() -> None:
    """Resource ids and scope ids each count from one."""
    other = Resource({"service.name": "other"})
    found = [
        encode(make_span(resource=resource, instrumentation_scope=scope))
        for resource in (RESOURCE, other)
        for scope in (SCOPE, None)
    ]
    assert [(parsed.scope_id, parsed.resource_id) for parsed in found] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert [parsed.scope_spans.scope.name for parsed in found] == ["library", "", "library", ""]


def test_scope_without_an_id_left_is_sent_inline() -> None:
    """Always with its definition; those that have an id keep it."""
    for number in range(SCOPE_MAX):
        span = make_span(instrumentation_scope=InstrumentationScope(str(number)))
        assert driver.load().encode(span)[0] == driver.OK
    late = make_span(instrumentation_scope=InstrumentationScope("late"))
    for parsed in (encode(late), encode(late)):
        assert (parsed.scope_id, parsed.resource_id, parsed.scope_spans.scope.name) == (INLINE, INLINE, "late")
        assert parsed.resource_spans.schema_url == "resource-schema"
    assert encode(make_span(instrumentation_scope=InstrumentationScope(str(SCOPE_MAX - 1)))).scope_id == SCOPE_MAX


class Ending:
    """Its text is the name of a span that is encoded while the text is asked for."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.inner: list[Parsed] = []

    def __str__(self) -> str:
        attributes: Any = {"a" * 5000: "b" * 9000, "inner": Ending(self.levels - 1) if self.levels else "end"}
        self.inner.append(encode(make_span(name=f"inner {self.levels}", attributes=attributes)))
        return "outer"


def test_span_that_ends_while_another_is_encoded_disturbs_nothing() -> None:
    """Spans within spans, each with its own scratch."""
    ending = Ending(5)
    attributes: Any = {"long": "c" * 100_000, "bad": ending, "after": 1}
    outer = encode(make_span(attributes=attributes)).scope_spans.spans[0]
    assert [item.key for item in outer.attributes] == ["long", "bad", "after"]
    assert outer.attributes[0].value.string_value == "c" * 100_000
    assert ending.inner[0].scope_spans.spans[0].name == "inner 5"
    assert ending.inner[0].scope_spans.spans[0].attributes[0].key == "a" * 5000


class Switching:
    """Its text lets other threads run first."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier

    def __str__(self) -> str:
        self.barrier.wait(30)
        return "switched"


def test_threads_that_encode_at_once_disturb_nothing() -> None:
    """Each is in the middle of a span when the others are."""
    threads, rounds = 4, 50
    barrier = threading.Barrier(threads)
    wrong: list[object] = []

    def work(number: int) -> None:
        scope = InstrumentationScope(f"library {number}")
        for turn in range(rounds):
            attributes: Any = {"text": str(number) * (turn * 200), "bad": Switching(barrier), "turn": turn}
            record = driver.load().encode(make_span(attributes=attributes, instrumentation_scope=scope))[1]
            found = parse(record or b"").scope_spans.spans[0].attributes
            if found[0].value.string_value != str(number) * (turn * 200) or found[2].value.int_value != turn:
                wrong.append((number, turn))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert wrong == []


def test_long_texts_are_sent_whole_whether_lent_or_copied() -> None:
    """More of them than can be lent, at every depth, and fields behind them."""
    texts = [chr(ord("a") + number % 26) * (5000 + number) for number in range(40)]
    event = Event("event", {"lent": texts[0], "list": [texts[1], {"key": texts[2]}]}, 7)
    attributes: Any = {str(number): text for number, text in enumerate(texts)}
    span = encode(make_span(attributes=attributes, events=[event], kind=SpanKind.SERVER)).scope_spans.spans[0]
    assert [item.value.string_value for item in span.attributes] == texts
    values = span.events[0].attributes
    assert values[1].value.array_value.values[1].kvlist_value.values[0].value.string_value == texts[2]
    events_first = make_span(attributes={"a": texts[0]}, events=[event] * 30)
    assert len(encode(events_first).scope_spans.spans[0].events) == 30


def test_span_larger_than_any_ring_is_refused() -> None:
    """Lent or copied; and what comes after it is encoded as ever."""
    for letter in ("a", "é"):
        assert driver.load().encode(make_span(attributes={"a": letter * (70 << 20)}))[0] == driver.TOO_LARGE
        assert driver.load().encode(make_span(name=letter * (70 << 20)))[0] == driver.TOO_LARGE
        resource = Resource({"a": letter * (70 << 20)})
        assert driver.load().encode(make_span(resource=resource))[0] == driver.TOO_LARGE
        assert encode(make_span()).scope_spans.spans[0].name == "span"


def test_text_of_16_mib_is_sent() -> None:
    """One attribute as large as the largest record."""
    for letter in ("a", "é"):
        span = encode(make_span(attributes={"a": letter * (16 << 20)})).scope_spans.spans[0]
        assert span.attributes[0].value.string_value == letter * (16 << 20)


def resident_bytes() -> int:
    """Memory of this process, at its highest."""
    return limits.getrusage(limits.RUSAGE_SELF).ru_maxrss * 1024


class MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 tells what is allocated")
def test_scratch_of_a_large_span_is_given_back() -> None:
    """Text that is not ASCII is converted in the scratch, which is freed after a large one."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = MallocInfo

    def allocated() -> int:
        info = mallinfo()
        return int(info.uordblks) + int(info.hblkhd)

    span = make_span(attributes={"a": "é" * (8 << 20)})
    driver.load().encode(span)
    before = allocated()
    assert driver.load().repeat(span, 3) > 16 << 20
    assert allocated() - before < 1 << 20
    assert driver.load().encode(make_span(attributes={"a": "é" * 1000}))[0] == driver.OK
    # The first use had made its own scratch, too: what is left of both is little.
    driver.load().reset()
    empty = allocated()
    driver.load().encode(span)
    assert allocated() - empty < 1 << 20


def everything() -> ReadableSpan:
    """A span with something of every kind, the unusual included."""
    attributes: Any = {
        "text": "é" * 100,
        "long": "x" * 10_000,
        "big": 2**70,
        "list": [1, "a", None, {"b": b"c"}],
        "object": object(),
        "set": {1},
        "bad": "\ud800",
    }
    return make_span(
        attributes=attributes,
        events=[Event("event", attributes, 1)],
        links=[Link(SAMPLED, attributes)],
        status=Status(StatusCode.ERROR, "wrong"),
        parent=SAMPLED,
    )


def test_nothing_leaks_in_100_000_spans() -> None:
    """References of all that is read stay as they are, and memory does not grow."""
    span = everything()
    held = [span._attributes, *(span._attributes or {}).values(), span._context, span._resource, span._status, SCOPE]
    driver.load().repeat(span, 1000)
    gc.collect()
    counts, blocks, resident = [sys.getrefcount(item) for item in held], sys.getallocatedblocks(), resident_bytes()
    driver.load().repeat(span, 100_000)
    gc.collect()
    assert [sys.getrefcount(item) for item in held] == counts
    assert abs(sys.getallocatedblocks() - blocks) < 100
    # A byte leaked for each value would be ten times as much.
    assert resident_bytes() - resident < 100_000


def test_nothing_leaks_in_scopes_that_come_and_go() -> None:
    """Objects that are interned by what they say are not kept beyond the table of those last seen."""
    scopes = [InstrumentationScope(f"library {number}") for number in range(2000)]
    before = [sys.getrefcount(scope) for scope in scopes]
    for scope in scopes:
        encode(make_span(instrumentation_scope=scope))
    del scope
    kept = sum([sys.getrefcount(scope) for scope in scopes]) - sum(before)
    assert 1 <= kept <= 64
    driver.load().reset()
    assert [sys.getrefcount(scope) for scope in scopes] == before


class Interrupting:
    """Ctrl-C comes while its text is asked for."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_keyboard_interrupt_is_raised_again_after_the_span() -> None:
    """It was meant for the application; the span is encoded all the same."""
    attributes: Any = {"bad": Interrupting(), "after": 1}
    span = make_span(attributes=attributes)
    status = None
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - comes between two bytecodes, soon
        status = driver.load().encode(span)[0]
        for _ in range(1000):
            str(status)
    assert status in {driver.OK, None}
    assert len(encode(make_span()).scope_spans.spans) == 1
