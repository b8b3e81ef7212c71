"""The requests in which spans left the process, and what became of those spans, added up event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis.model import Exports

if TYPE_CHECKING:
    from gilscope.capture import Event

_QUEUED, _EXPORTED, _DROPPED, _FAILED = _STATES = 1, 2, 3, 4
# Only a damaged recording has more.
_MOST_PROCESSORS = 1024


class ExportSums:
    """The sums over all processors of the process."""

    def __init__(self) -> None:
        self._requests = self._not_accepted = self._spans = self._bytes = self._refused = self._longest_ns = 0
        # By state: the last count of each processor, and of all together.
        self._last: dict[int, dict[int, int]] = {state: {} for state in _STATES}
        self._sums = dict.fromkeys(_STATES, 0)
        self._queued_most = 0

    def add_request(self, event: Event) -> None:
        """Add a request to the collector."""
        self._requests += 1
        self._not_accepted += event.b > 0
        self._spans += event.count
        self._bytes += event.a
        self._refused += event.b
        self._longest_ns = max(self._longest_ns, event.duration_ns)

    def read_spans(self, event: Event) -> None:
        """Take a count of the spans of one processor in one state, which replaces the one before."""
        state, spans, processor = event.count, event.a, event.b
        last = self._last.get(state)
        if last is None or (processor not in last and len(last) >= _MOST_PROCESSORS):
            return
        self._sums[state] += spans - last.get(processor, 0)
        last[processor] = spans
        self._queued_most = max(self._queued_most, self._sums[_QUEUED])

    def told(self) -> Exports | None:
        """Return what the sums say; None where the recording has nothing of any export."""
        if not self._requests and not any(self._last.values()):
            return None
        return Exports(
            requests=self._requests,
            requests_not_accepted=self._not_accepted,
            sent_spans=self._spans,
            sent_bytes=self._bytes,
            refused_spans=self._refused,
            longest_request_ns=self._longest_ns,
            queued_most_spans=self._queued_most,
            exported_spans=self._sums[_EXPORTED],
            dropped_spans=self._sums[_DROPPED],
            failed_spans=self._sums[_FAILED],
        )
