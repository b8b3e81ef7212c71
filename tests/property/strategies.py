"""Strategies for everything that upstream's encoder can encode, and upstream's encoder as the oracle."""

from __future__ import annotations

import enum
from collections import OrderedDict, UserDict, deque
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as PB2Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

if TYPE_CHECKING:
    from collections.abc import Sequence

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
TRACE_IDS = st.integers(0, 2**128 - 1)
SPAN_IDS = st.integers(0, 2**64 - 1)


class Text(str):
    """A str whose `__str__` says something else: its characters count."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Number(int):
    """An int that is not one exactly."""


class Ratio(float):
    """A float that is not one exactly."""


class Blob(bytes):
    """A bytes that is not one exactly."""


class Colour(enum.IntEnum):
    """An int by inheritance, as applications use for status codes."""

    RED = 3


class Unit(str, enum.Enum):
    """A str by inheritance, as applications use for names."""

    BYTES = "By"


# Long ones too: lengths of one, two and three bytes, and text that is lent instead of copied.
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text("aé€\U0001f600", max_size=300),
    st.builds(
        lambda text, times: text * times, st.text("aé€\U0001f600\0", min_size=1, max_size=3), st.integers(0, 9000)
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    TEXTS,
    INT64,
    st.floats(),
    st.binary(max_size=20),
    st.builds(lambda byte, times: byte * times, st.binary(min_size=1, max_size=2), st.integers(0, 9000)),
    st.builds(Text, st.text(max_size=9)),
    st.builds(Number, INT64),
    st.builds(Ratio, st.floats()),
    st.builds(Blob, st.binary(max_size=9)),
    st.sampled_from([*Colour, *Unit]),
)
# Keys of mappings inside values become str(key), whatever they are.
KEYS = st.one_of(st.text(max_size=9), st.integers(), st.none(), st.booleans(), st.builds(Text, st.text(max_size=5)))


def containers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every kind of sequence and of mapping, exact or not, with values of the given kind."""
    lists = st.lists(values, max_size=5)
    mappings = st.dictionaries(KEYS, values, max_size=4)
    return st.one_of(
        lists,
        mappings,
        lists.map(tuple),
        lists.map(deque),
        mappings.map(MappingProxyType),
        mappings.map(OrderedDict),
        mappings.map(UserDict),
        st.integers(0, 5).map(range),
        st.binary(max_size=5).map(bytearray),
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=15)
RAW_ATTRIBUTES = st.dictionaries(st.one_of(TEXTS, st.builds(Text, st.text(max_size=9))), VALUES, max_size=8)
ATTRIBUTES = st.one_of(
    st.none(),
    RAW_ATTRIBUTES,
    RAW_ATTRIBUTES.map(MappingProxyType),
    RAW_ATTRIBUTES.map(OrderedDict),
    st.builds(BoundedAttributes, maxlen=st.none() | st.integers(0, 5), attributes=RAW_ATTRIBUTES),
)
TRACE_STATES = st.one_of(
    st.none(),
    st.just(TraceState()),
    st.builds(
        lambda pairs: TraceState(list(pairs.items())),
        st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9_\-*/]{0,9}", fullmatch=True),
            st.from_regex(r"[a-zA-Z0-9:;]{1,9}", fullmatch=True),
            max_size=4,
        ),
    ),
    # Any mapping goes: what is joined is format(key) and format(value).
    st.dictionaries(st.text(max_size=5) | st.integers(), st.text(max_size=5) | st.floats() | st.none(), max_size=3),
)


def contexts(flags: st.SearchStrategy[int]) -> st.SearchStrategy[SpanContext]:
    """Span contexts, valid ids or not."""
    return st.builds(SpanContext, TRACE_IDS, SPAN_IDS, st.booleans(), flags.map(TraceFlags), TRACE_STATES)


PARENTS = st.none() | contexts(st.integers(0, 255))
# Sampled: the others are not exported.
CONTEXTS = contexts(st.integers(0, 127).map(lambda flags: flags * 2 + 1))
EVENTS = st.builds(Event, TEXTS, ATTRIBUTES, UINT64)
LINKS = st.builds(Link, contexts(st.integers(0, 255)), ATTRIBUTES)
STATUSES = st.one_of(
    st.none(),
    st.builds(Status, st.sampled_from(StatusCode)),
    st.builds(Status, st.just(StatusCode.ERROR), st.none() | TEXTS),
    # A later version's code: enums of protobuf are open.
    st.builds(
        SimpleNamespace,
        status_code=st.builds(SimpleNamespace, value=st.integers(-(2**31), 2**31 - 1)),
        description=st.none() | TEXTS,
    ),
)


