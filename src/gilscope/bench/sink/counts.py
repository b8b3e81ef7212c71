"""Exact counts of what arrived and what was answered, and the records of the last requests.

Threading: everything here belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from typing import TYPE_CHECKING, Literal

from gilscope.bench.sink.records import Stats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gilscope.bench.sink.faults import Protocol
    from gilscope.bench.sink.otlp import DecodedBody
    from gilscope.bench.sink.records import Outcome

Countable = Literal["requests", "spans_received", "spans_accepted", "spans_rejected", "spans_unanswered"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much is kept. Everything older is forgotten, never the counts.

    Attributes:
        records: Requests whose headers and outcome are kept.
        bodies: Bodies kept, the newest ones.
        bodies_bytes: Upper bound on all kept bodies together.
        ids: Upper bound on tracked (trace id, span id) pairs; 0 tracks none. One takes about 130 bytes.
    """

    records: int = 1000
    bodies: int = 0
    bodies_bytes: int = 256 << 20
    ids: int = 0


class Exchange:
    """One request from its headers to its outcome, which is counted exactly once.

    It counts into the `Counts` it began in, so that a request which outlives a reset disturbs no later count.
    """

    __slots__ = (
        "_counts", "answer", "arrived_ns", "body", "connection", "decoded_bytes", "encoding", "fault", "finished_ns",
        "headers", "method", "number", "outcome", "protocol", "span_ids", "spans", "spans_rejected", "target",
        "wire_bytes",
    )  # fmt: skip

    def __init__(self, counts: Counts, number: int, protocol: Protocol, connection: int) -> None:
        self._counts = counts
        self.number = number
        self.protocol = protocol
        self.connection = connection
        self.arrived_ns = time.monotonic_ns()
        self.finished_ns: int | None = None
        self.method = ""
        self.target = ""
        self.headers: list[tuple[str, str]] = []
        self.encoding = ""
        self.wire_bytes = 0
        self.decoded_bytes = 0
        self.spans = 0
        self.spans_rejected = 0
        self.span_ids: tuple[bytes, ...] = ()
        self.outcome: Outcome = "pending"
        self.answer = ""
        self.fault = ""
        self.body: bytes | None = None

    def received(self, body: DecodedBody) -> None:
        """Counts the whole, well-formed body of the request."""
        self.encoding = body.encoding
        self.wire_bytes = body.wire_bytes
        self.decoded_bytes = len(body.protobuf)
        self.spans = body.spans
        self.span_ids = body.span_ids
        self._counts.count_received(self, body.protobuf)

    def answered(self, answer: str, *, success: bool, spans_rejected: int = 0) -> None:
        """Counts a whole answer: its spans are accepted, but for the first `spans_rejected`, or rejected.

        A partial success does not say which spans it rejects; the sink takes it to mean the first ones.
        """
        self.answer = answer
        self.spans_rejected = min(spans_rejected, self.spans) if success else 0
        self._finish("accepted" if success else "rejected")

    def unanswered(self) -> None:
        """Counts that no whole answer was written; does nothing once the outcome is known."""
        if self.outcome == "pending":
            self._finish("unanswered")

    def _finish(self, outcome: Outcome) -> None:
        if self.outcome != "pending":
            raise RuntimeError(f"request {self.number} is already {self.outcome}, cannot become {outcome}")
        self.outcome = outcome
        self.finished_ns = time.monotonic_ns()
        self._counts.count_finished(self)
        self.span_ids = ()

    def to_json(self) -> dict[str, object]:
        """Returns the fields of a `RequestRecord` but for its body."""
        names = (name for name in self.__slots__ if name not in {"_counts", "body", "span_ids"})
        return {name: getattr(self, name) for name in names}


