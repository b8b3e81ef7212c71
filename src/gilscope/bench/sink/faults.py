"""The sink's faults: one frozen dataclass per kind, and their JSON form.

A fault says *what* goes wrong (its class and that class's fields) and *when* (the fields of `Fault`). Standard library
only: the client imports this module inside the process under test.

    Fault
    ├── on HTTP and gRPC:  Normal  PartialSuccess  Hang  TooLarge
    ├── on HTTP only:      Status  Redirect  Reset  NotReading  CloseAfterAnswer  IdleClose
    │                      TruncatedAnswer  GarbageAnswer  HugeAnswer  DripAnswer
    ├── on gRPC only:      GrpcStatus
    └── at the listener:   Refuse  NoHandshake  (also Reset and NotReading with when="accept")

A fault that does not exist for a protocol is passed over there, and its `times` are not used up.
The listener's faults act on the HTTP port; for a gRPC port put `loadtests.fault_proxy` in front of it.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
import typing
from typing import Any, ClassVar, Literal, Union

Protocol = Literal["http", "grpc"]

HTTP: frozenset[Protocol] = frozenset({"http"})
GRPC: frozenset[Protocol] = frozenset({"grpc"})
HTTP_AND_GRPC: frozenset[Protocol] = HTTP | GRPC

MAX_DELAY_MS = 3_600_000.0

MAX_FILLER_BYTES = 256 << 20
"""Upper bound on what an oversized answer may hold: the client under test must give up long before it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """When a fault happens; subclasses say what happens.

    Faults without `weight` are tried in their order, and the first that applies to a request is used. If none applies
    and there are faults with a weight, one of these is drawn; `Normal(weight=...)` is the share that stays undisturbed.

    Attributes:
        times: How often it happens before it is used up; None means until cleared.
        at: Numbers of the requests (or of the connections, for faults of the listener) it is limited to, counted from
            1 since the faults were set; None means any. Requests refused for their headers do not count.
        probability: Chance that it happens when its turn comes, drawn from the seeded generator.
        weight: Share in the draw among all faults with a weight; None means that it is not in the draw.
        delay_ms: Time between the end of the request and the (faulty) answer.
    """

    protocols: ClassVar[frozenset[Protocol]] = HTTP

    times: int | None = None
    at: tuple[int, ...] | None = None
    probability: float = 1.0
    weight: float | None = None
    delay_ms: float = 0.0

    def __post_init__(self) -> None:
        _check_range("times", self.times, 1)
        for number in self.at or ():
            _check_range("at", number, 1)
        _check_range("probability", self.probability, 0.0, 1.0)
        _check_range("weight", self.weight, sys.float_info.min)
        _check_range("delay_ms", self.delay_ms, 0.0, MAX_DELAY_MS)

    @property
    def on_accept(self) -> bool:
        """Whether it acts on a new connection, before any byte of a request."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normal(Fault):
    """The request is answered with success, after `delay_ms`."""

    protocols: ClassVar[frozenset[Protocol]] = HTTP_AND_GRPC


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartialSuccess(Fault):
    """The request succeeds, but `rejected_spans` of its spans (at most all of them) are rejected with `message`."""

    protocols: ClassVar[frozenset[Protocol]] = HTTP_AND_GRPC

    rejected_spans: int
    message: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("rejected_spans", self.rejected_spans, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hang(Fault):
    """The whole request is read and never answered; the connection stays open until the client gives up."""

    protocols: ClassVar[frozenset[Protocol]] = HTTP_AND_GRPC


@dataclasses.dataclass(frozen=True, kw_only=True)
class TooLarge(Fault):
    """Requests above a size are refused: 413 on HTTP, RESOURCE_EXHAUSTED on gRPC. Smaller ones do not use it up.

    Attributes:
        limit_bytes: Largest accepted body.
        measured: `"wire"` compares the body as it was sent, `"decoded"` the body after decompression.
    """

    protocols: ClassVar[frozenset[Protocol]] = HTTP_AND_GRPC

    limit_bytes: int
    measured: Literal["wire", "decoded"] = "wire"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("limit_bytes", self.limit_bytes, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status(Fault):
    """The request is answered with an HTTP status.

    Attributes:
        status: HTTP status code.
        headers: Further headers of the answer.
        retry_after_s: Value of a `Retry-After` header, in seconds from now; None sends no such header.
        retry_after_as: `"seconds"` rounds up to whole seconds; `"date"` sends an HTTP date, rounded up likewise.
        body: Text of the answer, as `text/plain`. Ignored when `rpc_code` is set.
        rpc_code: If set, the body is a `google.rpc.Status` protobuf with this code, `rpc_message` and, if
            `retry_delay_ms` is set, a `RetryInfo`.
    """

    status: int = 503
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    retry_after_s: float | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"
    body: str = ""
    rpc_code: int | None = None
    rpc_message: str = ""
    retry_delay_ms: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("status", self.status, 200, 599)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redirect(Fault):
    """The request is answered with a redirect; an empty `location` points back at the sink's own path."""

    status: int = 307
    location: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("status", self.status, 300, 399)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """The connection is reset (RST).

    Attributes:
        when: `"accept"` on a new connection, `"headers"` once the request's headers were read (and no more of its body
            than came with them), `"body"` once the whole body was read, `"answer"` in the middle of the answer.
    """

    when: Literal["accept", "headers", "body", "answer"] = "headers"

    @property
    def on_accept(self) -> bool:
        """Whether the connection is reset before a request was read."""
        return self.when == "accept"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotReading(Fault):
    """Nothing more is read from the connection, so that its TCP window closes.

    The kernels of both sides still take a few MiB between them before a sender has to wait.

    Attributes:
        when: `"accept"` never reads from a new connection; it is served once the faults are replaced or cleared.
            `"headers"` stops once a request's headers were read, and goes on at the same moment.
    """

    when: Literal["accept", "headers"] = "accept"

    @property
    def on_accept(self) -> bool:
        """Whether nothing is read from the start."""
        return self.when == "accept"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloseAfterAnswer(Fault):
    """The request succeeds, then the connection is closed; `announce` says so in a `Connection: close` header."""

    announce: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdleClose(Fault):
    """The request succeeds, then the connection is closed unannounced once it has been idle for `idle_ms`."""

    idle_ms: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("idle_ms", self.idle_ms, 0.0, MAX_DELAY_MS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruncatedAnswer(Fault):
    """The connection is closed in the middle of a success answer: within its headers or within its body."""

    within: Literal["headers", "body"] = "body"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GarbageAnswer(Fault):
    """The answer is not what it should be.

    Attributes:
        what: `"http"` sends bytes that are no HTTP and closes; `"body"` sends status 200 with a body that is no
            protobuf, which counts as success because OTLP goes by the status.
    """

    what: Literal["http", "body"] = "http"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HugeAnswer(Fault):
    """The answer is valid, but has `size_bytes` of headers (spread over many) or of body.

    A huge body with status 200 is a valid `ExportTraceServiceResponse` that warns in `size_bytes` of text.
    """

    where: Literal["headers", "body"] = "body"
    size_bytes: int = 16 << 20
    status: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("size_bytes", self.size_bytes, 1, MAX_FILLER_BYTES)
        _check_range("status", self.status, 200, 599)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DripAnswer(Fault):
    """The answer arrives `chunk_bytes` at a time with `interval_ms` between the chunks."""

    chunk_bytes: int = 1
    interval_ms: float = 50.0
    status: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("chunk_bytes", self.chunk_bytes, 1)
        _check_range("interval_ms", self.interval_ms, 0.0, MAX_DELAY_MS)
        _check_range("status", self.status, 200, 599)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrpcStatus(Fault):
    """The call ends with a gRPC status.

    Attributes:
        code: Name of the status code, such as `"UNAVAILABLE"`.
        message: The status message.
        retry_delay_ms: If set, a `google.rpc.RetryInfo` with this delay is sent along.
        retry_info_in: `"status_details"` puts it into `grpc-status-details-bin` (as an Any in a `google.rpc.Status`),
            `"retryinfo"` into `google.rpc.retryinfo-bin`, `"both"` into both.
    """

    protocols: ClassVar[frozenset[Protocol]] = GRPC

    code: str = "UNAVAILABLE"
    message: str = ""
    retry_delay_ms: int | None = None
    retry_info_in: Literal["status_details", "retryinfo", "both"] = "status_details"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code not in GRPC_CODES:
            raise ValueError(f"code must be one of {', '.join(GRPC_CODES)}, got {self.code!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refuse(Fault):
    """Connections are refused at once: the listening socket is closed, and reopened on the same port later.

    It acts when it is set, takes no part in the choice per request, and ignores `Fault`'s fields.

    Attributes:
        duration_ms: How long; None means until the faults are replaced or cleared.
        reset_open: Whether the connections that are open already are reset, as when a receiver dies.
    """

    duration_ms: float | None = None
    reset_open: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("duration_ms", self.duration_ms, 0.0, MAX_DELAY_MS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoHandshake(Fault):
    """A new connection is accepted and its bytes are read, but TLS is never answered.

    Without TLS it is a server that reads and stays silent.
    """

    @property
    def on_accept(self) -> bool:
        """Always: it replaces the handshake."""
        return True


GRPC_CODES = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""The status codes a call can fail with, in the order of their numbers 1..16."""

_CLASSES: tuple[type[Fault], ...] = (
    Normal, PartialSuccess, Hang, TooLarge, Status, Redirect, Reset, NotReading, CloseAfterAnswer, IdleClose,
    TruncatedAnswer, GarbageAnswer, HugeAnswer, DripAnswer, GrpcStatus, Refuse, NoHandshake,
)  # fmt: skip


def kind_of(fault: Fault | type[Fault]) -> str:
    """Returns the fault's name in JSON: its class's name in snake case."""
    name = fault.__name__ if isinstance(fault, type) else type(fault).__name__
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


KINDS: dict[str, type[Fault]] = {kind_of(fault_class): fault_class for fault_class in _CLASSES}


def to_json(fault: Fault) -> dict[str, Any]:
    """Returns the fault as a JSON object: its `kind` and every field that differs from its default."""
    document: dict[str, Any] = {"kind": kind_of(fault)}
    for field in dataclasses.fields(fault):
        value = getattr(fault, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            document[field.name] = value
    return document


def from_json(document: object) -> Fault:
    """Returns the fault that a JSON object describes.

    Raises:
        ValueError: The object names no known kind, has an unknown or missing field, or a value of the wrong type.
    """
    if not isinstance(document, dict):
        raise ValueError(f"a fault must be a JSON object, got {document!r}")  # noqa: TRY004  # one exception type for every kind of bad document
    kind = document.get("kind")
    fault_class = KINDS.get(kind) if isinstance(kind, str) else None
    if fault_class is None:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    hints = _field_types(fault_class)
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name == "kind":
            continue
        if name not in hints:
            raise ValueError(f"{kind} has no field {name!r}, only {', '.join(hints)}")
        values[name] = tuple(value) if name == "at" and isinstance(value, list) else value
        if not _has_type(values[name], hints[name]):
            raise ValueError(f"{kind}.{name} must be {hints[name]}, got {value!r}")
    try:
        return fault_class(**values)
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from error


def _field_types(fault_class: type[Fault]) -> dict[str, Any]:
    hints = typing.get_type_hints(fault_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(fault_class)}


def _has_type(value: object, expected: Any) -> bool:  # noqa: ANN401, PLR0911  # a type form; one line for each
    """Whether the value has the type; knows the few forms that the fields above use."""
    origin = typing.get_origin(expected)
    if origin in (Union, types.UnionType):
        return any(_has_type(value, option) for option in typing.get_args(expected))
    if origin is Literal:
        return value in typing.get_args(expected)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(item, typing.get_args(expected)[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def _check_range(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must be within {low}..{high}, got {value!r}")
