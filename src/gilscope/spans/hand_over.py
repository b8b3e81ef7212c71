"""Empties a batch of upstream's into a native one, so that no span is lost or sent twice."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from gilscope.spans.batch import NativeBatch

logger = logging.getLogger(__name__)

# How long the caller of `install` waits for a request of upstream's that is on its way; it ends in the background.
_HAND_OVER_SECONDS = 5.0


class Forwarder(SpanExporter):
    """Stands where the exporter was in a batch that is being emptied: its last spans go into the native queue."""

    def __init__(self, native: NativeBatch) -> None:
        self._native = native

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Queue them natively."""
        for span in spans:
            self._native.emit(span)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing: the exporter itself is not shut down, so that `uninstall` can use it again."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Return True: nothing stays here."""
        return True


def hand_over(shutdown_old: Callable[[], object], queue: Any, native: NativeBatch) -> None:  # noqa: ANN401 - a deque
    """The old worker has passed its queue on and has ended, or does so when the request it is at is done."""

    def finish() -> None:
        try:
            shutdown_old()
            # What a thread in the middle of the old `emit` has put there since.
            while queue:
                native.emit(queue.pop())
        except Exception:
            logger.exception("The old span processor could not be shut down")

    thread = threading.Thread(target=finish, name="gilscope-hand-over", daemon=True)
    thread.start()
    thread.join(_HAND_OVER_SECONDS)