def bounded(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A sequence, as a span holds it while it is recorded, or as a test passes it."""
    lists = st.lists(items, max_size=3)
    bounded_lists = st.builds(BoundedList.from_seq, st.none() | st.integers(0, 2), lists)
    return st.one_of(lists.map(tuple), lists, bounded_lists)


SCHEMA_URLS = st.none() | st.text(max_size=9)
RESOURCES = st.builds(Resource, RAW_ATTRIBUTES, SCHEMA_URLS)
SCOPES = st.none() | st.builds(InstrumentationScope, TEXTS, st.none() | st.text(max_size=9), SCHEMA_URLS, ATTRIBUTES)


class Subclass(ReadableSpan):
    """A span whose properties say more than its slots, so that reading the slots would show."""

    @property
    def name(self) -> str:
        """Not what the slot has."""
        return f"{self._name}, as a property"

    @property
    def dropped_events(self) -> int:
        """More than the slot has."""
        return 7


def stand_in(span: ReadableSpan) -> SimpleNamespace:
    """What upstream's encoder reads of a span, and nothing else."""
    names = (
        "context name kind parent start_time end_time attributes events links status dropped_attributes dropped_events "
        "dropped_links resource instrumentation_scope"
    )
    return SimpleNamespace(
        get_span_context=span.get_span_context, **{name: getattr(span, name) for name in names.split()}
    )


def spans(
    resources: st.SearchStrategy[Resource] = RESOURCES,
    scopes: st.SearchStrategy[InstrumentationScope | None] = SCOPES,
) -> st.SearchStrategy[Any]:
    """Sampled spans: the SDK's own, of a subclass, or merely alike."""

    def fields(kind: type[ReadableSpan]) -> st.SearchStrategy[ReadableSpan]:
        return st.builds(
            kind,
            name=TEXTS,
            context=CONTEXTS,
            parent=PARENTS,
            resource=resources,
            attributes=ATTRIBUTES,
            events=bounded(EVENTS),
            links=bounded(LINKS),
            kind=st.sampled_from(SpanKind),
            status=STATUSES,
            start_time=st.none() | UINT64,
            end_time=st.none() | UINT64,
            instrumentation_scope=scopes,
        )

    exact = fields(ReadableSpan)
    return st.one_of(exact, exact, exact, fields(Subclass), exact.map(stand_in))


Group = tuple[bytes, str, bytes, str]


def grouped(request: ExportTraceServiceRequest) -> dict[Group, list[bytes]]:
    """The request's spans by what their resource and scope say.

    Messages are compared as their canonical bytes: NaN is equal to itself there. Upstream may repeat a group, for two
    resources that are not equal in Python and are in OTLP.
    """
    groups: dict[Group, list[bytes]] = {}
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            key = (
                of_resource.resource.SerializeToString(deterministic=True),
                of_resource.schema_url,
                of_scope.scope.SerializeToString(deterministic=True),
                of_scope.schema_url,
            )
            spans_of_group = [span.SerializeToString(deterministic=True) for span in of_scope.spans]
            groups.setdefault(key, []).extend(spans_of_group)
    return {key: sorted(serialized) for key, serialized in groups.items()}


def assert_same(ours: bytes, theirs: ExportTraceServiceRequest) -> None:
    """Our request says what theirs does.

    Raises:
        AssertionError: it does not; the message is the first group that differs, cut to a readable length
            (pytest's own comparison of such values takes minutes).
    """
    found, expected = grouped(ExportTraceServiceRequest.FromString(ours)), grouped(theirs)
    for key in {**expected, **found}:
        if found.get(key) != expected.get(key):
            shown = [
                "\n".join(str(PB2Span.FromString(span)) for span in groups.get(key, []))[:3000]
                for groups in (found, expected)
            ]
            message = f"in {key!r:.500}\nours:\n{shown[0]}\nupstream's:\n{shown[1]}"
            raise AssertionError(message)


def by_upstream(encoded: Sequence[Any]) -> ExportTraceServiceRequest:
    """What upstream would send for the spans, as its receiver sees it."""
    return ExportTraceServiceRequest.FromString(encode_spans(encoded).SerializeToString())