class Counts:
    """The counts since the start or the last reset; a reset replaces the whole object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: collections.Counter[Protocol] = collections.Counter()
        self._spans: collections.Counter[Outcome] = collections.Counter()
        self._spans_received = 0
        self._wire_bytes = 0
        self._decoded_bytes = 0
        self._encodings: collections.Counter[str] = collections.Counter()
        self._answers: collections.Counter[str] = collections.Counter()
        self._records: collections.deque[Exchange] = collections.deque(maxlen=limits.records)
        self._bodies: collections.deque[Exchange] = collections.deque()
        self._bodies_bytes = 0
        self._ids: dict[bytes, bool] = {}  # to whether it has been accepted, not only received
        self._ids_overflowed = False
        self._duplicates_received = 0
        self._duplicates_accepted = 0
        self._distinct_accepted = 0
        self._waiters: dict[asyncio.Future[None], tuple[Countable, int]] = {}
        self.received_bytes = 0
        self.connections_opened = 0
        self.connections_refused = 0

    def begin(self, protocol: Protocol, connection: int) -> Exchange:
        """Counts a request whose headers have come, and returns its exchange."""
        self._requests[protocol] += 1
        exchange = Exchange(self, self.requests, protocol, connection)
        self._records.append(exchange)
        self._wake_waiters()
        return exchange

    @property
    def requests(self) -> int:
        """Requests that arrived, over both protocols."""
        return self._requests.total()

    @property
    def spans_received(self) -> int:
        """Spans in whole, well-formed bodies."""
        return self._spans_received

    @property
    def spans_accepted(self) -> int:
        """Spans answered with success."""
        return self._spans["accepted"]

    @property
    def spans_rejected(self) -> int:
        """Spans answered with anything else."""
        return self._spans["rejected"]

    @property
    def spans_unanswered(self) -> int:
        """Spans that were received and will get no answer any more."""
        return self._spans["unanswered"]

    def count_received(self, exchange: Exchange, protobuf: bytes) -> None:
        """For `Exchange.received`."""
        self._wire_bytes += exchange.wire_bytes
        self._decoded_bytes += exchange.decoded_bytes
        self._encodings[exchange.encoding] += 1
        self._spans_received += exchange.spans
        self._spans["pending"] += exchange.spans
        for span_id in exchange.span_ids:
            if span_id in self._ids:
                self._duplicates_received += 1
            elif len(self._ids) < self._limits.ids:
                self._ids[span_id] = False
            else:
                self._ids_overflowed = True
        self._keep_body(exchange, protobuf)
        self._wake_waiters()

    def count_finished(self, exchange: Exchange) -> None:
        """For `Exchange.answered` and `Exchange.unanswered`."""
        if exchange.answer:
            self._answers[exchange.answer] += 1
        self._spans["pending"] -= exchange.spans
        self._spans[exchange.outcome] += exchange.spans
        if exchange.outcome == "accepted":
            self._spans["accepted"] -= exchange.spans_rejected
            self._spans["rejected"] += exchange.spans_rejected
            for span_id in exchange.span_ids[exchange.spans_rejected :]:
                if self._ids.get(span_id) is False:
                    self._ids[span_id] = True
                    self._distinct_accepted += 1
                elif span_id in self._ids:
                    self._duplicates_accepted += 1
        self._wake_waiters()

    async def wait_until(self, name: Countable, at_least: int) -> None:
        """Returns once a count has reached `at_least`."""
        if getattr(self, name) >= at_least:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[reached] = (name, at_least)
        try:
            await reached
        finally:
            del self._waiters[reached]

    def records(self) -> Iterable[Exchange]:
        """The last requests, oldest first."""
        return tuple(self._records)

    def kept_bodies(self) -> Iterator[tuple[int, bytes]]:
        """The kept bodies with their requests' numbers, oldest first."""
        for exchange in self._bodies:
            if exchange.body is not None:
                yield exchange.number, exchange.body

    def stats(self, *, faults: dict[str, int], connections_open: int) -> Stats:
        """Returns all counts as they are now."""
        return Stats(
            requests=self.requests,
            http_requests=self._requests["http"],
            grpc_requests=self._requests["grpc"],
            spans_received=self.spans_received,
            spans_accepted=self.spans_accepted,
            spans_rejected=self.spans_rejected,
            spans_unanswered=self.spans_unanswered,
            spans_pending=self._spans["pending"],
            wire_bytes=self._wire_bytes,
            decoded_bytes=self._decoded_bytes,
            received_bytes=self.received_bytes,
            encodings=dict(self._encodings),
            answers=dict(self._answers),
            faults=faults,
            duplicate_spans_received=self._duplicates_received,
            duplicate_spans_accepted=self._duplicates_accepted,
            distinct_spans_received=len(self._ids),
            distinct_spans_accepted=self._distinct_accepted,
            ids_overflowed=self._ids_overflowed,
            connections_opened=self.connections_opened,
            connections_open=connections_open,
            connections_refused=self.connections_refused,
            cpu_seconds=time.process_time(),
        )

    def _keep_body(self, exchange: Exchange, protobuf: bytes) -> None:
        if self._limits.bodies == 0:
            return
        exchange.body = protobuf
        self._bodies.append(exchange)
        self._bodies_bytes += len(protobuf)
        while len(self._bodies) > self._limits.bodies or self._bodies_bytes > self._limits.bodies_bytes:
            oldest = self._bodies.popleft()
            self._bodies_bytes -= oldest.decoded_bytes
            oldest.body = None

    def _wake_waiters(self) -> None:
        for reached, (name, at_least) in self._waiters.items():
            if not reached.done() and getattr(self, name) >= at_least:
                reached.set_result(None)
