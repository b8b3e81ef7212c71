"""What the sink tells about itself: `Stats` and `RequestRecord`, and their JSON form.

Standard library only: the client imports this module inside the process under test.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Outcome = Literal["pending", "accepted", "rejected", "unanswered"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """The sink's counts since its start or its last reset.

    A request *arrives* when its headers do. Its spans are *received* once its whole body was read and is well formed.
    Then each received span is in exactly one of four states, so that at any moment
    `spans_received == spans_accepted + spans_rejected + spans_unanswered + spans_pending`:

    - accepted: the sink wrote a whole answer that says success (HTTP 200, gRPC OK) for it;
    - rejected: the sink wrote a whole answer that says otherwise, partial success included;
    - unanswered: no whole answer was written, because a fault or the client ended the connection;
    - pending: the answer is still due.

    "Wrote" means handed to the kernel. A client that gives up at that very moment may not have seen the answer.

    Attributes:
        requests: Requests that arrived, by protocol below; `http_requests` includes malformed and refused ones.
        wire_bytes: Bodies as they were sent, compressed, without headers or framing.
        decoded_bytes: The same bodies after decompression.
        received_bytes: All that the HTTP port read, headers included (after TLS); gRPC's transport does not tell.
        encodings: Requests with a body by content encoding (`"identity"`, `"gzip"`, `"deflate"`).
        answers: Whole answers by HTTP status (`"200"`) or gRPC code (`"OK"`).
        faults: How often each kind of fault has happened since the faults were set.
        duplicate_spans_received: Received spans whose (trace id, span id) was received before. This and the three
            below stay 0 without `track_ids`.
        duplicate_spans_accepted: Accepted spans whose ids were accepted before: delivered twice.
        distinct_spans_received: Different ids received.
        distinct_spans_accepted: Different ids accepted; equals the spans made if none was lost.
        ids_overflowed: The set of ids is full, later ids were not compared, and the four counts above are too low.
        connections_opened: TCP connections to the HTTP port, and distinct peers of the gRPC port.
        connections_open: Connections to the HTTP port now.
        connections_refused: Connections to the HTTP port closed at once because too many were open.
        cpu_seconds: CPU time of the sink's process since its start.
    """

    requests: int
    http_requests: int
    grpc_requests: int
    spans_received: int
    spans_accepted: int
    spans_rejected: int
    spans_unanswered: int
    spans_pending: int
    wire_bytes: int
    decoded_bytes: int
    received_bytes: int
    encodings: dict[str, int]
    answers: dict[str, int]
    faults: dict[str, int]
    duplicate_spans_received: int
    duplicate_spans_accepted: int
    distinct_spans_received: int
    distinct_spans_accepted: int
    ids_overflowed: bool
    connections_opened: int
    connections_open: int
    connections_refused: int
    cpu_seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One of the last requests.

    Attributes:
        number: Counted from 1 over both protocols since the start or the last reset.
        connection: Number of the HTTP connection it came on, or of the gRPC peer, counted from 1 likewise.
        arrived_ns: `CLOCK_MONOTONIC` when its headers came; comparable with `time.monotonic_ns()` of any process here.
        finished_ns: The same when its outcome was known; None while it is pending.
        target: HTTP's request target, or gRPC's full method name.
        headers: Names in lower case; gRPC's metadata with binary values in base64, as they are on the wire.
        encoding: Content encoding of the body; an empty string until the body was decoded.
        spans: Spans received with it.
        spans_rejected: Spans of a success that were rejected as partial success.
        answer: HTTP status or gRPC code of the whole answer; an empty string if none was written.
        fault: Kind of the fault that it met; an empty string for none.
        body: The decompressed protobuf, if the sink was told to keep bodies and still has it.
    """

    number: int
    protocol: str
    connection: int
    arrived_ns: int
    finished_ns: int | None
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    encoding: str
    wire_bytes: int
    decoded_bytes: int
    spans: int
    spans_rejected: int
    outcome: Outcome
    answer: str
    fault: str
    body: bytes | None = dataclasses.field(default=None, repr=False)

    def header(self, name: str) -> str | None:
        """Returns the first value of a header, or None; `name` in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    @classmethod
    def from_json(cls, document: dict[str, Any], body: bytes | None) -> RequestRecord:
        """Returns the record that the control interface's JSON object describes, with its body put in."""
        headers = tuple((name, value) for name, value in document.pop("headers"))
        return cls(headers=headers, body=body, **document)
